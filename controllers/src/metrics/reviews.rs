//! How many objects the webhook reviews, what it says, and how long that takes.

use std::time::Duration;

use apis::Managed;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// What came of a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reviewed {
    /// Admitted.
    Allowed,
    /// Admitted with warnings.
    Warned,
    /// Refused.
    Denied,
    /// It was no review, or one of something else.
    Malformed,
}

impl Reviewed {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Warned => "warned",
            Self::Denied => "denied",
            Self::Malformed => "malformed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Review {
    kind: String,
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

pub(super) struct Reviews {
    count: Family<Review, Counter>,
    seconds: Family<Kind, Histogram>,
}

impl Reviews {
    pub(super) fn new(registry: &mut Registry) -> Self {
        // From a tenth of a millisecond to six seconds.
        let buckets = || Histogram::new(exponential_buckets(0.0001, 4.0, 9));
        let reviews = Self { count: Family::default(), seconds: Family::new_with_constructor(buckets) };
        let (count, seconds) = (reviews.count.clone(), reviews.seconds.clone());
        registry.register("provider_libvirt_webhook_reviews", "Objects that the webhook reviewed", count);
        registry.register("provider_libvirt_webhook_review_seconds", "How long a review took", seconds);
        reviews
    }

    pub(super) fn add<K: Managed>(&self, outcome: Reviewed, took: Option<Duration>) {
        let kind = K::kind(&()).into_owned();
        self.count.get_or_create(&Review { kind: kind.clone(), verdict: outcome.as_str() }).inc();
        if let Some(took) = took {
            self.seconds.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
        }
    }
}
