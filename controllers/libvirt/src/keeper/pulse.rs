//! Whether a host still answers: looked at on a thread of its own, because the keeper's waits for what it reads.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Note;
use super::open::Heard;
use crate::Error;
use crate::host::Inner;

/// Looks after this pair of connections until another is in use, and gives it up when the host is silent. The host is asked only where
/// nothing else was heard over this pair since the last look: the host may have others, of credentials that were exchanged.
pub(super) fn watch(inner: &Arc<Inner>, generation: u64, heard: Heard) -> Result<(), Error> {
    if inner.endpoint.is_in_process() {
        return Ok(());
    }
    let every = Duration::from_secs(u64::from(inner.settings.keepalive_interval.max(1)));
    let most = every.saturating_mul(inner.settings.keepalive_count.max(1));
    let (name, inner) = (format!("lv-{}-pulse", inner.label), Arc::downgrade(inner));
    let spawned = thread::Builder::new().name(name).spawn(move || {
        let mut before = None;
        loop {
            thread::sleep(every);
            let Some(inner) = inner.upgrade().filter(|inner| inner.generation() == Some(generation)) else { return };
            let heard = heard.total();
            if before.replace(heard) == Some(heard) && !inner.is_answered(most) {
                let silent = Error::unreachable("the host did not answer keepalive messages");
                inner.silent(generation, &inner.dial.told(silent));
                // The keeper is gone only when the host is being dropped.
                let _ = inner.notes.send(Note::Closed(generation));
                return;
            }
        }
    });
    spawned
        .map(drop)
        .map_err(|error| Error::other(format!("cannot start the thread that looks after the host: {error}")))
}
