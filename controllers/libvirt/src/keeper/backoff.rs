//! Growing pauses that do not beat in time.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
/// An attempt costs one connection, and nobody waits much longer than this for a host that is back.
const LAST: Duration = Duration::from_secs(5);

/// Pauses from half a second to five seconds.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LAST);
        jittered(pause)
    }

    pub(super) fn reset(&mut self) {
        self.0 = FIRST;
    }
}

/// Up to a fifth less, at random: hosts that started together must not go on together.
pub(super) fn jittered(pause: Duration) -> Duration {
    // The standard library's hasher keys are random; that is random enough for this.
    let random = RandomState::new().build_hasher().finish() % 1000;
    pause.mul_f64(1.0 - f64::from(u16::try_from(random).unwrap_or(0)) / 5000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_last_and_start_over() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..8).map(|_| backoff.next()).collect();
        let nominal = [500, 1000, 2000, 4000, 5000, 5000, 5000, 5000].map(Duration::from_millis);
        for (pause, nominal) in pauses.iter().zip(nominal) {
            assert!((nominal.mul_f64(0.8)..=nominal).contains(pause), "{pause:?} of {nominal:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
