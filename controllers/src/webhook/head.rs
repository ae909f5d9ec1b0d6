//! The little that is read of every object, whatever its kind.

use std::{collections::BTreeMap, fmt};

use apis::managed::{FINALIZER, ProviderConfigReference, annotation};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// How long names are at most, in bytes.
const NAME: usize = 253;

/// What tells an object, and whether it is to be looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Head<'a> {
    #[serde(default)]
    metadata: Metadata,
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    namespace: Option<String>,
    name: Option<String>,
    deletion_timestamp: Option<String>,
    finalizers: Option<Vec<String>>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    provider_config_ref: Option<ProviderConfigReference>,
}

impl<'a> Head<'a> {
    /// # Errors
    /// When it is no object that an API server would store.
    pub(super) fn of(object: &'a RawValue) -> serde_json::Result<Self> {
        serde_json::from_str(object.get())
    }

    /// Whether no list in it is longer than this; one that cannot be measured is.
    pub(super) fn is_within(&self, most: usize) -> bool {
        let fits = |text: &RawValue| longest_list(text).is_ok_and(|length| length <= most);
        self.spec.is_none_or(fits) && self.status.is_none_or(fits)
    }

    /// Whether it is being deleted.
    pub(super) fn is_leaving(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Its namespace and name, no longer than such may be.
    pub(super) fn full_name(&self) -> String {
        let cut = |text: &Option<String>| text.iter().flat_map(|text| text.chars()).take(NAME).collect::<String>();
        format!("{}/{}", cut(&self.metadata.namespace), cut(&self.metadata.name))
    }

    /// Whether nothing that is reviewed differs from what it was: only finalizers, labels or what a pass records of the object itself.
    /// Whoever deletes needs such an update to go through, whatever has become of the objects around. An API server writes equal specs
    /// equally.
    pub(super) fn is_untouched(&self, old: &Self) -> bool {
        let is_same = self.spec.zip(old.spec).is_some_and(|(now, before)| now.get() == before.get());
        is_same && self.is_called_as(old) && (self.placement() == old.placement() || self.is_recorded(old))
    }

    /// Whether its name on the host stays, or is written down for the first time as what it was already.
    fn is_called_as(&self, old: &Self) -> bool {
        let called = |head: &Self| {
            head.annotation(annotation::EXTERNAL_NAME).or(head.metadata.name.as_deref()).map(str::to_owned)
        };
        called(self) == called(old)
    }

    /// Whether a pass writes down here for the first time where the object is, which it does together with its finalizer. Where the
    /// object itself says that, it is that.
    fn is_recorded(&self, old: &Self) -> bool {
        let said = || {
            let spec: Spec = serde_json::from_str(old.spec?.get()).unwrap_or_default();
            let ProviderConfigReference { kind, name } = spec.provider_config_ref?;
            Some(format!("{}/{name}", kind.as_str()))
        };
        let is_it = |record: &str| said().is_none_or(|said| said == record);
        old.placement().is_none() && !old.is_kept() && self.is_kept() && self.placement().is_some_and(is_it)
    }

    fn is_kept(&self) -> bool {
        self.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
    }

    fn placement(&self) -> Option<&str> {
        self.annotation(annotation::PLACEMENT)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

/// The length of the longest list in a text of JSON. Nothing else is kept of it.
fn longest_list(text: &RawValue) -> serde_json::Result<usize> {
    serde_json::from_str::<Longest>(text.get()).map(|Longest(length)| length)
}

struct Longest(usize);

impl<'de> Deserialize<'de> for Longest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Measure)
    }
}

/// Counts the items of lists and drops everything else.
struct Measure;

impl<'de> Visitor<'de> for Measure {
    type Value = Longest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Longest, A::Error> {
        let (mut count, mut longest) = (0, 0);
        while let Some(Longest(inner)) = items.next_element()? {
            count += 1;
            longest = inner.max(longest);
        }
        Ok(Longest(count.max(longest)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Longest, A::Error> {
        let mut longest = 0;
        while let Some((IgnoredAny, Longest(inner))) = fields.next_entry()? {
            longest = inner.max(longest);
        }
        Ok(Longest(longest))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Longest, E> {
        Ok(Longest(0))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Longest, E> {
        Ok(Longest(0))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Longest, E> {
        Ok(Longest(0))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Longest, E> {
        Ok(Longest(0))
    }

    fn visit_str<E>(self, _: &str) -> Result<Longest, E> {
        Ok(Longest(0))
    }

    fn visit_unit<E>(self) -> Result<Longest, E> {
        Ok(Longest(0))
    }
}
