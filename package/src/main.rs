//! `xpkg`: makes the package of provider-libvirt and pushes it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser};
use package::{Image, Package, Target};
use semver::Version;

/// Makes the Crossplane package of provider-libvirt, and pushes it to a registry. Needs no container engine and no root
#[derive(Debug, Parser)]
#[command(name = "xpkg", version, max_term_width = 100)]
enum Xpkg {
    Build(Build),
    Push(Push),
}

/// Make provider-libvirt-VERSION.xpkg: an image with the program, the Debian packages that it needs, and what Crossplane reads
#[derive(Debug, Args)]
struct Build {
    /// The provider's program, linked on this distribution
    #[arg(long)]
    program: PathBuf,
    /// Where the package is written
    #[arg(long)]
    out: PathBuf,
    /// The version, without the v of its tag
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    package_version: String,
    /// The source tree, with package/ and examples/
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// When the image was made, in seconds since 1970; if it is not said, the time of the commit
    #[arg(long, env = "SOURCE_DATE_EPOCH")]
    created: Option<i64>,
    /// Where Debian packages are kept between builds
    #[arg(long, env = "XPKG_CACHE")]
    cache: Option<PathBuf>,
}

/// Push packages to a registry under one tag: of one architecture each, if there are several
#[derive(Debug, Args)]
struct Push {
    /// registry/repository:tag
    reference: String,
    /// The .xpkg files
    #[arg(required = true)]
    packages: Vec<PathBuf>,
    /// The folder in whose config.json `docker login` notes logins; if it is not said, ~/.docker
    #[arg(long, env = "DOCKER_CONFIG")]
    docker_config: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Xpkg::parse() {
        Xpkg::Build(build) => make(build),
        Xpkg::Push(push) => send(&push),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A registry's answer may hold what a terminal obeys.
            let told = format!("{error:#}").replace(|letter: char| letter.is_control() && letter != '\n', "\u{fffd}");
            eprintln!("xpkg: {told}");
            ExitCode::FAILURE
        }
    }
}

fn make(build: Build) -> Result<()> {
    check_version(&build.package_version)?;
    let commit = git(&build.root, &["rev-parse", "HEAD"])?;
    let changes = git(&build.root, &["status", "--porcelain", "--untracked-files=all"])?;
    // What git is told to ignore would be in the package all the same.
    let manifests = ["status", "--porcelain", "--untracked-files=all", "--ignored", "--", "package", "examples"];
    let more = git(&build.root, &manifests)?;
    if changes.into_iter().chain(more).any(|changes| !changes.is_empty()) {
        eprintln!("xpkg: there are changes that are not committed; the package may not be that of the commit");
    }
    let time = git(&build.root, &["-c", "log.showSignature=false", "log", "-1", "--format=%ct"])?;
    let time =
        time.map(|time| time.parse().with_context(|| format!("read the time of the commit: {time}"))).transpose()?;
    let seconds = build.created.or(time).unwrap_or(0);
    let package = Package::new(&build.root, &build.package_version)?.made_of(commit, seconds)?;
    let archives = package::fetch(&build.cache.map_or_else(default_cache, Ok)?)?;
    eprintln!("xpkg: unpacking {} Debian packages", archives.len());
    let root = package::root_file_system(&archives)?;
    let program = fs::read(&build.program).with_context(|| {
        format!("read {}; `cargo build --release -p provider-libvirt` makes it", build.program.display())
    })?;
    ensure!(is_program(&program), "{} is no program for this machine", build.program.display());
    let image = package.with_runtime(&root, program)?;
    image.write(&build.out, package.name(), &package.tag())?;
    report(&image, &package, &build.out)
}

fn report(image: &Image, package: &Package, out: &Path) -> Result<()> {
    let [system, program, rest @ ..] = &image.manifest()?.layers[..] else { anyhow::bail!("the image has no layers") };
    let manifests: u64 = rest.iter().map(|layer| layer.size).sum();
    println!("{}", out.display());
    println!("  digest  {}", image.digest());
    println!("  size    {} to pull (the limit is {})", mebibytes(image.size() as u64), mebibytes(package::MOST as u64));
    println!(
        "  layers  system {}, program {}, manifests {} KiB",
        mebibytes(system.size),
        mebibytes(program.size),
        manifests.div_ceil(1024)
    );
    let (name, tag, file) = (package.name(), package.tag(), out.display());
    println!("  next    make push REF=registry.example.org/team/{name}:{tag} OUT={file}");
    Ok(())
}

fn send(push: &Push) -> Result<()> {
    let noted = push.docker_config.clone().or_else(|| Some(std::env::home_dir()?.join(".docker")));
    let target = Target::parse(&push.reference)?;
    let target = match noted {
        Some(folder) => target.with_docker_login(&folder.join("config.json"))?,
        None => target,
    };
    let images = push.packages.iter().map(|file| Image::read(file)).collect::<Result<Vec<_>>>()?;
    for (image, file) in images.iter().zip(&push.packages) {
        target.check_version(image).with_context(|| file.display().to_string())?;
    }
    let size: usize = images.iter().map(Image::size).sum();
    eprintln!("push: {} to {}", mebibytes(size as u64), push.reference);
    let digest = package::push(&images, &target)?;
    println!("{}@{digest}", push.reference);
    Ok(())
}

/// Whether it is in the format of Linux programs and for the architecture that this program is for.
fn is_program(bytes: &[u8]) -> bool {
    let machine: &[u8] = match std::env::consts::ARCH {
        "x86_64" => &[62, 0],
        "aarch64" => &[183, 0],
        _ => return bytes.starts_with(b"\x7fELF"),
    };
    bytes.starts_with(b"\x7fELF") && bytes.get(18..20) == Some(machine)
}

/// Crossplane wants versions that can be compared, and the tag brings the `v`.
fn check_version(version: &str) -> Result<()> {
    // A tag has no plus sign.
    let parsed = Version::parse(version).ok().filter(|parsed| parsed.build.is_empty());
    ensure!(
        parsed.is_some() && version.len() <= 100,
        "{version:?} is no version: write it as 1.2.3 or 1.2.3-rc.1, without a v"
    );
    Ok(())
}

/// What git says of the source tree; nothing, if it is no clone at all.
fn git(root: &Path, args: &[&str]) -> Result<Option<String>> {
    if !root.join(".git").exists() {
        return Ok(None);
    }
    let mut command = Command::new("git");
    // It is about this tree, whatever the caller's shell is in.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(variable);
    }
    let output = command.arg("-C").arg(root).args(args).output().context("start git")?;
    // Without its answer another digest would come out.
    ensure!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

fn default_cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    Ok(base.context("find the cache folder: set HOME")?.join("provider-libvirt/image"))
}

fn mebibytes(bytes: u64) -> String {
    let tenths = bytes * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_three_numbers_and_what_may_follow() {
        for version in ["0.1.0", "1.2.3-rc.1", "10.20.30-alpha"] {
            assert!(check_version(version).is_ok(), "{version}");
        }
        for version in [
            "v0.1.0",
            "1.0",
            "1.0/2",
            "1.2.3 x",
            "12 (bookworm)",
            "1.2.3+build",
            "1..3",
            "01.2.3",
            "1.2.3-",
            "1.2.3-a..b",
            "",
        ] {
            assert!(check_version(version).is_err(), "{version}");
        }
    }
}
