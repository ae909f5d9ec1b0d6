//! What Networks and Pools share: things that a host keeps by definition, that run or not, and that may start with the host.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use libvirt::diff::Difference;
use managed::external::{Refusal, Standing};

/// What would make one as wished.
#[derive(Debug)]
pub struct Change {
    differences: Vec<Difference>,
    persist: bool,
    autostart: Option<bool>,
    start: bool,
    /// What it is started anew for.
    restart: Vec<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { differences, persist, autostart, start, restart } = self;
        let mut parts: Vec<String> = differences.iter().map(ToString::to_string).collect();
        parts.extend(persist.then(|| "definition: absent, wished present".to_owned()));
        parts.extend(autostart.map(|wished| format!("autostart: {}, wished {wished}", !wished)));
        parts.extend(start.then(|| "state: inactive, wished active".to_owned()));
        let restart =
            (!restart.is_empty()).then(|| format!("state: started before {} changed, wished anew", restart.join(", ")));
        parts.extend(restart);
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
    let change =
        Change { differences, persist: !present.persistent, autostart, start: !present.active, restart: Vec::new() };
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
    Standing::Drifted(Change { differences, persist: false, autostart, start: false, restart: Vec::new() }, None)
}

/// The same with a start for what nothing else makes true.
pub fn restarted(standing: Standing<Change>, paths: &[String]) -> Standing<Change> {
    let restart = paths.to_vec();
    let only = |restart| Change { differences: Vec::new(), persist: false, autostart: None, start: false, restart };
    match standing {
        Standing::Settled => Standing::Drifted(only(restart), None),
        Standing::Refused(refusal) => Standing::Drifted(only(restart), Some(refusal)),
        Standing::Drifted(change, refusal) => Standing::Drifted(Change { restart, ..change }, refusal),
        Standing::Absent | Standing::Underway | Standing::Barred(_) | Standing::Adoptable(_) => standing,
    }
}

/// How long something that was stopped by others stays so before it is started again.
///
/// Who stops a network often undefines it next, and libvirt 9.0 (`virNetworkObjRemoveInactive`) loses a network that is
/// started meanwhile: its bridge then stays, without a network, and nobody else can have the addresses.
const GRACE: Duration = Duration::from_secs(2);

/// Since when things that ran are stopped, by the UID of their objects.
#[derive(Debug, Default)]
pub struct Stops(Mutex<HashMap<String, Option<Instant>>>);

impl Stops {
    /// How long to wait yet before it is started; None where it runs, or has not run since this process began.
    pub fn wait(&self, uid: &str, active: bool, now: Instant) -> Option<Duration> {
        let mut stops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if active {
            match stops.get_mut(uid) {
                Some(stopped) => *stopped = None,
                None => drop(stops.insert(uid.to_owned(), None)),
            }
            return None;
        }
        let since = *stops.get_mut(uid)?.get_or_insert(now);
        GRACE.checked_sub(now.duration_since(since)).filter(|wait| !wait.is_zero())
    }

    /// The object is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_stopped_is_started_a_moment_later_and_what_never_ran_at_once() {
        let (stops, begin) = (Stops::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let second = Some(Duration::from_secs(1));
        assert_eq!(stops.wait("a", false, begin), None, "it never ran");
        assert_eq!(stops.wait("a", true, begin), None);
        assert_eq!(stops.wait("a", false, at(10)), Some(GRACE));
        assert_eq!(stops.wait("a", false, at(11)), second);
        assert_eq!(stops.wait("b", false, at(11)), None, "another one");
        assert_eq!(stops.wait("a", false, at(12)), None, "it has been stopped for long enough");
        assert_eq!(stops.wait("a", true, at(13)), None);
        assert_eq!(stops.wait("a", false, at(20)), Some(GRACE), "it was stopped anew");
        stops.forget("a");
        assert_eq!(stops.wait("a", false, at(20)), None);
    }
}
