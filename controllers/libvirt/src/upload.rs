//! Sending bytes into a volume: a thread and a connection of its own, fed through a bounded channel.
//!
//! ```text
//! send(chunk) ──▶ channel of 4 ──▶ thread lv-<host>-upload ──▶ virStreamSend, 256 KiB at a time
//! finish ───────▶ "finish" ──────▶ virStreamFinish ──▶ answer
//! drop, abort ──▶ channel closed ▶ virStreamAbort
//! ```

use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use virt::stream::Stream;

use crate::calls::Quarantined;
use crate::counters::Call;
use crate::error::Kind;
use crate::host::Inner;
use crate::lock::lock;
use crate::sys::{Owned, abort_stream, finish_stream};
use crate::{Connection, Error};

/// How much goes into one message of the protocol; it carries at most 262120 bytes.
const MESSAGE: usize = 256 * 1024 - 24;

/// How many chunks wait for the host.
const WAITING: usize = 4;

/// What to send where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRequest {
    /// The pool's UUID or name.
    pub pool: String,
    /// The volume's name. It must be there and at least `length` big.
    pub volume: String,
    /// Where in the volume the first byte goes.
    pub offset: u64,
    /// How many bytes will be sent; 0 for as many as fit.
    pub length: u64,
    /// How long one chunk may take. The whole has no deadline.
    pub progress: Duration,
}

/// An upload under way. Dropping it aborts it; what was written until then stays in the volume.
pub struct Upload {
    chunks: Option<mpsc::Sender<Message>>,
    answer: oneshot::Receiver<Result<u64, Error>>,
    progress: Duration,
    object: String,
    inner: Arc<Inner>,
    /// Set when the thread was given up.
    stuck: Option<oneshot::Sender<Quarantined>>,
}

enum Message {
    Chunk(Vec<u8>),
    Finish,
}

/// Starts an upload. What is wrong with pool or volume shows at the first chunk that does not go through, or at the end.
pub(crate) fn start(inner: &Arc<Inner>, request: UploadRequest) -> Result<Upload, Error> {
    let object = format!("{}/{}", request.pool, request.volume);
    inner.quarantine.check(&object)?;
    let (chunks, incoming) = mpsc::channel(WAITING);
    let (answer_to, answer) = oneshot::channel();
    let (stuck, given_up) = oneshot::channel::<Quarantined>();
    let progress = request.progress;
    let (dial, counters, keepalive) =
        (Arc::clone(&inner.dial), Arc::clone(&inner.counters), inner.settings.keepalive());
    let (pool_calls, uploads) = (Arc::clone(&inner.pool_calls), Arc::clone(&inner.uploads));
    let run = move || {
        counters.add_in_flight(1);
        let opened = Connection::open(&dial, Arc::clone(&counters), pool_calls).map(Arc::new);
        let sent = opened.as_ref().map_err(Error::clone).and_then(|connection| {
            note(&uploads, connection);
            send_all(connection, &request, incoming)
        });
        // All others close here.
        let watched = opened.ok().filter(|connection| connection.is_watched());
        counters.add_in_flight(-1);
        let _ = answer_to.send(sent);
        // Lifts the quarantine, if there was reason for one.
        drop(given_up);
        if let Some(connection) = watched {
            connection.settle(keepalive);
        }
    };
    let spawned = thread::Builder::new().name(format!("lv-{}-upload", inner.label)).spawn(run);
    spawned.map_err(|error| Error::other(format!("cannot start a thread to upload: {error}")))?;
    let inner = Arc::clone(inner);
    Ok(Upload { chunks: Some(chunks), answer, progress, object, inner, stuck: Some(stuck) })
}

/// If the host falls silent, the keeper has libvirt end the connection.
fn note(uploads: &Mutex<Vec<Weak<Connection>>>, connection: &Arc<Connection>) {
    let mut uploads = lock(uploads);
    uploads.retain(|connection| connection.strong_count() > 0);
    uploads.push(Arc::downgrade(connection));
}

/// On the upload's thread.
fn send_all(
    connection: &Connection,
    request: &UploadRequest,
    mut incoming: mpsc::Receiver<Message>,
) -> Result<u64, Error> {
    let gone = |what: &str| Error::new(Kind::Gone, format!("{what} of the upload is not there"));
    let pool = connection.pool_by_id(&request.pool)?.ok_or_else(|| gone("the pool"))?;
    let volume = pool.find_volume(&request.volume)?.ok_or_else(|| gone("the volume"))?;
    let stream = Owned::new(connection.counted(Call::VolumeUpload, |connect| {
        let stream = Stream::new(connect, 0)?;
        volume.handle.upload(&stream, request.offset, request.length, 0)?;
        Ok::<_, virt::error::Error>(stream)
    })?);
    let mut sent = 0;
    while let Some(message) = incoming.blocking_recv() {
        match message {
            Message::Chunk(bytes) => match send_chunk(&stream, &bytes) {
                Ok(()) => sent += bytes.len() as u64,
                Err(error) => {
                    abort_stream(&stream);
                    return Err(error);
                }
            },
            Message::Finish => return finish_stream(&stream).map(|()| sent),
        }
    }
    abort_stream(&stream);
    Err(Error::other("the upload was aborted"))
}

fn send_chunk(stream: &Stream, bytes: &[u8]) -> Result<(), Error> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let piece = &rest[..rest.len().min(MESSAGE)];
        let sent = stream.send(piece)?;
        let sent = usize::try_from(sent).map_err(|_| Error::other("the stream took no bytes"))?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

impl Upload {
    /// Sends bytes, of any number; 64 to 256 KiB go fastest. Waits while the host is slower than the source.
    ///
    /// An error ends the upload: it carries the cause, and every later call fails.
    pub async fn send(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        self.pass(Message::Chunk(bytes)).await
    }

    /// Says that all has been sent, waits until the host has it, and gives the number of bytes.
    pub async fn finish(mut self) -> Result<u64, Error> {
        self.pass(Message::Finish).await?;
        // What waits in the channel has to go first.
        let patience = self.progress.saturating_mul(u32::try_from(WAITING).unwrap_or(1) + 1);
        match tokio::time::timeout(patience, &mut self.answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(ended())),
            Err(_) => Err(self.give_up()),
        }
    }

    /// Ends the upload and waits until the host knows.
    pub async fn abort(mut self) -> Result<(), Error> {
        self.chunks = None;
        match tokio::time::timeout(self.progress, &mut self.answer).await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.give_up()),
        }
    }

    async fn pass(&mut self, message: Message) -> Result<(), Error> {
        let Some(chunks) = &self.chunks else { return Err(ended()) };
        match tokio::time::timeout(self.progress, chunks.send(message)).await {
            Ok(Ok(())) => Ok(()),
            // The thread has ended early, so it has an answer.
            Ok(Err(_)) => {
                self.chunks = None;
                Err((&mut self.answer).await.unwrap_or_else(|_| Err(ended())).err().unwrap_or_else(ended))
            }
            Err(_) => Err(self.give_up()),
        }
    }

    /// Leaves the thread to the host and keeps the volume from further calls until it returns.
    fn give_up(&mut self) -> Error {
        self.chunks = None;
        if let Some(stuck) = self.stuck.take() {
            // Refused when the thread has ended meanwhile; then there is nothing to wait for.
            let _ = stuck.send(self.inner.quarantine.add(&self.object));
        }
        Error::unreachable(format!("the upload made no progress for {} s", self.progress.as_secs_f32()))
    }
}

fn ended() -> Error {
    Error::other("the upload has ended")
}
