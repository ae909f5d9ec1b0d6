//! What waits for the guest's next boot: pure.

use libvirt::{
    diff::{Difference, diff},
    rule::{Live, Route, Rules},
    wish::Wishes,
    xml::Element,
};

/// The wished paths that the running guest does not show. What libvirt rewrites in a running description is no difference.
pub(super) fn pending(wishes: &Wishes, live: &Element, rules: &Rules) -> Vec<String> {
    let mut paths: Vec<String> = diff(wishes, live, rules)
        .iter()
        .filter(|difference| waits(difference, live))
        .map(|difference| difference.path.clone())
        .collect();
    paths.dedup();
    paths
}

fn waits(difference: &Difference, live: &Element) -> bool {
    match difference.route {
        Route::Definition | Route::Immutable | Route::Refused(_) => false,
        Route::Live(Live::Memory) => balloon_is_too_small(difference, live),
        Route::Live(_) | Route::NextBoot => !is_expanded_model(difference, live),
    }
}

/// The balloon moves by itself within the running maximum; only a wish beyond that waits.
fn balloon_is_too_small(difference: &Difference, live: &Element) -> bool {
    let kibibytes = |text: &str| text.split(' ').next().and_then(|text| text.parse::<u64>().ok());
    let wished = difference.want.as_deref().and_then(kibibytes);
    let most = live.text_at("memory").and_then(kibibytes);
    matches!((wished, most), (Some(wished), Some(most)) if wished > most)
}

/// A running host-model CPU is written out as a custom one that was checked in full.
fn is_expanded_model(difference: &Difference, live: &Element) -> bool {
    difference.path.starts_with("cpu")
        && difference.want.as_deref() == Some("host-model")
        && live.attr_at("cpu@check") == Some("full")
}
