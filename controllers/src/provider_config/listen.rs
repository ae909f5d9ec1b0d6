//! What is heard of the configs' hosts.

use std::sync::Arc;

use apis::placement::ConfigId;
use libvirt::{HostState, Reading};
use tokio::sync::watch;

use super::Configs;

impl Configs {
    /// Passes on that a host came or went; its objects are looked at as soon as it has been read, or it is known that it cannot be.
    pub(super) async fn listen(
        self: Arc<Self>,
        config: ConfigId,
        mut state: watch::Receiver<HostState>,
        mut reading: watch::Receiver<Reading>,
    ) {
        // A pass may have connected it before: that is news here all the same.
        state.mark_changed();
        reading.mark_changed();
        let mut is_new = true;
        loop {
            let is_known = tokio::select! {
                changed = state.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = state.borrow_and_update().clone();
                    self.told();
                    // Of one that was there before each object finds it out when it looks.
                    let is_known = is_new && matches!(now, HostState::Down { .. });
                    is_new &= now == HostState::Connecting;
                    is_known
                }
                changed = reading.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    !matches!(*reading.borrow_and_update(), Reading::Underway(_))
                }
            };
            if is_known {
                self.cluster.wake_users(Some(&config));
            }
        }
    }
}
