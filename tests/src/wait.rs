//! Waiting for something to become true, with the reason it was not.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

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

/// Says that a test shows nothing here, and why: past what captures a test's output, so that it is seen and counted as skipped.
///
/// # Errors
/// When standard output is gone.
pub fn skipped(test: &str, why: &str) -> Result<()> {
    writeln!(std::io::stdout(), "skipped: {test}: {why}").context("say that a test is skipped")
}

/// The shortest time that `attempt` takes of three, told by their names, and what the last one made: what is wrong with a program holds up
/// all, what a busy machine does only some.
///
/// # Errors
/// Those of the attempts.
pub fn quickest_of<T: Copy + std::fmt::Debug, V>(
    three: [T; 3],
    mut attempt: impl FnMut(T) -> Result<V>,
) -> Result<(Duration, V)> {
    let mut timed = |one| -> Result<(Duration, V)> {
        let begin = Instant::now();
        let made = attempt(one)?;
        println!("{one:?} took {:?}", begin.elapsed());
        Ok((begin.elapsed(), made))
    };
    let [first, second, third] = three;
    // What one made is gone before the next begins.
    let (one, two, (last, made)) = (timed(first)?.0, timed(second)?.0, timed(third)?);
    Ok((one.min(two).min(last), made))
}
