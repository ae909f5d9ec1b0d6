//! The licences of what is in the program: its own and those of the crates that it is made of, which ask to be kept with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::tree::Tree;

/// The crate of the provider's program.
const PROGRAM: &str = "provider-libvirt";
/// Where Debian keeps them for packages, and so does the image.
const FOLDER: &str = "usr/share/doc/provider-libvirt";
/// How files begin that hold them, in capitals.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Crate>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Crate {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

/// Puts the licences into `files`: that of the source tree `root`, and in one file what each crate says in a word and the texts, each
/// once. Nothing, if `root` is no workspace.
///
/// # Errors
/// When cargo does not tell the crates, or a file cannot be read.
pub(crate) fn add(files: &mut Tree, root: &Path) -> Result<()> {
    if !root.join("Cargo.toml").exists() {
        return Ok(());
    }
    let own = fs::read(root.join("LICENSE")).context("read LICENSE")?;
    let (mut words, mut texts) = (Vec::new(), BTreeMap::<String, Vec<String>>::new());
    for Crate { name, version, license, manifest_path, .. } in crates(root)? {
        words.push(format!("{name} {version}: {}", license.as_deref().unwrap_or("as its text below says")));
        let folder = manifest_path.parent().unwrap_or(root);
        for file in licence_files(folder)? {
            let text = fs::read(folder.join(&file)).with_context(|| format!("read {file} of {name}"))?;
            let of = texts.entry(String::from_utf8_lossy(&text).trim().to_owned()).or_default();
            of.push(format!("{name} {version} {file}"));
        }
    }
    let mut texts: Vec<String> = texts.into_iter().map(|(text, of)| format!("{}\n\n{text}", of.join("\n"))).collect();
    texts.sort();
    let line = format!("\n\n{}\n\n", "-".repeat(80));
    let crates = format!("{}{line}{}\n", words.join("\n"), texts.join(&line));
    files.add_file(&format!("{FOLDER}/LICENSE"), 0o644, own);
    files.add_file(&format!("{FOLDER}/CRATES"), 0o644, crates);
    Ok(())
}

fn licence_files(folder: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let is_licence = NAMES.iter().any(|begin| name.to_uppercase().starts_with(begin));
        if is_licence && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            found.insert(name);
        }
    }
    Ok(found)
}

/// The crates of others that are compiled into the program, by name and version.
fn crates(root: &Path) -> Result<Vec<Crate>> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["metadata", "--locked", "--format-version=1", "--filter-platform", &platform]).current_dir(root);
    let output = command.output().context("start cargo")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    let Metadata { packages, resolve } = serde_json::from_slice(&output.stdout).context("read what cargo says")?;
    let nodes: BTreeMap<&str, &Node> = resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let program = packages.iter().find(|one| one.name == PROGRAM).context("find the provider's crate")?;
    let (mut seen, mut ahead) = (BTreeSet::new(), vec![program.id.as_str()]);
    while let Some(id) = ahead.pop() {
        if seen.insert(id.to_owned()) {
            let node = nodes.get(id).with_context(|| format!("find the dependencies of {id}"))?;
            // Those of tests and of building are not in the program.
            let linked = node.deps.iter().filter(|one| one.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            ahead.extend(linked.map(|one| one.pkg.as_str()));
        }
    }
    let mut found: Vec<Crate> =
        packages.into_iter().filter(|one| one.source.is_some() && seen.contains(&one.id)).collect();
    found.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    Ok(found)
}
