//! What was left is told by real images, as qemu-img makes them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf, process::Command};

use super::*;

const MIB: u64 = 1 << 20;
const UID: &str = "0a3c2f5e-5d0b-4d0e-9a52-0d2f1c7a9b11";

/// A folder with images.
struct Images(tempfile::TempDir);

impl Images {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let run = || Command::new(program).current_dir(&self.0).args(arguments).output().unwrap();
        // It gives up where it cannot tell how fast it makes keys.
        let is_unlucky = |told: &[u8]| String::from_utf8_lossy(told).contains("Unable to get accurate CPU usage");
        let output = (0..50).map(|_| run()).find(|output| !is_unlucky(&output.stderr)).unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// An image of so many bytes, made with these arguments.
    fn made(&self, name: &str, arguments: &[&str], size: u64) -> First {
        self.run("qemu-img", &[&["create", "-q"], arguments, &[name, &size.to_string()]].concat());
        self.first(name, size)
    }

    /// Writes into an image, as a guest does.
    fn written(&self, name: &str, what: &str) -> First {
        self.run("qemu-io", &["-f", "qcow2", "-c", what, name]);
        self.first(name, 16 * MIB)
    }

    fn first(&self, name: &str, capacity: u64) -> First {
        let mut bytes = fs::read(self.path(name)).unwrap();
        bytes.truncate(LOOK);
        First { bytes, capacity, allocation: fs::metadata(self.path(name)).unwrap().blocks() * 512 }
    }

    /// A raw disk that is not the same anywhere.
    fn disk(&self, name: &str, seed: u8) -> First {
        let byte = |at: u64| u8::try_from((at * 7 + at / 4096 + u64::from(seed)) % 251).unwrap();
        fs::write(self.path(name), (0..16 * MIB).map(byte).collect::<Vec<_>>()).unwrap();
        self.first(name, 16 * MIB)
    }
}

fn expected(format: Format) -> Expected {
    Expected {
        uid: UID.to_owned(),
        format,
        size: Some(16 * MIB),
        preallocation: Preallocation::Off,
        encrypted: false,
        below: None,
        head: None,
        original: None,
        is_copied: false,
    }
}

fn of(first: &First, expected: &Expected) -> Option<Left> {
    judge(first, expected, None)
}

const QCOW2: &[&str] = &["-f", "qcow2", "-o", "compat=1.1"];

#[test]
fn a_part_bears_the_mark_of_its_own_object() {
    for (format, seen) in [(Format::Raw, ImageFormat::Raw), (Format::Qcow2, ImageFormat::Qcow2)] {
        let size = (format == Format::Qcow2).then_some(16 * MIB);
        let image = Image {
            format: seen,
            virtual_size: size,
            backing: false,
            external_data: false,
            encrypted: false,
            fault: None,
        };
        let part = |uid: &str| {
            let mut bytes = image::closed(&image, HEAD, uid);
            bytes.resize(LOOK, 7);
            First { bytes, capacity: 16 * MIB, allocation: 16 * MIB }
        };
        assert_eq!(of(&part(UID), &expected(format)), Some(Left::Part));
        assert_eq!(of(&part("another"), &expected(format)), None);
    }
}

#[test]
fn zeros_are_nobodys_where_they_take_no_room_or_it_was_to_be_set_aside() {
    let zeros = |allocation| First { bytes: vec![0; LOOK], capacity: 16 * MIB, allocation };
    let raw = expected(Format::Raw);
    assert_eq!([0, MIB, MIB + 1].map(|taken| of(&zeros(taken), &raw)), [Some(Left::Blank), Some(Left::Blank), None]);
    let aside = Expected { preallocation: Preallocation::Falloc, ..raw.clone() };
    assert_eq!(of(&zeros(16 * MIB), &aside), Some(Left::Blank));
    // Some file systems begin late.
    for at in [0, 1024, 65_536 + 64, LOOK - 1] {
        let mut first = zeros(4096);
        first.bytes[at] = 1;
        assert_eq!([of(&first, &raw), of(&first, &aside)], [None; 2], "{at}");
    }
    assert_eq!(of(&First::default(), &expected(Format::Qcow2)), Some(Left::Blank));
}

#[test]
fn a_blank_qcow2_image_is_nobodys_and_one_with_a_single_byte_in_it_is_somebodys() {
    let images = Images::new();
    let wished = expected(Format::Qcow2);
    assert_eq!(of(&images.made("blank", QCOW2, 16 * MIB), &wished), Some(Left::Blank));
    assert_eq!(
        of(&images.made("large", QCOW2, 1 << 42), &Expected { size: None, ..wished.clone() }),
        Some(Left::Blank)
    );
    assert_eq!(of(&images.made("other", QCOW2, 17 * MIB), &wished), None, "it has another size");
    assert_eq!(of(&images.written("blank", "write -P 7 15M 512"), &wished), None);
    images.run("qemu-img", &["snapshot", "-c", "kept", "other"]);
    assert_eq!(of(&images.first("other", 17 * MIB), &Expected { size: None, ..wished }), None, "it keeps a snapshot");
    assert_eq!(of(&images.disk("raw", 1), &expected(Format::Raw)), None);
}

#[test]
fn of_an_image_whose_tables_were_made_beforehand_the_data_is_zeros() {
    let images = Images::new();
    for (how, word) in [(Preallocation::Metadata, "metadata"), (Preallocation::Falloc, "falloc")] {
        let options = format!("compat=1.1,preallocation={word}");
        let first = images.made(word, &["-f", "qcow2", "-o", &options], 16 * MIB);
        let wished = Expected { preallocation: how, ..expected(Format::Qcow2) };
        assert_eq!(of(&first, &wished), Some(Left::Blank), "{word}");
        assert_eq!(of(&first, &expected(Format::Qcow2)), None, "{word}: its tables were not asked for");
        assert_eq!(of(&images.written(word, "write -P 7 64k 512"), &wished), None, "{word}");
    }
    let plain = images.made("plain", QCOW2, 16 * MIB);
    let written = images.written("plain", "write -P 7 0 512");
    let wished = Expected { preallocation: Preallocation::Metadata, ..expected(Format::Qcow2) };
    assert_eq!([of(&plain, &wished), of(&written, &wished)], [Some(Left::Blank), None]);
}

#[test]
fn an_overlay_stands_on_what_it_is_to_stand_on() {
    let images = Images::new();
    images.made("base", QCOW2, 16 * MIB);
    let base = images.path("base").display().to_string();
    let first = images.made("overlay", &["-f", "qcow2", "-F", "qcow2", "-b", &base], 16 * MIB);
    let on = |below: &str| Expected { below: Some(below.to_owned()), ..expected(Format::Qcow2) };
    assert_eq!(of(&first, &on(&base)), Some(Left::Blank));
    assert_eq!([of(&first, &on("/other")), of(&first, &on("")), of(&first, &expected(Format::Qcow2))], [None; 3]);
    assert_eq!(of(&images.first("base", 16 * MIB), &on(&base)), None);
    assert_eq!(of(&images.written("overlay", "write -P 7 1M 512"), &on(&base)), None);
}

#[test]
fn an_encrypted_volume_without_content_is_nobodys() {
    let images = Images::new();
    let secret = ["--object", "secret,id=s,data=abc"];
    let luks = ["-f", "luks", "-o", "key-secret=s,iter-time=10"];
    let first = images.made("luks", &[&secret[..], &luks].concat(), 16 * MIB);
    let wished = |format| Expected { encrypted: true, ..expected(format) };
    assert_eq!(of(&first, &wished(Format::Raw)), Some(Left::Blank));
    assert_eq!(of(&first, &expected(Format::Raw)), None);
    let mut used = images.first("luks", 16 * MIB);
    used.bytes[3 << 20] = 1;
    assert_eq!(of(&used, &wished(Format::Raw)), None, "there is something in it");
    let full = First { allocation: 16 * MIB, ..images.first("luks", 16 * MIB) };
    assert_eq!(of(&full, &wished(Format::Raw)), None, "there is something further behind");
    for more in ["", ",preallocation=metadata"] {
        let options = format!("compat=1.1,encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10{more}");
        let first = images.made("sealed", &[&secret[..], &["-f", "qcow2", "-o", &options]].concat(), 16 * MIB);
        let wished = Expected {
            preallocation: if more.is_empty() { Preallocation::Off } else { Preallocation::Metadata },
            ..wished(Format::Qcow2)
        };
        assert_eq!(of(&first, &wished), Some(Left::Blank), "{more}");
        assert_eq!(of(&first, &Expected { encrypted: false, ..wished }), None, "{more}");
    }
}

#[test]
fn an_image_is_known_by_its_data_and_one_of_the_same_header_is_not_taken_for_it() {
    let images = Images::new();
    let (raw, other) = (images.disk("raw", 1), images.disk("other", 2));
    let head = |first: &First| Some(Bytes::copy_from_slice(&first.bytes));
    let of_raw = Expected { head: head(&raw), ..expected(Format::Raw) };
    assert_eq!([of(&raw, &of_raw), of(&other, &of_raw)], [Some(Left::Image), None]);
    // A short one, in a volume that is longer.
    let short = Expected { head: Some(Bytes::from_static(b"content")), ..expected(Format::Raw) };
    let volume = |bytes: &[u8]| First { bytes: [bytes, &[0; 100]].concat(), capacity: 512, allocation: 2 * MIB };
    assert_eq!(of(&volume(b"content"), &short), Some(Left::Image));
    assert_eq!([of(&volume(b"content of another"), &short), of(&volume(b"cont"), &short)], [None; 2]);
    // One that begins with zeros, as some file systems do, is known by what comes then; one of zeros alone is not known.
    let late = |byte: u8| {
        let mut bytes = vec![0; LOOK];
        bytes[HEAD + 64] = byte;
        First { bytes, capacity: 16 * MIB, allocation: 16 * MIB }
    };
    let of_late = |byte: u8| Expected { head: head(&late(byte)), ..expected(Format::Raw) };
    assert_eq!([1, 2, 0].map(|byte| of(&late(1), &of_late(byte))), [Some(Left::Image), None, None]);
    for packed in [&[][..], &["-c"]] {
        for name in ["raw", "other"] {
            let to = format!("{name}.qcow2");
            let arguments = [&["convert", "-f", "raw", "-O", "qcow2"], packed, &[name, &to]].concat();
            images.run("qemu-img", &arguments);
        }
        let [image, another] = ["raw.qcow2", "other.qcow2"].map(|name| images.first(name, 16 * MIB));
        let wished = Expected { head: head(&image), ..expected(Format::Qcow2) };
        assert_eq!([of(&image, &wished), of(&another, &wished)], [Some(Left::Image), None], "{packed:?}");
        images.run("qemu-img", &["resize", "-q", "raw.qcow2", "1T"]);
        assert_eq!(of(&images.first("raw.qcow2", 16 * MIB), &wished), Some(Left::Image), "{packed:?}: it has grown");
    }
}

#[test]
fn a_copy_begins_as_its_original_and_where_nothing_tells_that_it_has_its_size() {
    let images = Images::new();
    let (raw, other) = (images.disk("raw", 1), images.disk("other", 2));
    for name in ["raw", "other"] {
        images.run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", name, &format!("{name}.qcow2")]);
    }
    let [copy, another] = ["raw.qcow2", "other.qcow2"].map(|name| images.first(name, 16 * MIB));
    let wished = |format| Expected { size: None, is_copied: true, ..expected(format) };
    let of = |first: &First, original: &First, format| judge(first, &wished(Format::Qcow2), Some((original, format)));
    assert_eq!(of(&copy, &raw, Format::Raw), Some(Left::Copy));
    assert_eq!(of(&another, &raw, Format::Raw), None);
    assert_eq!([of(&copy, &copy, Format::Qcow2), of(&another, &copy, Format::Qcow2)], [Some(Left::Copy), None]);
    let grown = First { capacity: 32 * MIB, ..images.first("raw", 16 * MIB) };
    assert_eq!(of(&copy, &grown, Format::Raw), Some(Left::Copy), "the original has grown since");
    let smaller = First { capacity: 8 * MIB, ..images.first("raw", 16 * MIB) };
    assert_eq!(of(&copy, &smaller, Format::Raw), None, "it is larger than the original ever was");
    let of_raw = |first: &First| judge(first, &wished(Format::Raw), Some((&copy, Format::Qcow2)));
    assert_eq!([of_raw(&raw), of_raw(&other)], [Some(Left::Copy), None]);

    images.run("qemu-img", &["convert", "-c", "-f", "raw", "-O", "qcow2", "raw", "packed"]);
    let packed = images.first("packed", 16 * MIB);
    assert_eq!(of(&another, &packed, Format::Qcow2), Some(Left::Copy), "of what is packed only the size is known");
    let late = Expected { is_copied: false, ..wished(Format::Qcow2) };
    assert_eq!(judge(&another, &late, Some((&packed, Format::Qcow2))), None, "nobody has begun to copy");
    images.run("qemu-img", &["rebase", "-u", "-q", "-F", "raw", "-b", "raw", "raw.qcow2"]);
    assert_eq!(of(&images.first("raw.qcow2", 16 * MIB), &raw, Format::Raw), None, "it does not stand alone");
}

#[test]
fn random_bytes_behind_a_header_never_panic() {
    let images = Images::new();
    let blank = images.made("blank", QCOW2, 16 * MIB);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let wished = Expected { is_copied: true, preallocation: Preallocation::Metadata, ..expected(Format::Qcow2) };
    for _ in 0..2_000 {
        let mut bytes = blank.bytes[..4096].to_vec();
        for byte in &mut bytes[4..104] {
            if next() % 8 == 0 {
                *byte = next().to_be_bytes()[0];
            }
        }
        let head = Some(Bytes::copy_from_slice(&bytes));
        let first = First { bytes, capacity: 16 * MIB, allocation: 4096 };
        let _ = judge(&first, &Expected { head, ..wished.clone() }, Some((&blank, Format::Qcow2)));
    }
}
