//! The example for a cluster with cert-manager: its objects fit together, with the test in cert-manager's part.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{ControlPlane, Kubectl, PATIENCE, Provider, Scratch, cert_manager, eventually, free_port, workspace};

use crate::rig::{Gate, await_refusal, prepare};

/// Applies the example, with a Service of another port.
fn apply_example(plane: &ControlPlane, port: u16) -> Result<()> {
    let client = plane.client();
    client.apply(&cert_manager())?;
    client.run(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])?;
    client.apply("{apiVersion: v1, kind: Namespace, metadata: {name: crossplane-system}}")?;
    let text = fs::read_to_string(workspace().join("examples/webhook/cert-manager.yaml"))?;
    eventually(PATIENCE, || client.apply(&text.replace("9443", &port.to_string()))).map(drop)
}

/// What cert-manager's CA injector does with an annotated configuration.
fn inject(client: &Kubectl, authority: &str) -> Result<()> {
    let config =
        client.get(&["validatingwebhookconfiguration", "provider-libvirt"])?.context("find the configuration")?;
    let from =
        config["metadata"]["annotations"]["cert-manager.io/inject-ca-from"].as_str().context("find the annotation")?;
    let (namespace, name) = from.split_once('/').context("read the annotation")?;
    ensure!(client.get(&["certificate", name, "-n", namespace])?.is_some(), "there is no Certificate {from}");
    let count = config["webhooks"].as_array().context("find the webhooks")?.len();
    let patch: Vec<Value> = (0..count)
        .map(|at| json!({"op": "add", "path": format!("/webhooks/{at}/clientConfig/caBundle"), "value": authority}))
        .collect();
    let patch = json!(patch).to_string();
    client.run(&["patch", "validatingwebhookconfiguration", "provider-libvirt", "--type=json", "-p", &patch]).map(drop)
}

#[test]
fn the_example_with_cert_manager_refuses_once_its_certificate_is_there() -> Result<()> {
    let scratch = Scratch::new("issued")?;
    let plane = ControlPlane::start_with(scratch.path(), &[&workspace().join("package/crds")])?;
    let client = plane.client();
    let port = free_port()?;
    apply_example(&plane, port)?;
    let certificate = client.get(&["certificate", "provider-libvirt-webhook", "-n", "crossplane-system"])?;
    let names = certificate.context("find the Certificate")?["spec"]["dnsNames"].clone();
    let names: Vec<String> = serde_json::from_value(names)?;
    let gate = Gate::of(port, &names)?;
    inject(&client, &gate.authority())?;
    let namespace = prepare(&plane)?;
    // Named as Crossplane and the example's Deployment would.
    let flags = gate.flags();
    let mut provider =
        Provider::start(&plane.kubeconfig(), &flags[1..].iter().map(String::as_str).collect::<Vec<_>>())?;
    provider.await_ready()?;
    await_refusal(&plane, &namespace).with_context(|| provider.log())
}
