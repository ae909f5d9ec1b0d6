//! A cluster where nobody makes certificates: one file is applied, and the webhook works.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{ControlPlane, Namespace, PATIENCE, Provider, Scratch, eventually, free_port, manifest_on, workspace};

/// How soon the first refusal comes, once everything is there, also on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A volume in a pool of another host.
fn wrong() -> String {
    manifest_on(Some("two"), "Volume", "v", "poolRef: {name: p}, capacity: 1Mi")
}

/// Waits until the webhook refuses.
fn await_refusal(plane: &ControlPlane, namespace: &Namespace) -> Result<()> {
    eventually(SOON, || {
        let args = ["-n", namespace.name(), "apply", "--server-side", "--dry-run=server", "-f", "-"];
        let said = match plane.client().run_with_input(&args, &wrong()) {
            Ok(admitted) => admitted,
            Err(error) => format!("{error:#}"),
        };
        let wished = "admission webhook \"volumes.libvirt.m.nourspeed.io\" denied the request: pool p uses providerConfig one, \
                      but volume uses providerConfig two. Resources must use the same libvirt instance";
        ensure!(said.contains(wished), "{said}");
        Ok(())
    })
}

/// What the configuration and the Secret say.
fn known(plane: &ControlPlane) -> Result<(Value, Value)> {
    let get = |args: &[&str]| plane.client().get(args)?.with_context(|| args.join(" "));
    let config = get(&["validatingwebhookconfiguration", "provider-libvirt"])?;
    Ok((config["webhooks"].clone(), get(&["secret", "provider-libvirt-webhook"])?))
}

#[test]
fn one_file_is_applied_on_a_plain_cluster_and_the_first_refusal_comes_within_seconds() -> Result<()> {
    let scratch = Scratch::new("plain")?;
    let plane = ControlPlane::start_with(scratch.path(), &[&workspace().join("package/crds")])?;
    for name in ["one", "two"] {
        plane.apply(&format!(
            "{{apiVersion: libvirt.m.nourspeed.io/v1alpha1, kind: ClusterProviderConfig, metadata: {{name: {name}}}, spec: {{uri: 'test:///default'}}}}"
        ))?;
    }
    let namespace = Namespace::create(&plane.client())?;
    namespace.apply(&manifest_on(Some("one"), "Pool", "p", "target: {path: /p}"))?;
    let port = format!("--webhook-port={}", free_port()?);
    let start = || -> Result<Provider> {
        let mut provider = Provider::start(&plane.kubeconfig(), &["--webhook-self-signed", &port])?;
        provider.await_ready()?;
        Ok(provider)
    };
    let provider = start()?;
    let file = workspace().join("package/webhooks/webhook-config.yaml").display().to_string();
    let begun = Instant::now();
    plane.kubectl(&["apply", "-f", &file])?;
    await_refusal(&plane, &namespace).with_context(|| provider.log())?;
    println!("the first refusal came after {:?}", begun.elapsed());

    // The Secret has all of it, and what the API server trusts is what it says.
    let (webhooks, secret) = known(&plane)?;
    assert_eq!(secret["type"], "kubernetes.io/tls");
    let bundle = &secret["data"]["ca.crt"];
    let entries = webhooks.as_array().context("find the webhooks")?;
    assert!(entries.len() == 5 && entries.iter().all(|entry| entry["clientConfig"]["caBundle"] == *bundle));
    // The key is in no log.
    assert!(!provider.log().contains("PRIVATE KEY"), "{}", provider.log());

    // Applied again, with another certificate that nobody has, and by the next process: it is put right.
    plane.kubectl(&["apply", "-f", &file])?;
    let spoilt = r#"[{"op": "replace", "path": "/webhooks/1/clientConfig/caBundle", "value": ""}]"#;
    plane.kubectl(&["patch", "validatingwebhookconfiguration", "provider-libvirt", "--type=json", "-p", spoilt])?;
    await_refusal(&plane, &namespace)?;
    eventually(PATIENCE, || {
        let (after, _) = known(&plane)?;
        ensure!(after == webhooks, "{after:#}");
        Ok(())
    })?;
    provider.term()?;
    let provider = start()?;
    await_refusal(&plane, &namespace).with_context(|| provider.log())?;
    assert_eq!(known(&plane)?.1["data"], secret["data"], "what is good is kept");
    Ok(())
}
