//! The provider needs the rights that the README lists, each of them, and no others.
//!
//! On a control plane without Crossplane, with a role of the same rights: the tests with a real one compare those with what it grants.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{collections::BTreeSet, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use tests::{
    ControlPlane, Host, LEASE, Namespace, PATIENCE, Provider, Scratch, SlowDoor, condition, eventually,
    granted::{MANAGED, Right, granted, needed, role},
    is_true, manifest, workspace,
};

/// A control plane, a host, and a provider that may do only what a role says.
struct Bench {
    plane: ControlPlane,
    host: Host,
    _scratch: Scratch,
}

impl Bench {
    fn start(name: &str) -> Result<Self> {
        let scratch = Scratch::new(name)?;
        let plane = ControlPlane::start_with(&scratch.path().join("plane"), &[&workspace().join("package/crds")])?;
        let host = Host::start(name)?;
        plane.apply(&format!(
            "{{apiVersion: libvirt.m.nourspeed.io/v1alpha1, kind: ClusterProviderConfig, metadata: {{name: default}}, \
             spec: {{uri: '{}'}}}}",
            host.uri()
        ))?;
        Ok(Self { plane, host, _scratch: scratch })
    }

    /// A provider with these rights, from the beginning: with no lease and no key.
    fn provider(&self, rights: &[Right]) -> Result<Provider> {
        self.plane.apply(&role(rights))?;
        for (kind, name) in [("lease", LEASE), ("secret", "provider-libvirt-ownership")] {
            self.plane.kubectl(&["delete", kind, name, "--namespace=default", "--ignore-not-found"])?;
        }
        Provider::start(&self.plane.kubeconfig_of("provider"), &["--poll=1s", "--debug"])
    }

    /// One object of each kind in a namespace of its own, with what they read and write.
    fn objects(&self) -> Result<Namespace> {
        let namespace = Namespace::create(&self.plane.client())?;
        let name = namespace.name().to_owned();
        let on_host = |yaml: String| {
            let metadata = format!("metadata: {{annotations: {{crossplane.io/external-name: {name}}}, name: ");
            yaml.replace("metadata: {name: ", &metadata)
        };
        let folder = self.host.path(&name).display().to_string();
        let seed = "poolRef: {name: p}, userData: {secretKeyRef: {name: told, key: user}}, \
                    vendorData: {configMapKeyRef: {name: told, key: vendor}}";
        let pool = manifest("Pool", "p", &format!("target: {{path: {folder}}}"))
            .replace("spec: {", "spec: {writeConnectionSecretToRef: {name: pool}, ");
        // A cluster's config of its own as well: an earlier provider has written to the others already.
        let config = |kind: &str, name: &str| {
            format!(
                "---\n{{apiVersion: libvirt.m.nourspeed.io/v1alpha1, kind: {kind}, metadata: {{name: {name}}}, \
                 spec: {{uri: 'test:///default'}}}}\n---\n"
            )
        };
        let configs = config("ProviderConfig", "own") + &config("ClusterProviderConfig", &name);
        let on_own =
            |yaml: String| yaml.replace("spec: {", "spec: {providerConfigRef: {kind: ProviderConfig, name: own}, ");
        namespace.apply(&format!(
            "---\n{{apiVersion: v1, kind: Secret, metadata: {{name: told}}, stringData: {{user: x}}}}\n\
             ---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: told}}, data: {{vendor: x}}}}\n{configs}"
        ))?;
        namespace.apply(
            &(on_host(pool)
                + &on_host(manifest("Volume", "v", "poolRef: {name: p}, capacity: 1Mi"))
                + &on_host(manifest("CloudInit", "c", seed))
                + &on_host(on_own(manifest("Network", "net", "mode: Isolated")))
                + &on_host(manifest("Domain", "d", "type: Qemu, memory: 64Mi, runStrategy: Halted"))),
        )?;
        Ok(namespace)
    }
}

/// Whether somebody who looks at a provider's log, at events or at objects is told this.
fn is_told(sentence: &str, namespace: &Namespace, provider: &Provider) -> Result<bool> {
    let says = |text: &str| text.replace('\\', "").contains(sentence);
    Ok(says(&provider.log()) || says(&namespace.kubectl(&["get", "managed,providerconfigs,events", "-o", "yaml"])?))
}

/// The objects of [`Bench::objects`], after which nothing is left to be done.
fn await_ready(namespace: &Namespace) -> Result<()> {
    eventually(PATIENCE, || {
        for object in ["pool/p", "volume/v", "cloudinit/c", "network/net"] {
            let (kind, name) = object.split_once('/').unwrap();
            let Some(found) = namespace.get(kind, name)? else { bail!("there is no {object}") };
            ensure!(is_true(&found, "Ready"), "{object}: {:?}", condition(&found, "Ready"));
        }
        ensure!(namespace.get("secret", "pool")?.is_some(), "there is no Secret of the pool");
        Ok(())
    })
}

/// The README's table of rights, with the words that stand for several resources spelled out.
#[test]
fn the_readme_lists_what_is_needed() -> Result<()> {
    let readme = std::fs::read_to_string(workspace().join("README.md"))?;
    let table = readme.split_once("The provider uses these rights").context("find the table")?.1;
    let mut listed: BTreeSet<(String, String)> = BTreeSet::new();
    for line in
        table.lines().skip_while(|line| !line.starts_with("| own kinds")).take_while(|line| line.starts_with('|'))
    {
        let [_, what, how, _] = line.split('|').collect::<Vec<_>>()[..] else { bail!("read {line}") };
        let resources = match what.trim() {
            "own kinds" => MANAGED.map(ToOwned::to_owned).to_vec(),
            "configs" => ["clusterproviderconfigs", "providerconfigs"].map(ToOwned::to_owned).to_vec(),
            "`status` of both" => MANAGED
                .iter()
                .chain(&["clusterproviderconfigs", "providerconfigs"])
                .map(|kind| format!("{kind}/status"))
                .collect(),
            one => vec![one.trim_matches('`').to_owned()],
        };
        let verbs = how.split(';').next().unwrap_or_default().split(", ").map(str::trim);
        listed.extend(verbs.flat_map(|verb| resources.iter().map(move |one| (one.clone(), verb.to_owned()))));
    }
    let needed: BTreeSet<_> =
        needed().into_iter().map(|(_, resource, verb)| (resource.to_owned(), verb.to_owned())).collect();
    assert_eq!(listed, needed);
    Ok(())
}

#[test]
fn row_28_the_rights_that_are_listed_are_enough() -> Result<()> {
    let bench = Bench::start("enough")?;
    let mut provider = bench.provider(&needed())?;
    provider.await_ready()?;
    let namespace = bench.objects()?;
    await_ready(&namespace)?;
    namespace.kubectl(&["delete", "managed", "--all", "--timeout=60s"])?;
    eventually(PATIENCE, || {
        let left = namespace.kubectl(&["get", "providerconfigusages", "-o", "name"])?;
        ensure!(left.is_empty(), "left: {left}");
        Ok(())
    })?;
    let log = provider.log();
    let refused: Vec<&str> = log.lines().filter(|line| line.contains("forbidden")).collect();
    assert_eq!(refused, Vec::<&str>::new());
    let granted = granted();
    let covers = |group: &str, resource: &str, verb: &str| {
        let has = |verb: &str| granted.contains(&(group.to_owned(), resource.to_owned(), verb.to_owned()));
        has(verb) || has("*")
    };
    let beyond: BTreeSet<Right> =
        needed().into_iter().filter(|(group, resource, verb)| !covers(group, resource, verb)).collect();
    assert_eq!(beyond, BTreeSet::new(), "Crossplane does not grant these");
    Ok(())
}

/// Has the provider write to the objects of a kind by taking its finalizer from them, and writes to them at the same time.
fn contend(namespace: &Namespace, resource: &str, writes: usize) -> Result<()> {
    for object in namespace.kubectl(&["get", resource, "-o", "name"])?.split_whitespace() {
        let bare = r#"{"metadata": {"finalizers": null}}"#;
        namespace.kubectl(&["patch", object, "--type=merge", "-p", bare])?;
    }
    // The provider's write waits a second at the slow door.
    for step in 0..4 {
        sleep(Duration::from_millis(250));
        let write = format!("write={writes}-{step}");
        namespace.kubectl(&["annotate", resource, "--all", "--overwrite", &write])?;
    }
    Ok(())
}

#[test]
fn row_28_without_any_one_of_the_rights_that_are_listed_something_is_told_to_be_forbidden() -> Result<()> {
    let bench = Bench::start("lacking")?;
    for lacking in needed() {
        let rest: Vec<Right> = needed().into_iter().filter(|right| *right != lacking).collect();
        let (group, resource, verb) = lacking;
        // Objects are read one by one only when somebody else writes at the same moment.
        let contended = verb == "get" && MANAGED.contains(&resource);
        if contended {
            let (condition, look) = ("request.userInfo.username == 'provider'", Duration::from_secs(1));
            SlowDoor { operation: "UPDATE", resources: &[resource], condition, look }.open(&bench.plane)?;
        }
        let provider = bench.provider(&rest)?;
        let namespace = bench.objects()?;
        let sentence = format!("cannot {verb} resource \"{resource}\" in API group \"{group}\"");
        let deletion = resource == "providerconfigusages" && verb == "get";
        if deletion {
            await_ready(&namespace)?;
            namespace.kubectl(&["delete", "pool", "p", "--wait=false"])?;
        }
        let mut writes = 0;
        eventually(PATIENCE, || {
            if contended {
                writes += 1;
                contend(&namespace, resource, writes)?;
            }
            // What was written is spoiled, so that it must be written again.
            if resource == "secrets" && verb == "patch" {
                let spoiled = r#"{"data": {"path": "eA=="}}"#;
                namespace.kubectl(&["patch", "secret", "pool", "--type=merge", "-p", spoiled])?;
            }
            ensure!(is_told(&sentence, &namespace, &provider)?, "nobody tells {sentence}:\n{}", provider.log());
            Ok(())
        })?;
    }
    Ok(())
}
