//! Kinds come and go with their CRDs, as Crossplane's safe start makes them: one that has none holds up no other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Context as _, Result};
use tests::{PATIENCE, Provider, Stage, manifest, workspace};

const NETWORKS: &str = "networks.libvirt.m.nourspeed.io";
const DOMAINS: &str = "domains.libvirt.m.nourspeed.io";

#[test]
fn a_kind_starts_when_its_crd_comes_stops_when_it_goes_and_holds_up_no_other() -> Result<()> {
    let stage = Stage::start("kinds", &["--poll=2s"])?;
    let scenario = stage.scenario("kinds")?;
    stage.end_provider()?.term()?;
    stage.plane().kubectl(&["delete", "crd", NETWORKS, DOMAINS])?;
    let mut provider = Provider::start(&stage.plane().kubeconfig(), &["--poll=2s"])?;
    provider.await_ready()?;
    scenario.apply(&scenario.pool())?;
    scenario.await_all_ready(PATIENCE).with_context(|| provider.log())?;
    assert_eq!(stage.host().everything()?, ["pool kinds"]);

    let network = manifest("Network", "kinds", "mode: Isolated");
    for _ in 0..2 {
        let definition = workspace().join("package/crds/libvirt.m.nourspeed.io_networks.yaml");
        stage.plane().kubectl(&["apply", "--server-side", "-f", &definition.display().to_string()])?;
        stage.plane().kubectl(&["wait", "--for=condition=Established", "--timeout=30s", &format!("crd/{NETWORKS}")])?;
        scenario.apply(&network)?;
        scenario.await_all_ready(PATIENCE).with_context(|| provider.log())?;
        assert_eq!(stage.host().everything()?, ["network kinds", "pool kinds"]);
        // The API server deletes the objects first, and the finalizers hold them until the host has nothing of them.
        stage.plane().kubectl(&["delete", "crd", NETWORKS, &format!("--timeout={}s", PATIENCE.as_secs())])?;
        assert_eq!(stage.host().everything()?, ["pool kinds"]);
    }
    provider.await_ready()?;
    assert_eq!(provider.term()?.code(), Some(0));
    Ok(())
}
