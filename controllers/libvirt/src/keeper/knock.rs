//! Knocking at the door of a host that nobody opens: often, since it costs next to nothing, so that a host that is back is in use within a
//! second though whole attempts to connect are made at growing pauses.
//!
//! ```text
//!   attempt failed, or hangs ─▶ knock ─▶ opened: not the door is the trouble, the next attempt comes by itself
//!                                 │
//!                                 └──▶ closed ─▶ knock, knock, … ─▶ opened: the next attempt begins at once
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Note;
use super::backoff::jittered;
use crate::endpoint::Door;

/// How often.
const EVERY: Duration = Duration::from_millis(400);

/// Knocks at one host's door, on a thread that ends with the pause it is for.
#[derive(Debug, Default)]
pub(super) struct Knocker {
    thread: Option<JoinHandle<()>>,
    /// Somebody took a connection, and an attempt to connect hangs all the same: each further knock would be one more that a frozen daemon
    /// finds in its queue.
    answered: Arc<AtomicBool>,
}

impl Knocker {
    /// Knocks for as long as this pause, and says when a door opens that was closed.
    pub(super) fn start(&mut self, door: Option<Door>, pause: Duration, notes: mpsc::Sender<Note>) {
        let is_busy = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        let Some(door) = door.filter(|_| !is_busy && !self.answered.load(Ordering::Acquire)) else { return };
        let (answered, end) = (Arc::clone(&self.answered), Instant::now() + pause);
        // Without a thread the next attempt comes by itself.
        self.thread = thread::Builder::new()
            .name("lv-knock".to_owned())
            .spawn(move || {
                if knock(door, &answered, end) {
                    let _ = notes.send(Note::Knocked);
                }
            })
            .ok();
    }

    /// An attempt has ended, so nothing hangs at the door.
    pub(super) fn forget(&self) {
        self.answered.store(false, Ordering::Release);
    }
}

/// Whether a closed door opens before the end.
fn knock(door: Door, answered: &AtomicBool, end: Instant) -> bool {
    let Some(places) = door.places() else { return false };
    if places.open() {
        answered.store(true, Ordering::Release);
        return false;
    }
    while Instant::now() < end {
        thread::sleep(jittered(EVERY).min(end.saturating_duration_since(Instant::now())));
        if places.open() {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc::channel;

    use super::*;

    fn closed() -> (Door, u16) {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        (Door::Port("127.0.0.1".to_owned(), port), port)
    }

    #[test]
    fn a_door_that_opens_is_told() {
        let (door, port) = closed();
        let (notes, inbox) = channel();
        let mut knocker = Knocker::default();
        knocker.start(Some(door), Duration::from_mins(1), notes);
        thread::sleep(EVERY);
        let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert!(matches!(inbox.recv_timeout(Duration::from_secs(30)), Ok(Note::Knocked)));
    }

    #[test]
    fn a_door_that_is_open_is_knocked_at_once_only_until_an_attempt_has_ended() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Door::Port("127.0.0.1".to_owned(), listener.local_addr().unwrap().port());
        let (notes, inbox) = channel();
        let mut knocker = Knocker::default();
        let round = |knocker: &mut Knocker| {
            knocker.start(Some(door.clone()), Duration::from_mins(1), notes.clone());
            knocker.thread.take().map(|thread| thread.join().unwrap()).is_some()
        };
        assert_eq!([round(&mut knocker), round(&mut knocker)], [true, false]);
        knocker.forget();
        assert!(round(&mut knocker));
        assert!(inbox.try_recv().is_err(), "it was never closed");
    }

    #[test]
    fn nobody_knocks_longer_than_the_pause() {
        let (door, _) = closed();
        assert!(!knock(door, &AtomicBool::new(false), Instant::now() + Duration::from_millis(50)));
    }
}
