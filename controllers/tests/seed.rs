//! The seed image, read back by a program that had no part in writing it: isoinfo of genisoimage.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::{path::Path, process::Command, thread, time::Duration};

use data_encoding::HEXLOWER;
use provider_libvirt::cloud_init::seed::{LABEL, Seed, default_meta_data, instance_id};
use sha2::{Digest, Sha256};

fn seed(user_data: &[u8]) -> Seed {
    Seed {
        user_data: user_data.to_vec(),
        meta_data: b"instance-id: i-1\n".to_vec(),
        network_config: None,
        vendor_data: None,
    }
}

fn full(content: &[u8]) -> Seed {
    Seed {
        user_data: content.to_vec(),
        meta_data: [b"meta", content].concat(),
        network_config: Some([b"network", content].concat()),
        vendor_data: Some([b"vendor", content].concat()),
    }
}

fn isoinfo(image: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("isoinfo")
        .arg("-i")
        .arg(image)
        .args(arguments)
        .output()
        .expect("isoinfo of the package genisoimage is needed");
    assert!(output.status.success(), "isoinfo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn written(seed: &Seed) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), seed.image().unwrap()).unwrap();
    file
}

fn names(image: &Path, extension: &str) -> Vec<String> {
    let text = String::from_utf8(isoinfo(image, &["-f", extension])).unwrap();
    let mut names: Vec<_> = text.lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn both_extensions_show_the_exact_lower_case_names() {
    let image = written(&full(b"x"));
    let expected = ["/meta-data", "/network-config", "/user-data", "/vendor-data"];
    assert_eq!(names(image.path(), "-R"), expected);
    assert_eq!(names(image.path(), "-J"), expected);
}

#[test]
fn files_that_are_not_given_are_not_there() {
    let image = written(&seed(b"x"));
    assert_eq!(names(image.path(), "-R"), ["/meta-data", "/user-data"]);
    assert_eq!(names(image.path(), "-J"), ["/meta-data", "/user-data"]);
}

#[test]
fn the_label_is_what_cloud_init_looks_for() {
    let image = written(&seed(b"x"));
    let text = String::from_utf8_lossy(&isoinfo(image.path(), &["-d"])).into_owned();
    assert_eq!(text.lines().find_map(|line| line.strip_prefix("Volume id: ")), Some(LABEL));
    let bytes = std::fs::read(image.path()).unwrap();
    assert_eq!((&bytes[32769..32774], &bytes[32808..32840]), (&b"CD001"[..], &b"cidata                          "[..]));
    // The Joliet descriptor has a label of its own, in UTF-16: a system that reads that tree shows that label.
    assert_eq!(&bytes[34816 + 40..34816 + 52], b"\0c\0i\0d\0a\0t\0a");
}

#[test]
fn contents_are_byte_exact_through_both_extensions() {
    let binary: Vec<u8> = (0..=255u8).cycle().take(5000).collect();
    let large: Vec<u8> = (0..500 * 1024u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let sector = vec![b'x'; 2048];
    let cases: [&[u8]; 7] =
        [b"", b"\"'\\$(id)`\n", b"a\r\nb\r\n\r", b"EOF\ncat <<EOF\nEOF\n", &binary, &sector, &large];
    for content in cases {
        let seed = full(content);
        let image = written(&seed);
        for extension in ["-R", "-J"] {
            let read = |name: &str| isoinfo(image.path(), &[extension, "-x", name]);
            let back = Seed {
                user_data: read("/user-data"),
                meta_data: read("/meta-data"),
                network_config: Some(read("/network-config")),
                vendor_data: Some(read("/vendor-data")),
            };
            // Not assert_eq: Debug of a seed hides what differs, and the sizes say enough.
            assert!(back == seed, "{extension}: {back:?} instead of {seed:?}");
        }
    }
}

#[test]
fn the_same_content_gives_the_same_bytes_a_second_later() {
    let first = full(b"#cloud-config\n").image().unwrap();
    thread::sleep(Duration::from_millis(1100));
    assert!(first == full(b"#cloud-config\n").image().unwrap());
}

/// A new version of the library may lay images out otherwise. That is no harm to seeds that exist, and must not come unnoticed.
#[test]
fn the_bytes_stay_what_they_were() {
    let image = full(b"#cloud-config\n").image().unwrap();
    assert_eq!(
        HEXLOWER.encode(&Sha256::digest(image)),
        "7d18cbd2e7e02328259ac4a035e82abe9748d685956b9eb241253aa445ba983a"
    );
}

#[test]
fn the_image_is_whole_sectors_and_small() {
    let image = seed(b"#cloud-config\n").image().unwrap();
    assert_eq!(image.len() % 2048, 0);
    assert!(image.len() <= 512 * 1024, "{} bytes", image.len());
}

#[test]
fn digests_tell_apart_what_concatenation_would_not() {
    let base = full(b"");
    let moved = Seed { user_data: b"m".to_vec(), meta_data: b"eta".to_vec(), ..base.clone() };
    let absent = Seed { network_config: None, ..base.clone() };
    let empty = Seed { network_config: Some(Vec::new()), ..base.clone() };
    let swapped =
        Seed { network_config: base.vendor_data.clone(), vendor_data: base.network_config.clone(), ..base.clone() };
    let mut digests: Vec<_> = [&base, &moved, &absent, &empty, &swapped].map(Seed::digest).to_vec();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 5);
    assert!(digests.iter().all(|digest| digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())));
}

#[test]
fn the_digest_stays_what_it_was_for_volumes_that_exist() {
    assert_eq!(seed(b"#cloud-config\n").digest(), "05b845b21b56b635");
}

#[test]
fn debug_shows_sizes_and_no_content() {
    let seed = Seed {
        user_data: b"password: hunter2".to_vec(),
        meta_data: b"{}".to_vec(),
        network_config: None,
        vendor_data: Some(Vec::new()),
    };
    assert_eq!(
        format!("{seed:?}"),
        r#"{"meta-data": Some(2), "network-config": None, "user-data": Some(17), "vendor-data": Some(0)}"#
    );
}

#[test]
fn default_meta_data_is_plain_yaml_where_it_can_be() {
    let of = |uid: &str, name: &str| String::from_utf8(default_meta_data(uid, name)).unwrap();
    let uid = "0b6a3c1e-4a52-4a0e-9d3c-0f7a3f0b6a3c";
    assert_eq!(of(uid, "web-1"), format!("instance-id: {uid}\nlocal-hostname: web-1\n"));
    assert_eq!(of(uid, "db.prod.example"), format!("instance-id: {uid}\nlocal-hostname: db.prod.example\n"));
    assert_eq!(of(uid, "1e3"), format!("instance-id: {uid}\nlocal-hostname: \"1e3\"\n"));
    assert_eq!(of(uid, "null"), format!("instance-id: {uid}\nlocal-hostname: \"null\"\n"));
    assert_eq!(of("a\"b\n", "Web_Server"), "instance-id: \"a\\\"b\\n\"\nlocal-hostname: web-server\n");
    assert_eq!(of(uid, "..."), format!("instance-id: {uid}\n"));
}

#[test]
fn host_names_are_cut_to_what_linux_takes() {
    let of = |name: &str| String::from_utf8(default_meta_data("u", name)).unwrap();
    let long = "a".repeat(70);
    assert_eq!(of(&long), format!("instance-id: u\nlocal-hostname: {}\n", "a".repeat(63)));
    assert_eq!(
        of(&format!("{}.example", "a".repeat(60))),
        format!("instance-id: u\nlocal-hostname: {}\n", "a".repeat(60))
    );
    assert_eq!(
        of(&format!("{}-{}", "a".repeat(62), "b")),
        format!("instance-id: u\nlocal-hostname: {}\n", "a".repeat(62))
    );
}

#[test]
fn the_instance_id_is_found_in_yaml_and_json() {
    let of = |text: &str| instance_id(text.as_bytes());
    let some = |id: &str| Some(id.to_owned());
    assert_eq!(of("instance-id: i-1\nlocal-hostname: web\n"), some("i-1"));
    assert_eq!(of("# made by hand\r\ninstance-id: \"i 1\"\r\n"), some("i 1"));
    assert_eq!(of("{\"instance-id\": \"i-1\", \"other\": {\"instance-id\": \"i-2\"}}"), some("i-1"));
    assert_eq!(of("---\nother:\n  instance-id: i-2\ninstance-id: i-1\n"), some("i-1"));
    assert_eq!(of("instance-id: 17\n"), some("17"));
    assert_eq!(instance_id(&default_meta_data("null", "web")), some("null"));
}

#[test]
fn meta_data_without_a_readable_instance_id_has_none() {
    let cases: [&[u8]; 8] =
        [b"", b"local-hostname: web\n", b"instance-id:\n", b"instance-id: [1]\n", b"- a\n", b"{", b"\xff\xfe", b"text"];
    for text in cases {
        assert_eq!(instance_id(text), None, "{}", String::from_utf8_lossy(text));
    }
    // An expansion bomb ends, and ends without an answer.
    let bomb = (1..40).fold("a0: &a0 [x,x]\n".to_owned(), |text, at| {
        format!("{text}a{at}: &a{at} [*a{0},*a{0},*a{0},*a{0}]\n", at - 1)
    });
    assert_eq!(instance_id(format!("{bomb}instance-id: i-1\n").as_bytes()), None);
}
