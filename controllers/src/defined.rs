//! What Networks and Pools share: things that a host keeps by definition, that run or not, and that may start with the host.

use std::fmt;

use libvirt::diff::Difference;
use managed::external::{Refusal, Standing};

/// What would make one as wished.
#[derive(Debug)]
pub struct Change {
    differences: Vec<Difference>,
    persist: bool,
    autostart: Option<bool>,
    start: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { differences, persist, autostart, start } = self;
        let mut parts: Vec<String> = differences.iter().map(ToString::to_string).collect();
        parts.extend(persist.then(|| "definition: absent, wished present".to_owned()));
        parts.extend(autostart.map(|wished| format!("autostart: {}, wished {wished}", !wished)));
        parts.extend(start.then(|| "state: inactive, wished active".to_owned()));
        f.write_str(&parts.join("; "))
    }
}

/// How one is on the host.
#[derive(Clone, Copy, Debug)]
pub struct Present {
    /// Whether it runs. It is always wished to.
    pub active: bool,
    /// Whether it starts with the host.
    pub autostart: bool,
    /// Whether its definition outlives its run.
    pub persistent: bool,
}

/// Where it stands, given how its definition differs from what is wished.
pub fn standing(differences: Vec<Difference>, present: Present, autostart: Option<bool>) -> Standing<Change> {
    let (differences, refused): (Vec<_>, Vec<_>) = differences.into_iter().partition(Difference::is_applied);
    let autostart = autostart.filter(|wished| *wished != present.autostart);
    let settled = differences.is_empty() && present.persistent && autostart.is_none() && present.active;
    let change = Change { differences, persist: !present.persistent, autostart, start: !present.active };
    let refusal = refused.first().map(|first| Refusal { reason: "UpdateRestricted", message: first.to_string() });
    match (settled, refusal) {
        (true, None) => Standing::Settled,
        (true, Some(refusal)) => Standing::Refused(refusal),
        (false, refusal) => Standing::Drifted(change, refusal),
    }
}

/// Where something that others made stands, that is only looked at: nothing is done about it, so nothing is refused.
pub fn imported(differences: Vec<Difference>, present: bool, autostart: Option<bool>) -> Standing<Change> {
    let autostart = autostart.filter(|wished| *wished != present);
    if differences.is_empty() && autostart.is_none() {
        return Standing::Settled;
    }
    Standing::Drifted(Change { differences, persist: false, autostart, start: false }, None)
}
