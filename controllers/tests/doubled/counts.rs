//! What a Domain costs: each case to the call.

use libvirt::{Call, double::Double};
use managed::reconcile::Requeue;
use serde_json::json;

use crate::rig::{NEVER, Rig, asked};

#[tokio::test]
async fn row_29_a_pass_over_an_object_that_waits_changes_nothing_on_the_host() {
    let rig = Rig::start(NEVER).await;
    rig.double(Double::take);
    rig.domain(
        "waits",
        "00000000-0000-4000-8000-000000000001",
        &json!({
            "memory": "16Mi", "disks": [{"name": "root", "volumeRef": {"name": "absent"}}],
        }),
    );
    rig.pass("waits").await;
    assert_eq!(rig.changes(), []);
    assert_eq!(
        rig.condition("waits", "Synced"),
        "False ReconcileError: cannot resolve references: cannot get referenced resource: waiting for Volume absent: \
         there is none in namespace n"
    );
}

#[tokio::test]
async fn row_29_a_guest_is_made_by_one_definition_and_one_start_and_then_nothing_is_asked_at_all() {
    const UUID: &str = "00000000-0000-4000-8000-000000000002";
    let rig = Rig::start(NEVER).await;
    rig.double(Double::take);
    rig.domain("made", UUID, &json!({"memory": "16Mi"}));
    assert_eq!(rig.pass("made").await, Requeue::Poll);
    assert_eq!(rig.changes(), [asked(Call::DomainDefine, UUID), asked(Call::DomainCreate, UUID)]);
    rig.quiet().await;
    let written = rig.object("made").unwrap();
    assert_eq!(rig.pass("made").await, Requeue::Poll);
    assert_eq!(rig.was_asked(&[UUID]), [], "nothing is asked of a host that is as wished");
    assert_eq!(rig.object("made").unwrap(), written, "and nothing is written");
}

/// Names of the dependencies that a crate's manifest lists, those of its tests not among them.
fn dependencies(manifest: &str) -> Vec<&str> {
    let after = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let lines = after.lines().take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty())).collect()
}

// What stands for a host in the crate of the reconciler is the trait `Connect`: its own tests run it with one of theirs, which knows no
// libvirt, these with the provider's over a host in memory, and production with the provider's over hosts.
#[tokio::test]
async fn row_1_one_reconciler_runs_with_whatever_stands_for_the_hosts_and_knows_it_by_a_trait_alone() {
    const UUID: &str = "00000000-0000-4000-8000-000000000003";
    let known = dependencies(include_str!("../../managed/Cargo.toml"));
    assert!(known.contains(&"kube"), "{known:?}");
    assert!(!known.iter().any(|name| ["libvirt", "virt", "virt-sys", "provider-libvirt"].contains(name)), "{known:?}");
    let rig = Rig::start(NEVER).await;
    rig.double(Double::take);
    rig.domain("either", UUID, &json!({"memory": "16Mi"}));
    rig.pass("either").await;
    assert_eq!(rig.changes(), [asked(Call::DomainDefine, UUID), asked(Call::DomainCreate, UUID)]);
    assert_eq!(rig.condition("either", "Synced"), "True ReconcileSuccess");
}
