//! How many passes may begin in a second, counted over all kinds.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

/// How many seconds' worth of passes may begin at once after a rest (crossplane-runtime `pkg/ratelimiter/default.go`: ten times the rate).
const BURST: u32 = 10;

/// A token bucket. Who takes a token waits in line until it is due.
///
/// A worker takes its token before its key, not after: with the token in hand it takes what is most urgent at that moment,
/// so that an edit never stands behind the polls that wait for their tokens.
#[derive(Debug)]
pub struct Bucket {
    step: Duration,
    /// When the bucket will be full again: what is taken from it moves this on.
    full: Mutex<Instant>,
    closed: watch::Sender<bool>,
}

impl Bucket {
    /// A full bucket that gains `rate` tokens a second; no rate is below one.
    pub fn new(rate: u32) -> Self {
        let step = Duration::from_secs(1) / rate.max(1);
        Self { step, full: Mutex::new(Instant::now()), closed: watch::Sender::new(false) }
    }

    /// Waits for a token; after [`Bucket::close`], for none.
    pub async fn take(&self) {
        let due = self.due();
        let mut closed = self.closed.subscribe();
        tokio::select! {
            // The sender is ours, so it outlives the wait.
            _ = closed.wait_for(|closed| *closed) => {}
            () = tokio::time::sleep_until(due) => {}
        }
    }

    /// Nobody waits any more: the process ends.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    fn due(&self) -> Instant {
        let now = Instant::now();
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        *full = (*full).max(now) + self.step;
        // A second's tokens are a second, whatever the rate.
        full.checked_sub(Duration::from_secs(1) * BURST).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ten_seconds_worth_goes_at_once_and_the_rest_at_the_rate() {
        let (bucket, begin) = (Bucket::new(5), Instant::now());
        for _ in 0..50 {
            bucket.take().await;
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
        for _ in 0..5 {
            bucket.take().await;
        }
        assert_eq!(begin.elapsed().as_millis(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_fills_the_bucket_and_no_more() {
        let bucket = Bucket::new(2);
        tokio::time::sleep(Duration::from_mins(10)).await;
        let begin = Instant::now();
        for _ in 0..20 {
            bucket.take().await;
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
        bucket.take().await;
        assert_eq!(begin.elapsed().as_millis(), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_lets_everybody_through() {
        let (bucket, begin) = (Arc::new(Bucket::new(1)), Instant::now());
        let waiting: Vec<_> = (0..100)
            .map(|_| {
                let bucket = bucket.clone();
                tokio::spawn(async move { bucket.take().await })
            })
            .collect();
        tokio::task::yield_now().await;
        bucket.close();
        for one in waiting {
            one.await.unwrap();
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
