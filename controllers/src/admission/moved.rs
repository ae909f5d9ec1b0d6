//! An object stays on its host: what it refers to, and what refers to it, relies on that.

use apis::{
    Managed,
    managed::annotation,
    placement::{ConfigId, named, was_placed},
};

use crate::{cluster::declared, instance::word};

/// Why a change may not be stored, if so: the object would be on another host after it. Its config may be said once, and what was
/// written down of its placement may be said again.
pub(crate) fn moved<K: Managed>(old: &K, new: &K) -> Option<String> {
    let before = declared(old)?;
    let (was, is) = (reference(old), reference(new));
    let record = |object: &K| object.annotation(annotation::PLACEMENT).map(str::to_owned);
    // Nobody but a pass has cause to write it, and a pass writes what the reference says: it could count later, by a finalizer.
    let is_forged =
        |says: &String| Some(says) != record(old).as_ref() && is.as_ref().is_some_and(|is| is.record() != *says);
    let changed = if is.as_ref().is_some_and(|is| *is != before) && is != was {
        "spec.providerConfigRef"
    } else if record(new).as_ref().is_some_and(is_forged) {
        annotation::PLACEMENT
    } else if named(new).is_ok_and(|now| now.is_some_and(|(now, _)| now == before)) {
        return None;
    } else if was_placed(old) || is == was {
        annotation::PLACEMENT
    } else {
        "spec.providerConfigRef"
    };
    let (kind, word) = (K::kind(&()), word(&K::kind(&())));
    let name = new.meta().name.as_deref().unwrap_or_default();
    let keep = if changed == annotation::PLACEMENT { format!(" Keep it: {}.", before.record()) } else { String::new() };
    Some(format!(
        "{changed} may be set once and not be changed: {word} {name} uses {before}.{keep} To move it, create a new {kind} with the other providerConfigRef and delete this one"
    ))
}

/// Whether a change only corrects what an object's annotation says to the config that it is on.
pub(crate) fn puts_back<K: Managed>(old: &K, new: &K, on: &ConfigId) -> bool {
    reference(old) == reference(new) && declared(old).as_ref() != Some(on) && declared(new).as_ref() == Some(on)
}

/// Why a new object may not be stored that names two configs: the reference would count and be written into the annotation, and the same file
/// could not be applied a second time. One that was placed before comes from a backup, and its record counts.
pub(crate) fn torn<K: Managed>(object: &K) -> Option<String> {
    let (wished, says) = (reference(object)?, object.annotation(annotation::PLACEMENT)?);
    (!was_placed(object) && says != wished.record()).then(|| {
        format!(
            "spec.providerConfigRef names {wished}, and annotation {} says {says:?}: take the annotation out, or have both say the same",
            annotation::PLACEMENT
        )
    })
}

fn reference<K: Managed>(object: &K) -> Option<ConfigId> {
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    let reference = object.resource().provider_config_ref.as_ref()?;
    Some(ConfigId::resolve(reference, namespace))
}
