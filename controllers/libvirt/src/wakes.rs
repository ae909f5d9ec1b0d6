//! Who has to look again: owners of claims whose objects changed, each at most once until taken.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::Notify;

use crate::lock::lock;

/// A receiver of owners to wake. An owner woken twice before it is taken comes once, so it never holds more than there are.
pub struct Wakes(Arc<Queue>);

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

/// Owners in order, and the same for the question whether one is among them.
#[derive(Default)]
struct Waiting {
    order: VecDeque<Arc<str>>,
    known: HashSet<Arc<str>>,
}

/// The sending side, with any number of receivers.
#[derive(Default)]
pub(crate) struct WakeHub {
    receivers: Mutex<Vec<Weak<Queue>>>,
    /// The hub of all hosts, which hears everything too.
    above: Option<Arc<Self>>,
}

impl Wakes {
    /// The next owner to wake; waits for one. Safe to cancel.
    pub async fn next(&self) -> Arc<str> {
        loop {
            if let Some(owner) = self.try_next() {
                return owner;
            }
            self.0.arrived.notified().await;
        }
    }

    /// The next owner to wake, if there is one now.
    pub fn try_next(&self) -> Option<Arc<str>> {
        let Waiting { order, known } = &mut *lock(&self.0.waiting);
        let owner = order.pop_front()?;
        known.remove(&owner);
        Some(owner)
    }
}

impl WakeHub {
    pub(crate) fn below(above: Arc<Self>) -> Self {
        Self { receivers: Mutex::default(), above: Some(above) }
    }

    pub(crate) fn subscribe(&self) -> Wakes {
        let queue = Arc::new(Queue::default());
        lock(&self.receivers).push(Arc::downgrade(&queue));
        Wakes(queue)
    }

    pub(crate) fn wake(&self, owner: &Arc<str>) {
        if let Some(above) = &self.above {
            above.wake(owner);
        }
        lock(&self.receivers).retain(|receiver| {
            let Some(queue) = receiver.upgrade() else { return false };
            let Waiting { order, known } = &mut *lock(&queue.waiting);
            if known.insert(Arc::clone(owner)) {
                order.push_back(Arc::clone(owner));
            }
            // One receiver, one waiter: a stored permit is enough.
            queue.arrived.notify_one();
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_woken_twice_is_taken_once_by_each_receiver() {
        let above = Arc::new(WakeHub::default());
        let all = above.subscribe();
        let hub = WakeHub::below(above);
        let mine = hub.subscribe();
        let owners: [Arc<str>; 2] = ["a".into(), "b".into()];
        for index in [0, 1, 0] {
            hub.wake(&owners[index]);
        }
        for wakes in [all, mine] {
            let taken: Vec<_> = std::iter::from_fn(|| wakes.try_next()).collect();
            assert_eq!(taken, owners);
        }
    }

    #[tokio::test]
    async fn a_waiting_receiver_is_woken() {
        let hub = WakeHub::default();
        let wakes = hub.subscribe();
        let (owner, ()) = tokio::join!(wakes.next(), async { hub.wake(&"a".into()) });
        assert_eq!(&*owner, "a");
    }
}
