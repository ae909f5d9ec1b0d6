//! Whether a guest is to be started or shut down now: pure.

use std::{fmt, time::Duration};

use apis::domain::RunStrategy;
use libvirt::{State, StateReason};

/// How long a guest that was shut down, saved or migrated stays as it is before it is started again: a host that shuts down, a
/// reboot that shows as stop and start, and an administrator at work look the same at first.
pub(super) const GRACE: Duration = Duration::from_secs(15);

/// What to do about a guest's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Start it.
    Start,
    /// Ask it to shut down, or see how far that has come.
    Shutdown,
    /// The same, to start it again.
    Restart,
    /// Pause it.
    Pause,
    /// End its pause.
    Resume,
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "power: off, wished on",
            Self::Shutdown => "power: on, wished off",
            Self::Restart => "power: on, wished on again",
            Self::Pause => "power: running, wished paused",
            Self::Resume => "power: paused, wished running",
        })
    }
}

/// Why a guest is off (`virDomainShutoffReason`).
pub(super) mod shutoff {
    pub(in crate::domain) const UNKNOWN: u32 = 0;
    pub(in crate::domain) const SHUTDOWN: u32 = 1;
    pub(in crate::domain) const MIGRATED: u32 = 4;
    pub(in crate::domain) const SAVED: u32 = 5;
    pub(in crate::domain) const FROM_SNAPSHOT: u32 = 7;
}

/// Why a guest is paused (`virDomainPausedReason`): a user did it.
const BY_A_USER: u32 = 1;

/// What is wished of a guest's power, and what of its past says how to read its state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wished {
    /// When it runs.
    pub(super) strategy: RunStrategy,
    /// What is known of its past.
    pub(super) past: Past,
    /// Whether it is paused.
    pub(super) paused: Option<bool>,
    /// Something that it runs without asks for a restart.
    pub(super) restart: bool,
    /// It has a process on the host: one that crashed may, to be looked at.
    pub(super) alive: bool,
}

/// What is known of a guest that is off now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Past {
    /// Nothing.
    #[default]
    Unknown,
    /// It is being made, or is off only to be started again.
    Begun,
    /// It ran when it was last looked at.
    Ran,
}

/// What to do, or how long to wait before it is decided.
pub(super) fn decide(wished: Wished, state: StateReason, stopped_for: Duration) -> (Option<Power>, Option<Duration>) {
    match state.state {
        State::NoState => (None, None),
        State::Running | State::Blocked | State::Paused | State::PmSuspended | State::ShuttingDown => {
            (running(wished, state), None)
        }
        State::Crashed if wished.alive => (running(wished, state), None),
        State::Shutoff | State::Crashed => off(wished, state, stopped_for),
    }
}

fn running(wished: Wished, state: StateReason) -> Option<Power> {
    if wished.strategy == RunStrategy::Halted {
        return Some(Power::Shutdown);
    }
    match (state.state, wished.paused) {
        // A guest that does not run cannot shut down.
        (State::Paused, Some(false)) if state.reason == BY_A_USER => Some(Power::Resume),
        (State::Running | State::Blocked, _) if wished.restart => Some(Power::Restart),
        (State::Running | State::Blocked, Some(true)) => Some(Power::Pause),
        _ => None,
    }
}

fn off(wished: Wished, state: StateReason, stopped_for: Duration) -> (Option<Power>, Option<Duration>) {
    let by_choice = [shutoff::SHUTDOWN, shutoff::MIGRATED, shutoff::SAVED, shutoff::FROM_SNAPSHOT];
    let by_choice = state.state == State::Shutoff && by_choice.contains(&state.reason);
    // After a start of the host or its daemon nobody knows any more why a guest is off.
    let is_riddle = state.state == State::Shutoff && state.reason == shutoff::UNKNOWN;
    match wished.strategy {
        RunStrategy::Halted => (None, None),
        _ if wished.past == Past::Begun => (Some(Power::Start), None),
        RunStrategy::Once | RunStrategy::Manual => (None, None),
        RunStrategy::RerunOnFailure if by_choice || is_riddle && wished.past != Past::Ran => (None, None),
        RunStrategy::RerunOnFailure => (Some(Power::Start), None),
        RunStrategy::Always => {
            let wait = GRACE.checked_sub(stopped_for).filter(|wait| by_choice && !wait.is_zero());
            if wait.is_some() { (None, wait) } else { (Some(Power::Start), None) }
        }
    }
}

/// Whether a guest that is off has done what it was to do: it shut down by itself, or was asked to.
pub(super) fn is_done(state: StateReason) -> bool {
    state.state == State::Shutoff && state.reason == shutoff::SHUTDOWN
}

/// The state as people read it, with the reason where it says more than the state.
pub(super) fn shown(state: StateReason) -> String {
    let StateReason { state, reason } = state;
    let (word, why) = match state {
        State::NoState => ("Unknown", None),
        State::Running => ("Running", None),
        State::Blocked => ("Blocked", None),
        State::Paused => ("Paused", why_paused(reason)),
        State::ShuttingDown => ("ShuttingDown", None),
        State::Shutoff => ("Shutoff", why_off(reason)),
        State::Crashed => ("Crashed", None),
        State::PmSuspended => ("PMSuspended", None),
    };
    why.map_or_else(|| word.to_owned(), |why| format!("{word} ({why})"))
}

/// `virDomainPausedReason`.
fn why_paused(reason: u32) -> Option<&'static str> {
    const WORDS: [Option<&str>; 15] = [
        None,
        Some("by a user"),
        Some("migration"),
        Some("save"),
        Some("dump"),
        Some("I/O error"),
        Some("watchdog"),
        Some("from snapshot"),
        Some("shutting down"),
        Some("snapshot"),
        Some("crashed"),
        Some("starting up"),
        Some("post-copy"),
        Some("post-copy failed"),
        Some("API error"),
    ];
    WORDS.get(usize::try_from(reason).ok()?).copied().flatten()
}

/// `virDomainShutoffReason`.
fn why_off(reason: u32) -> Option<&'static str> {
    const WORDS: [Option<&str>; 9] = [
        None,
        None,
        Some("destroyed"),
        Some("crashed"),
        Some("migrated"),
        Some("saved"),
        Some("failed"),
        Some("from snapshot"),
        Some("daemon"),
    ];
    WORDS.get(usize::try_from(reason).ok()?).copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESTROYED: u32 = 2;

    fn off(reason: u32) -> StateReason {
        StateReason { state: State::Shutoff, reason }
    }

    fn running() -> StateReason {
        StateReason { state: State::Running, reason: 1 }
    }

    fn paused(reason: u32) -> StateReason {
        StateReason { state: State::Paused, reason }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn power_follows_from_strategy_state_and_reason() {
        use RunStrategy::{Always, Halted, Manual, Once, RerunOnFailure};
        let crashed = StateReason { state: State::Crashed, reason: 0 };
        let wait = (None, Some(Duration::from_secs(14)));
        let (start, nothing) = ((Some(Power::Start), None), (None, None));
        let table = [
            (Always, false, off(DESTROYED), SECOND, start),
            (Always, false, off(shutoff::SHUTDOWN), SECOND, wait),
            (Always, false, off(shutoff::SHUTDOWN), GRACE, start),
            (Always, false, off(shutoff::MIGRATED), SECOND, wait),
            (Always, true, off(shutoff::SHUTDOWN), SECOND, start),
            (Always, false, crashed, SECOND, start),
            (Always, false, running(), SECOND, nothing),
            (Always, false, paused(5), SECOND, nothing),
            (RerunOnFailure, false, off(DESTROYED), SECOND, start),
            (RerunOnFailure, false, crashed, SECOND, start),
            (RerunOnFailure, false, off(shutoff::SHUTDOWN), GRACE, nothing),
            (RerunOnFailure, false, off(shutoff::SAVED), GRACE, nothing),
            (RerunOnFailure, false, off(shutoff::UNKNOWN), GRACE, nothing),
            (RerunOnFailure, true, off(shutoff::UNKNOWN), SECOND, start),
            (Once, true, off(0), SECOND, start),
            (Once, false, off(DESTROYED), GRACE, nothing),
            (Once, false, crashed, GRACE, nothing),
            (Manual, true, off(0), SECOND, start),
            (Manual, false, off(DESTROYED), GRACE, nothing),
            (Halted, false, running(), SECOND, (Some(Power::Shutdown), None)),
            (Halted, false, paused(BY_A_USER), SECOND, (Some(Power::Shutdown), None)),
            (Halted, false, off(shutoff::SHUTDOWN), SECOND, nothing),
            (Halted, true, off(0), SECOND, nothing),
        ];
        for (strategy, begun, state, stopped_for, expected) in table {
            let past = if begun { Past::Begun } else { Past::Unknown };
            let wished = Wished { strategy, past, ..Wished::default() };
            assert_eq!(decide(wished, state, stopped_for), expected, "{strategy:?} {begun} {state:?} {stopped_for:?}");
        }
        let ran = Wished { strategy: RerunOnFailure, past: Past::Ran, ..Wished::default() };
        assert_eq!(decide(ran, off(shutoff::UNKNOWN), SECOND), start, "the host failed under it");
    }

    #[test]
    fn a_pause_is_made_and_ended_unless_somebody_else_has_a_reason_for_it() {
        let of = |paused: Option<bool>, restart: bool, state: StateReason| {
            decide(Wished { paused, restart, ..Wished::default() }, state, SECOND).0
        };
        assert_eq!(of(Some(true), false, running()), Some(Power::Pause));
        assert_eq!(of(Some(true), false, paused(5)), None);
        assert_eq!(of(Some(false), false, paused(BY_A_USER)), Some(Power::Resume));
        for reason in [0, 2, 3, 4, 5, 6, 7, 9, 11] {
            assert_eq!(of(Some(false), false, paused(reason)), None, "{reason}");
        }
        assert_eq!(of(None, false, paused(BY_A_USER)), None);
        assert_eq!(of(None, true, running()), Some(Power::Restart));
        assert_eq!(of(Some(false), true, paused(BY_A_USER)), Some(Power::Resume), "first it must run to shut down");
        assert_eq!(of(None, true, paused(5)), None, "it cannot hear");
    }

    #[test]
    fn what_crashed_and_is_kept_to_be_looked_at_is_not_started_over_it() {
        let crashed = StateReason { state: State::Crashed, reason: 0 };
        let decided = |strategy| decide(Wished { strategy, alive: true, ..Wished::default() }, crashed, GRACE).0;
        assert_eq!(decided(RunStrategy::Always), None);
        assert_eq!(decided(RunStrategy::Halted), Some(Power::Shutdown));
    }

    #[test]
    fn a_state_says_its_reason_where_that_tells_more() {
        assert_eq!(shown(running()), "Running");
        assert_eq!(shown(paused(5)), "Paused (I/O error)");
        assert_eq!(shown(off(3)), "Shutoff (crashed)");
        assert_eq!(shown(off(99)), "Shutoff");
    }
}
