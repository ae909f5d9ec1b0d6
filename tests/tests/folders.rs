//! The folders with what lets in at hosts: whoever is killed leaves them, and whoever starts next removes them, and nobody else's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{Far, Provider, Scratch, Stage, eventually, manifest};

/// Two at once work beside each other.
const ARGS: [&str; 2] = ["--poll=1h", "--leader-election=false"];
const PATIENCE: Duration = Duration::from_mins(2);

fn folders(place: &Path) -> Result<BTreeSet<String>> {
    let names = fs::read_dir(place)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names
        .filter(|name: &Result<String>| name.as_ref().is_ok_and(|name| name.starts_with("provider-libvirt-")))
        .collect()
}

/// Waits for the two folders that a new provider makes, beside those that are there before and stay.
fn await_two(place: &Path, beside: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    eventually(PATIENCE, || {
        let found = folders(place)?;
        ensure!(found.len() == beside.len() + 2 && found.is_superset(beside), "{found:?}, besides {beside:?}");
        Ok(found.difference(beside).cloned().collect())
    })
}

fn config(name: &str, uri: &str, keys: &[(&str, &str)]) -> String {
    let data: serde_json::Map<_, _> = keys.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    let spec = json!({"uri": uri, "credentials": {"source": "Secret", "secretRef": {"name": name}}});
    let api = "libvirt.m.nourspeed.io/v1alpha1";
    let config = json!({"apiVersion": api, "kind": "ProviderConfig", "metadata": {"name": name}, "spec": spec});
    format!("---\n{secret}\n---\n{config}\n")
}

fn on(config: &str, name: &str) -> String {
    let placed = format!("spec: {{providerConfigRef: {{kind: ProviderConfig, name: {config}}}, ");
    manifest("Network", name, "mode: Isolated").replacen("spec: {", &placed, 1)
}

#[test]
fn what_a_killed_provider_left_is_removed_at_the_next_start_and_what_a_living_one_uses_is_not() -> Result<()> {
    let stage = Stage::start_unconfigured("folders", &ARGS)?;
    stage.end_provider()?.term()?;
    let (far, scenario, place) = (Far::start("folders-far")?, stage.scenario("folders")?, Scratch::new("folders")?);
    let place = place.path();
    let start = || -> Result<Provider> {
        let mut provider = Provider::start_below(place, &stage.plane().kubeconfig(), &ARGS)?;
        provider.await_ready()?;
        Ok(provider)
    };
    let own = far.pki.client("provider")?;
    let (key, known) = (far.key("good")?, far.known_hosts("host")?);
    let tls = [("ca.crt", far.pki.authority.as_str()), ("tls.crt", &own.certificate), ("tls.key", &own.key)];
    let ssh = [("ssh-privatekey", key.as_str()), ("known_hosts", known.as_str())];
    scenario.apply(&(config("tls", &far.tls_uri(), &tls) + &config("ssh", &far.ssh_uri("qemu+ssh", "root"), &ssh)))?;
    let nothing = BTreeSet::new();
    // As of a version before, of which nobody can tell whether it lives.
    fs::create_dir(place.join("provider-libvirt-before"))?;
    let before = folders(place)?;

    let killed = start()?;
    let of_killed = await_two(place, &before)?;
    let beside = before.union(&of_killed).cloned().collect();
    let living = start()?;
    let of_living = await_two(place, &beside)?;
    for name in of_killed.union(&of_living) {
        assert_eq!(fs::metadata(place.join(name))?.permissions().mode() & 0o777, 0o700, "{name}");
    }
    assert_eq!(living.log().matches("which a provider that was killed had left").count(), 0, "{}", living.log());
    killed.kill9()?;
    assert!(folders(place)?.is_superset(&of_killed), "nobody else removes them");

    let next = start()?;
    assert_eq!(folders(place)?.intersection(&of_killed).cloned().collect::<BTreeSet<_>>(), nothing);
    assert_eq!(next.log().matches("which a provider that was killed had left").count(), 2, "{}", next.log());
    let beside = before.union(&of_living).cloned().collect();
    let of_next = await_two(place, &beside)?;
    assert_eq!(living.term()?.code(), Some(0));
    let beside = before.union(&of_next).cloned().collect();
    assert_eq!(folders(place)?, beside, "one that ends by itself takes its own");

    // By the folders that are there now.
    scenario.apply(&(on("tls", "by-tls") + &on("ssh", "by-ssh")))?;
    scenario.await_ready(&["network/by-tls", "network/by-ssh"])?;
    scenario.delete_all()?;
    scenario.await_all_gone(tests::PATIENCE)?;
    assert_eq!(next.term()?.code(), Some(0));
    assert_eq!(folders(place)?, before);
    Ok(())
}
