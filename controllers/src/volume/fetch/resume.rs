//! A transfer that broke goes on where it broke, but only with the same file: what the server has by then is not glued to what came.
//! Source: RFC 9110, 13.1.5 (If-Range), 14.2 (Range), 15.3.7 (206).

use reqwest::{
    Response, StatusCode, Url,
    header::{ACCEPT_RANGES, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED},
};
use tokio::time::sleep;

use super::{Client, error::Failure, open, transfer::Transfer};

/// How often in a row the rest is asked for while next to nothing comes.
const TRIES: u32 = 5;

/// What is more than next to nothing.
const STRIDE: u64 = 1024 * 1024;

/// What tells one version of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    header: HeaderName,
    value: HeaderValue,
}

impl Version {
    /// The version that an answer is of; None where the server tells none, or gives no parts. An `ETag` that begins with `W/` says that
    /// two files serve the same purpose, not that they are equal.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        if headers.get(ACCEPT_RANGES).is_some_and(|ranges| ranges.as_bytes().eq_ignore_ascii_case(b"none")) {
            return None;
        }
        let header = if headers.contains_key(ETAG) { ETAG } else { LAST_MODIFIED };
        let value = headers.get(&header).filter(|value| !value.as_bytes().starts_with(b"W/"))?.clone();
        Some(Self { header, value })
    }

    /// For the header `If-Range`.
    pub(super) fn value(&self) -> HeaderValue {
        self.value.clone()
    }

    fn is_of(&self, headers: &HeaderMap) -> bool {
        headers.get(&self.header) == Some(&self.value)
    }
}

/// What is missing of a file.
pub(super) struct Rest {
    pub(super) version: Version,
    pub(super) from: u64,
    pub(super) announced: Option<u64>,
}

impl Rest {
    /// For the header `Range`.
    pub(super) fn range(&self) -> Result<HeaderValue, Failure> {
        HeaderValue::try_from(format!("bytes={}-", self.from)).map_err(|_| Failure::NoParts)
    }

    /// The answer, if it is this part of this file.
    pub(super) fn check(&self, response: Response) -> Result<Response, Failure> {
        let headers = response.headers();
        let part = headers.get(CONTENT_RANGE).and_then(|range| Part::parse(range.to_str().ok()?));
        let fits = part.is_some_and(|part| {
            let ends = part.whole.is_none_or(|whole| part.last.checked_add(1) == Some(whole));
            let whole = self.announced.is_none() || part.whole.is_none() || part.whole == self.announced;
            part.first == self.from && ends && whole
        });
        if fits && self.version.is_of(headers) { Ok(response) } else { Err(Failure::Changed) }
    }

    /// Why an answer without this part has none.
    pub(super) fn refused(&self, response: &Response) -> Failure {
        let is_same = response.status() == StatusCode::OK && self.version.is_of(response.headers());
        if is_same { Failure::NoParts } else { Failure::Changed }
    }
}

/// What `Content-Range` says.
struct Part {
    first: u64,
    last: u64,
    whole: Option<u64>,
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        let (range, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let whole = if whole == "*" { None } else { Some(whole.parse().ok()?) };
        Some(Self { first: first.parse().ok()?, last: last.parse().ok()?, whole })
    }
}

/// Takes an image to its end, through breaks: from `at`, which gave the first answer.
pub(super) async fn receive(
    client: &Client,
    at: &Url,
    response: Response,
    transfer: &mut Transfer,
) -> Result<(), Failure> {
    let version = Version::of(response.headers());
    let (mut tries, mut reached) = (0, 0);
    let mut end = transfer.receive(response, client.limits.stall).await;
    loop {
        let Err(failure) = end else { return Ok(()) };
        if transfer.received.saturating_sub(reached) >= STRIDE {
            (tries, reached) = (0, transfer.received);
        }
        let Some(version) = version.clone().filter(|_| failure.is_break() && tries < TRIES) else {
            return Err(failure);
        };
        tracing::info!(%failure, "an image broke off, the rest of it is asked for");
        sleep(client.limits.pause.saturating_mul(1 << tries)).await;
        tries += 1;
        let rest = Rest { version, from: transfer.received, announced: transfer.announced };
        end = match open(client, at.clone(), Some(&rest)).await {
            Ok((_, response)) => transfer.receive(response, client.limits.stall).await,
            Err(failure) => Err(failure),
        };
    }
}
