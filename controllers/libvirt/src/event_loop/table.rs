//! What the event loop watches and waits for: pure.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

/// Descriptors and timers by their numbers, which are never given twice, with whom to call of each.
pub(crate) struct Table<C> {
    last: i32,
    watches: HashMap<i32, Watch<C>>,
    timers: HashMap<i32, Timer<C>>,
    /// The timers that run, in the order of their time.
    due: BTreeSet<(Instant, i32)>,
    ended: Vec<C>,
}

/// A descriptor that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watch<C> {
    pub(crate) descriptor: RawFd,
    /// For what, in libvirt's bits (`virEventHandleType`); for nothing, while it is 0.
    pub(crate) events: i32,
    pub(crate) callee: C,
}

struct Timer<C> {
    /// None is never.
    every: Option<Duration>,
    due: Option<Instant>,
    callee: C,
}

impl<C> Default for Table<C> {
    fn default() -> Self {
        Self { last: 0, watches: HashMap::new(), timers: HashMap::new(), due: BTreeSet::new(), ended: Vec::new() }
    }
}

impl<C: Copy> Table<C> {
    fn next(&mut self) -> i32 {
        self.last = self.last.wrapping_add(1).max(1);
        while self.watches.contains_key(&self.last) || self.timers.contains_key(&self.last) {
            self.last = self.last.wrapping_add(1).max(1);
        }
        self.last
    }

    /// A descriptor to watch; its number.
    pub(crate) fn add_watch(&mut self, watch: Watch<C>) -> i32 {
        let number = self.next();
        self.watches.insert(number, watch);
        number
    }

    /// What is watched by this number.
    pub(crate) fn watch(&self, number: i32) -> Option<Watch<C>> {
        self.watches.get(&number).copied()
    }

    /// Watches for something else from now on.
    pub(crate) fn set_watch(&mut self, number: i32, events: i32) {
        if let Some(watch) = self.watches.get_mut(&number) {
            watch.events = events;
        }
    }

    /// Watches it no more; nobody was ever called.
    pub(crate) fn take_watch(&mut self, number: i32) -> Option<Watch<C>> {
        self.watches.remove(&number)
    }

    /// Watches it no more. Its callee is given back by [`Self::ended`].
    pub(crate) fn end_watch(&mut self, number: i32) -> Option<Watch<C>> {
        let watch = self.take_watch(number)?;
        self.ended.push(watch.callee);
        Some(watch)
    }

    /// A timer; its number.
    pub(crate) fn add_timer(&mut self, every: Option<Duration>, callee: C, now: Instant) -> i32 {
        let number = self.next();
        self.timers.insert(number, Timer { every: None, due: None, callee });
        self.set_timer(number, every, now);
        number
    }

    /// From now on a timer comes this often.
    pub(crate) fn set_timer(&mut self, number: i32, every: Option<Duration>, now: Instant) {
        let Some(timer) = self.timers.get_mut(&number) else { return };
        let before = timer.due.take();
        timer.every = every;
        timer.due = every.and_then(|every| now.checked_add(every));
        let after = timer.due;
        self.move_due(number, before, after);
    }

    /// Ends a timer, if there is one. Its callee is given back by [`Self::ended`].
    pub(crate) fn end_timer(&mut self, number: i32) -> bool {
        let Some(timer) = self.timers.remove(&number) else { return false };
        self.move_due(number, timer.due, None);
        self.ended.push(timer.callee);
        true
    }

    fn move_due(&mut self, number: i32, before: Option<Instant>, after: Option<Instant>) {
        if let Some(before) = before {
            self.due.remove(&(before, number));
        }
        self.due.extend(after.map(|after| (after, number)));
    }

    /// How long nothing is due. None: until something is added.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        if !self.ended.is_empty() {
            return Some(Duration::ZERO);
        }
        self.due.first().map(|(due, _)| due.saturating_duration_since(now))
    }

    /// The timers that are due.
    pub(crate) fn due(&self, now: Instant) -> Vec<i32> {
        self.due.iter().take_while(|(due, _)| *due <= now).map(|(_, number)| *number).collect()
    }

    /// Whom to call of a timer, if it is still due; it comes again after its time.
    pub(crate) fn fire(&mut self, number: i32, now: Instant) -> Option<C> {
        let timer = self.timers.get(&number)?;
        let callee = timer.due.is_some_and(|due| due <= now).then_some(timer.callee)?;
        self.set_timer(number, timer.every, now);
        Some(callee)
    }

    /// Those who are not called any more since this was last asked.
    pub(crate) fn ended(&mut self) -> Vec<C> {
        std::mem::take(&mut self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn timers_come_in_their_order_again_and_again_until_they_are_stopped() {
        let (mut table, begin) = (Table::default(), Instant::now());
        let slow = table.add_timer(Some(3 * SECOND), 's', begin);
        let quick = table.add_timer(Some(2 * SECOND), 'q', begin);
        let never = table.add_timer(None, 'n', begin);
        assert_eq!(table.wait(begin), Some(2 * SECOND));
        assert_eq!(table.due(begin + 3 * SECOND), [quick, slow]);
        assert_eq!(table.fire(quick, begin + 2 * SECOND), Some('q'));
        assert_eq!(table.fire(quick, begin + 2 * SECOND), None, "it has come");
        assert_eq!(table.wait(begin + 2 * SECOND), Some(SECOND));
        assert_eq!(table.due(begin + 4 * SECOND), [slow, quick]);
        table.set_timer(slow, None, begin);
        assert_eq!(table.fire(slow, begin + 9 * SECOND), None, "it was stopped after it was seen to be due");
        assert!(table.end_timer(quick) && !table.end_timer(quick));
        assert_eq!(table.wait(begin), Some(Duration::ZERO), "somebody is to be let go of");
        assert_eq!(table.ended(), ['q']);
        assert_eq!(table.wait(begin), None);
        table.set_timer(never, Some(Duration::ZERO), begin);
        assert_eq!(table.due(begin), [never], "one of no time comes at once");
    }

    #[test]
    fn numbers_are_not_given_again_while_somebody_may_still_say_them() {
        let mut table = Table::default();
        let watch = |descriptor| Watch { descriptor, events: 1, callee: 'w' };
        let first = table.add_watch(watch(3));
        assert_eq!(table.end_watch(first), Some(watch(3)));
        let second = table.add_watch(watch(3));
        assert_ne!(first, second);
        table.set_watch(first, 0);
        table.set_watch(second, 2);
        assert_eq!(table.watch(second), Some(Watch { events: 2, ..watch(3) }));
        table.last = i32::MAX;
        assert_eq!(table.add_watch(watch(4)), 1, "the first is free");
        table.last = i32::MAX;
        assert_eq!(table.add_timer(None, 't', Instant::now()), 3, "these two are not");
    }
}
