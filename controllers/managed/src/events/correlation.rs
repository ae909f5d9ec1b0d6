//! Which of what is said becomes an event, and which event: pure, by the rules of client-go's correlator (`tools/record`).
//!
//! What is said again is counted up. Many messages of one reason become one event. And of one object only so much is written at all,
//! whatever is said: an object that fails each second with other words must not fill etcd.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::Severity;

/// How long after it was last said something is counted up instead of told anew.
const WINDOW: Duration = Duration::from_mins(10);
/// At most one write of the same event in this time.
const QUIET: Duration = Duration::from_secs(30);
/// This many messages of one reason are similar: the last of them and those that follow are combined.
const SIMILAR: usize = 10;
/// How many writes an object has saved up when nothing was said of it for long.
const BURST: u32 = 25;
/// How long it takes to save up one.
const REFILL: Duration = Duration::from_mins(5);
/// How often what is over is cleared away.
const PRUNE: Duration = Duration::from_mins(1);

/// What is said of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub(super) severity: Severity,
    pub(super) reason: &'static str,
    pub(super) message: &'a str,
}

/// An event to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Writing {
    /// When it was first said, in nanoseconds; the end of the event's name.
    pub(super) serial: i128,
    /// How often it was said.
    pub(super) count: i32,
    /// Whether it was written before.
    pub(super) again: bool,
    /// Whether it stands for many.
    pub(super) combined: bool,
}

/// What was said of all objects of one controller lately, by UID. There may be one of each object at a time, so they are kept small.
#[derive(Debug, Default)]
pub(super) struct Correlation {
    stories: HashMap<Box<str>, Story>,
    pruned: Option<Instant>,
}

/// What was said of one object.
#[derive(Debug, Default)]
struct Story {
    series: Vec<(u64, Series)>,
    groups: Vec<Group>,
    /// When the writes are saved up again that were used.
    spent_until: Option<Instant>,
}

/// One event.
#[derive(Debug)]
struct Series {
    serial: i128,
    count: i32,
    said: Instant,
    written: Option<Instant>,
}

/// The messages of one reason, as digests.
#[derive(Debug)]
struct Group {
    of: (Severity, &'static str),
    messages: Vec<u64>,
    said: Instant,
}

impl Correlation {
    /// What is to be written now that this was said; None for nothing.
    pub(super) fn judge(&mut self, uid: &str, said: Said<'_>, now: Instant) -> Option<Writing> {
        self.prune(now);
        if !self.stories.contains_key(uid) {
            self.stories.insert(uid.into(), Story::default());
        }
        self.stories.get_mut(uid)?.judge(said, now)
    }

    /// The object is gone.
    pub(super) fn forget(&mut self, uid: &str) {
        self.stories.remove(uid);
    }

    fn prune(&mut self, now: Instant) {
        if self.pruned.is_some_and(|last| now.duration_since(last) < PRUNE) {
            return;
        }
        self.pruned = Some(now);
        self.stories.retain(|_, story| !story.is_over(now));
    }
}

impl Story {
    fn judge(&mut self, said: Said<'_>, now: Instant) -> Option<Writing> {
        let combined = self.is_one_of_many(said, now);
        let key = digest((said.severity, said.reason, (!combined).then_some(said.message)));
        self.series.retain(|(_, series)| is_recent(series.said, now));
        let known = self.series.iter().position(|(of, _)| *of == key).unwrap_or_else(|| {
            let serial = Timestamp::now().as_nanosecond();
            self.series.reserve_exact(1);
            self.series.push((key, Series { serial, count: 0, said: now, written: None }));
            self.series.len() - 1
        });
        let (_, series) = &mut self.series[known];
        series.said = now;
        series.count = series.count.saturating_add(1);
        let again = series.written.is_some();
        if series.written.is_some_and(|last| now.duration_since(last) < QUIET) || !spend(&mut self.spent_until, now) {
            return None;
        }
        series.written = Some(now);
        Some(Writing { serial: series.serial, count: series.count, again, combined })
    }

    /// Whether the message is another one of a reason that has had many.
    fn is_one_of_many(&mut self, said: Said<'_>, now: Instant) -> bool {
        self.groups.retain(|group| is_recent(group.said, now));
        let (of, message) = ((said.severity, said.reason), digest(said.message));
        let Some(group) = self.groups.iter_mut().find(|group| group.of == of) else {
            self.groups.reserve_exact(1);
            self.groups.push(Group { of, messages: vec![message], said: now });
            return false;
        };
        group.said = now;
        if group.messages.contains(&message) {
            return false;
        }
        let many = group.messages.len() + 1 >= SIMILAR;
        if !many {
            group.messages.push(message);
        }
        many
    }

    fn is_over(&self, now: Instant) -> bool {
        self.series.iter().all(|(_, series)| !is_recent(series.said, now))
            && self.spent_until.is_none_or(|until| until <= now)
    }
}

fn is_recent(said: Instant, now: Instant) -> bool {
    now.duration_since(said) < WINDOW
}

/// Takes one of the writes that were saved up; answers whether there was one.
fn spend(spent_until: &mut Option<Instant>, now: Instant) -> bool {
    let until = spent_until.filter(|until| *until > now).unwrap_or(now) + REFILL;
    let is_saved = until <= now + REFILL * BURST;
    if is_saved {
        *spent_until = Some(until);
    }
    is_saved
}

fn digest(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASONS: [&str; 5] = ["A", "B", "C", "D", "E"];

    fn said<'a>(reason: &'static str, message: &'a str) -> Said<'a> {
        Said { severity: Severity::Warning, reason, message }
    }

    /// How often each said thing was counted, whether it was written before, and whether it stands for many.
    fn shown(writing: Option<Writing>) -> Option<(i32, bool, bool)> {
        writing.map(|writing| (writing.count, writing.again, writing.combined))
    }

    #[test]
    fn what_is_said_again_is_counted_up_and_written_twice_a_minute_at_most() {
        let (mut all, begin) = (Correlation::default(), Instant::now());
        let mut at = |seconds| shown(all.judge("u", said("A", "x"), begin + Duration::from_secs(seconds)));
        assert_eq!(at(0), Some((1, false, false)));
        assert_eq!((at(1), at(29)), (None, None));
        assert_eq!(at(30), Some((4, true, false)));
        assert_eq!((at(59), at(60)), (None, Some((6, true, false))));
        assert_eq!(at(60 + 599), Some((7, true, false)), "still the same within ten minutes");
        assert_eq!(at(60 + 599 + 600), Some((1, false, false)), "and another after them");
    }

    #[test]
    fn the_tenth_message_of_a_reason_and_those_that_follow_are_one_event() {
        let (mut all, begin) = (Correlation::default(), Instant::now());
        let mut at =
            |seconds, message: &str| shown(all.judge("u", said("A", message), begin + Duration::from_secs(seconds)));
        for number in 0..9 {
            assert_eq!(at(0, &number.to_string()), Some((1, false, false)), "{number}");
        }
        assert_eq!(at(0, "9"), Some((1, false, true)));
        assert_eq!((at(0, "10"), at(1, "11")), (None, None));
        assert_eq!(at(31, "12"), Some((4, true, true)));
        assert_eq!(at(32, "8"), Some((2, true, false)), "what is known already stays what it is");
        assert_eq!(at(32 + 600, "13"), Some((1, false, false)), "after ten minutes of silence all begins anew");
    }

    #[test]
    fn of_one_object_twenty_five_events_are_written_at_once_and_then_one_in_five_minutes() {
        let (mut all, begin) = (Correlation::default(), Instant::now());
        let mut number = 0;
        let mut burst = |all: &mut Correlation, uid: &str, now: Instant| {
            let messages: Vec<_> = (0..100).map(|at| (REASONS[at % 5], format!("{number} {at}"))).collect();
            number += 1;
            messages.iter().filter(|(reason, message)| all.judge(uid, said(reason, message), now).is_some()).count()
        };
        assert_eq!(burst(&mut all, "u", begin), 25);
        assert_eq!(burst(&mut all, "u", begin + Duration::from_secs(299)), 0);
        assert_eq!(burst(&mut all, "u", begin + Duration::from_mins(5)), 1);
        assert_eq!(burst(&mut all, "u", begin + Duration::from_mins(15)), 2);
        assert_eq!(burst(&mut all, "other", begin + Duration::from_mins(15)), 25, "each object has its own");
        all.forget("u");
        assert_eq!(
            burst(&mut all, "u", begin + Duration::from_mins(15)),
            25,
            "and nothing is kept of one that is gone"
        );
    }

    #[test]
    fn what_is_over_is_cleared_away_once_in_a_while() {
        let (mut all, begin) = (Correlation::default(), Instant::now());
        for uid in ["a", "b", "c"] {
            all.judge(uid, said("A", "x"), begin);
        }
        all.judge("d", said("A", "x"), begin + Duration::from_secs(590));
        assert_eq!(all.stories.len(), 4);
        all.judge("d", said("A", "x"), begin + Duration::from_secs(601));
        assert_eq!(all.stories.len(), 4, "not at every event");
        all.judge("d", said("A", "x"), begin + Duration::from_secs(651));
        assert_eq!(all.stories.len(), 1);
    }
}
