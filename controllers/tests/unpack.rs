//! Packed files, sound and otherwise, as they come out.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use bytes::Bytes;
use provider_libvirt::volume::{fetch::CHUNK, unpack::Pieces};
use tokio::sync::mpsc;

/// What a program makes of these bytes.
fn pack(program: &str, options: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    let mut child = command.args(options).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, bytes) = (child.stdin.take().unwrap(), bytes.to_vec());
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let packed = child.wait_with_output().unwrap().stdout;
    writer.join().unwrap().unwrap();
    packed
}

/// What comes of a file, in the chunks that a transfer makes of it.
async fn unpacked(packed: &[u8]) -> Result<(bool, Vec<u8>), String> {
    let (sender, chunks) = mpsc::channel(4);
    let pieces: Vec<_> = packed.chunks(CHUNK).map(Bytes::copy_from_slice).collect();
    tokio::spawn(async move {
        for piece in pieces {
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    });
    let mut pieces = Pieces::of(chunks).await;
    let mut all = Vec::new();
    while let Some(piece) = pieces.next().await? {
        assert!(piece.len() <= CHUNK);
        all.extend_from_slice(&piece);
    }
    assert_eq!(pieces.next().await, Ok(None), "the end stays the end");
    Ok((pieces.are_unpacked(), all))
}

fn image() -> Vec<u8> {
    (0..3 * CHUNK + 17).map(|at| (at * at / 7 % 251).to_le_bytes()[0]).collect()
}

const PACKERS: [(&str, &[&str]); 6] = [
    ("gzip", &["-c"]),
    ("gzip", &["-c1"]),
    ("xz", &["-c"]),
    ("xz", &["-c9", "-T2", "--block-size=100KiB", "--check=sha256"]),
    ("zstd", &["-c"]),
    ("zstd", &["-c", "--ultra", "-22", "--long=27"]),
];

#[tokio::test]
async fn what_was_packed_comes_out_as_it_was() {
    let image = image();
    for (program, options) in PACKERS {
        let packed = pack(program, options, &image);
        assert!(packed.len() > 100 && packed != image, "{program} packs");
        assert!(unpacked(&packed).await == Ok((true, image.clone())), "{program} {options:?}");
        let nothing = pack(program, options, b"");
        assert_eq!(unpacked(&nothing).await, Ok((true, Vec::new())), "{program} {options:?}");
    }
}

#[tokio::test]
async fn a_file_of_several_parts_is_all_of_them() {
    let (image, other) = (image(), vec![7; 5]);
    for (program, options) in PACKERS {
        let both = [pack(program, options, &image), pack(program, options, &other)].concat();
        assert!(unpacked(&both).await == Ok((true, [image.clone(), other.clone()].concat())), "{program} {options:?}");
    }
    let filled = [pack("gzip", &["-c"], &image), vec![0; 2 * CHUNK]].concat();
    assert!(unpacked(&filled).await == Ok((true, image.clone())), "zeros after a gzip file are none of it");
    let frame = pack("zstd", &["-c"], &image);
    let skipped = [frame.clone(), b"\x5a\x2a\x4d\x18\x03\0\0\0abc".to_vec(), frame].concat();
    assert!(unpacked(&skipped).await == Ok((true, image.repeat(2))), "a frame without data is passed over");
}

#[tokio::test]
async fn a_file_that_is_cut_off_or_damaged_is_no_image() {
    for (program, options) in PACKERS {
        let (whole, what) = (pack(program, options, &image()), format!("it is not a whole {program} file"));
        for cut in [1, 9, whole.len() / 2] {
            let error = unpacked(&whole[..whole.len() - cut]).await.map(drop).unwrap_err();
            assert!(error.starts_with("the image cannot be unpacked: ") && error.contains(&what), "{cut}: {error}");
        }
        let mut damaged = whole.clone();
        damaged[whole.len() / 2..][..16].fill(0xa5);
        // zstd's checksum is not looked at: the file's own is, on the way here.
        let end = unpacked(&damaged).await;
        assert!(
            end.as_ref().is_ok_and(|(_, bytes)| program == "zstd" && *bytes != image()) || end.is_err(),
            "{program}"
        );
    }
}

/// An xz file whose block says that a dictionary of 1 GiB is needed.
fn greedy_xz() -> Vec<u8> {
    let mut packed = pack("xz", &["-c0"], &image());
    // After the stream's 12 bytes: size, flags, LZMA2 and one byte of properties, which is the dictionary's size; the checksum is last.
    let header = &mut packed[12..24];
    assert_eq!(header[..4], [2, 0, 0x21, 1]);
    header[4] = 36;
    let mut sum = flate2::Crc::new();
    sum.update(&header[..8]);
    header[8..].copy_from_slice(&sum.sum().to_le_bytes());
    packed
}

#[tokio::test]
async fn a_file_that_wants_much_memory_is_refused() {
    // A frame with a window of 256 MiB, and an empty last block.
    let greedy_zstd = b"\x28\xb5\x2f\xfd\x00\x90\x01\0\0".to_vec();
    for (program, packed) in [("xz", greedy_xz()), ("zstd", greedy_zstd)] {
        let error = unpacked(&packed).await.map(drop).unwrap_err();
        let wished = format!(
            "the image cannot be unpacked: it is not a whole {program} file, or wants more than 160 MiB of memory"
        );
        assert_eq!(error, wished);
    }
}

#[tokio::test]
async fn what_is_not_packed_stays_as_it_is() {
    for bytes in [image(), Vec::new(), b"PK\x03\x04 and more".to_vec()] {
        assert!(unpacked(&bytes).await == Ok((false, bytes)));
    }
}

#[tokio::test]
async fn a_decoder_whose_bytes_nobody_wants_ends() {
    let bomb = pack("gzip", &["-c"], &vec![0; 64 << 20]);
    let (sender, chunks) = mpsc::channel(4);
    for chunk in bomb.chunks(CHUNK) {
        sender.send(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    let mut pieces = Pieces::of(chunks).await;
    assert_eq!(pieces.next().await.unwrap().map(|piece| piece.len()), Some(CHUNK));
    drop(pieces);
    // The decoder's side of the channel goes when it notices.
    tokio::time::timeout(std::time::Duration::from_secs(5), sender.closed()).await.unwrap();
}
