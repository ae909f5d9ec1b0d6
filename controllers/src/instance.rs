//! One libvirt instance: an object and what it refers to are on the same host. Pure. The webhook says it before an object is stored,
//! a pass before anything is made, in the same words.

use apis::placement::ConfigId;

use crate::references::Referent;

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

/// A config by its name, or by all that tells it apart where the names are the same.
fn shown(config: &ConfigId, other: &ConfigId) -> String {
    if config.name == other.name { config.to_string() } else { config.name.clone() }
}
