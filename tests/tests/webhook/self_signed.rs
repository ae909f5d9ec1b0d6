//! A cluster where nobody makes certificates: one file is applied, and the webhook works.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{ControlPlane, PATIENCE, Provider, Scratch, eventually, free_port, workspace};

use crate::rig::{await_refusal, prepare};

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
    let namespace = prepare(&plane)?;
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
