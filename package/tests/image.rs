//! The image and the file that it is written to, as those read them who know nothing of us.

#![allow(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use flate2::read::GzDecoder;
use package::{Descriptor, Image, Package, Tree};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn package() -> Package {
    Package::new(&root(), "1.2.3").unwrap().made_of(Some(COMMIT.to_owned()), 1_700_000_000).unwrap()
}

/// A root file system with one of everything.
fn system() -> Tree {
    let mut system = Tree::default();
    system.add_file("usr/bin/tool", 0o755, "tool");
    system.add_link("bin", "usr/bin");
    system.add_folder("tmp", 0o1777);
    system
}

fn image() -> Image {
    package().with_runtime(&system(), b"program".to_vec()).unwrap()
}

fn hash(bytes: &[u8]) -> String {
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(bytes)))
}

/// Files of a tar archive by path.
fn unpack(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        found.insert(entry.path().unwrap().display().to_string(), bytes);
    }
    found
}

fn unzip(blob: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    GzDecoder::new(blob).read_to_end(&mut archive).unwrap();
    archive
}

fn written(image: &Image) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("below/provider-libvirt-1.2.3.xpkg");
    image.write(&file, "provider-libvirt", "v1.2.3").unwrap();
    assert_eq!(&Image::read(&file).unwrap(), image);
    unpack(&fs::read(file).unwrap())
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn two_builds_give_the_same_bytes() {
    assert_eq!(written(&image()), written(&image()));
}

#[test]
fn another_version_shares_the_layers_of_what_did_not_change() {
    let other = Package::new(&root(), "1.2.4").unwrap().with_runtime(&system(), b"other program".to_vec()).unwrap();
    let layers = |image: &Image| -> Vec<_> {
        image.manifest().unwrap().layers.into_iter().map(|Descriptor { digest, .. }| digest).collect()
    };
    let (old, new) = (layers(&image()), layers(&other));
    let shared: Vec<_> = old.iter().zip(&new).map(|(old, new)| old == new).collect();
    assert_eq!(shared, [true, false, true, true]);
}

#[test]
fn crossplane_finds_the_package_and_the_examples_by_the_annotations_of_their_layers() {
    let image = image();
    let found: Vec<_> = image
        .manifest()
        .unwrap()
        .layers
        .iter()
        .map(|layer| {
            let files: Vec<_> = unpack(&unzip(image.blob(&layer.digest).unwrap())).into_keys().collect();
            (layer.annotations.get("io.crossplane.xpkg").cloned(), files.join(" "))
        })
        .collect();
    let wanted = [
        (None, "bin tmp/ usr/ usr/bin/ usr/bin/tool"),
        (
            None,
            "usr/ usr/bin/ usr/bin/provider-libvirt usr/share/ usr/share/doc/ usr/share/doc/provider-libvirt/ \
             usr/share/doc/provider-libvirt/CRATES usr/share/doc/provider-libvirt/LICENSE",
        ),
        (Some("base"), "package.yaml"),
        (Some("upbound"), ".up/ .up/examples.yaml"),
    ];
    assert_eq!(found, wanted.map(|(role, files)| (role.map(ToOwned::to_owned), files.to_owned())));
}

#[test]
fn every_file_of_a_layer_is_roots_and_from_the_beginning_of_time() {
    let archive = system().to_tar().unwrap();
    let mut archive = tar::Archive::new(archive.as_slice());
    let found: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let header = entry.unwrap().header().clone();
            let path = header.path().unwrap().display().to_string();
            let owner = (header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap());
            let names = (header.username_bytes().unwrap().len(), header.groupname_bytes().unwrap().len());
            (path, header.mode().unwrap(), owner, names, header.as_ustar().is_some())
        })
        .collect();
    let wanted = [("bin", 0o777), ("tmp/", 0o1777), ("usr/", 0o755), ("usr/bin/", 0o755), ("usr/bin/tool", 0o755)];
    assert_eq!(found, wanted.map(|(path, mode)| (path.to_owned(), mode, (0, 0, 0), (0, 0), true)));
}

#[test]
fn the_configuration_says_how_the_image_is_run() {
    let image = image();
    let manifest = image.manifest().unwrap();
    let config = parse(image.blob(&manifest.config.digest).unwrap());
    let archives: Vec<_> =
        manifest.layers.iter().map(|layer| hash(&unzip(image.blob(&layer.digest).unwrap()))).collect();
    let mut labels = json!({
        "org.opencontainers.image.description":
            "Makes libvirt hosts declarable - guests, disks, pools, networks and cloud-init seeds as Kubernetes objects.",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.revision": COMMIT,
        "org.opencontainers.image.source": "https://nourspeed.io/provider-libvirt",
        "org.opencontainers.image.title": "provider-libvirt",
        "org.opencontainers.image.vendor": "The provider-libvirt maintainers",
        "org.opencontainers.image.version": "v1.2.3",
    });
    assert_eq!(serde_json::to_value(&manifest.annotations).unwrap(), labels);
    labels[format!("io.crossplane.xpkg:{}", manifest.layers[2].digest)] = "base".into();
    labels[format!("io.crossplane.xpkg:{}", manifest.layers[3].digest)] = "upbound".into();
    let created = "2023-11-14T22:13:20Z";
    let history =
        ["Debian packages", "provider-libvirt", "package.yaml: crossplane.yaml, CRDs, webhooks", ".up/examples.yaml"]
            .map(|made_of| json!({"created": created, "created_by": made_of}));
    let wanted = json!({
        "created": created,
        "architecture": package::Platform::here().architecture,
        "os": "linux",
        "config": {
            "User": "2000:2000",
            "ExposedPorts": {"8080/tcp": {}, "9443/tcp": {}},
            "Env": [
                "PATH=/usr/bin:/bin", "HOME=/tmp", "XDG_CACHE_HOME=/tmp/.cache", "XDG_CONFIG_HOME=/tmp/.config",
                "XDG_DATA_HOME=/tmp/.local/share", "XDG_RUNTIME_DIR=/tmp/.run",
            ],
            "Entrypoint": ["/usr/bin/provider-libvirt"],
            "WorkingDir": "/",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": archives},
        "history": history,
    });
    assert_eq!(config, wanted);
}

#[test]
fn the_file_is_a_docker_archive_whose_names_are_digests() {
    let image = image();
    let files = written(&image);
    let manifest = image.manifest().unwrap();
    let path = |digest: &str| digest.replace("sha256:", "blobs/sha256/");
    let layers: Vec<_> = manifest.layers.iter().map(|layer| path(&layer.digest)).collect();
    let wanted = json!([{
        "Config": path(&manifest.config.digest), "RepoTags": ["provider-libvirt:v1.2.3"], "Layers": layers,
    }]);
    assert_eq!(parse(&files["manifest.json"]), wanted);
    for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("blobs/sha256/") && !name.ends_with('/')) {
        assert_eq!(*name, path(&hash(bytes)));
    }
}

#[test]
fn the_file_is_an_oci_layout_with_the_manifest_that_a_registry_gets() {
    let image = image();
    let files = written(&image);
    let manifest = &files[&image.digest().replace("sha256:", "blobs/sha256/")];
    let wanted = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": hash(manifest),
            "size": manifest.len(),
            "platform": {"architecture": package::Platform::here().architecture, "os": "linux"},
            "annotations": {
                "io.containerd.image.name": "docker.io/library/provider-libvirt:v1.2.3",
                "org.opencontainers.image.ref.name": "v1.2.3",
            },
        }],
    });
    assert_eq!(parse(&files["index.json"]), wanted);
    assert_eq!(parse(&files["oci-layout"]), json!({"imageLayoutVersion": "1.0.0"}));
    for part in image.manifest().unwrap().layers {
        let blob = &files[&part.digest.replace("sha256:", "blobs/sha256/")];
        assert_eq!((hash(blob), blob.len() as u64), (part.digest, part.size));
    }
}

#[test]
fn a_package_without_runtime_holds_the_same_manifests_and_nothing_to_run() {
    let image = package().without_runtime().unwrap();
    let layers = image.manifest().unwrap().layers;
    assert_eq!(layers, self::image().manifest().unwrap().layers[2..]);
    assert!(image.size() < 200_000, "{} bytes", image.size());
}

#[test]
fn a_damaged_file_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("package.xpkg");
    image().write(&file, "provider-libvirt", "v1.2.3").unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let place = bytes.windows(7).position(|window| window == b"\"User\":").unwrap();
    bytes[place + 1] = b'X';
    fs::write(&file, bytes).unwrap();
    let error = format!("{:#}", Image::read(&file).unwrap_err());
    assert!(error.ends_with("is damaged; make the package again"), "{error}");
}

#[test]
fn the_licences_of_the_program_and_of_every_crate_in_it_go_with_it() {
    let image = image();
    let layer = &image.manifest().unwrap().layers[1];
    let files = unpack(&unzip(image.blob(&layer.digest).unwrap()));
    let text = |name: &str| {
        let (_, bytes) = files.iter().find(|(path, _)| path.ends_with(name)).unwrap();
        String::from_utf8(bytes.clone()).unwrap()
    };
    assert!(text("/LICENSE").contains("Apache License"));
    let crates = text("/CRATES");
    let (list, texts) = crates.split_once("\n\n").unwrap();
    for name in ["tokio", "kube", "virt", "rustls"] {
        let line = list.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        assert!(line.contains(": "), "{line}");
    }
    assert!(list.lines().all(|line| !line.starts_with("oci-client ")), "that is of the packager");
    assert!(texts.contains("Permission is hereby granted"));
}
