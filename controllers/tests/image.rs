//! Images judged by their first bytes: real ones that qemu-img made, and hostile ones made by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::{
    fs::File,
    io::Read,
    path::Path,
    process::{Command, Output},
};

use apis::volume::Format;
use provider_libvirt::volume::image::{HEAD, Image, ImageFormat, MAX_VIRTUAL_SIZE, check, closed, has_mark, inspect};

const MIB: u64 = 1024 * 1024;
const UID: &str = "0a3c2f5e-5d0b-4d0e-9a52-0d2f1c7a9b11";

fn qemu_img(directory: &Path, arguments: &[&str]) {
    let run = || {
        let mut command = Command::new("qemu-img");
        command.current_dir(directory).args(arguments).output().expect("qemu-img of the package qemu-utils is needed")
    };
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    // It measures how fast it makes keys, and gives up where the kernel's clock of processor time has not moved meanwhile.
    let is_unlucky = |output: &Output| said(output).contains("Unable to get accurate CPU usage");
    let output = (0..50).map(|_| run()).find(|output| !is_unlucky(output)).expect("the clock stands still");
    assert!(output.status.success(), "qemu-img {arguments:?}: {}", said(&output));
}

fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    File::open(path).unwrap().take(HEAD as u64).read_to_end(&mut head).unwrap();
    head
}

/// What is seen of an image of 5 MiB that `qemu-img create` made with these arguments.
fn created(arguments: &[&str]) -> Image {
    let directory = tempfile::tempdir().unwrap();
    qemu_img(directory.path(), &["create", "-q", "-f", "qcow2", "base", "3M"]);
    qemu_img(directory.path(), &[&["create", "-q"], arguments, &["image", "5M"]].concat());
    inspect(&head(&directory.path().join("image")))
}

fn image(format: ImageFormat) -> Image {
    Image { format, virtual_size: None, backing: false, external_data: false, encrypted: false, fault: None }
}

fn qcow2(size: u64) -> Image {
    Image { virtual_size: Some(size), ..image(ImageFormat::Qcow2) }
}

/// A header of version 3 as qemu-img writes it, to be spoilt.
fn header() -> Vec<u8> {
    let mut head = vec![0; 512];
    head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    put(&mut head, 20, &16u32.to_be_bytes());
    put(&mut head, 24, &MIB.to_be_bytes());
    put(&mut head, 100, &104u32.to_be_bytes());
    head
}

fn put(head: &mut [u8], at: usize, bytes: &[u8]) {
    head[at..at + bytes.len()].copy_from_slice(bytes);
}

fn spoilt(at: usize, bytes: &[u8]) -> Image {
    let mut head = header();
    put(&mut head, at, bytes);
    inspect(&head)
}

#[test]
fn qcow2_images_of_every_version_and_cluster_size_are_recognised() {
    assert_eq!(created(&["-f", "qcow2"]), qcow2(5 * MIB));
    assert_eq!(created(&["-f", "qcow2", "-o", "compat=0.10"]), qcow2(5 * MIB));
    assert_eq!(created(&["-f", "qcow2", "-o", "cluster_size=512"]), qcow2(5 * MIB));
    assert_eq!(created(&["-f", "qcow2", "-o", "cluster_size=2M,extended_l2=on"]), qcow2(5 * MIB));
}

#[test]
fn a_backing_file_is_seen() {
    let expected = Image { backing: true, ..qcow2(5 * MIB) };
    assert_eq!(created(&["-f", "qcow2", "-b", "base", "-F", "qcow2"]), expected);
    assert_eq!(created(&["-f", "qcow2", "-o", "compat=0.10", "-b", "base", "-F", "qcow2"]), expected);
}

#[test]
fn a_backing_file_that_was_flattened_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    qemu_img(directory.path(), &["create", "-q", "-f", "qcow2", "base", "5M"]);
    qemu_img(directory.path(), &["create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "image"]);
    qemu_img(directory.path(), &["rebase", "-q", "-b", "", "image"]);
    assert_eq!(inspect(&head(&directory.path().join("image"))), qcow2(5 * MIB));
}

#[test]
fn an_external_data_file_is_seen() {
    let expected = Image { external_data: true, ..qcow2(5 * MIB) };
    assert_eq!(created(&["-f", "qcow2", "-o", "data_file=data"]), expected);
    assert_eq!(created(&["-f", "qcow2", "-o", "data_file=data,data_file_raw=on"]), expected);
}

#[test]
fn encryption_is_seen() {
    let secret = [
        "--object",
        "secret,id=s,data=abc",
        "-f",
        "qcow2",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
    ];
    assert_eq!(created(&secret), Image { encrypted: true, ..qcow2(5 * MIB) });
}

#[test]
fn other_formats_have_their_names() {
    for (format, name) in [
        ("vmdk", "vmdk"),
        ("vdi", "vdi"),
        ("vhdx", "vhdx"),
        ("vpc", "vpc"),
        ("qed", "qed"),
        ("qcow", "qcow"),
        ("parallels", "parallels"),
    ] {
        assert_eq!(created(&["-f", format]), image(ImageFormat::Other(name)), "{format}");
    }
    assert_eq!(created(&["-f", "vmdk", "-o", "subformat=monolithicFlat"]), image(ImageFormat::Other("vmdk")));
}

#[test]
fn what_has_no_magic_is_raw() {
    assert_eq!(created(&["-f", "raw"]), image(ImageFormat::Raw));
    let mut iso = vec![0; HEAD];
    put(&mut iso, 32769, b"CD001");
    let mut boot = vec![0; 512];
    put(&mut boot, 0, b"\xeb\x63\x90");
    put(&mut boot, 510, b"\x55\xaa");
    for head in [&b""[..], b"Q", b"QFI", &iso, &boot] {
        assert_eq!(inspect(head), image(ImageFormat::Raw));
    }
}

#[test]
fn compressed_files_are_recognised() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("disk"), b"disk").unwrap();
    for (program, extension) in [("gzip", "gz"), ("xz", "xz")] {
        let status = Command::new(program).arg("-k").arg(directory.path().join("disk")).status().unwrap();
        assert!(status.success());
        let head = head(&directory.path().join(format!("disk.{extension}")));
        assert_eq!(inspect(&head), image(ImageFormat::Compressed(program)));
    }
}

#[test]
fn hand_made_headers_name_other_files_in_every_way_there_is() {
    assert_eq!(inspect(&header()), qcow2(MIB));
    let backing = Image { backing: true, ..qcow2(MIB) };
    assert_eq!(spoilt(8, &512u64.to_be_bytes()), backing);
    assert_eq!(spoilt(8, &u64::MAX.to_be_bytes()), backing);
    assert_eq!(spoilt(16, &9u32.to_be_bytes()), backing);
    let external = Image { external_data: true, ..qcow2(MIB) };
    assert_eq!(spoilt(72, &4u64.to_be_bytes()), external);
    assert_eq!(spoilt(104, b"DATA\0\0\0\x04file"), external);
    // After another extension whose length is not a multiple of eight.
    assert_eq!(spoilt(104, b"\xe2\x79\x2a\xca\0\0\0\x03raw\0\0\0\0\0DATA\0\0\0\x04file"), external);
    // After the end of the list it is data.
    assert_eq!(spoilt(104, b"\0\0\0\0\0\0\0\0DATA\0\0\0\x04file"), qcow2(MIB));
}

#[test]
fn impossible_headers_are_faults() {
    let cases: [(usize, &[u8], &str); 8] = [
        (4, &[0, 0, 0, 4], "its qcow2 version is neither 2 nor 3"),
        (4, &[0, 0, 0, 0], "its qcow2 version is neither 2 nor 3"),
        (20, &8u32.to_be_bytes(), "its qcow2 cluster size is impossible"),
        (20, &u32::MAX.to_be_bytes(), "its qcow2 cluster size is impossible"),
        (24, &u64::MAX.to_be_bytes(), "it claims to be larger than 1 PiB"),
        (24, &(MAX_VIRTUAL_SIZE + 1).to_be_bytes(), "it claims to be larger than 1 PiB"),
        (100, &u32::MAX.to_be_bytes(), "its qcow2 header length is impossible"),
        (72, &2u64.to_be_bytes(), "it is marked corrupt; repair it first with qemu-img check -r all"),
    ];
    for (at, bytes, fault) in cases {
        let image = spoilt(at, bytes);
        assert_eq!(image.fault, Some(fault), "{bytes:?} at {at}");
        assert_eq!(check(&image, Format::Qcow2), Err(format!("the image is not usable: {fault}")));
    }
    assert_eq!(spoilt(24, &MAX_VIRTUAL_SIZE.to_be_bytes()).fault, None);
}

#[test]
fn a_header_cut_anywhere_is_a_fault_and_no_panic() {
    for end in 4..104 {
        assert_eq!(inspect(&header()[..end]).fault, Some("its qcow2 header is cut off"), "cut at {end}");
    }
    assert_eq!(inspect(&header()[..104]), qcow2(MIB));
}

#[test]
fn random_bytes_after_the_magic_never_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    for _ in 0..20_000 {
        let mut head: Vec<u8> = (0..200).map(|_| byte()).collect();
        put(&mut head, 0, b"QFI\xfb\0\0\0\x03");
        // A plausible header length lets the walk through the extensions begin.
        put(&mut head, 100, &[0, 0, 0, 104]);
        assert_eq!(inspect(&head).format, ImageFormat::Qcow2);
    }
}

#[test]
fn an_image_of_the_wished_format_is_fine() {
    assert_eq!(check(&qcow2(MIB), Format::Qcow2), Ok(()));
    assert_eq!(check(&image(ImageFormat::Raw), Format::Raw), Ok(()));
}

#[test]
fn a_compressed_file_is_taken_where_raw_bytes_are_wished_as_of_an_initial_ramdisk() {
    assert_eq!(check(&image(ImageFormat::Compressed("gzip")), Format::Raw), Ok(()));
}

#[test]
fn an_image_that_must_not_be_used_is_refused_with_the_cure() {
    let cases = [
        (
            Image { backing: true, ..qcow2(MIB) },
            Format::Qcow2,
            "the image refers to another file (a backing file); flatten it first with qemu-img convert",
        ),
        (
            Image { external_data: true, ..qcow2(MIB) },
            Format::Qcow2,
            "the image refers to another file (an external data file); flatten it first with qemu-img convert",
        ),
        (
            Image { encrypted: true, ..qcow2(MIB) },
            Format::Qcow2,
            "the image is encrypted; decrypt it first with qemu-img convert",
        ),
        (
            image(ImageFormat::Raw),
            Format::Qcow2,
            "the image is not qcow2; create the Volume with format: Raw, or convert the image first with qemu-img convert -O qcow2",
        ),
        (
            qcow2(MIB),
            Format::Raw,
            "the image is qcow2; create the Volume with format: Qcow2, or convert the image first with qemu-img convert -O raw",
        ),
        (
            image(ImageFormat::Other("vmdk")),
            Format::Raw,
            "the image is vmdk; convert it first with qemu-img convert -O raw",
        ),
        (
            image(ImageFormat::Other("vdi")),
            Format::Qcow2,
            "the image is vdi; convert it first with qemu-img convert -O qcow2",
        ),
        (image(ImageFormat::Compressed("xz")), Format::Qcow2, "the image is compressed; unpack it first with xz"),
    ];
    for (image, wished, sentence) in cases {
        assert_eq!(check(&image, wished), Err(sentence.to_owned()));
    }
}

#[test]
fn an_image_that_is_not_whole_shows_its_kind_and_size_and_nobody_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    for arguments in [&["-f", "qcow2"][..], &["-f", "qcow2", "-o", "compat=0.10"]] {
        qemu_img(directory.path(), &[&["create", "-q"], arguments, &["image", "5M"]].concat());
        let (seen, whole) = (inspect(&head(&path)), std::fs::read(&path).unwrap());
        let shut = closed(&seen, HEAD, UID);
        assert!(has_mark(&shut, UID) && !has_mark(&shut, "d27b1cf2") && !has_mark(&whole, UID));
        assert_eq!((shut.len(), inspect(&shut)), (HEAD, qcow2(5 * MIB)));
        std::fs::write(&path, [&shut[..], &whole[HEAD..]].concat()).unwrap();
        let told = Command::new("qemu-img").args(["info", "-f", "qcow2"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&told.stderr);
        assert!(!told.status.success() && said.contains("Unsupported qcow2 feature"), "{said}");
    }
    // A raw disk that begins with nothing is not booted from either. Its second sector says whose it is, if it has one.
    let mark = format!("provider-libvirt: this image is not whole; object {UID}\n");
    let shut = closed(&image(ImageFormat::Raw), HEAD, UID);
    let rest = vec![0; HEAD - 512 - mark.len()];
    assert_eq!(shut, [&[0; 512][..], mark.as_bytes(), &rest].concat());
    assert_eq!((inspect(&shut), has_mark(&shut, UID)), (image(ImageFormat::Raw), true));
    for length in [0, 512, 512 + mark.len() - 1] {
        assert_eq!(closed(&image(ImageFormat::Raw), length, UID), vec![0; length]);
    }
}
