//! What was tried on running guests.
//!
//! A change that a guest's QEMU refuses is tried once: again when the guest has started anew, when its object changes, or when it shows
//! something else by then. A device is asked for a few times: a guest that has just been given one does not hear that it is to go.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use libvirt::{
    diff::Difference,
    rule::{Live, Route},
};

/// How long a guest has to give up a device before it is asked again.
const GIVING_UP: Duration = Duration::from_secs(30);
/// How often it is asked before its next boot is waited for.
const ASKED: u32 = 5;

/// By the UID of its object, what was tried on each guest.
#[derive(Default)]
pub(super) struct Attempts(Mutex<HashMap<String, Tried>>);

#[derive(Default)]
struct Tried {
    when: When,
    attempts: BTreeMap<String, Attempt>,
}

/// The run of a guest and the generation of its object: what was tried in another of either counts no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct When {
    pub(super) run: Option<u32>,
    pub(super) generation: Option<i64>,
}

struct Attempt {
    at: Instant,
    /// How often.
    asked: u32,
    failure: Option<String>,
}

/// What a running guest does not show as wished.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    /// What can be changed while it runs and has not been tried.
    pub(super) untried: Vec<Difference>,
    /// What it was asked to give up lately.
    pub(super) leaving: Vec<String>,
    /// How long the first of these may still take.
    pub(super) patience: Option<Duration>,
    /// What waits for its next boot.
    pub(super) waiting: Vec<Difference>,
    /// What could be changed while it runs, by path, and why it was not.
    pub(super) hindrances: Vec<(String, String)>,
    /// A restart has not brought about what waits for one.
    pub(super) in_vain: bool,
}

impl Lacking {
    /// Whether the guest shows everything as wished.
    pub(super) fn is_nothing(&self) -> bool {
        self.untried.is_empty() && self.leaving.is_empty() && self.waiting.is_empty()
    }
}

impl Attempts {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Tried>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that all of these were tried that can be changed on a running guest, with the failures by path.
    pub(super) fn note(&self, uid: &str, when: When, lacking: &[Difference], failures: &BTreeMap<String, String>) {
        let mut all = self.all();
        let before = all.remove(uid).filter(|before| before.when == when).unwrap_or_default().attempts;
        let attempt = |difference: &Difference| {
            let text = difference.to_string();
            let known = before.get(&text);
            let failure = failures.get(&difference.path).or_else(|| known?.failure.as_ref()).cloned();
            let (at, asked) = match known {
                Some(known) if known.is_recent() => (known.at, known.asked),
                known => (Instant::now(), known.map_or(0, |known| known.asked) + 1),
            };
            (text, Attempt { at, asked, failure })
        };
        let attempts = lacking.iter().filter(|difference| is_live(difference)).map(attempt).collect();
        all.insert(uid.to_owned(), Tried { when, attempts });
    }

    /// Tells what is new of this, what is on its way, and what waits for a boot.
    pub(super) fn sort(&self, uid: &str, when: When, lacking: Vec<Difference>) -> Lacking {
        let all = self.all();
        let tried = all.get(uid).filter(|tried| tried.when == when);
        let mut sorted = Lacking::default();
        for difference in lacking {
            if !is_live(&difference) {
                sorted.waiting.push(difference);
                continue;
            }
            let attempt = tried.and_then(|tried| tried.attempts.get(&difference.to_string()));
            match attempt {
                None => {
                    sorted.untried.push(difference);
                    continue;
                }
                Some(attempt) if is_unplugged(&difference) && attempt.is_under_way() => {
                    let patience = GIVING_UP.saturating_sub(attempt.at.elapsed());
                    sorted.patience = Some(sorted.patience.map_or(patience, |first| first.min(patience)));
                    sorted.leaving.push(difference.path.clone());
                    sorted.untried.extend((!attempt.is_recent()).then_some(difference));
                    continue;
                }
                Some(Attempt { failure: Some(failure), .. }) => {
                    sorted.hindrances.push((difference.path.clone(), failure.clone()));
                }
                Some(_) if is_unplugged(&difference) => {
                    let why = "the guest was asked to give it up and has not".to_owned();
                    sorted.hindrances.push((difference.path.clone(), why));
                }
                Some(_) => {}
            }
            sorted.waiting.push(difference);
        }
        sorted
    }

    /// Forgets a guest whose object has gone.
    pub(super) fn forget(&self, uid: &str) {
        self.all().remove(uid);
    }
}

impl Attempt {
    fn is_recent(&self) -> bool {
        self.at.elapsed() < GIVING_UP
    }

    /// Whether the guest may yet do what it was asked for.
    fn is_under_way(&self) -> bool {
        self.failure.is_none() && (self.is_recent() || self.asked < ASKED)
    }
}

fn is_live(difference: &Difference) -> bool {
    // The balloon moves by itself; only what is beyond it is told, and that needs a boot.
    matches!(difference.route, Route::Live(how) if how != Live::Memory)
}

/// A device that is to go: that it was asked for is all that an answer says.
fn is_unplugged(difference: &Difference) -> bool {
    difference.route == Route::Live(Live::Device) && difference.want.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: When = When { run: Some(1), generation: Some(1) };

    fn difference(path: &str, want: Option<&str>, route: Route) -> Difference {
        Difference {
            path: path.to_owned(),
            want: want.map(str::to_owned),
            have: Some("x".to_owned()),
            route,
            group: None,
        }
    }

    fn lacking() -> Vec<Difference> {
        vec![
            difference("devices/disk[a]", None, Route::Live(Live::Device)),
            difference("devices/interface[b]/link@state", Some("down"), Route::Live(Live::Update)),
            difference("vcpu", Some("2"), Route::NextBoot),
        ]
    }

    fn paths(differences: &[Difference]) -> Vec<&str> {
        differences.iter().map(|difference| difference.path.as_str()).collect()
    }

    #[test]
    fn what_was_not_tried_is_new_and_what_needs_a_boot_waits() {
        let sorted = Attempts::default().sort("u", NOW, lacking());
        assert_eq!(paths(&sorted.untried), ["devices/disk[a]", "devices/interface[b]/link@state"]);
        assert_eq!(paths(&sorted.waiting), ["vcpu"]);
    }

    #[test]
    fn what_was_tried_waits_with_its_reason_and_a_device_is_on_its_way_for_a_while() {
        let attempts = Attempts::default();
        let why = BTreeMap::from([("devices/interface[b]/link@state".to_owned(), "no".to_owned())]);
        attempts.note("u", NOW, &lacking(), &why);
        let sorted = attempts.sort("u", NOW, lacking());
        assert_eq!(paths(&sorted.untried), [""; 0]);
        assert_eq!(sorted.leaving, ["devices/disk[a]"]);
        assert!(sorted.patience.is_some_and(|rest| rest <= GIVING_UP));
        assert_eq!(paths(&sorted.waiting), ["devices/interface[b]/link@state", "vcpu"]);
        assert_eq!(sorted.hindrances, [("devices/interface[b]/link@state".to_owned(), "no".to_owned())]);
        attempts.note("u", NOW, &lacking(), &BTreeMap::new());
        assert_eq!(
            attempts.sort("u", NOW, lacking()).hindrances,
            [("devices/interface[b]/link@state".to_owned(), "no".to_owned())],
            "kept"
        );
    }

    #[test]
    fn a_device_is_asked_for_again_and_in_the_end_its_guest_s_boot_is_waited_for() {
        let attempts = Attempts::default();
        let device = || vec![lacking().remove(0)];
        for asked in 1..=ASKED {
            attempts.note("u", NOW, &device(), &BTreeMap::new());
            attempts.note("u", NOW, &device(), &BTreeMap::new());
            let sorted = attempts.sort("u", NOW, device());
            assert_eq!((sorted.untried.len(), sorted.leaving.len(), sorted.waiting.len()), (0, 1, 0), "{asked}");
            let mut all = attempts.all();
            let attempt = all.get_mut("u").unwrap().attempts.values_mut().next().unwrap();
            assert_eq!(attempt.asked, asked);
            let Some(long_ago) = Instant::now().checked_sub(GIVING_UP) else { return };
            attempt.at = long_ago;
            drop(all);
            let sorted = attempts.sort("u", NOW, device());
            let (again, over) = (usize::from(asked < ASKED), usize::from(asked == ASKED));
            assert_eq!(
                (sorted.untried.len(), sorted.leaving.len(), sorted.waiting.len()),
                (again, again, over),
                "{asked}"
            );
        }
        let told = "the guest was asked to give it up and has not";
        let expected = ("devices/disk[a]".to_owned(), told.to_owned());
        assert_eq!(attempts.sort("u", NOW, device()).hindrances, [expected]);
    }

    #[test]
    fn another_run_another_generation_and_another_sight_are_tried_anew() {
        let attempts = Attempts::default();
        attempts.note("u", NOW, &lacking(), &BTreeMap::new());
        let untried = |when, lacking| attempts.sort("u", when, lacking).untried.len();
        assert_eq!(untried(NOW, lacking()), 0);
        assert_eq!(untried(When { run: Some(2), ..NOW }, lacking()), 2);
        assert_eq!(untried(When { generation: Some(2), ..NOW }, lacking()), 2);
        let mut other = lacking();
        other[1].have = Some("y".to_owned());
        assert_eq!(untried(NOW, other), 1);
        attempts.forget("u");
        assert_eq!(untried(NOW, lacking()), 2);
    }
}
