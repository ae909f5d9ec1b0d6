//! One libvirt instance: an object and what it refers to are on the same host. Pure. The webhook says it before an object is stored,
//! a pass before anything is made, in the same words.

use apis::{Managed, placement::ConfigId};

use crate::{cluster::may_use, references::Referent};

/// The word for a kind in sentences.
pub fn word(kind: &str) -> String {
    match kind {
        "CloudInit" => "cloudinit disk".to_owned(),
        kind => kind.to_lowercase(),
    }
}

/// Why an object may not refer to another one: they are on different hosts. `referrer` is the word for the object.
pub fn apart(referent: &Referent, theirs: &ConfigId, referrer: &str, ours: &ConfigId) -> Option<String> {
    let Referent { kind, namespace: _, name } = referent;
    (theirs != ours).then(|| {
        format!(
            "{} {name} uses providerConfig {}, but {referrer} uses providerConfig {}. Resources must use the same libvirt instance",
            word(kind.as_str()),
            shown(theirs, ours),
            shown(ours, theirs)
        )
    })
}

/// Why an object may not refer to another one, on whatever host it will be: the other's config is for its own namespace only.
pub fn beyond<K: Managed>(object: &K, referent: &Referent, theirs: &ConfigId) -> Option<String> {
    let own = object.meta().namespace.as_deref().unwrap_or_default();
    let Referent { kind, namespace: _, name } = referent;
    (!may_use(object, theirs)).then(|| {
        format!(
            "{} {name} uses providerConfig {theirs}, which no {} of namespace {own} can use. Resources must use the same libvirt instance",
            word(kind.as_str()),
            word(&K::kind(&()))
        )
    })
}

/// A config by its name, or by all that tells it apart where the names are the same.
pub(crate) fn shown(config: &ConfigId, other: &ConfigId) -> String {
    if config.name == other.name { config.to_string() } else { config.name.clone() }
}
