//! What this machine cannot show of a test; of a whole one [`skipped`](crate::skipped) says it.

use std::io::{Write as _, stdout};

/// Says that a part of a test is not tried and why, and has it counted as one that was ignored. A test that passes is otherwise not heard.
pub fn skip(what: &str, why: &str) {
    let counted = "test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out";
    drop(writeln!(stdout(), "test {what} ... ignored, {why}\n{counted}"));
}
