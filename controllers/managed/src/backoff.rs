//! Growing delays, one count an object.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::Mutex,
    time::{Duration, Instant},
};

use apis::condition::Wish;

/// What was tried in vain.
#[derive(Debug)]
struct Held {
    what: String,
    until: Instant,
    /// What was said of it.
    said: Vec<Wish>,
}

/// Counts failures by object: 1 s, 2 s, 4 s … 60 s (crossplane-runtime `pkg/ratelimiter/default.go`).
#[derive(Debug)]
pub struct Backoff<K> {
    failures: Mutex<HashMap<K, u32>>,
    held: Mutex<HashMap<K, Held>>,
}

impl<K: Hash + Eq + Clone> Backoff<K> {
    /// Nobody has failed yet.
    pub fn new() -> Self {
        Self { failures: Mutex::default(), held: Mutex::default() }
    }

    /// Counts a failure and says how long to wait.
    pub fn failed(&self, key: &K) -> Duration {
        let mut failures = self.lock();
        let count = failures.entry(key.clone()).or_insert(0);
        let delay = Duration::from_secs(1 << (*count).min(6));
        *count += 1;
        delay.min(Duration::from_mins(1))
    }

    /// Counts a try that did not mend this, or failed and had that said of it. Answers how long to wait before the next.
    pub fn hold(&self, key: &K, what: String, said: Vec<Wish>) -> Duration {
        let delay = self.failed(key);
        self.hold_for(key, what, said, delay);
        delay
    }

    /// As [`Self::hold`], for this long, and without counting it.
    pub fn hold_for(&self, key: &K, what: String, said: Vec<Wish>, delay: Duration) {
        self.lock_held().insert(key.clone(), Held { what, until: Instant::now() + delay, said });
    }

    /// How long this very thing is not tried again yet, and what is said of it meanwhile.
    pub fn held(&self, key: &K, what: &str) -> Option<(Duration, Vec<Wish>)> {
        let held = self.lock_held();
        let known = held.get(key).filter(|known| known.what == what)?;
        let wait = known.until.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero())?;
        Some((wait, known.said.clone()))
    }

    /// The object is well again, or gone.
    pub fn reset(&self, key: &K) {
        self.lock().remove(key);
        self.lock_held().remove(key);
    }

    fn lock_held(&self) -> std::sync::MutexGuard<'_, HashMap<K, Held>> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<K, u32>> {
        self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> Default for Backoff<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// Spreads a delay by up to so many per cent to either side, so that a thousand polls do not come at once. Never zero.
pub fn jitter(delay: Duration, percent: u8, seed: u64) -> Duration {
    // A multiplicative hash (Knuth) is random enough to spread timers and needs no generator.
    let spread =
        f64::from(u32::try_from(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32).unwrap_or(0)) / f64::from(u32::MAX);
    let most = f64::from(percent.min(100)) / 100.0;
    delay.mul_f64(1.0 - most + 2.0 * most * spread).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_help_is_held_and_anything_else_is_not() {
        let backoff = Backoff::new();
        let said = vec![Wish::sync_failed("no room")];
        assert_eq!(backoff.hold(&"a", "memory".to_owned(), said.clone()).as_secs(), 1);
        let held = backoff.held(&"a", "memory").map(|(wait, said)| (wait.as_millis() > 500, said));
        assert_eq!(held, Some((true, said)));
        assert_eq!((backoff.held(&"a", "vcpu"), backoff.held(&"b", "memory")), (None, None));
        backoff.reset(&"a");
        assert_eq!(backoff.held(&"a", "memory"), None);
    }

    #[test]
    fn delays_double_to_a_minute_and_start_anew_after_a_success() {
        let backoff = Backoff::new();
        let delays: Vec<u64> = (0..8).map(|_| backoff.failed(&"a").as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.reset(&"a");
        assert_eq!(backoff.failed(&"a").as_secs(), 1);
    }

    #[test]
    fn jitter_stays_within_its_per_cent_and_above_zero() {
        let delays = |percent| (0..1000).map(move |seed| jitter(Duration::from_mins(1), percent, seed).as_secs_f64());
        for delay in delays(10) {
            assert!((54.0..=66.0).contains(&delay), "{delay}");
        }
        assert!(delays(50).any(|delay| delay < 36.0) && delays(50).any(|delay| delay > 84.0), "it is used up");
        assert!(delays(0).all(|delay| (delay - 60.0).abs() < 0.001));
        for percent in [0, 10, 100] {
            assert!(jitter(Duration::ZERO, percent, 1) > Duration::ZERO);
        }
    }
}
