//! What is in the tree is in the package.

#![allow(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use package::{Content, Package, examples_yaml, package_yaml};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn documents(stream: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(stream).unwrap()
}

/// Every file below these folders.
fn files(folders: &[&str]) -> Vec<PathBuf> {
    let mut folders: Vec<_> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

fn sorted(documents: impl IntoIterator<Item = Value>) -> Vec<String> {
    let mut texts: Vec<_> = documents.into_iter().map(|document| document.to_string()).collect();
    texts.sort();
    texts
}

fn all_in(folders: &[&str]) -> Vec<String> {
    sorted(files(folders).iter().flat_map(|file| documents(&fs::read_to_string(file).unwrap())))
}

#[test]
fn every_crd_and_webhook_of_the_tree_is_in_the_package_and_nothing_else_but_what_it_says_of_itself() {
    let packaged = documents(&package_yaml(&root()).unwrap());
    assert_eq!(packaged[0]["kind"], "Provider");
    assert_eq!(sorted(packaged.into_iter().skip(1)), all_in(&["package/crds", "package/webhooks"]));
}

#[test]
fn every_example_of_the_tree_is_in_the_package() {
    let packaged = documents(&examples_yaml(&root()).unwrap());
    assert_eq!(sorted(packaged), all_in(&["examples"]));
}

#[test]
fn every_document_is_of_a_kind_that_crossplane_takes_from_a_provider() {
    let found: BTreeSet<_> = documents(&package_yaml(&root()).unwrap())
        .iter()
        .map(|document| {
            (document["apiVersion"].as_str().unwrap().to_owned(), document["kind"].as_str().unwrap().to_owned())
        })
        .collect();
    let wanted = [
        ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("meta.pkg.crossplane.io/v1", "Provider"),
    ];
    assert_eq!(found, wanted.map(|(version, kind)| (version.to_owned(), kind.to_owned())).into());
}

#[test]
fn the_package_says_what_it_needs_and_who_made_it() {
    let meta = documents(&package_yaml(&root()).unwrap()).remove(0);
    assert_eq!(meta["metadata"]["name"], "provider-libvirt");
    assert_eq!(
        meta["spec"],
        serde_json::json!({"crossplane": {"version": ">=v2.0.0-0"}, "capabilities": ["safe-start"]})
    );
    let annotations: Vec<_> = meta["metadata"]["annotations"].as_object().unwrap().keys().cloned().collect();
    let mut wanted = ["description", "iconURI", "license", "maintainer", "readme", "source"]
        .map(|key| format!("meta.crossplane.io/{key}"))
        .to_vec();
    wanted.insert(0, "friendly-name.meta.crossplane.io".to_owned());
    assert_eq!(annotations, wanted);
}

#[test]
fn the_packages_icon_is_the_file_beside_it() {
    let meta = documents(&package_yaml(&root()).unwrap()).remove(0);
    let icon = fs::read(root().join("package/icon.svg")).unwrap();
    let wanted = format!("data:image/svg+xml;base64,{}", data_encoding::BASE64.encode(&icon));
    assert_eq!(meta["metadata"]["annotations"]["meta.crossplane.io/iconURI"], wanted);
}

/// A CRD of ours in as few words as the package looks at.
fn kind(name: &str) -> String {
    format!("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: {name}}}\n")
}

/// A source tree with one kind, and this as its only other manifest.
fn tree_with(path: &str, manifest: &str) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    for folder in ["package/crds", "package/webhooks", "examples"] {
        fs::create_dir_all(tree.path().join(folder)).unwrap();
    }
    fs::copy(root().join("package/crossplane.yaml"), tree.path().join("package/crossplane.yaml")).unwrap();
    fs::write(tree.path().join("package/crds/pools.yaml"), kind("pools.libvirt.m.nourspeed.io")).unwrap();
    fs::write(tree.path().join(path), manifest).unwrap();
    tree
}

#[test]
fn what_crossplane_would_not_install_is_refused_when_the_package_is_made() {
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: role}\n";
    let webhook =
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: hook}\n";
    for (manifest, wanted) in [
        (
            role.to_owned(),
            "ClusterRole of rbac.authorization.k8s.io/v1 is in package/, and Crossplane takes no such object from a provider's package",
        ),
        (
            format!("{webhook}---\n{webhook}"),
            "package/ holds 2 objects of kind ValidatingWebhookConfiguration, and Crossplane can install only 1",
        ),
        (kind("pools.libvirt.m.nourspeed.io"), "pools.libvirt.m.nourspeed.io is in package/ twice"),
        (
            kind("secrets.evil.example.org"),
            "secrets.evil.example.org in package/ is not of the group libvirt.m.nourspeed.io",
        ),
    ] {
        let tree = tree_with("package/webhooks/more.yaml", &manifest);
        assert_eq!(Package::new(tree.path(), "1.2.3").unwrap_err().to_string(), wanted);
    }
    let tree = tree_with("examples/one.yaml", "# one");
    fs::remove_file(tree.path().join("package/crds/pools.yaml")).unwrap();
    let error = Package::new(tree.path(), "1.2.3").unwrap_err().to_string();
    assert_eq!(error, "package/crds holds no CustomResourceDefinition");
    let tree = tree_with("examples/one.yaml", "# one");
    std::os::unix::fs::symlink(".", tree.path().join("examples/loop")).unwrap();
    let error = Package::new(tree.path(), "1.2.3").unwrap_err().to_string();
    assert!(error.ends_with("examples/loop is neither a folder nor a file"), "{error}");
}

#[test]
fn a_manifest_that_is_no_yaml_is_refused_when_the_package_is_made() {
    let tree = tree_with("examples/broken.yaml", "a: [");
    let error = format!("{:#}", Package::new(tree.path(), "1.2.3").unwrap_err());
    assert!(error.starts_with("read the manifests: "), "{error}");
}

#[test]
fn an_entry_of_a_layer_is_a_folder_a_file_or_a_link() {
    let mut tree = package::Tree::default();
    tree.add_file("a/b", 0o644, "text");
    tree.add_link("c", "a/b");
    let found: Vec<_> = tree.entries().map(|(path, entry)| (path, entry.mode, entry.content.clone())).collect();
    let wanted = [
        ("a", 0o755, Content::Folder),
        ("a/b", 0o644, Content::File(b"text".to_vec())),
        ("c", 0o777, Content::Link("a/b".to_owned())),
    ];
    assert_eq!(found, wanted);
}
