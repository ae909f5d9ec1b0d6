//! What every managed kind shares: the envelope around `forProvider` and `atProvider`.

use std::{borrow::Cow, fmt::Debug};

use k8s_openapi::NamespaceResourceScope;
use kube::{KubeSchema, Resource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::condition::Condition;

/// The annotations that Crossplane and this provider read and write.
pub mod annotation {
    /// The name in libvirt; defaults to the object's name.
    pub const EXTERNAL_NAME: &str = "crossplane.io/external-name";
    /// Written right before a create.
    pub const CREATE_PENDING: &str = "crossplane.io/external-create-pending";
    /// Written after a create that worked, and when something that others made was taken over.
    pub const CREATE_SUCCEEDED: &str = "crossplane.io/external-create-succeeded";
    /// Written after a create that failed.
    pub const CREATE_FAILED: &str = "crossplane.io/external-create-failed";
    /// `"true"` stops all work on the object.
    pub const PAUSED: &str = "crossplane.io/paused";
    /// The poll interval of this one object.
    pub const POLL_INTERVAL: &str = "crossplane.io/poll-interval";
    /// A token; a new one asks for a pass at once.
    pub const RECONCILE_REQUESTED: &str = "crossplane.io/reconcile-requested-at";
    /// Which config the object was placed with: `<Kind>/<name>`. Once written it is the record.
    pub const PLACEMENT: &str = "libvirt.nourspeed.io/provider-config";
    /// The signed record of what on the host is this object's, where its UID does not tell.
    pub const OWNERSHIP: &str = "libvirt.nourspeed.io/ownership";
    /// What was applied last, for kinds whose thing on the host cannot tell: the paths in its description, or which volume holds a seed.
    pub const APPLIED: &str = "libvirt.nourspeed.io/applied";
    /// What selectors chose, as JSON: the field, and the name of the object chosen.
    pub const REFERENCES: &str = "libvirt.nourspeed.io/references";
    /// What `initProvider` said when the object was made, as far as it counts afterwards.
    pub const INITIAL: &str = "libvirt.nourspeed.io/initial";
    /// The UID of the object, by which a user allows a lost volume, or a domain that was taken over and is lost, to be made again.
    pub const RECREATE: &str = "libvirt.nourspeed.io/recreate";
    /// `"true"` takes over an existing object that is not ours.
    pub const ADOPT: &str = "libvirt.nourspeed.io/adopt";
    /// The label that names the host an object is on.
    pub const INSTANCE_LABEL: &str = "libvirt.nourspeed.io/instance";
}

/// The finalizer that Crossplane's managed reconciler uses.
pub const FINALIZER: &str = "finalizer.managedresource.crossplane.io";

/// What the provider may do with the external resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum ManagementPolicy {
    /// Look at it.
    Observe,
    /// Make it.
    Create,
    /// Change it.
    Update,
    /// Take it away.
    Delete,
    /// Fill unset fields of the spec from it. Accepted for Crossplane's sake and without effect: no field of a spec is ever written.
    LateInitialize,
    /// All of these.
    #[serde(rename = "*")]
    All,
}

impl ManagementPolicy {
    /// The word in the spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "Observe",
            Self::Create => "Create",
            Self::Update => "Update",
            Self::Delete => "Delete",
            Self::LateInitialize => "LateInitialize",
            Self::All => "*",
        }
    }
}

/// The kinds of configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum ConfigKind {
    /// Of the object's own namespace.
    ProviderConfig,
    /// For all namespaces.
    ClusterProviderConfig,
}

impl ConfigKind {
    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProviderConfig => "ProviderConfig",
            Self::ClusterProviderConfig => "ClusterProviderConfig",
        }
    }
}

/// Which config an object uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ProviderConfigReference {
    /// The kind of the config.
    pub kind: ConfigKind,
    /// The name of the config.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The part of `spec` that all managed kinds share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSpec {
    /// What the provider may do with the resource on the host. `["*"]` is everything, `["Observe"]` only looks, `[]` pauses.
    #[serde(default = "everything")]
    #[schemars(length(max = 6))]
    pub management_policies: Vec<ManagementPolicy>,
    /// The config of the libvirt host. Left out, the host follows from references, the default config, or the only config there is. It never changes after the first placement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_config_ref: Option<ProviderConfigReference>,
    /// The Secret that connection details are written to, such as the path of a volume or the addresses of a guest. It is made if it is not there; one that belongs to something else is left alone. Keys are added and changed, never removed: a guest that is off keeps its last addresses there. The Secret goes with the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_connection_secret_to_ref: Option<SecretName>,
}

/// A Secret in the object's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretName {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

fn everything() -> Vec<ManagementPolicy> {
    vec![ManagementPolicy::All]
}

/// The part of `status` that all managed kinds share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// What is so and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The last value of the annotation crossplane.io/reconcile-requested-at that a pass has handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// A managed resource: an object of ours that stands for one thing on a libvirt host.
pub trait Managed:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + Unpin
    + 'static
{
    /// What the user wishes: `spec.forProvider`.
    type Parameters: Clone + Serialize + DeserializeOwned + Send + Sync;
    /// What the host shows: `status.atProvider`.
    type Observation: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync;

    /// The fields by which the thing is found and read for as long as it is there. Where `initProvider` said them when it was made,
    /// they count ever after.
    const LASTING: &'static [&'static str] = &[];
    /// The fields of `initProvider` that nothing needs once the thing is made, and that may be large.
    const FORGOTTEN: &'static [&'static str] = &[];

    /// `spec.forProvider`.
    fn parameters(&self) -> &Self::Parameters;
    /// `spec.forProvider`, to be changed.
    fn parameters_mut(&mut self) -> &mut Self::Parameters;
    /// `spec.initProvider`.
    fn initial(&self) -> Option<&Self::Parameters>;
    /// The shared part of `spec`.
    fn resource(&self) -> &ResourceSpec;
    /// `status.atProvider` as it was last written.
    fn observation(&self) -> Option<&Self::Observation>;
    /// The shared part of `status` as it was last written.
    fn resource_status(&self) -> Option<&ResourceStatus>;

    /// Whether the thing was made once, so that `initProvider` is the past.
    fn was_made(&self) -> bool {
        self.annotation(annotation::CREATE_SUCCEEDED).is_some()
    }

    /// What the thing is made of: `forProvider` over `initProvider`. Without `initProvider` the object itself.
    fn merged(&self) -> Cow<'_, Self> {
        over(self, making(self))
    }

    /// What the thing is found and read by: as it is made before it is there, and then `forProvider` over the lasting fields of what
    /// was `initProvider` when it was made.
    fn effective(&self) -> Cow<'_, Self> {
        if !self.was_made() {
            return self.merged();
        }
        let mut kept = recorded(self);
        kept.retain(|field, _| Self::LASTING.contains(&field.as_str()));
        over(self, kept)
    }

    /// What `initProvider` said when the thing was made; before that, what it says.
    fn initially(&self) -> Option<Cow<'_, Self::Parameters>> {
        if !self.was_made() {
            return self.initial().map(Cow::Borrowed);
        }
        self.annotation(annotation::INITIAL)?;
        serde_json::from_value(Value::Object(recorded(self))).ok().map(Cow::Owned)
    }

    /// What is to be written down of `initProvider` when the thing is made.
    fn to_remember(&self) -> Option<String> {
        let mut fields = making(self);
        fields.retain(|field, _| !Self::FORGOTTEN.contains(&field.as_str()));
        (!fields.is_empty()).then(|| Value::Object(fields).to_string())
    }

    /// The conditions as they were last written.
    fn conditions(&self) -> &[Condition] {
        self.resource_status().map_or(&[], |status| status.conditions.as_slice())
    }

    /// The value of an annotation.
    fn annotation(&self, key: &str) -> Option<&str> {
        self.meta().annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The name in libvirt: the external-name annotation, or the object's name.
    fn external_name(&self) -> &str {
        let name = self.meta().name.as_deref().unwrap_or_default();
        self.annotation(annotation::EXTERNAL_NAME).filter(|name| !name.is_empty()).unwrap_or(name)
    }

    /// Why the external name cannot be used, if so. XML drops or changes such characters, and then it would be another thing's name.
    fn external_name_fault(&self) -> Option<String> {
        let name = self.external_name();
        let is_odd = name.trim() != name || name.chars().any(char::is_control) || name.chars().count() > 253;
        is_odd.then(|| {
            format!(
                "the annotation {} is {name:?}: it must not begin or end with white space, contain control characters or have more than 253 characters",
                annotation::EXTERNAL_NAME
            )
        })
    }

    /// The object's UID, which is what it owns things on the host by.
    fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    /// `namespace/name`, as messages name objects.
    fn full_name(&self) -> String {
        let meta = self.meta();
        format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }
}

/// What was `initProvider` when the object's thing was made.
fn recorded<K: Managed>(object: &K) -> Map<String, Value> {
    let text = object.annotation(annotation::INITIAL);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// `initProvider` as it counts when the thing is made, with the lasting fields of the first time where it is made again.
fn making<K: Managed>(object: &K) -> Map<String, Value> {
    let fields = object.initial().and_then(|initial| serde_json::to_value(initial).ok());
    let mut fields = fields.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
    if object.was_made() {
        let is_lasting = |field: &String| K::LASTING.contains(&field.as_str());
        fields.retain(|field, _| !is_lasting(field));
        fields.extend(recorded(object).into_iter().filter(|(field, _)| is_lasting(field)));
    }
    fields
}

/// The object with `forProvider` laid over these fields.
fn over<K: Managed>(object: &K, fields: Map<String, Value>) -> Cow<'_, K> {
    if fields.is_empty() {
        return Cow::Borrowed(object);
    }
    let wins = serde_json::to_value(object.parameters()).unwrap_or_default();
    let Ok(parameters) = serde_json::from_value(merge(Value::Object(fields), wins)) else {
        return Cow::Borrowed(object);
    };
    let mut object = object.clone();
    *object.parameters_mut() = parameters;
    Cow::Owned(object)
}

/// The fields that the items of lists are told apart by.
const KEYS: [&str; 4] = ["name", "type", "cidr", "start"];

/// One value laid over another: objects field by field, lists whose items have a key item by item, and everything else as a whole.
pub fn merge(below: Value, wins: Value) -> Value {
    match (below, wins) {
        (Value::Object(mut below), Value::Object(wins)) => {
            for (field, value) in wins {
                let value = match below.remove(&field) {
                    Some(under) => merge(under, value),
                    None => value,
                };
                below.insert(field, value);
            }
            Value::Object(below)
        }
        (Value::Array(below), Value::Array(wins)) => Value::Array(merge_items(below, wins)),
        (_, wins) => wins,
    }
}

/// The items that win come first, in their order.
fn merge_items(mut below: Vec<Value>, wins: Vec<Value>) -> Vec<Value> {
    let has = |key: &&str| below.iter().chain(&wins).all(|item| item.get(key).is_some());
    let Some(key) = KEYS.into_iter().find(has) else { return wins };
    let mut items: Vec<Value> = wins
        .into_iter()
        .map(|item| match below.iter().position(|under| under[key] == item[key]) {
            Some(at) => merge(below.remove(at), item),
            None => item,
        })
        .collect();
    items.append(&mut below);
    items
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Domain, Volume};

    #[test]
    fn what_wins_is_laid_over_what_is_below_field_by_field_and_item_by_item() {
        let table = [
            (json!({"a": 1}), json!({}), json!({"a": 1})),
            (json!({"a": 1}), json!({"a": 2}), json!({"a": 2})),
            (json!({"o": {"a": 1, "b": 1}}), json!({"o": {"b": 2}}), json!({"o": {"a": 1, "b": 2}})),
            (json!({"l": ["a", "b"]}), json!({"l": ["c"]}), json!({"l": ["c"]})),
            (
                json!({"d": [{"name": "x", "a": 1}, {"name": "y", "a": 1, "b": 1}]}),
                json!({"d": [{"name": "z"}, {"name": "y", "a": 2}]}),
                json!({"d": [{"name": "z"}, {"name": "y", "a": 2, "b": 1}, {"name": "x", "a": 1}]}),
            ),
            (
                json!({"i": [{"cidr": "c", "ranges": [{"start": "1", "end": "2"}]}]}),
                json!({"i": [{"cidr": "c", "ranges": [{"start": "3", "end": "4"}]}]}),
                json!({"i": [{"cidr": "c", "ranges": [{"start": "3", "end": "4"}, {"start": "1", "end": "2"}]}]}),
            ),
            (
                json!({"g": [{"type": "Vnc", "listen": "::"}]}),
                json!({"g": [{"type": "Vnc"}]}),
                json!({"g": [{"type": "Vnc", "listen": "::"}]}),
            ),
            (json!({"d": [{"name": "x"}]}), json!({"d": []}), json!({"d": [{"name": "x"}]})),
        ];
        for (below, wins, expected) in table {
            assert_eq!(merge(below.clone(), wins.clone()), expected, "{below} {wins}");
        }
    }

    fn volume(annotations: &Value, init: &Value) -> Volume {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Volume",
            "metadata": {"name": "v", "annotations": annotations},
            "spec": {"initProvider": init, "forProvider": {"capacity": "2Gi"}},
        }))
        .unwrap()
    }

    fn said(object: &Volume) -> Value {
        serde_json::to_value(object.parameters()).unwrap()
    }

    #[test]
    fn what_is_initial_counts_whole_until_the_thing_is_made_and_then_as_it_was_where_it_lasts() {
        let init = json!({"pool": "a", "format": "Raw", "capacity": "1Gi", "source": null});
        let new = volume(&json!({}), &init);
        let whole = json!({"pool": "a", "format": "Raw", "capacity": "2Gi"});
        assert_eq!((said(&new.merged()), said(&new.effective())), (whole.clone(), whole));
        let remembered = new.to_remember().unwrap();
        let made = json!({annotation::CREATE_SUCCEEDED: "2026-01-01T00:00:00Z", annotation::INITIAL: remembered});
        let edited = volume(&made, &json!({"pool": "b", "format": "Qcow2", "capacity": "9Gi"}));
        assert_eq!(said(&edited.effective()), json!({"pool": "a", "format": "Raw", "capacity": "2Gi"}));
        let dropped = volume(&made, &Value::Null);
        assert_eq!(said(&dropped.effective()), json!({"pool": "a", "format": "Raw", "capacity": "2Gi"}));
        // Made again, it is made where it was.
        assert_eq!(said(&edited.merged()), json!({"pool": "a", "format": "Raw", "capacity": "2Gi"}));
        // What came after it was made never counted.
        let late = volume(&json!({annotation::CREATE_SUCCEEDED: "2026-01-01T00:00:00Z"}), &init);
        assert!(matches!(late.effective(), Cow::Borrowed(_)));
        assert_eq!(late.initially().map(|_| ()), None);
    }

    #[test]
    fn without_anything_initial_nothing_is_copied() {
        let object: Domain = serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Domain", "metadata": {"name": "d"},
            "spec": {"forProvider": {"memory": "1Gi"}},
        }))
        .unwrap();
        assert!(matches!(object.merged(), Cow::Borrowed(_)) && matches!(object.effective(), Cow::Borrowed(_)));
        assert_eq!((object.initially().map(|_| ()), object.to_remember()), (None, None));
    }
}
