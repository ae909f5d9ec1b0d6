//! An image on its way through: hashed, held to what was announced and to what there is room for, and handed over in chunks.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use tokio::time::timeout;

use super::{
    CHUNK, Fetched, Progress, Sink,
    checksum::{Algorithm, Checksum, Hasher},
    error::{Failure, FetchError},
};

/// Where the length is not known, progress is reported in steps of so many bytes.
const STEP: u64 = 64 * 1024 * 1024;

/// The slowest that an image may come, in bytes a second, measured over the longest wait without any byte.
const SLOWEST: f64 = 1024.0;

/// An image on its way through.
pub(super) struct Transfer {
    sink: Sink,
    /// The length that the server announced.
    pub(super) announced: Option<u64>,
    pub(super) received: u64,
    hash: Hasher,
    /// What was received and not yet handed over.
    held: BytesMut,
}

impl Transfer {
    pub(super) fn new(response: &Response, sink: Sink, algorithm: Algorithm) -> Self {
        let announced = response.content_length();
        Self { sink, announced, received: 0, hash: Hasher::new(algorithm), held: BytesMut::with_capacity(2 * CHUNK) }
    }

    /// One of which a part is there and in the hash already.
    pub(super) fn going_on(sink: Sink, hash: Hasher, (received, length): (u64, u64)) -> Self {
        Self { sink, announced: Some(length), received, hash, held: BytesMut::with_capacity(2 * CHUNK) }
    }

    /// Takes what comes with an answer: the whole image, or what is missing of it.
    pub(super) async fn receive(&mut self, mut response: Response, stall: Duration) -> Result<(), Failure> {
        self.within(self.announced.unwrap_or_default())?;
        let mut pace = Pace::default();
        loop {
            let asked = Instant::now();
            match timeout(stall, response.chunk()).await {
                Err(_) => return Err(Failure::Stalled(stall)),
                Ok(Err(_)) => return Err(self.ended_early()),
                Ok(Ok(None)) => break,
                Ok(Ok(Some(bytes))) => {
                    pace.keep(bytes.len(), asked.elapsed(), stall)?;
                    self.take(&bytes).await?;
                }
            }
        }
        if self.announced.is_some_and(|announced| self.received < announced) { Err(self.ended_early()) } else { Ok(()) }
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.received = self.received.saturating_add(bytes.len() as u64);
        if let Some(announced) = self.announced.filter(|announced| self.received > *announced) {
            return Err(Failure::Long { announced });
        }
        self.within(self.received)?;
        self.hash.update(bytes);
        self.held.extend_from_slice(bytes);
        // More than a chunk must be there: the last one waits for the checksum.
        while self.held.len() > CHUNK {
            let chunk = self.held.split_to(CHUNK).freeze();
            self.hand_over(chunk).await?;
        }
        Ok(())
    }

    async fn hand_over(&self, chunk: Bytes) -> Result<(), Failure> {
        self.sink.chunks.send(chunk).await.map_err(|_| Failure::Unwanted)?;
        let handed = self.received - self.held.len() as u64;
        let progress = match self.announced {
            Some(announced) => Progress::Percent(tens(handed, announced)),
            None => Progress::Bytes(handed - handed % STEP),
        };
        self.sink.progress.send_if_modified(|shown| std::mem::replace(shown, progress) != progress);
        Ok(())
    }

    /// Hands over the last chunk, if the checksum is right.
    pub(super) async fn finish(mut self, expected: &Checksum) -> Result<Fetched, FetchError> {
        let found = std::mem::replace(&mut self.hash, Hasher::new(expected.algorithm)).finish();
        if found != *expected {
            return Err(FetchError::Checksum { found, expected: expected.clone() });
        }
        let last = self.held.split().freeze();
        if !last.is_empty() {
            self.hand_over(last).await.map_err(|_| FetchError::Unwanted)?;
        }
        Ok(Fetched { bytes: self.received, checksum: found })
    }

    fn within(&self, bytes: u64) -> Result<(), Failure> {
        if bytes > self.sink.max_bytes { Err(Failure::Large { max: self.sink.max_bytes }) } else { Ok(()) }
    }

    fn ended_early(&self) -> Failure {
        Failure::Short { received: self.received, announced: self.announced }
    }
}

/// How fast an image comes. A server that trickles would keep the pool busy for as long as it likes.
#[derive(Default)]
pub(super) struct Pace {
    waited: Duration,
    received: usize,
}

impl Pace {
    #[allow(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    /// Counts what came after a wait; an error when it was too little for too long. The time that the host takes to write is not counted.
    pub(super) fn keep(&mut self, bytes: usize, waited: Duration, stall: Duration) -> Result<(), Failure> {
        self.received += bytes;
        self.waited += waited;
        if self.waited < stall {
            return Ok(());
        }
        if (self.received as f64) < self.waited.as_secs_f64() * SLOWEST {
            return Err(Failure::Slow(stall));
        }
        *self = Self::default();
        Ok(())
    }
}

/// The share in whole tens of per cent, rounded down.
fn tens(part: u64, whole: u64) -> u8 {
    let tens = u128::from(part) * 10 / u128::from(whole.max(1));
    u8::try_from(tens.min(10)).unwrap_or(10) * 10
}
