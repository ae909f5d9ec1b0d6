//! Attempts to connect that have not ended: how many more may begin.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many may hang at a time. An open to a frozen daemon hangs until the daemon goes on, and then succeeds.
const HANGING: usize = 2;

/// After how long the first does not count any more. A machine that lost its power ends no connection: an open that waits for it hangs for
/// ever, and the machine comes back. A daemon that is frozen ends none either, and each attempt costs both sides until it goes on, so the
/// time doubles with each that is forgotten, as long as none ends.
const FORGOTTEN: Duration = Duration::from_mins(5);

/// The longest such time.
const LONGEST: Duration = Duration::from_hours(1);

/// How many may hang at a time once it is known that somebody is there again.
const HANGING_YET: usize = 4;

/// When the attempts began that have not ended, the oldest first.
#[derive(Debug)]
pub(super) struct Attempts {
    begun: VecDeque<Instant>,
    more: bool,
    /// After how long the oldest is forgotten.
    patience: Duration,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { begun: VecDeque::new(), more: false, patience: FORGOTTEN }
    }
}

impl Attempts {
    /// Whether another one may begin.
    pub(super) fn may_begin(&mut self, now: Instant) -> bool {
        if self.begun.front().is_some_and(|begun| now.saturating_duration_since(*begun) >= self.patience) {
            self.begun.pop_front();
            self.patience = (self.patience * 2).min(LONGEST);
        }
        self.begun.len() < if self.more { HANGING_YET } else { HANGING }
    }

    pub(super) fn begun(&mut self, now: Instant) {
        self.begun.push_back(now);
        self.more = false;
    }

    /// The next one may begin beside those that hang.
    pub(super) fn allow_more(&mut self) {
        self.more = true;
    }

    /// One has ended, and when it began. Which one makes no difference but for how soon the others are forgotten.
    pub(super) fn ended(&mut self) -> Option<Instant> {
        self.patience = FORGOTTEN;
        self.begun.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_may_hang_and_one_that_hangs_for_ever_is_forgotten() {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        let at = |minutes| start + Duration::from_mins(minutes);
        for minute in [0, 1] {
            assert!(attempts.may_begin(at(minute)));
            attempts.begun(at(minute));
        }
        assert!(!attempts.may_begin(at(4)));
        assert!(attempts.may_begin(at(5)), "the first is forgotten");
        attempts.begun(at(5));
        assert!(!attempts.may_begin(at(5)));
        assert_eq!(attempts.ended(), Some(at(1)));
        assert!(attempts.may_begin(at(5)));
    }

    #[test]
    fn beside_a_daemon_that_is_frozen_for_a_week_few_attempts_hang_and_after_it_they_are_forgotten_as_soon_as_ever() {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        let mut begun = Vec::new();
        for minute in 0..7 * 24 * 60 {
            let now = start + Duration::from_mins(minute);
            while attempts.may_begin(now) {
                attempts.begun(now);
                begun.push(minute);
            }
        }
        assert_eq!(begun[..8], [0, 0, 5, 10, 25, 50, 85, 110]);
        assert!(begun.len() < 2 * 7 * 24 + 8, "{} attempts", begun.len());
        attempts.ended();
        let now = start + Duration::from_hours(7 * 24);
        attempts.begun(now);
        assert!(attempts.may_begin(now + FORGOTTEN), "the oldest is older than that");
    }

    #[test]
    fn one_more_may_hang_for_each_time_that_somebody_is_there_again() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let mut begun = 0;
        for _ in 0..10 {
            while attempts.may_begin(now) {
                attempts.begun(now);
                begun += 1;
            }
            attempts.allow_more();
        }
        assert_eq!(begun, 4);
    }
}
