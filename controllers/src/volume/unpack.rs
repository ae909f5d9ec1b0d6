//! Packed images, unpacked on the way to the host.
//!
//! ```text
//! chunks ─► first bytes: gzip, xz, zstd? ─┬─ no ─▶ as they are
//!                                         └─ yes ▶ thread: decoder ─▶ channel of 4 ─▶ whoever writes them
//! ```
//! What comes out is limited by whoever takes it: the decoder is never more than a few chunks ahead. What it holds in memory is limited here.

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes};
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::{
    FrameDecoder, StreamingDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};
use tokio::sync::mpsc;

use super::{fetch::CHUNK, image};

/// The most memory that a file may want for being unpacked, in MiB: what `xz -9` and `zstd --ultra -22` want, and some more.
const MEMORY: u32 = 160;

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Gzip,
    Xz,
    Zstd,
}

impl Packing {
    fn of(head: &[u8]) -> Option<Self> {
        match image::inspect(head).format {
            image::ImageFormat::Compressed("gzip") => Some(Self::Gzip),
            image::ImageFormat::Compressed("xz") => Some(Self::Xz),
            image::ImageFormat::Compressed("zstd") => Some(Self::Zstd),
            image::ImageFormat::Compressed(_)
            | image::ImageFormat::Raw
            | image::ImageFormat::Qcow2
            | image::ImageFormat::Other(_) => None,
        }
    }

    /// What is wrong with a file that cannot be unpacked.
    fn spoiled(self) -> String {
        match self {
            Self::Gzip => "the image cannot be unpacked: it is not a whole gzip file".to_owned(),
            Self::Xz => format!(
                "the image cannot be unpacked: it is not a whole xz file, or wants more than {MEMORY} MiB of memory"
            ),
            Self::Zstd => {
                format!(
                    "the image cannot be unpacked: it is not a whole zstd file, or wants more than {MEMORY} MiB of memory"
                )
            }
        }
    }
}

/// What comes out of a decoder.
pub enum Piece {
    /// Some bytes.
    Bytes(Bytes),
    /// Nothing more, and all was well.
    End,
}

/// The bytes for the volume, in pieces.
pub enum Pieces {
    /// As they came.
    Plain {
        /// What was looked at already.
        first: Option<Bytes>,
        /// The rest.
        rest: mpsc::Receiver<Bytes>,
    },
    /// As they are unpacked.
    Unpacked {
        /// Pieces, and at last the end or a sentence for the user: a decoder that ended without a word has not come to the end.
        pieces: mpsc::Receiver<Result<Piece, String>>,
        /// Whether the end was there.
        ended: bool,
    },
}

impl Pieces {
    /// Looks at the first bytes of what comes in chunks of [`CHUNK`] bytes.
    pub async fn of(mut chunks: mpsc::Receiver<Bytes>) -> Self {
        let first = chunks.recv().await;
        let Some(packing) = first.as_deref().and_then(Packing::of) else { return Self::Plain { first, rest: chunks } };
        let (sender, unpacked) = mpsc::channel(4);
        let packed = Packed { chunks, held: first.unwrap_or_default() };
        tokio::task::spawn_blocking(move || {
            let end = match unpack(packing, packed, &sender) {
                Ok(()) => Ok(Piece::End),
                Err(Ended::Spoiled) => Err(packing.spoiled()),
                Err(Ended::Unwanted) => return,
            };
            // Nobody may be there any more to be told.
            let _ = sender.blocking_send(end);
        });
        Self::Unpacked { pieces: unpacked, ended: false }
    }

    /// The bytes as they come.
    pub fn plain(chunks: mpsc::Receiver<Bytes>) -> Self {
        Self::Plain { first: None, rest: chunks }
    }

    /// Whether they are unpacked on the way.
    pub fn are_unpacked(&self) -> bool {
        matches!(self, Self::Unpacked { .. })
    }

    /// The next piece; None after the last.
    ///
    /// # Errors
    /// A sentence for the user, when it cannot be unpacked.
    pub async fn next(&mut self) -> Result<Option<Bytes>, String> {
        match self {
            Self::Plain { first, rest } => match first.take() {
                Some(first) => Ok(Some(first)),
                None => Ok(rest.recv().await),
            },
            Self::Unpacked { pieces: _, ended: true } => Ok(None),
            Self::Unpacked { pieces, ended } => match pieces.recv().await {
                Some(Ok(Piece::Bytes(bytes))) => Ok(Some(bytes)),
                Some(Ok(Piece::End)) => {
                    *ended = true;
                    Ok(None)
                }
                Some(Err(spoiled)) => Err(spoiled),
                None => Err("the image cannot be unpacked: its decoder gave up".to_owned()),
            },
        }
    }
}

/// Why unpacking ended before the end.
enum Ended {
    Spoiled,
    Unwanted,
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self::Spoiled
    }
}

type Sender = mpsc::Sender<Result<Piece, String>>;

/// On a thread of its own.
fn unpack(packing: Packing, mut packed: Packed, to: &Sender) -> Result<(), Ended> {
    match packing {
        Packing::Gzip => {
            // A file is any number of members, and zeros may fill it up, as on a tape.
            while !packed.is_over_but_for_zeros()? {
                pass(&mut GzDecoder::new(&mut packed), to)?;
            }
            Ok(())
        }
        Packing::Xz => pass(&mut XzReader::new_mem_limit(packed, true, MEMORY * 1024), to),
        Packing::Zstd => {
            // A file is any number of frames, some of which hold no data.
            while !packed.fill_buf()?.is_empty() {
                frame(&mut packed, to)?;
            }
            Ok(())
        }
    }
}

fn frame(packed: &mut Packed, to: &Sender) -> Result<(), Ended> {
    let window = u64::from(MEMORY) * 1024 * 1024;
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(window);
    match StreamingDecoder::new_with_decoder(&mut *packed, decoder) {
        Ok(mut frame) => pass(&mut frame, to),
        Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
            let skipped = io::copy(&mut packed.take(length.into()), &mut io::sink())?;
            if skipped == u64::from(length) { Ok(()) } else { Err(Ended::Spoiled) }
        }
        Err(_) => Err(Ended::Spoiled),
    }
}

/// Hands over all that a decoder gives.
fn pass(from: &mut dyn Read, to: &Sender) -> Result<(), Ended> {
    loop {
        let mut piece = Vec::with_capacity(CHUNK);
        from.take(CHUNK as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Ok(());
        }
        to.blocking_send(Ok(Piece::Bytes(piece.into()))).map_err(|_| Ended::Unwanted)?;
    }
}

/// The packed bytes, read as they come.
struct Packed {
    chunks: mpsc::Receiver<Bytes>,
    held: Bytes,
}

impl Packed {
    /// Whether nothing follows but zeros, which are taken then.
    fn is_over_but_for_zeros(&mut self) -> io::Result<bool> {
        loop {
            let held = self.fill_buf()?;
            let (zeros, length) = (held.iter().take_while(|byte| **byte == 0).count(), held.len());
            self.consume(zeros);
            if zeros < length || length == 0 {
                return Ok(length == 0);
            }
        }
    }
}

impl BufRead for Packed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.held.is_empty() {
            let Some(chunk) = self.chunks.blocking_recv() else { break };
            self.held = chunk;
        }
        Ok(&self.held)
    }

    fn consume(&mut self, count: usize) {
        self.held.advance(count);
    }
}

impl Read for Packed {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let held = self.fill_buf()?;
        let count = held.len().min(to.len());
        to[..count].copy_from_slice(&held[..count]);
        self.consume(count);
        Ok(count)
    }
}
