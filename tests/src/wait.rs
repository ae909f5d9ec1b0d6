//! Waiting for something to become true, with the reason it was not.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Asks `probe` every 50 ms until it gives a value, and returns that value.
///
/// # Errors
/// After `timeout`, with the last error of the probe: it says what was missing.
pub fn eventually<T>(timeout: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("still not so after {} s", timeout.as_secs_f32()));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
