//! An image of which a part is there already, from an earlier process: its beginning is asked for to make the checksum and to see that it is
//! the same kind of file, what is there is added by whoever has it, and the rest is fetched.

use bytes::{Bytes, BytesMut};
use reqwest::Url;
use tokio::time::timeout;

use super::{
    Answer, Client, Fetched, Sink,
    checksum::{Checksum, Hasher},
    error::{Failure, FetchError},
    open,
    resume::{self, Rest, Version},
    shown,
    transfer::Transfer,
};

/// An image whose beginning is there.
pub struct Begun {
    url: Url,
    version: Version,
    expected: Checksum,
    hash: Hasher,
    /// The length of the whole image.
    pub length: u64,
    /// How much of it is there and in the checksum.
    pub received: u64,
    /// Its first bytes.
    pub head: Bytes,
}

impl Answer {
    /// Whether the server would give the rest of the image, and that is longer than so many bytes.
    pub fn gives_parts(&self, head: usize) -> bool {
        self.version_and_length(head).is_some()
    }

    fn version_and_length(&self, head: usize) -> Option<(Version, u64)> {
        let length = self.response.content_length().filter(|length| *length > head as u64)?;
        Some((Version::of(self.response.headers())?, length))
    }

    /// Takes the first `head` bytes of the image and no more; None where the server would not give the rest of it, or they do not come.
    ///
    /// # Errors
    /// As [`super::fetch`].
    pub async fn begin(self, client: &Client, head: usize) -> Result<Option<Begun>, FetchError> {
        let Some((version, length)) = self.version_and_length(head) else { return Ok(None) };
        let Self { url, at: _, mut response, expected } = self;
        let failed = |failure| FetchError::Get { url: shown(&url), failure };
        let (mut first, stall) = (BytesMut::new(), client.limits.stall);
        while first.len() < head {
            let chunk = timeout(stall, response.chunk()).await.map_err(|_| failed(Failure::Stalled(stall)))?;
            let Ok(Some(chunk)) = chunk else { return Ok(None) };
            first.extend_from_slice(&chunk);
        }
        first.truncate(head);
        let mut hash = Hasher::new(expected.algorithm);
        hash.update(&first);
        Ok(Some(Begun { url, version, expected, hash, length, received: head as u64, head: first.freeze() }))
    }
}

impl Begun {
    /// More of the image that is there.
    pub fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.received += bytes.len() as u64;
    }

    /// Fetches the rest: from the address that the field says, because where its redirects led may have been for minutes only, and what is
    /// there was read meanwhile.
    ///
    /// # Errors
    /// As [`super::fetch`].
    pub async fn rest(self, client: &Client, sink: Sink) -> Result<Fetched, FetchError> {
        let Self { url, version, expected, hash, length, received, head: _ } = self;
        let failed = |failure| FetchError::Get { url: shown(&url), failure };
        let rest = Rest { version, from: received, announced: Some(length) };
        let (at, response) = open(client, url.clone(), Some(&rest)).await.map_err(failed)?;
        let mut transfer = Transfer::going_on(sink, hash, (received, length));
        resume::receive(client, &at, response, &mut transfer).await.map_err(failed)?;
        transfer.finish(&expected).await
    }
}
