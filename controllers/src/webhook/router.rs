//! Paths and HTTP: what is no review gets a 4xx before anybody looks into it.

use std::{sync::Arc, time::Duration};

use apis::{CloudInit, Domain, Managed, Network, Pool, Volume};
use axum::{
    Router,
    body::{Body, HttpBody, to_bytes},
    extract::Request,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use serde_json::Value;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::review::{Reviewer, answer};
use crate::admission::Reviewable;

/// How large a review may be, in bytes. etcd takes objects of 1.5 MiB, and a review holds two.
pub const LARGEST: usize = 3 * 1024 * 1024;
/// How large a review may be, in bytes, to be read whatever else is read.
const SMALL: u64 = 64 * 1024;
/// How many larger ones are held at once: anybody may send them.
const LARGE_ONES: usize = 16;
/// How many of those are worked on at once: what is made of one takes many times its room.
const AT_WORK: usize = 2;
/// The same of small ones. None is worked on by a thread that passes and probes need.
const SMALL_AT_WORK: usize = 4;
/// How long a review may take to arrive. The API server itself gives up after three seconds.
const ARRIVAL: Duration = Duration::from_secs(3);

/// All reviews, each kind at its own path.
pub fn router(reviewer: &Arc<Reviewer>) -> Router {
    let (router, places) = (Router::new(), Arc::new(Places::new()));
    let router = kind::<Domain>(router, reviewer, &places);
    let router = kind::<Volume>(router, reviewer, &places);
    let router = kind::<Pool>(router, reviewer, &places);
    let router = kind::<CloudInit>(router, reviewer, &places);
    kind::<Network>(router, reviewer, &places)
}

/// Where objects of a kind are reviewed: controller-runtime's way to name it.
pub fn path<K: Managed>() -> String {
    let (group, version) = (K::group(&()).replace('.', "-"), K::version(&()));
    format!("/validate-{group}-{version}-{}", K::kind(&()).to_lowercase())
}

fn kind<K: Reviewable>(router: Router, reviewer: &Arc<Reviewer>, places: &Arc<Places>) -> Router {
    let (reviewer, places) = (reviewer.clone(), places.clone());
    let handler = move |request: Request| {
        let (reviewer, places) = (reviewer.clone(), places.clone());
        async move { handle::<K>(&reviewer, &places, request).await }
    };
    router.route(&path::<K>(), post(handler))
}

/// Room for larger reviews.
struct Places {
    held: Semaphore,
    at_work: Arc<Semaphore>,
    small_at_work: Arc<Semaphore>,
}

impl Places {
    fn new() -> Self {
        let of = |count| Arc::new(Semaphore::new(count));
        Self { held: Semaphore::new(LARGE_ONES), at_work: of(AT_WORK), small_at_work: of(SMALL_AT_WORK) }
    }
}

async fn handle<K: Reviewable>(reviewer: &Arc<Reviewer>, places: &Places, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answered = match read(&parts.headers, body, &places.held).await {
        Ok((body, None)) => aside::<K>(reviewer, &places.small_at_work, body).await,
        Ok((body, Some(_place))) => aside::<K>(reviewer, &places.at_work, body).await,
        Err(refused) => Err(refused),
    };
    match answered {
        Ok(review) => ([(CONTENT_TYPE, "application/json")], review.to_string()).into_response(),
        Err((status, why)) => {
            reviewer.malformed::<K>();
            tracing::debug!(%status, why, "not a review");
            (status, why).into_response()
        }
    }
}

/// The answer to a review, worked out where it keeps no pass waiting.
async fn aside<K: Reviewable>(reviewer: &Arc<Reviewer>, turns: &Arc<Semaphore>, body: Bytes) -> Result<Value, Refused> {
    // The semaphore is never closed.
    let turn = turns.clone().acquire_owned().await.ok();
    let reviewer = reviewer.clone();
    let work = tokio::task::spawn_blocking(move || {
        let answered = answer::<K>(&reviewer, &body);
        // Who does not wait for the answer does not end the work.
        drop(turn);
        answered
    });
    work.await
        .unwrap_or_else(|_| Err((StatusCode::INTERNAL_SERVER_ERROR, "the review could not be worked out".to_owned())))
}

/// What is wrong with a request, and how it is told.
pub(super) type Refused = (StatusCode, String);

async fn read<'a>(
    headers: &HeaderMap,
    body: Body,
    places: &'a Semaphore,
) -> Result<(Bytes, Option<SemaphorePermit<'a>>), Refused> {
    let of_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_json = of_type.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "a review is application/json".to_owned()));
    }
    let is_small = body.size_hint().upper().is_some_and(|size| size <= SMALL);
    let arrival = async {
        // The semaphore is never closed.
        let place = if is_small { None } else { places.acquire().await.ok() };
        (to_bytes(body, LARGEST).await, place)
    };
    let too_large = || (StatusCode::PAYLOAD_TOO_LARGE, format!("a review has at most {LARGEST} bytes"));
    match timeout(ARRIVAL, arrival).await {
        Ok((Ok(body), place)) => Ok((body, place)),
        Ok((Err(_), _)) => Err(too_large()),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the review took too long to arrive".to_owned())),
    }
}
