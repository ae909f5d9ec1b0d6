//! Which objects an object refers to: what it waits for, whose changes wake it, and whose host it follows.
//!
//! ```text
//! spec ──wants──▶ fields that name an object ──links──▶ the object each of them means ──ready──▶ the object itself
//!                                                by name, by an earlier choice (recorded), or by a new one (select)
//! ```

use std::{borrow::Cow, collections::BTreeMap};

use apis::{
    CloudInit, Domain, Managed, Network, Pool, Volume,
    domain::HostVolume,
    managed::annotation,
    placement::{ConfigId, Neighbour},
    reference::{Policy, Reference, Resolve, Selector},
};
use managed::{creation::was_created, plan::only_observes};

use crate::index::ReferrerKind;

/// The kinds that can be referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReferentKind {
    /// A Volume.
    Volume,
    /// A Pool.
    Pool,
    /// A `CloudInit`.
    CloudInit,
    /// A Network.
    Network,
}

impl ReferentKind {
    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Volume => "Volume",
            Self::Pool => "Pool",
            Self::CloudInit => "CloudInit",
            Self::Network => "Network",
        }
    }
}

/// An object that is referred to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Referent {
    /// Its kind.
    pub kind: ReferentKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Referent {
    /// The same with the config that it is on.
    pub fn on(self, config: ConfigId) -> Neighbour {
        let Self { kind, namespace, name } = self;
        Neighbour { config, kind: kind.as_str(), namespace, name }
    }
}

/// A field that names an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Want<'a> {
    /// The field, as the annotation and messages call it: `disks[root].volume`.
    pub path: Cow<'static, str>,
    /// The kind of the object.
    pub kind: ReferentKind,
    /// How it names it.
    pub by: By<'a>,
    /// Whether what was chosen counts for good once the object with the field was made: data does not move.
    pub for_good: bool,
}

/// How a field names an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum By<'a> {
    /// By its name.
    Name(&'a Reference),
    /// By its labels or owner.
    Labels(&'a Selector),
}

impl<'a> Want<'a> {
    /// The field, if it is set. A reference goes before a selector.
    fn of(
        kind: ReferentKind,
        path: impl Into<Cow<'static, str>>,
        reference: Option<&'a Reference>,
        selector: Option<&'a Selector>,
    ) -> Option<Self> {
        let by = reference.map(By::Name).or_else(|| selector.map(By::Labels))?;
        Some(Self { path: path.into(), kind, by, for_good: false })
    }

    fn for_good(self) -> Self {
        Self { for_good: true, ..self }
    }

    /// The policy of the field.
    pub fn policy(&self) -> Option<&'a Policy> {
        match self.by {
            By::Name(reference) => reference.policy.as_ref(),
            By::Labels(selector) => selector.policy.as_ref(),
        }
    }

    /// The namespace of the object that the field names.
    pub fn namespace<'b>(&self, own: &'b str) -> &'b str
    where
        'a: 'b,
    {
        let said = match self.by {
            By::Name(reference) => reference.namespace.as_deref(),
            By::Labels(selector) => selector.namespace.as_deref(),
        };
        said.unwrap_or(own)
    }

    /// Whether its selector chooses whenever the object is looked at.
    pub fn is_chosen_anew(&self) -> bool {
        Policy::resolve_of(self.policy()) == Resolve::Always
    }
}

/// A field that names a thing by its name on the host. An object may stand for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// The field, as messages call it.
    pub path: Cow<'static, str>,
    /// The kind of the object that may stand for it.
    pub kind: ReferentKind,
    /// Of a volume, its pool.
    pub pool: Option<&'a str>,
    /// The name on the host.
    pub name: &'a str,
}

impl<'a> Plain<'a> {
    fn pool(name: Option<&'a String>) -> Vec<Self> {
        name.map(|name| Self { path: POOL.into(), kind: ReferentKind::Pool, pool: None, name }).into_iter().collect()
    }
}

/// The path of the field that names the Volume of a disk.
pub fn disk_path(disk: &str) -> String {
    format!("disks[{disk}].volume")
}

/// Whether a field is the volume of a disk.
pub fn is_disk(path: &str) -> bool {
    path.starts_with("disks[")
}

/// The path of the field that names the Network of an interface.
pub fn interface_path(interface: &str) -> String {
    format!("networkInterfaces[{interface}].network")
}

/// The path of the field that names the pool of a Volume or `CloudInit`.
pub const POOL: &str = "pool";
/// The path of the field that names the Volume below.
pub const BACKING: &str = "backingStore.volume";
/// The path of the field that names the Volume to copy.
pub const SOURCE: &str = "source.volume";
/// The path of the field that names the seed.
pub const CLOUD_INIT: &str = "cloudInit";
/// The path of the field that names the kernel.
pub const KERNEL: &str = "os.kernel";
/// The path of the field that names the initial ramdisk.
pub const INITRD: &str = "os.initrd";

/// What selectors of an object chose, by the paths of their fields: names, with `namespace/` before them where it is not the object's own.
pub type Choices = BTreeMap<String, String>;

/// A choice as it is written down by an object of the namespace `own`.
pub fn written(namespace: &str, name: &str, own: &str) -> String {
    if namespace == own { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// Namespace and name of a choice that was written down by an object of the namespace `own`.
pub fn chosen<'a>(choice: &'a str, own: &'a str) -> (&'a str, &'a str) {
    choice.split_once('/').unwrap_or((own, choice))
}

/// What the annotation of an object says of earlier choices. What cannot be read was not written by us and counts as nothing.
pub fn recorded<K: Managed>(object: &K) -> Choices {
    let text = object.annotation(annotation::REFERENCES);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The annotation that keeps these choices; none where there are none.
pub fn record(choices: &Choices) -> (&'static str, Option<String>) {
    let text = (!choices.is_empty()).then(|| serde_json::to_string(choices).unwrap_or_default());
    (annotation::REFERENCES, text)
}

/// Whether something of the object is on a host, or was about to be.
pub fn is_made<K: Managed>(object: &K) -> bool {
    was_created(object) || object.annotation(annotation::OWNERSHIP).is_some()
}

/// What an object refers to, as far as it says so itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The objects that it names, or chose earlier.
    pub referents: Vec<Referent>,
    /// It has selectors that may choose anew.
    pub open: bool,
    /// Of one of them nothing is settled: no choice is written down, or nothing was made of it.
    pub unsettled: bool,
}

/// Says what it refers to.
pub trait Refers: Managed {
    /// The kind by which others refer to objects of this kind, if any do.
    const AS_REFERENT: Option<ReferentKind>;
    /// The kind by which it is known as one that refers to others, if it does.
    const AS_REFERRER: Option<ReferrerKind>;

    /// Every field of these parameters that is set and names an object.
    fn wants(parameters: &Self::Parameters) -> Vec<Want<'_>>;

    /// Every field of these parameters that is set and names a thing by its name on the host.
    fn plain(_: &Self::Parameters) -> Vec<Plain<'_>> {
        Vec::new()
    }

    /// Whether what was made with this field, which only `initProvider` set, has it no more.
    fn let_go(&self, _: &Want<'_>) -> bool {
        false
    }

    /// Whether this field counted only until the thing was made, and it is made.
    fn is_done_with(&self, _: &Want<'_>) -> bool {
        false
    }

    /// What it refers to without a look at other objects.
    fn said(&self) -> Said {
        // What only initProvider named is held too, for as long as the thing on the host may have it.
        let (whole, lasting) = (self.held(), self.effective());
        let mut wants = Self::wants(whole.parameters());
        if let Cow::Owned(_) = whole {
            let lasting = Self::wants(lasting.parameters());
            wants.retain(|want| lasting.iter().any(|lasts| lasts.path == want.path) || !self.let_go(want));
        }
        wants.retain(|want| !self.is_done_with(want));
        let own = self.meta().namespace.as_deref().unwrap_or_default();
        let chooses = wants.iter().any(|want| matches!(want.by, By::Labels(_)));
        let recorded = if chooses { recorded(self) } else { Choices::new() };
        let made = chooses && is_made(self);
        let mut said = Said::default();
        for want in &wants {
            let before = recorded.get(want.path.as_ref()).map(|choice| chosen(choice, own));
            let named = match want.by {
                By::Name(reference) => Some((want.namespace(own), reference.name.as_str())),
                By::Labels(_) => {
                    let for_good = want.for_good && made;
                    let is_elsewhere = before.is_none_or(|(namespace, _)| namespace != want.namespace(own));
                    let anew = !for_good && (want.is_chosen_anew() || is_elsewhere);
                    said.open |= before.is_none() || anew;
                    said.unsettled |= before.is_none() || (anew && !made);
                    before
                }
            };
            let referent = |(namespace, name): (&str, &str)| Referent {
                kind: want.kind,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            };
            said.referents.extend(named.map(referent));
        }
        said
    }

    /// The object as others refer to it.
    fn as_referent(&self) -> Option<Referent> {
        let meta = self.meta();
        let (namespace, name) = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        Self::AS_REFERENT.map(|kind| Referent { kind, namespace, name })
    }
}

impl Refers for Domain {
    const AS_REFERENT: Option<ReferentKind> = None;
    const AS_REFERRER: Option<ReferrerKind> = Some(ReferrerKind::Domain);

    fn wants(parameters: &Self::Parameters) -> Vec<Want<'_>> {
        let disks = parameters.disks.iter().flatten().filter_map(|disk| {
            Want::of(
                ReferentKind::Volume,
                disk_path(&disk.name.0),
                disk.volume_ref.as_ref(),
                disk.volume_selector.as_ref(),
            )
        });
        let nics = parameters.network_interfaces.iter().flatten().filter_map(|nic| {
            Want::of(
                ReferentKind::Network,
                interface_path(&nic.name.0),
                nic.network_ref.as_ref(),
                nic.network_selector.as_ref(),
            )
        });
        let boot = parameters.os.iter().flat_map(|os| {
            let file = |path, reference, selector| Want::of(ReferentKind::Volume, path, reference, selector);
            [
                file(KERNEL, os.kernel_ref.as_ref(), os.kernel_selector.as_ref()),
                file(INITRD, os.initrd_ref.as_ref(), os.initrd_selector.as_ref()),
            ]
        });
        let seed = Want::of(
            ReferentKind::CloudInit,
            CLOUD_INIT,
            parameters.cloud_init_ref.as_ref(),
            parameters.cloud_init_selector.as_ref(),
        );
        disks.chain(boot.flatten()).chain(seed).chain(nics).collect()
    }

    fn plain(parameters: &Self::Parameters) -> Vec<Plain<'_>> {
        let disks = parameters.disks.iter().flatten().filter_map(|disk| {
            let HostVolume { pool, name, format: _ } = disk.volume.as_ref()?;
            Some(Plain { path: disk_path(&disk.name.0).into(), kind: ReferentKind::Volume, pool: Some(pool), name })
        });
        let nics = parameters.network_interfaces.iter().flatten().filter_map(|nic| {
            let (path, name) = (interface_path(&nic.name.0).into(), nic.network.as_deref()?);
            Some(Plain { path, kind: ReferentKind::Network, pool: None, name })
        });
        disks.chain(nics).collect()
    }

    /// A guest that was seen without the disk or interface: its owner took it out.
    fn let_go(&self, want: &Want<'_>) -> bool {
        let Some(seen) = self.observation().filter(|seen| seen.id.is_some()) else { return false };
        let names = |path: fn(&str) -> String, name: Option<&String>| name.is_some_and(|name| path(name) == want.path);
        match want.kind {
            ReferentKind::Volume => {
                is_disk(&want.path) && !seen.disks.iter().any(|disk| names(disk_path, disk.name.as_ref()))
            }
            ReferentKind::Network => {
                !seen.network_interfaces.iter().any(|nic| names(interface_path, nic.name.as_ref()))
            }
            ReferentKind::CloudInit | ReferentKind::Pool => false,
        }
    }
}

impl Refers for Volume {
    const AS_REFERENT: Option<ReferentKind> = Some(ReferentKind::Volume);
    const AS_REFERRER: Option<ReferrerKind> = Some(ReferrerKind::Volume);

    fn wants(parameters: &Self::Parameters) -> Vec<Want<'_>> {
        let pool = Want::of(ReferentKind::Pool, POOL, parameters.pool_ref.as_ref(), parameters.pool_selector.as_ref());
        let below = parameters.backing_store.as_ref().and_then(|below| {
            Want::of(ReferentKind::Volume, BACKING, below.volume_ref.as_ref(), below.volume_selector.as_ref())
        });
        let original = parameters.source.as_ref().and_then(|source| {
            Want::of(ReferentKind::Volume, SOURCE, source.volume_ref.as_ref(), source.volume_selector.as_ref())
        });
        pool.into_iter().chain(below).chain(original).map(Want::for_good).collect()
    }

    fn plain(parameters: &Self::Parameters) -> Vec<Plain<'_>> {
        Plain::pool(parameters.pool.as_ref())
    }

    fn is_done_with(&self, want: &Want<'_>) -> bool {
        want.path == SOURCE && !awaits_content(self)
    }
}

/// Whether the first content of a volume is still to come, so that its source is needed.
pub fn awaits_content(volume: &Volume) -> bool {
    let again = volume.annotation(annotation::RECREATE) == Some(volume.uid());
    !only_observes(volume) && (again || !was_created(volume))
}

impl Refers for CloudInit {
    const AS_REFERENT: Option<ReferentKind> = Some(ReferentKind::CloudInit);
    const AS_REFERRER: Option<ReferrerKind> = Some(ReferrerKind::CloudInit);

    fn wants(parameters: &Self::Parameters) -> Vec<Want<'_>> {
        let pool = Want::of(ReferentKind::Pool, POOL, parameters.pool_ref.as_ref(), parameters.pool_selector.as_ref());
        pool.into_iter().map(Want::for_good).collect()
    }

    fn plain(parameters: &Self::Parameters) -> Vec<Plain<'_>> {
        Plain::pool(parameters.pool.as_ref())
    }
}

impl Refers for Pool {
    const AS_REFERENT: Option<ReferentKind> = Some(ReferentKind::Pool);
    const AS_REFERRER: Option<ReferrerKind> = None;

    fn wants(_: &Self::Parameters) -> Vec<Want<'_>> {
        Vec::new()
    }
}

impl Refers for Network {
    const AS_REFERENT: Option<ReferentKind> = Some(ReferentKind::Network);
    const AS_REFERRER: Option<ReferrerKind> = None;

    fn wants(_: &Self::Parameters) -> Vec<Want<'_>> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn domain(annotations: &Value, disk: &Value) -> Domain {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Domain",
            "metadata": {"namespace": "n", "name": "d", "annotations": annotations},
            "spec": {"forProvider": {"disks": [disk]}},
        }))
        .unwrap()
    }

    fn said(annotations: &Value, disk: &Value) -> (Vec<String>, bool) {
        let Said { referents, open, unsettled: _ } = domain(annotations, disk).said();
        let shown = |of: &Referent| format!("{} {}/{}", of.kind.as_str(), of.namespace, of.name);
        (referents.iter().map(shown).collect(), open)
    }

    #[test]
    fn an_object_refers_to_what_it_names_and_to_what_it_chose() {
        let labels = json!({"matchLabels": {"a": "b"}});
        let always = json!({"matchLabels": {"a": "b"}, "namespace": "m", "policy": {"resolve": "Always"}});
        let chose = json!({annotation::REFERENCES: "{\"disks[root].volume\":\"v\"}"});
        let named = |to: &Value| json!({"name": "root", "volumeRef": to, "volumeSelector": always});
        let selected = |by: &Value| json!({"name": "root", "volumeSelector": by});
        let table = [
            (json!({}), named(&json!({"name": "x"})), vec!["Volume n/x"], false),
            (chose.clone(), named(&json!({"name": "x", "namespace": "m"})), vec!["Volume m/x"], false),
            (json!({}), selected(&labels), vec![], true),
            (json!({annotation::REFERENCES: "nonsense"}), selected(&labels), vec![], true),
            (chose.clone(), selected(&labels), vec!["Volume n/v"], false),
            (chose.clone(), selected(&always), vec!["Volume n/v"], true),
            (
                json!({annotation::REFERENCES: "{\"disks[root].volume\":\"m/v\"}"}),
                selected(&always),
                vec!["Volume m/v"],
                true,
            ),
            (chose, json!({"name": "other", "volumeSelector": labels}), vec![], true),
        ];
        for (annotations, disk, referents, open) in table {
            let referents = referents.into_iter().map(str::to_owned).collect();
            assert_eq!(said(&annotations, &disk), (referents, open), "{annotations} {disk}");
        }
    }

    #[test]
    fn the_record_of_choices_is_read_back_and_goes_with_the_last_of_them() {
        let choices = Choices::from([("disks[root].volume".to_owned(), "v".to_owned())]);
        let (key, value) = record(&choices);
        let object = domain(&json!({key: value.clone()}), &json!({"name": "root"}));
        assert_eq!((value.as_deref(), recorded(&object)), (Some("{\"disks[root].volume\":\"v\"}"), choices));
        assert_eq!(record(&Choices::new()), (annotation::REFERENCES, None));
    }
}
