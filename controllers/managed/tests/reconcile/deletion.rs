//! An object that is being deleted.

use std::time::Duration;

use managed::{
    external::{Deletion, Refusal},
    reconcile::Requeue,
};
use serde_json::json;

use crate::{
    fake::Thing,
    rig::{Rig, seconds},
};

const READY: &str = "Ready=True Available";
const OURS: &str = "finalizer.managedresource.crossplane.io";

#[tokio::test]
async fn the_finalizer_goes_only_when_a_look_up_said_absent() {
    let rig = Rig::deleted().await;
    assert_eq!(rig.pass().await, Requeue::After(Duration::from_millis(1)));
    assert_eq!(rig.log(), ["host: delete", "event Normal DeletedExternalResource", "status"]);
    assert_eq!(rig.conditions()[..2], ["Ready=False Deleting", "Synced=True ReconcileSuccess"]);
    assert_eq!(rig.finalizers(), [OURS]);
    assert_eq!(rig.pass().await, Requeue::Never);
    let done = ["host: delete", "metadata: finalizers resourceVersion", "PATCH providerconfigusages"];
    assert_eq!(rig.log(), done);
    assert_eq!((rig.object(), rig.fake.world().forgotten), (None, 1));
}

#[tokio::test]
async fn a_deletion_that_takes_time_is_waited_for() {
    let rig = Rig::deleted().await;
    rig.fake.world().deletion = |_| Ok(Deletion::Waiting("the guest shuts down".to_owned(), Duration::from_secs(5)));
    for expected in [vec!["host: delete", "status"], vec!["host: delete"]] {
        assert_eq!(rig.pass().await, seconds(5));
        assert_eq!(rig.log(), expected);
    }
    assert_eq!(rig.conditions()[0], "Ready=False Deleting: the guest shuts down");
    assert_eq!(rig.finalizers(), [OURS]);
}

#[tokio::test]
async fn a_deletion_that_fails_or_is_refused_keeps_the_finalizer_and_says_why() {
    let rig = Rig::deleted().await;
    rig.fake.world().deletion = |_| Err(anyhow::anyhow!("it is busy"));
    assert_eq!(rig.pass().await, seconds(1));
    assert_eq!(rig.log(), ["host: delete", "event Warning CannotDeleteExternalResource", "status"]);
    let failed = ["Ready=False Deleting", "Synced=False ReconcileError: delete failed: it is busy"];
    assert_eq!(rig.conditions()[..2], failed);
    rig.fake.world().deletion =
        |_| Ok(Deletion::Refused(Refusal { reason: "InUse", message: "it is used".to_owned() }));
    assert_eq!(rig.pass().await, seconds(2));
    let refused = ["Ready=False InUse: it is used", "Synced=False ReconcileError: delete failed: it is used"];
    assert_eq!(rig.conditions()[..2], refused);
    assert_eq!(rig.finalizers(), [OURS]);
}

#[tokio::test]
async fn a_host_that_is_away_is_not_an_absent_thing() {
    let rig = Rig::deleted().await;
    rig.fake.world().away = true;
    assert_eq!(rig.pass().await, seconds(1));
    assert_eq!(rig.log(), ["event Warning CannotConnectToProvider", "status"]);
    let away = [READY, "Synced=False ReconcileError: connect failed: host is away", "UpToDate=Unknown Unreachable"];
    assert_eq!(rig.conditions(), away);
    assert_eq!(rig.finalizers(), [OURS]);
}

#[tokio::test]
async fn an_object_whose_config_is_gone_says_how_it_can_be_let_go() {
    let rig = Rig::made().await;
    rig.fake.world().unconfigured = true;
    rig.pass().await;
    let gone = "Synced=False ReconcileError: connect failed: cannot get ProviderConfig: there is no ClusterProviderConfig host";
    assert_eq!(rig.conditions()[1], gone);
    rig.edit(|object| object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    rig.pass().await;
    assert_eq!(rig.conditions()[1], format!("{gone}; drop Delete from spec.managementPolicies to let the object go"));
    rig.policies(&["Observe", "Create", "Update"]);
    assert_eq!(rig.pass().await, Requeue::Never);
    assert_eq!(rig.object(), None);
}

#[tokio::test]
async fn finalizers_of_others_go_first() {
    let rig = Rig::deleted().await;
    rig.edit(|object| object["metadata"]["finalizers"] = json!([OURS, "backup.example.org/keep"]));
    for delay in [1, 2, 4] {
        assert_eq!(rig.pass().await, seconds(delay));
    }
    assert_eq!(rig.log(), [""; 0]);
    rig.edit(|object| object["metadata"]["finalizers"] = json!([OURS]));
    rig.pass().await;
    assert_eq!(rig.log()[0], "host: delete");
}

#[tokio::test]
async fn without_the_policy_delete_the_object_goes_and_the_thing_stays() {
    let rig = Rig::deleted().await;
    rig.policies(&["Observe", "Create", "Update"]);
    rig.fake.world().away = true;
    assert_eq!(rig.pass().await, Requeue::Never);
    assert_eq!(rig.log(), ["metadata: finalizers resourceVersion", "PATCH providerconfigusages"]);
    assert_eq!((rig.object(), rig.fake.world().thing), (None, Thing::Settled));
}

#[tokio::test]
async fn a_finalizer_that_cannot_be_removed_is_tried_again() {
    let rig = Rig::deleted().await;
    rig.thing(Thing::Absent);
    rig.server.fail_times("metadata: finalizers", 409, 5);
    assert_eq!(rig.pass().await, Requeue::After(Duration::from_millis(200)));
    assert_eq!(rig.log().last().unwrap(), "metadata: finalizers resourceVersion");
    rig.server.fail("metadata: finalizers", 500);
    assert_eq!(rig.pass().await, seconds(1));
    // The status tells it, and no event.
    assert_eq!(rig.log(), ["host: delete", "metadata: finalizers resourceVersion", "status"]);
    assert_eq!(rig.conditions()[0], "Ready=False Deleting");
    assert_eq!(rig.finalizers(), [OURS]);
    // A conflict with a writer that changed nothing of what a pass reads is over at once.
    rig.server.fail("metadata: finalizers", 409);
    assert_eq!(rig.pass().await, Requeue::Never);
    assert_eq!(rig.object(), None);
}

#[tokio::test]
async fn the_finalizer_of_an_orphan_that_cannot_be_removed_is_tried_again() {
    let rig = Rig::deleted().await;
    rig.policies(&["Observe"]);
    rig.server.fail("metadata: finalizers", 500);
    assert_eq!(rig.pass().await, seconds(1));
    assert_eq!(rig.log(), ["metadata: finalizers resourceVersion", "status"]);
    let failed = ["Ready=False Deleting", "Synced=False ReconcileError: cannot update managed resource: InternalError"];
    assert_eq!(rig.conditions()[..2], failed);
    assert_eq!(rig.pass().await, Requeue::Never);
    assert_eq!((rig.object(), rig.fake.world().thing), (None, Thing::Settled));
}

#[tokio::test]
async fn an_object_that_was_never_on_a_host_just_goes() {
    let rig = Rig::new();
    rig.edit(|object| {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["metadata"]["finalizers"] = json!(["other"]);
    });
    assert_eq!(rig.pass().await, Requeue::Never);
    assert_eq!((rig.log(), rig.fake.world().forgotten), (vec![], 1));
}

#[tokio::test]
async fn a_paused_object_is_not_deleted() {
    let rig = Rig::deleted().await;
    rig.annotate("crossplane.io/paused", "true");
    assert_eq!(rig.pass().await, Requeue::Never);
    assert_eq!((rig.finalizers(), rig.fake.world().thing), (vec![OURS.to_owned()], Thing::Settled));
}
