//! The usage of an object: written before its config is used, held from the first connection on, let go after the object itself.

use std::{sync::atomic::Ordering, time::Duration};

use managed::reconcile::Requeue;
use serde_json::{Value, json};

use crate::{
    fake::Thing,
    rig::{Rig, seconds},
};

const FINALIZER: &str = "finalizer.providerconfigusage.crossplane.io";
const PATH: &str = "/apis/libvirt.m.nourspeed.io/v1alpha1/namespaces/n/providerconfigusages/u";

const POST: &str = "POST providerconfigusages";
const PATCH: &str = "PATCH providerconfigusages";
const RELEASE: &str = "metadata: finalizers resourceVersion";

/// The usage as the server has it, but for its version.
fn usage(rig: &Rig) -> Option<Value> {
    let mut usage = rig.server.get(PATH)?;
    usage["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    Some(usage)
}

fn wished(finalizers: &[&str]) -> Value {
    let mut wished = json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ProviderConfigUsage",
        "metadata": {
            "name": "u", "namespace": "n",
            "labels": {"crossplane.io/provider-config": "host", "crossplane.io/provider-config-kind": "ClusterProviderConfig"},
            "ownerReferences": [{
                "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool", "name": "p", "uid": "u",
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "providerConfigRef": {"kind": "ClusterProviderConfig", "name": "host"},
        "resourceRef": {"apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool", "name": "p", "uid": "u"},
    });
    if !finalizers.is_empty() {
        wished["metadata"]["finalizers"] = json!(finalizers);
    }
    wished
}

fn edit(rig: &Rig, change: impl FnOnce(&mut Value)) {
    let mut usage = rig.server.get(PATH).unwrap();
    change(&mut usage);
    rig.server.put(PATH, usage);
}

fn delete(rig: &Rig) {
    rig.edit(|object| object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
}

#[tokio::test]
async fn a_usage_is_written_before_the_host_is_asked_and_held_once_it_answers() {
    let rig = Rig::new();
    rig.fake.world().away = true;
    rig.pass().await;
    assert_eq!(usage(&rig), Some(wished(&[])));
    assert_eq!(rig.log(), [POST, "event Warning CannotConnectToProvider", "status"]);
    rig.fake.world().away = false;
    rig.pass().await;
    assert_eq!(usage(&rig), Some(wished(&[FINALIZER])));
    assert_eq!(
        rig.log()[..2],
        [
            PATCH,
            "metadata: external-create-pending external-name finalizers instance ownership provider-config resourceVersion"
        ]
    );
    rig.pass().await;
    assert_eq!(rig.log(), [""; 0]);
}

#[tokio::test]
async fn a_usage_that_the_watch_has_shown_costs_nothing_after_a_restart() {
    let rig = Rig::made().await.restarted();
    rig.shown.0.store(true, Ordering::Relaxed);
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.log(), [""; 0]);
}

#[tokio::test]
async fn a_usage_that_is_there_already_is_taken_as_it_is() {
    let rig = Rig::made().await.restarted();
    rig.pass().await;
    assert_eq!(rig.log(), [POST]);
    assert_eq!(usage(&rig), Some(wished(&[FINALIZER])));
}

#[tokio::test]
async fn a_usage_with_other_labels_without_an_owner_or_of_another_config_is_mended_and_what_others_added_stays() {
    let others = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "c"});
    let breakages: [fn(&mut Value); 3] = [
        |usage| usage["metadata"]["labels"]["crossplane.io/provider-config"] = json!("other"),
        |usage| usage["metadata"]["ownerReferences"] = json!([]),
        |usage| usage["providerConfigRef"]["name"] = json!("other"),
    ];
    for breakage in breakages {
        let rig = Rig::made().await.restarted();
        edit(&rig, |usage| {
            breakage(usage);
            usage["metadata"]["labels"]["mine"] = json!("yes");
            usage["metadata"]["ownerReferences"].as_array_mut().unwrap().insert(0, others.clone());
        });
        rig.pass().await;
        let mut wished = wished(&[FINALIZER]);
        wished["metadata"]["labels"]["mine"] = json!("yes");
        wished["metadata"]["ownerReferences"].as_array_mut().unwrap().insert(0, others.clone());
        assert_eq!(usage(&rig), Some(wished));
        assert_eq!(rig.log(), [POST, PATCH]);
    }
}

#[tokio::test]
async fn a_usage_that_another_object_controls_is_refused() {
    let rig = Rig::made().await.restarted();
    edit(&rig, |usage| usage["metadata"]["ownerReferences"][0]["uid"] = json!("other"));
    let before = usage(&rig);
    assert_eq!(rig.pass().await, seconds(1));
    assert_eq!(rig.log(), [POST, "event Warning CannotConnectToProvider", "status"]);
    let refused = "Synced=False ReconcileError: connect failed: cannot apply ProviderConfigUsage: \
                   existing ProviderConfigUsage u is not controlled by UID \"u\"";
    assert_eq!(rig.conditions()[1], refused);
    assert_eq!(usage(&rig), before);
}

#[tokio::test]
async fn a_usage_that_is_being_deleted_is_not_held() {
    let rig = Rig::made().await.restarted();
    edit(&rig, |usage| {
        usage["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        usage["metadata"]["finalizers"] = json!(["other"]);
    });
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.log(), [POST]);
}

#[tokio::test]
async fn a_usage_that_cannot_be_held_is_an_error_and_one_that_changed_is_looked_at_again() {
    let rig = Rig::new();
    rig.server.fail(PATCH, 409);
    assert_eq!(rig.pass().await, Requeue::After(Duration::from_millis(200)));
    assert_eq!((rig.log(), usage(&rig)), (vec![POST.to_owned(), PATCH.to_owned()], Some(wished(&[]))));
    rig.server.fail(PATCH, 500);
    assert_eq!(rig.pass().await, seconds(1));
    assert_eq!(rig.log(), [POST, PATCH, "event Warning CannotConnectToProvider", "status"]);
    let failed = "Synced=False ReconcileError: connect failed: cannot hold ProviderConfigUsage: InternalError";
    assert_eq!(rig.conditions(), [failed]);
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.log()[0], PATCH);
    assert_eq!(usage(&rig), Some(wished(&[FINALIZER])));
}

#[tokio::test]
async fn an_object_that_is_being_deleted_gets_no_usage() {
    let rig = Rig::deleted().await.restarted();
    rig.server.remove(PATH);
    rig.pass().await;
    assert_eq!(rig.log(), ["host: delete", "event Normal DeletedExternalResource", "status"]);
    rig.pass().await;
    assert_eq!(rig.log(), ["host: delete", RELEASE]);
    assert_eq!((rig.object(), usage(&rig)), (None, None));
}

#[tokio::test]
async fn a_usage_is_let_go_after_its_object_whether_the_thing_goes_or_stays() {
    for policies in [["*"].as_slice(), &["Observe", "Create", "Update"]] {
        let rig = Rig::deleted().await;
        rig.policies(policies);
        rig.thing(Thing::Absent);
        edit(&rig, |usage| usage["metadata"]["finalizers"] = json!(["other", FINALIZER]));
        rig.server.fail(RELEASE, 500);
        rig.pass().await;
        assert_eq!(usage(&rig), Some(wished(&["other", FINALIZER])));
        rig.log();
        rig.pass().await;
        let log = rig.log();
        assert_eq!(log[log.len() - 2..], [RELEASE, PATCH]);
        assert_eq!((rig.object(), usage(&rig)), (None, Some(wished(&["other"]))));
    }
}

#[tokio::test]
async fn after_a_restart_the_usage_of_an_object_that_goes_is_let_go_as_well() {
    let rig = Rig::deleted().await.restarted();
    rig.shown.0.store(true, Ordering::Relaxed);
    rig.thing(Thing::Absent);
    edit(&rig, |usage| usage["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    rig.pass().await;
    assert_eq!(rig.log(), ["host: delete", RELEASE, PATCH]);
    assert_eq!((rig.object(), usage(&rig)), (None, None));
}

#[tokio::test]
async fn the_usage_of_an_object_that_never_came_to_a_host_is_let_go() {
    let rig = Rig::new();
    rig.fake.world().waits = Some("Network x");
    rig.pass().await;
    rig.log();
    delete(&rig);
    rig.edit(|object| object["metadata"]["finalizers"] = json!(["other"]));
    for expected in [vec![PATCH], vec![]] {
        assert_eq!(rig.pass().await, Requeue::Never);
        assert_eq!(rig.log(), expected);
    }
    assert_eq!(usage(&rig), Some(wished_with_none()));
}

/// A usage whose last finalizer was taken off.
fn wished_with_none() -> Value {
    let mut wished = wished(&[]);
    wished["metadata"]["finalizers"] = json!([]);
    wished
}

#[tokio::test]
async fn a_usage_that_cannot_be_let_go_does_not_keep_the_object() {
    let rig = Rig::deleted().await;
    rig.thing(Thing::Absent);
    rig.server.fail(PATCH, 500);
    assert_eq!(rig.pass().await, Requeue::Never);
    assert_eq!(rig.log(), ["host: delete", RELEASE, PATCH]);
    assert_eq!((rig.object(), usage(&rig)), (None, Some(wished(&[FINALIZER]))));
}

#[tokio::test]
async fn a_usage_whose_deletion_was_asked_for_meanwhile_is_let_go_all_the_same() {
    let rig = Rig::deleted().await;
    rig.thing(Thing::Absent);
    rig.server.fail(PATCH, 409);
    assert_eq!(rig.pass().await, Requeue::Never);
    assert_eq!(rig.log(), ["host: delete", RELEASE, PATCH, PATCH]);
    assert_eq!(usage(&rig), Some(wished_with_none()));
}

#[tokio::test]
async fn a_deletion_in_the_foreground_waits_for_the_usage_so_nobody_waits_for_it() {
    let rig = Rig::deleted().await;
    rig.edit(|object| object["metadata"]["finalizers"].as_array_mut().unwrap().push(json!("foregroundDeletion")));
    rig.pass().await;
    assert_eq!(rig.log()[0], "host: delete");
    rig.pass().await;
    assert_eq!(rig.log(), ["host: delete", RELEASE, PATCH]);
    assert_eq!(rig.finalizers(), ["foregroundDeletion"]);
    assert_eq!(usage(&rig), Some(wished_with_none()));
}
