//! Many times as a few figures.

use std::{fmt, time::Duration};

/// Median, 95th percentile and largest of some times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub(crate) median: Duration,
    p95: Duration,
    last: Duration,
}

impl Summary {
    /// Of no times: zeros.
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        // The smallest time that so many per cent do not exceed.
        let at = |percent: usize| {
            times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
        };
        Self { median: at(50), p95: at(95), last: at(100) }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, p95, last } = self;
        write!(f, "{:>9} {:>9} {:>9}", millis(*median), millis(*p95), millis(*last))
    }
}

/// A time in milliseconds, with a decimal where it is short.
pub(crate) fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    if millis < 100.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

/// The head of a table of summaries.
pub(crate) fn head(title: &str) {
    println!("{title}\n  {:<56} {:>9} {:>9} {:>9}", "", "median", "p95", "last");
}

/// One line of it.
pub(crate) fn line(what: &str, summary: Summary) {
    println!("  {what:<56} {summary}");
}
