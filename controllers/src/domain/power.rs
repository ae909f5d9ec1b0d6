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
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "power: off, wished on",
            Self::Shutdown => "power: on, wished off",
        })
    }
}

/// Why a guest is off (`virDomainShutoffReason`).
mod shutoff {
    pub(super) const SHUTDOWN: u32 = 1;
    pub(super) const MIGRATED: u32 = 4;
    pub(super) const SAVED: u32 = 5;
    pub(super) const FROM_SNAPSHOT: u32 = 7;
}

/// What to do, or how long to wait before it is decided.
pub(super) fn decide(
    strategy: RunStrategy,
    begun: bool,
    state: StateReason,
    stopped_for: Duration,
) -> (Option<Power>, Option<Duration>) {
    let on = match state.state {
        State::Running | State::Blocked | State::Paused | State::PmSuspended | State::ShuttingDown => true,
        State::Shutoff | State::Crashed => false,
        State::NoState => return (None, None),
    };
    match (strategy, on) {
        (RunStrategy::Halted, true) => (Some(Power::Shutdown), None),
        (RunStrategy::Halted, false) | (RunStrategy::Always | RunStrategy::Manual, true) => (None, None),
        (RunStrategy::Manual, false) if begun => (Some(Power::Start), None),
        (RunStrategy::Manual, false) => (None, None),
        (RunStrategy::Always, false) => {
            let by_choice =
                [shutoff::SHUTDOWN, shutoff::MIGRATED, shutoff::SAVED, shutoff::FROM_SNAPSHOT].contains(&state.reason);
            let wait = GRACE.checked_sub(stopped_for).filter(|wait| by_choice && !begun && !wait.is_zero());
            if wait.is_some() { (None, wait) } else { (Some(Power::Start), None) }
        }
    }
}

/// The state as people read it, with the reason where it says more than the state.
pub(super) fn shown(state: StateReason) -> String {
    let StateReason { state, reason } = state;
    let (word, why) = match state {
        State::NoState => ("Unknown", None),
        State::Running => ("Running", None),
        State::Blocked => ("Blocked", None),
        State::Paused => ("Paused", paused(reason)),
        State::ShuttingDown => ("ShuttingDown", None),
        State::Shutoff => ("Shutoff", off(reason)),
        State::Crashed => ("Crashed", None),
        State::PmSuspended => ("PMSuspended", None),
    };
    why.map_or_else(|| word.to_owned(), |why| format!("{word} ({why})"))
}

/// `virDomainPausedReason`.
fn paused(reason: u32) -> Option<&'static str> {
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
fn off(reason: u32) -> Option<&'static str> {
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

    #[test]
    fn power_follows_from_strategy_state_and_reason() {
        use RunStrategy::{Always, Halted, Manual};
        let second = Duration::from_secs(1);
        let table = [
            (Always, false, off(DESTROYED), second, (Some(Power::Start), None)),
            (Always, false, off(shutoff::SHUTDOWN), second, (None, Some(Duration::from_secs(14)))),
            (Always, false, off(shutoff::SHUTDOWN), GRACE, (Some(Power::Start), None)),
            (Always, false, off(shutoff::MIGRATED), second, (None, Some(Duration::from_secs(14)))),
            (Always, true, off(shutoff::SHUTDOWN), second, (Some(Power::Start), None)),
            (Always, false, running(), second, (None, None)),
            (Always, false, StateReason { state: State::Paused, reason: 5 }, second, (None, None)),
            (Manual, true, off(0), second, (Some(Power::Start), None)),
            (Manual, false, off(DESTROYED), GRACE, (None, None)),
            (Halted, false, running(), second, (Some(Power::Shutdown), None)),
            (Halted, false, off(shutoff::SHUTDOWN), second, (None, None)),
            (Halted, true, off(0), second, (None, None)),
        ];
        for (strategy, begun, state, stopped_for, expected) in table {
            assert_eq!(
                decide(strategy, begun, state, stopped_for),
                expected,
                "{strategy:?} {begun} {state:?} {stopped_for:?}"
            );
        }
    }

    #[test]
    fn a_state_says_its_reason_where_that_tells_more() {
        assert_eq!(shown(running()), "Running");
        assert_eq!(shown(StateReason { state: State::Paused, reason: 5 }), "Paused (I/O error)");
        assert_eq!(shown(off(3)), "Shutoff (crashed)");
        assert_eq!(shown(off(99)), "Shutoff");
    }
}
