//! The connection Secret of an object that names one.

use k8s_openapi::ByteString;
use managed::reconcile::Requeue;
use serde_json::{Value, from_value, json};

use crate::{
    fake::Thing,
    rig::{Rig, seconds},
};

const PATH: &str = "/api/v1/namespaces/n/secrets/out";
const READY: &str = "Ready=True Available";
const SYNCED: &str = "Synced=True ReconcileSuccess";
const TYPE: &str = "connection.crossplane.io/v1alpha1";

/// An object that names a Secret, and a host that has these details once the thing is there.
fn named(details: &[(&'static str, &'static str)]) -> Rig {
    let rig = Rig::new();
    rig.edit(|object| object["spec"]["writeConnectionSecretToRef"] = json!({"name": "out"}));
    rig.fake.world().details = details.to_vec();
    rig
}

fn owner() -> Value {
    json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool", "name": "p", "uid": "u",
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// A Secret of somebody, `{key: text}`.
fn put(rig: &Rig, type_: &str, owners: &Value, data: &Value) {
    let data: serde_json::Map<String, Value> = data
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, text)| (key.clone(), json!(ByteString(text.as_str().unwrap().into()))))
        .collect();
    rig.server.put(
        PATH,
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": type_, "data": data,
            "metadata": {"name": "out", "namespace": "n", "ownerReferences": owners},
        }),
    );
}

/// What the Secret says, as text.
fn said(rig: &Rig) -> Value {
    let secret = rig.server.get(PATH).unwrap();
    let entries = secret["data"].as_object().cloned().unwrap_or_default().into_iter();
    entries
        .map(|(key, value)| (key, json!(String::from_utf8(from_value::<ByteString>(value).unwrap().0).unwrap())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn secret_lines(rig: &Rig) -> Vec<String> {
    rig.log().into_iter().filter(|line| line.ends_with("secrets")).collect()
}

#[tokio::test]
async fn the_secret_is_there_before_the_thing_and_filled_when_it_is_made() {
    let rig = named(&[("path", "/p")]);
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(
        rig.log(),
        [
            "POST providerconfigusages",
            "PATCH providerconfigusages",
            "GET secrets",
            "POST secrets",
            "metadata: external-create-pending external-name finalizers instance ownership provider-config resourceVersion",
            "host: create",
            "metadata: external-create-succeeded",
            "GET secrets",
            "PATCH secrets",
            "event Normal CreatedExternalResource",
            "status",
        ]
    );
    let secret = rig.server.get(PATH).unwrap();
    assert_eq!(secret["type"], json!(TYPE));
    assert_eq!(secret["metadata"]["ownerReferences"], json!([owner()]));
    assert_eq!((secret["metadata"]["namespace"].clone(), said(&rig)), (json!("n"), json!({"path": "/p"})));
}

#[tokio::test]
async fn without_anything_to_say_there_is_an_empty_secret() {
    let rig = named(&[]);
    rig.pass().await;
    assert_eq!((rig.server.get(PATH).unwrap()["type"].clone(), said(&rig)), (json!(TYPE), json!({})));
    assert_eq!(rig.conditions()[..2], [READY, SYNCED]);
}

#[tokio::test]
async fn what_is_said_already_is_not_written_again_and_hardly_read() {
    let rig = named(&[("path", "/p")]);
    rig.pass().await;
    rig.log();
    for _ in 0..20 {
        rig.pass().await;
    }
    assert_eq!(rig.log(), ["GET secrets", "GET secrets"]);
    // Who asks for a pass gets a look at once.
    rig.annotate("crossplane.io/reconcile-requested-at", "monday");
    rig.pass().await;
    assert_eq!(secret_lines(&rig), ["GET secrets"]);
}

#[tokio::test]
async fn a_secret_that_somebody_deleted_or_changed_is_mended_and_what_they_added_stays() {
    let rig = named(&[("path", "/p")]);
    rig.pass().await;
    put(&rig, TYPE, &json!([owner()]), &json!({"path": "/theirs", "more": "theirs"}));
    for _ in 0..10 {
        rig.pass().await;
    }
    assert_eq!(said(&rig), json!({"path": "/p", "more": "theirs"}));
    assert_eq!(rig.conditions()[..2], [READY, SYNCED]);
}

#[tokio::test]
async fn keys_are_added_and_changed_and_never_removed() {
    let rig = named(&[("path", "/p"), ("name", "p")]);
    rig.pass().await;
    rig.fake.world().details = vec![("path", "/q"), ("pool", "x")];
    rig.log();
    rig.pass().await;
    assert_eq!(rig.log(), ["GET secrets", "PATCH secrets"]);
    assert_eq!(said(&rig), json!({"path": "/q", "name": "p", "pool": "x"}));
}

#[tokio::test]
async fn an_update_that_changes_a_detail_writes_it_in_the_same_pass() {
    let rig = named(&[("path", "/p")]);
    rig.pass().await;
    rig.thing(Thing::Drifted);
    rig.fake.world().details = vec![("path", "/q")];
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(said(&rig), json!({"path": "/q"}));
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_left_alone_and_nothing_is_made() {
    let other = json!([{"apiVersion": "v1", "kind": "Pod", "name": "q", "uid": "other", "controller": true}]);
    let uncontrolled = "refusing to modify uncontrolled secret of type \"Opaque\"";
    let table = [
        (TYPE, other.clone(), "existing secret is not controlled by UID \"u\""),
        ("Opaque", other, "existing secret is not controlled by UID \"u\""),
        ("Opaque", json!(null), uncontrolled),
    ];
    for (type_, owners, why) in table {
        let rig = named(&[("path", "/p")]);
        put(&rig, type_, &owners, &json!({"path": "theirs"}));
        let before = rig.server.get(PATH);
        assert_eq!(rig.pass().await, seconds(1));
        assert_eq!(
            rig.log(),
            [
                "POST providerconfigusages",
                "PATCH providerconfigusages",
                "GET secrets",
                "event Warning CannotPublishConnectionDetails",
                "status"
            ]
        );
        let refused = format!("Synced=False ReconcileError: cannot create or update connection secret: {why}");
        assert_eq!((rig.conditions(), rig.server.get(PATH)), (vec![refused], before));
        assert_eq!(rig.finalizers(), [""; 0]);
    }
}

#[tokio::test]
async fn a_secret_of_the_right_type_that_nobody_controls_is_taken_over() {
    let rig = named(&[("path", "/p")]);
    let friend = json!({"apiVersion": "v1", "kind": "Pod", "name": "q", "uid": "friend"});
    put(&rig, TYPE, &json!([friend]), &json!({"path": "/p"}));
    rig.pass().await;
    assert_eq!(rig.server.get(PATH).unwrap()["metadata"]["ownerReferences"], json!([friend, owner()]));
    assert_eq!(rig.conditions()[..2], [READY, SYNCED]);
}

#[tokio::test]
async fn a_secret_that_cannot_be_written_keeps_ready_and_is_tried_again() {
    let rig = named(&[("path", "/p")]);
    rig.pass().await;
    rig.log();
    rig.fake.world().details = vec![("path", "/q")];
    rig.server.fail("PATCH secrets", 500);
    assert_eq!(rig.pass().await, seconds(1));
    assert_eq!(rig.log(), ["GET secrets", "PATCH secrets", "event Warning CannotPublishConnectionDetails", "status"]);
    let failed = "Synced=False ReconcileError: cannot create or update connection secret: InternalError";
    assert_eq!(rig.conditions()[..2], [READY, failed]);
    // A conflict is no failure.
    rig.server.fail("PATCH secrets", 409);
    assert_eq!(rig.pass().await, Requeue::After(std::time::Duration::from_millis(200)));
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!((rig.conditions()[1].as_str(), said(&rig)), (SYNCED, json!({"path": "/q"})));
}

#[tokio::test]
async fn a_deletion_asks_nothing_of_the_secret() {
    let rig = named(&[("path", "/p")]);
    rig.pass().await;
    put(&rig, "Opaque", &json!(null), &json!({}));
    rig.edit(|object| object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    rig.log();
    rig.pass().await;
    rig.pass().await;
    assert_eq!((secret_lines(&rig), rig.object()), (vec![], None));
}
