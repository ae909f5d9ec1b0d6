//! What is pushed is what a registry gives back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{fs, process::Command};

use anyhow::Result;
use data_encoding::BASE64;
use package::{Image, Package, Platform, Target};
use serde_json::{Value, json};
use tests::{LOGIN, Registry, Scratch, packager, workspace};

const NAME: &str = "team/provider-libvirt";

fn image(version: &str) -> Result<Image> {
    Package::new(&workspace(), version)?.without_runtime()
}

/// The manifest or index under a tag or digest.
fn manifest(registry: &Registry, tag: &str) -> Result<Value> {
    Ok(serde_json::from_str(&registry.get(&format!("{NAME}/manifests/{tag}"))?)?)
}

#[test]
fn a_pushed_image_keeps_its_digest_and_the_annotations_of_its_layers() -> Result<()> {
    let registry = Registry::start()?;
    let image = image("1.2.3")?;
    let target = Target::parse(&format!("{}/{NAME}:v1.2.3", registry.host()))?;
    // A second push finds everything there.
    for _ in 0..2 {
        assert_eq!(package::push(std::slice::from_ref(&image), &target)?, image.digest());
    }
    let found = manifest(&registry, "v1.2.3")?;
    assert_eq!(found, serde_json::to_value(image.manifest()?)?);
    assert_eq!(found, manifest(&registry, image.digest())?);
    let roles: Vec<_> = found["layers"].as_array().unwrap().iter().map(|layer| &layer["annotations"]).collect();
    assert_eq!(roles, [&json!({"io.crossplane.xpkg": "base"}), &json!({"io.crossplane.xpkg": "upbound"})]);
    Ok(())
}

#[test]
fn several_images_are_pushed_as_an_index_of_them() -> Result<()> {
    let registry = Registry::start()?;
    let target = Target::parse(&format!("{}/{NAME}:v1.2.3", registry.host()))?;
    let alike = package::push(&[image("1.2.3")?, image("1.2.4")?], &target).unwrap_err();
    assert!(format!("{alike:#}").contains("two of the images are for the same architecture"), "{alike:#}");
    let other = Platform { architecture: "riscv64".to_owned(), os: "linux".to_owned() };
    let images = [image("1.2.3")?, image("1.2.4")?.on(other)];
    package::push(&images, &target)?;
    let found = manifest(&registry, "v1.2.3")?;
    assert_eq!(found["mediaType"], "application/vnd.oci.image.index.v1+json");
    for (place, image) in images.iter().enumerate() {
        let entry = &found["manifests"][place];
        assert_eq!((&entry["digest"], &entry["platform"]["os"]), (&json!(image.digest()), &json!("linux")));
        assert_eq!(manifest(&registry, image.digest())?, serde_json::to_value(image.manifest()?)?);
    }
    Ok(())
}

#[test]
fn a_closed_registry_is_pushed_to_with_the_login_that_docker_has_noted() -> Result<()> {
    let registry = Registry::start_closed()?;
    let scratch = Scratch::new("login")?;
    let file = scratch.path().join("provider-libvirt.xpkg");
    let image = image("1.2.3")?;
    image.write(&file, "provider-libvirt", "v1.2.3")?;
    let reference = format!("{}/{NAME}:v1.2.3", registry.host());
    let push = || {
        let mut command = Command::new(packager().unwrap());
        command.env("DOCKER_CONFIG", scratch.path()).arg("push").arg(&reference).arg(&file).output().unwrap()
    };
    let refused = push();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains(&format!("docker login {}", registry.host())), "{said}");

    let login = BASE64.encode(format!("{}:{}", LOGIN.0, LOGIN.1).as_bytes());
    let config = json!({"auths": {registry.host(): {"auth": login}}});
    fs::write(scratch.path().join("config.json"), config.to_string())?;
    let pushed = push();
    let said = String::from_utf8_lossy(&pushed.stdout).into_owned();
    assert_eq!(said, format!("{reference}@{}\n", image.digest()), "{}", String::from_utf8_lossy(&pushed.stderr));
    assert_eq!(manifest(&registry, "v1.2.3")?, serde_json::to_value(image.manifest()?)?);
    Ok(())
}

#[test]
fn a_package_is_not_pushed_as_another_version_than_it_is() -> Result<()> {
    let registry = Registry::start()?;
    let scratch = Scratch::new("version")?;
    let file = scratch.path().join("provider-libvirt.xpkg");
    image("1.2.3")?.write(&file, "provider-libvirt", "v1.2.3")?;
    let push = |tag: &str| {
        let reference = format!("{}/{NAME}:{tag}", registry.host());
        Command::new(packager().unwrap()).arg("push").arg(&reference).arg(&file).output().unwrap()
    };
    let refused = push("v9.9.9");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let wished = "this package is v1.2.3, and the tag says v9.9.9; push it as v1.2.3, or make one with `make xpkg VERSION=9.9.9`\n";
    assert!(!refused.status.success() && said.ends_with(wished), "{said}");
    for tag in ["v1.2.3", "latest"] {
        let pushed = push(tag);
        assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    }
    Ok(())
}
