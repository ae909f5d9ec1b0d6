//! An object that is to be true: made, kept, mended.

use std::time::Duration;

use apis::managed::ConfigKind;
use apis::placement::ConfigId;
use managed::{creation::Creation, reconcile::Requeue};
use serde_json::json;

use crate::{
    fake::Thing,
    rig::{Rig, seconds},
};

const READY: &str = "Ready=True Available";
const SYNCED: &str = "Synced=True ReconcileSuccess";
const UP_TO_DATE: &str = "UpToDate=True ObserveMatched";

#[tokio::test]
async fn a_create_is_recorded_before_it_is_made_and_its_success_before_its_status() {
    let rig = Rig::new();
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(
        rig.log(),
        [
            "POST providerconfigusages",
            "PATCH providerconfigusages",
            "metadata: external-create-pending external-name finalizers instance ownership provider-config resourceVersion",
            "host: create",
            "metadata: external-create-succeeded",
            "event Normal CreatedExternalResource",
            "status",
        ]
    );
    assert_eq!(rig.conditions(), [READY, SYNCED, UP_TO_DATE]);
    assert_eq!(rig.fake.world().before, Some(Creation::Unbegun));
    assert_eq!(rig.finalizers(), ["finalizer.managedresource.crossplane.io"]);
    assert_eq!(rig.annotation("crossplane.io/external-name").as_deref(), Some("p"));
    assert_eq!(rig.annotation("libvirt.nourspeed.io/provider-config").as_deref(), Some("ClusterProviderConfig/host"));
    let object = rig.object().unwrap();
    assert_eq!(object["metadata"]["labels"], json!({"libvirt.nourspeed.io/instance": "host"}));
    assert_eq!(object["status"]["atProvider"], json!({"state": "Settled"}));
}

#[tokio::test]
async fn in_steady_state_nothing_is_written() {
    let rig = Rig::made().await;
    for _ in 0..3 {
        assert_eq!(rig.pass().await, Requeue::Poll);
        assert_eq!(rig.log(), [""; 0]);
    }
}

#[tokio::test]
async fn the_users_own_instance_label_and_external_name_stay() {
    let rig = Rig::new();
    rig.edit(|object| {
        object["metadata"]["labels"] = json!({"libvirt.nourspeed.io/instance": "mine"});
        object["metadata"]["annotations"] = json!({"crossplane.io/external-name": "other"});
    });
    rig.pass().await;
    assert_eq!(rig.object().unwrap()["metadata"]["labels"], json!({"libvirt.nourspeed.io/instance": "mine"}));
    assert_eq!(rig.annotation("crossplane.io/external-name").as_deref(), Some("other"));
}

#[tokio::test]
async fn what_is_there_already_as_wished_is_claimed_without_a_create() {
    let rig = Rig::new();
    rig.thing(Thing::Settled);
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(
        rig.log(),
        [
            "POST providerconfigusages",
            "PATCH providerconfigusages",
            "metadata: external-name finalizers instance provider-config resourceVersion",
            "status",
        ]
    );
    assert_eq!(rig.conditions(), [READY, SYNCED, UP_TO_DATE]);
}

#[tokio::test]
async fn a_create_that_goes_on_by_itself_is_ready_and_recorded_when_it_is_done() {
    let rig = Rig::new();
    rig.fake.world().outcome = Ok(Thing::Underway);
    rig.pass().await;
    assert_eq!(rig.annotation("crossplane.io/external-create-succeeded"), None);
    assert_eq!(rig.conditions()[..2], ["Importing=True Downloading", "Ready=False Creating"]);
    rig.log();
    assert_eq!(rig.conditions().last().unwrap(), "UpToDate=False UpdateRequested");
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.log(), [""; 0]);
    assert_eq!(rig.conditions().last().unwrap(), "UpToDate=False UpdateRequested");
    rig.thing(Thing::Settled);
    rig.pass().await;
    assert_eq!(rig.log(), ["metadata: external-create-succeeded", "status"]);
    assert_eq!(rig.conditions(), [READY, SYNCED, UP_TO_DATE]);
}

#[tokio::test]
async fn a_create_that_was_cut_short_is_resumed_and_the_host_is_told_so() {
    let rig = Rig::new();
    rig.edit(|object| {
        object["metadata"]["annotations"] = json!({"crossplane.io/external-create-pending": "2026-01-01T00:00:00Z"});
    });
    rig.pass().await;
    assert_eq!(rig.fake.world().before, Some(Creation::Open));
    assert_eq!(rig.conditions(), [READY, SYNCED, UP_TO_DATE]);
}

#[tokio::test]
async fn drift_is_mended_and_said() {
    let rig = Rig::made().await;
    rig.thing(Thing::Drifted);
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.log(), ["host: update", "event Normal UpdatedExternalResource"]);
    assert_eq!(rig.conditions(), [READY, SYNCED, UP_TO_DATE]);
}

#[tokio::test]
async fn drift_that_an_update_does_not_mend_is_tried_again_with_growing_delays() {
    let rig = Rig::made().await;
    rig.thing(Thing::Drifted);
    rig.fake.world().outcome = Ok(Thing::Drifted);
    let unmended = [READY, SYNCED, "UpToDate=False UpdateRequested: size: 1, wished 2"];
    assert_eq!(rig.pass().await, seconds(1));
    assert_eq!(rig.log(), ["host: update", "event Normal UpdatedExternalResource", "status"]);
    assert_eq!(rig.conditions(), unmended);
    // Whatever wakes it meanwhile, it keeps its time.
    let Requeue::After(rest) = rig.pass().await else { panic!("it does not wait") };
    assert!(rest < Duration::from_secs(1), "{rest:?}");
    assert_eq!((rig.log(), rig.conditions()), (vec![], unmended.map(str::to_owned).to_vec()));
    tokio::time::sleep(rest).await;
    assert_eq!(rig.pass().await, seconds(2));
    assert_eq!(rig.log(), ["host: update"]);
    rig.thing(Thing::Settled);
    assert_eq!(rig.pass().await, Requeue::Poll);
    rig.thing(Thing::Drifted);
    assert_eq!(rig.pass().await, seconds(1));
}

#[tokio::test]
async fn drift_that_the_policies_do_not_let_us_mend_is_shown() {
    let rig = Rig::made().await;
    rig.policies(&["Observe", "Create", "Delete"]);
    rig.thing(Thing::Drifted);
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.log(), ["status"]);
    assert_eq!(rig.conditions(), [READY, SYNCED, "UpToDate=False UpdateRestricted: size: 1, wished 2"]);
}

#[tokio::test]
async fn what_is_refused_leaves_the_thing_ready_and_says_why() {
    let rig = Rig::made().await;
    rig.thing(Thing::Refused);
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.log(), ["status", "event Warning CannotUpdateExternalResource"]);
    let refused = [
        READY,
        "Synced=False ReconcileError: update failed: it never shrinks",
        "UpToDate=False ShrinkRefused: it never shrinks",
    ];
    assert_eq!(rig.conditions(), refused);
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.log(), [""; 0]);

    rig.thing(Thing::PartlyRefused);
    rig.fake.world().outcome = Ok(Thing::Refused);
    rig.pass().await;
    assert_eq!(rig.log()[0], "host: update");
    assert_eq!(rig.conditions(), refused);
}

#[tokio::test]
async fn an_object_that_names_another_host_stays_where_it_is_and_says_so() {
    let rig = Rig::made().await;
    let other = ConfigId { kind: ConfigKind::ProviderConfig, namespace: "n".to_owned(), name: "new".to_owned() };
    rig.fake.world().ignored = Some(other);
    rig.pass().await;
    let moved = "UpToDate=False PlacementChanged: spec.providerConfigRef names ProviderConfig n/new, but the object is on \
                 ClusterProviderConfig host; it stays there";
    assert_eq!(rig.conditions(), [READY, SYNCED, moved]);
}

#[tokio::test]
async fn a_paused_object_is_left_alone_until_it_is_not() {
    for pause in [(|rig: &Rig| rig.annotate("crossplane.io/paused", "true")) as fn(&Rig), |rig: &Rig| rig.policies(&[])]
    {
        let rig = Rig::made().await;
        rig.thing(Thing::Drifted);
        pause(&rig);
        assert_eq!(rig.pass().await, Requeue::Never);
        assert_eq!(rig.log(), ["event Normal ReconciliationPaused", "status"]);
        assert!(rig.conditions()[1].starts_with("Synced=False ReconcilePaused: Reconciliation is paused"));
        assert_eq!([rig.conditions()[0].as_str(), &rig.conditions()[2]], [READY, "UpToDate=Unknown ReconcilePaused"]);
        rig.edit(|object| {
            object["spec"]["managementPolicies"] = json!(["*"]);
            object["metadata"]["annotations"]["crossplane.io/paused"] = json!("false");
        });
        rig.pass().await;
        assert_eq!(rig.conditions(), [READY, SYNCED, UP_TO_DATE]);
    }
}

#[tokio::test]
async fn where_policies_are_not_honoured_none_pause_and_others_than_all_are_refused() {
    let rig = Rig::made().await.without_policies();
    rig.policies(&["Observe"]);
    rig.thing(Thing::Drifted);
    assert_eq!(rig.pass().await, Requeue::Never);
    assert_eq!(rig.log(), ["event Warning CannotUseInvalidManagementPolicy", "status"]);
    let refusal = "`spec.managementPolicies` is set to a non-default value but the feature is not enabled: [Observe]";
    assert_eq!(rig.conditions()[1], format!("Synced=False ReconcileError: {refusal}"));

    rig.policies(&[]);
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.log(), ["host: update", "event Normal UpdatedExternalResource", "status"]);
    assert_eq!(rig.conditions(), [READY, SYNCED, UP_TO_DATE]);
    rig.annotate("crossplane.io/paused", "true");
    assert_eq!(rig.pass().await, Requeue::Never, "the annotation pauses all the same");
    rig.annotate("crossplane.io/paused", "false");
    rig.edit(|object| object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    rig.pass().await;
    rig.pass().await;
    assert_eq!((rig.object(), rig.fake.world().thing), (None, Thing::Absent));
}

#[tokio::test]
async fn what_others_made_is_written_down_as_the_objects_before_anything_is_done_about_it() {
    let rig = Rig::new();
    rig.thing(Thing::Adoptable);
    assert_eq!(rig.pass().await, Requeue::After(Duration::from_millis(1)));
    assert_eq!(
        rig.log(),
        [
            "POST providerconfigusages",
            "PATCH providerconfigusages",
            "metadata: external-create-succeeded external-name finalizers instance ownership provider-config resourceVersion",
            "event Normal AdoptedExternalResource"
        ]
    );
    assert_eq!(rig.annotation("libvirt.nourspeed.io/ownership").as_deref(), Some("signed"));
    rig.pass().await;
    assert_eq!(rig.log(), ["host: update", "event Normal UpdatedExternalResource", "status"]);
    assert_eq!(rig.conditions(), [READY, SYNCED, UP_TO_DATE]);

    // What cannot be written down is not begun, and where the object only looks nothing is written.
    let rig = Rig::new();
    rig.thing(Thing::Adoptable);
    rig.server.fail("metadata: external-create-succeeded", 500);
    rig.pass().await;
    let log = rig.log();
    assert!(!log.iter().any(|line| line.starts_with("host:")), "{log:?}");
    let rig = Rig::new();
    rig.thing(Thing::Adoptable);
    rig.policies(&["Observe"]);
    rig.pass().await;
    assert_eq!(rig.annotation("libvirt.nourspeed.io/ownership"), None);
}

#[tokio::test]
async fn an_object_that_only_observes_says_that_there_is_nothing() {
    let rig = Rig::new();
    rig.policies(&["Observe"]);
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(
        rig.log(),
        [
            "POST providerconfigusages",
            "PATCH providerconfigusages",
            "event Warning CannotObserveExternalResource",
            "status"
        ]
    );
    let absent = "Synced=False ReconcileError: observe failed: external resource does not exist";
    assert_eq!(rig.conditions(), [absent]);
    assert_eq!(rig.finalizers(), [""; 0]);

    rig.thing(Thing::Foreign);
    assert_eq!(rig.pass().await, Requeue::Poll);
    let foreign = [
        "Ready=False ForeignObject: it is not ours",
        "Synced=False ReconcileError: observe failed: it is not ours",
        "UpToDate=False ForeignObject: it is not ours",
    ];
    assert_eq!(rig.conditions(), foreign);

    // Of what is not there any more it is not said that it is as wished.
    rig.thing(Thing::Settled);
    rig.pass().await;
    assert_eq!(rig.conditions(), [READY, SYNCED, UP_TO_DATE]);
    rig.thing(Thing::Absent);
    rig.pass().await;
    let gone = "Ready=False Unavailable: there is nothing of the name p on ClusterProviderConfig host any more";
    assert_eq!(rig.conditions(), [gone, absent]);
}

#[tokio::test]
async fn what_is_absent_right_after_its_creation_is_waited_for() {
    let rig = Rig::made().await;
    let before = rig.conditions();
    rig.thing(Thing::Absent);
    for delay in [1, 2] {
        assert_eq!(rig.pass().await, seconds(delay));
    }
    assert_eq!(rig.log(), ["event Normal PendingExternalResource"]);
    assert_eq!(rig.conditions(), before);
    rig.age();
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert!(rig.log().contains(&"host: create".to_owned()));
    // A deletion does not wait: there the look-up is sure.
    let rig = Rig::deleted().await;
    rig.thing(Thing::Absent);
    assert_eq!(rig.pass().await, Requeue::Never);
    assert_eq!(rig.object(), None);
}

#[tokio::test]
async fn a_request_to_reconcile_a_paused_object_is_handled_when_it_is_not_paused_any_more() {
    let rig = Rig::made().await;
    rig.annotate("crossplane.io/paused", "true");
    rig.annotate("crossplane.io/reconcile-requested-at", "monday");
    rig.pass().await;
    assert_eq!(rig.log(), ["event Normal ReconciliationPaused", "status"]);
    assert_eq!(rig.object().unwrap()["status"]["lastHandledReconcileAt"], json!(null));
    rig.annotate("crossplane.io/paused", "false");
    rig.pass().await;
    assert_eq!(rig.log(), ["event Normal ReconcileRequestHandled", "status"]);
    assert_eq!(rig.object().unwrap()["status"]["lastHandledReconcileAt"], json!("monday"));
}

#[tokio::test]
async fn a_paused_object_whose_host_is_away_after_the_pause_says_what_is_known_of_it() {
    let rig = Rig::made().await;
    rig.annotate("crossplane.io/paused", "true");
    rig.pass().await;
    rig.annotate("crossplane.io/paused", "false");
    rig.fake.world().blind = true;
    rig.pass().await;
    assert_eq!(rig.conditions(), [READY, "Synced=False ReconcileError: observe failed: the host does not say"]);
}

#[tokio::test]
async fn a_condition_that_somebody_else_wrote_meanwhile_stays() {
    let rig = Rig::made().await;
    let old = rig.object().unwrap();
    let theirs =
        json!({"type": "Audited", "status": "True", "reason": "Fine", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    rig.edit(|object| object["status"]["conditions"].as_array_mut().unwrap().push(theirs));
    rig.thing(Thing::Refused);
    // The pass still has the object as it was before.
    assert_eq!(rig.pass_on(old).await, Requeue::Poll);
    assert_eq!(rig.log(), ["status", "status", "event Warning CannotUpdateExternalResource"]);
    assert_eq!(rig.conditions()[0], "Audited=True Fine");
    assert_eq!(rig.conditions()[3], "UpToDate=False ShrinkRefused: it never shrinks");
}

#[tokio::test]
async fn an_object_that_somebody_touches_all_the_time_is_made_and_finished_all_the_same() {
    let rig = Rig::new();
    for (write, left) in [("metadata: external-create-pending", 4), ("status", 4)] {
        rig.server.fail_times(write, 409, left);
        rig.pass().await;
    }
    assert_eq!(rig.log().iter().filter(|line| *line == "host: create").count(), 1);
    assert_eq!(rig.conditions(), [READY, SYNCED, UP_TO_DATE]);

    let rig = Rig::new();
    let old = rig.object().unwrap();
    rig.edit(|object| object["metadata"]["annotations"] = json!({"example.org/touched": "1"}));
    assert_eq!(rig.pass_on(old).await, Requeue::Poll);
    assert_eq!(rig.annotation("example.org/touched").as_deref(), Some("1"));
    assert_eq!(rig.conditions(), [READY, SYNCED, UP_TO_DATE]);
}

#[tokio::test]
async fn a_request_to_reconcile_is_handled_once() {
    let rig = Rig::made().await;
    rig.annotate("crossplane.io/reconcile-requested-at", "monday");
    rig.pass().await;
    assert_eq!(rig.log(), ["event Normal ReconcileRequestHandled", "status"]);
    assert_eq!(rig.object().unwrap()["status"]["lastHandledReconcileAt"], json!("monday"));
    rig.pass().await;
    assert_eq!(rig.log(), [""; 0]);
    rig.annotate("crossplane.io/reconcile-requested-at", "tuesday");
    rig.pass().await;
    assert_eq!(rig.object().unwrap()["status"]["lastHandledReconcileAt"], json!("tuesday"));
    assert_eq!(rig.fake.world().renewed, 2, "and the host is asked anew each time");
    for (interval, renewed) in [("1s", 3), ("often", 3), ("-1s", 3)] {
        rig.annotate("crossplane.io/poll-interval", interval);
        rig.pass().await;
        assert_eq!(rig.fake.world().renewed, renewed, "{interval}");
    }
}
