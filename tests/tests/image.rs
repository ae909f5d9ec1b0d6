//! The package's image as a node runs it: unpacked from its layers, as its user, with a read-only root file system.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use data_encoding::BASE64;
use serde_json::Value;
use tests::{
    ControlPlane, Host, PATIENCE, Process, Scratch, UnpackedImage, cache, condition, copy_package_sources, eventually,
    free_port, http_get, packager, quickest_of, run, workspace,
};

fn image() -> &'static UnpackedImage {
    static IMAGE: OnceLock<UnpackedImage> = OnceLock::new();
    IMAGE.get_or_init(|| UnpackedImage::make().unwrap())
}

#[test]
fn the_image_is_far_smaller_than_it_may_be() {
    let size = image().image().size();
    println!("the image has {} MiB to pull", size >> 20);
    assert!(size < package::MOST / 2, "{size} bytes");
}

#[test]
fn the_program_and_ssh_run_as_the_images_user() -> Result<()> {
    let version = concat!("provider-libvirt ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(image().run("/usr/bin/provider-libvirt", &["--version"])?, version);
    assert!(image().run("/usr/bin/provider-libvirt", &["--help"])?.contains("--max-reconcile-rate"));
    let ssh = image().run("/usr/bin/ssh", &["-V"])?;
    assert!(ssh.starts_with("OpenSSH_"), "{ssh}");
    Ok(())
}

#[test]
fn ssh_knows_the_user_and_finds_its_folder_in_tmp() -> Result<()> {
    // It looks the user up before it says what it would do, and expands the folder of keys.
    let plan = image().run("/usr/bin/ssh", &["-G", "rack4.example.org"])?;
    let line = |key: &str| plan.lines().find_map(|line| line.strip_prefix(key)).map(str::trim).map(ToOwned::to_owned);
    assert_eq!(line("user "), Some("provider".to_owned()));
    image().run("/usr/bin/ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "/tmp/key"]).map(drop)
}

#[test]
fn nothing_but_tmp_can_be_written() {
    let write = |file: &str| image().run("/usr/bin/ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", file]);
    assert!(write("/tmp/key").is_ok());
    for file in ["/key", "/var/tmp/key", "/run/key", "/home/key", "/etc/ssh/key"] {
        let error = format!("{:#}", write(file).unwrap_err());
        assert!(error.contains("failed"), "{file}: {error}");
    }
}

/// Regular files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files(&entry.path(), found)?;
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn is_elf(file: &Path) -> Result<bool> {
    let mut begin = [0; 4];
    let mut file = fs::File::open(file).with_context(|| format!("open {}", file.display()))?;
    Ok(file.read_exact(&mut begin).is_ok() && begin == *b"\x7fELF")
}

/// What the loader of the image says of each of these, under its name: the libraries it finds, or what is missing.
fn loaded(root: &Path, loader: &str, files: &[String]) -> Result<String> {
    let each = "root=$0 loader=$1; shift; for file; do echo \"$file:\"; chroot \"$root\" \"$loader\" --list \"$file\" 2>&1; done; true";
    let root = root.display().to_string();
    let files = files.iter().map(String::as_str);
    run("bash", &["-c", each, &root, loader].into_iter().chain(files).collect::<Vec<_>>())
}

#[test]
fn every_program_and_library_of_the_image_finds_the_libraries_it_needs() -> Result<()> {
    let root = image().root();
    let loader = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    let loader =
        loader.into_iter().find(|path| root.join(&path[1..]).symlink_metadata().is_ok()).context("a loader")?;
    let mut all = Vec::new();
    files(&root, &mut all)?;
    let mut linked = Vec::new();
    for file in all {
        let inside = format!("/{}", file.strip_prefix(&root)?.display());
        if is_elf(&file)? && !inside.contains("/ld-linux-") {
            linked.push(inside);
        }
    }
    assert!(linked.len() > 100, "only {} programs and libraries were found", linked.len());
    let said = loaded(&root, loader, &linked)?;
    let lacking: Vec<_> =
        said.lines().filter(|line| line.contains("not found") || line.contains("error while loading")).collect();
    assert_eq!(lacking, Vec::<&str>::new(), "{said}");
    assert!(said.contains("libvirt.so.0 => "), "{said}");
    Ok(())
}

#[test]
fn every_file_of_the_image_is_roots_readable_by_all_and_lends_nobody_rights() -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let root = image().root();
    let mut all = Vec::new();
    files(&root, &mut all)?;
    for file in all {
        let found = file.symlink_metadata()?;
        let (mode, owner) = (found.mode() & 0o7777, (found.uid(), found.gid()));
        assert!(
            owner == (0, 0) && mode & 0o7022 == 0 && mode & 0o444 == 0o444,
            "{}: {owner:?} {mode:o}",
            file.display()
        );
    }
    Ok(())
}

#[test]
fn every_debian_package_of_the_image_is_listed_with_its_version_and_brings_its_licence() -> Result<()> {
    let root = image().root();
    let mut count = 0;
    for entry in fs::read_dir(root.join("var/lib/dpkg/status.d"))? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap();
        let control = fs::read_to_string(entry.path())?;
        for key in ["Package: ", "Version: ", "Architecture: "] {
            assert!(control.lines().any(|line| line.starts_with(key)), "{name} has no {key}");
        }
        let licence = root.join("usr/share/doc").join(&name).join("copyright");
        assert!(licence.exists(), "{} is missing", licence.display());
        count += 1;
    }
    assert!(count > 50, "only {count} packages are listed");
    Ok(())
}

/// The kubeconfig of a control plane with everything in it: the provider in the image sees no file of the control plane.
fn self_contained(kubeconfig: &Path) -> Result<String> {
    let mut config: Value = serde_json::from_str(&fs::read_to_string(kubeconfig)?)?;
    let cluster = config["clusters"][0]["cluster"].as_object_mut().context("find the cluster")?;
    let authority = cluster.remove("certificate-authority").context("find the authority")?;
    let authority = fs::read(authority.as_str().context("read the authority's path")?)?;
    cluster.insert("certificate-authority-data".to_owned(), BASE64.encode(&authority).into());
    Ok(config.to_string())
}

/// A provider in the image that says it is ready; it sees the host's folder.
fn ready_provider(host: &Host) -> Result<Process> {
    let (metrics, health) = (free_port()?, free_port()?);
    let args = [
        "--leader-election=false".to_owned(),
        format!("--metrics-bind-address=127.0.0.1:{metrics}"),
        format!("--health-probe-bind-addr=127.0.0.1:{health}"),
    ];
    let mut provider = image().start(&host.path(""), &["KUBECONFIG=/tmp/shared/kubeconfig"], &args)?;
    eventually(PATIENCE, || {
        provider.check_running()?;
        match http_get(health, "/readyz")? {
            (200, _) => Ok(()),
            (status, body) => bail!("/readyz answers {status}: {body}"),
        }
    })?;
    Ok(provider)
}

/// Builds the package as `make xpkg` does, of the source tree in `root`, which `place` leads to from where it runs.
fn built(scratch: &Path, place: &str, out: &str, surroundings: &[&str]) -> Result<Vec<u8>> {
    let out = scratch.join(out).display().to_string();
    let program = image().root().join("usr/bin/provider-libvirt").display().to_string();
    let folder = cache()?.join("image").display().to_string();
    let packager = packager()?.display().to_string();
    let build = format!(
        "cd {}; umask {}; exec env {} {packager} build --program {program} --out {out} --cache {folder} --root {place}",
        scratch.display(),
        surroundings[0],
        surroundings[1..].join(" ")
    );
    run("sh", &["-ec", &build])?;
    fs::read(&out).context("read the package")
}

#[test]
fn a_commit_makes_the_same_package_wherever_and_by_whomever_it_is_built() -> Result<()> {
    let scratch = Scratch::new("twice")?;
    let first = scratch.path().join("first");
    copy_package_sources(&first)?;
    let commit = "git init -q && git add . && git -c user.name=x -c user.email=x@example.org commit -qm x";
    run("sh", &["-ec", &format!("cd {} && {commit}", first.display())])?;
    let second = scratch.path().join("elsewhere/second");
    fs::create_dir(scratch.path().join("elsewhere"))?;
    run("cp", &["-r", &first.display().to_string(), &second.display().to_string()])?;
    let plain = built(scratch.path(), "first", "a.xpkg", &["022", "TZ=UTC"])?;
    let odd = ["077", "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8", "VERSION=9.9.9", "GIT_AUTHOR_DATE=2001-01-01T00:00:00Z"];
    assert!(plain == built(scratch.path(), "./elsewhere/second/", "b.xpkg", &odd)?, "the packages differ");
    // It is the commit's time that is in it, and another commit makes another package.
    run(
        "sh",
        &[
            "-ec",
            &format!(
                "cd {} && git -c user.name=x -c user.email=x@example.org commit -q --allow-empty -m y",
                second.display()
            ),
        ],
    )?;
    assert!(
        plain != built(scratch.path(), "elsewhere/second", "c.xpkg", &["022", "TZ=UTC"])?,
        "the commit is not in it"
    );
    Ok(())
}

#[test]
fn the_provider_in_the_image_is_soon_ready_and_reaches_a_host() -> Result<()> {
    let scratch = Scratch::new("plane")?;
    let plane = ControlPlane::start_with(scratch.path(), &[&workspace().join("package/crds")])?;
    let host = Host::start("image")?;
    fs::write(host.path("kubeconfig"), self_contained(&plane.kubeconfig())?)?;
    image();
    let (best, _provider) = quickest_of(["first", "second", "third"], |_| ready_provider(&host))?;
    assert!(best < Duration::from_secs(2), "{best:?}");

    // libvirt's client asks who its user is before it connects, and its daemon whom it has before it.
    plane.apply(
        "{apiVersion: libvirt.m.nourspeed.io/v1alpha1, kind: ClusterProviderConfig, metadata: {name: default}, \
          spec: {uri: 'qemu+unix:///system?socket=/tmp/shared/run/libvirt-sock'}}",
    )?;
    eventually(PATIENCE, || {
        let config = plane.kubectl(&["get", "clusterproviderconfig/default", "-o", "json"])?;
        let config: Value = serde_json::from_str(&config)?;
        let ready = condition(&config, "Ready")?;
        ensure!(ready == ("True", "Available", ""), "the config is {ready:?}");
        ensure!(config["status"]["host"]["uuid"] == host.uuid(), "the host is {}", config["status"]["host"]);
        Ok(())
    })?;
    Ok(())
}

#[test]
fn a_debian_package_that_was_altered_where_it_is_kept_is_fetched_again() -> Result<()> {
    image();
    let scratch = Scratch::new("altered")?;
    let kept = scratch.path().join("image");
    run("cp", &["-r", &cache()?.join("image").display().to_string(), &kept.display().to_string()])?;
    let files = package::fetch(&kept)?;
    let (file, whole) = (&files[0], fs::read(&files[0])?);
    let mut altered = whole.clone();
    *altered.last_mut().unwrap() ^= 1;
    fs::write(file, altered)?;
    assert_eq!(package::fetch(&kept)?, files);
    assert!(fs::read(file)? == whole, "it is still altered");
    Ok(())
}
