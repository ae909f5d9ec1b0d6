//! A pass that cannot do what it should.

use std::time::Duration;

use managed::{creation::Creation, external::Effect, reconcile::Requeue};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    fake::Thing,
    rig::{Rig, seconds},
};

const READY: &str = "Ready=True Available";

/// A conflict is no failure: the newer object is on its way.
const AGAIN: Requeue = Requeue::After(Duration::from_millis(200));

/// How long what failed is not tried again at least.
const MOMENT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_create_that_fails_is_recorded_and_tried_again_after_1_2_and_4_seconds() {
    let rig = Rig::new();
    rig.fake.world().outcome = Err("the disk is full");
    assert_eq!(rig.pass().await, seconds(1));
    assert_eq!(
        rig.log(),
        [
            "POST providerconfigusages",
            "PATCH providerconfigusages",
            "metadata: external-create-pending external-name finalizers instance ownership provider-config resourceVersion",
            "host: create",
            "metadata: external-create-failed",
            "event Warning CannotCreateExternalResource",
            "status",
        ]
    );
    let failed = ["Ready=False Creating", "Synced=False ReconcileError: create failed: the disk is full"];
    assert_eq!(rig.conditions(), failed);
    for _ in 0..3 {
        let Requeue::After(rest) = rig.pass().await else { panic!("it is tried again by itself") };
        assert!(rest <= MOMENT, "{rest:?}");
        assert_eq!(rig.log(), Vec::<String>::new(), "what the try itself brought about is no reason for another");
    }
    sleep(MOMENT).await;
    assert_eq!(rig.pass().await, seconds(2));
    sleep(MOMENT).await;
    assert_eq!(rig.pass().await, seconds(4));
    assert_eq!(
        rig.fake.world().before,
        Some(Creation::Failed),
        "what appears after an attempt that failed is not its work"
    );
    assert!(!rig.log().iter().any(|line| line.starts_with("event") || line == "status"), "it says the same again");
    rig.fake.world().outcome = Ok(Thing::Settled);
    sleep(MOMENT).await;
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.conditions(), [READY, "Synced=True ReconcileSuccess", "UpToDate=True ObserveMatched"]);
}

#[tokio::test]
async fn a_costly_create_that_failed_rests_whatever_brings_the_object_back_but_its_user() {
    let rig = Rig::new();
    {
        let mut world = rig.fake.world();
        (world.outcome, world.costly) = (Err("the server has no such image"), true);
    }
    assert_eq!(rig.pass().await, seconds(1));
    let failed = ["Ready=False Creating", "Synced=False ReconcileError: create failed: the server has no such image"];
    rig.log();
    for _ in 0..3 {
        let Requeue::After(rest) = rig.pass().await else { panic!("it is tried again by itself") };
        assert!(rest <= Duration::from_secs(1), "{rest:?}");
        assert_eq!((rig.log(), rig.conditions()), (Vec::<String>::new(), failed.map(str::to_owned).to_vec()));
    }
    rig.annotate("crossplane.io/reconcile-requested-at", "now");
    assert_eq!(rig.pass().await, seconds(2));
    assert!(rig.log().iter().any(|line| line == "host: create"), "its user asked for it");
    rig.edit(|object| object["metadata"]["generation"] = json!(2));
    assert_eq!(rig.pass().await, seconds(4));
    assert!(rig.log().iter().any(|line| line == "host: create"), "its user wishes something else");
}

#[tokio::test]
async fn a_create_whose_end_nobody_saw_stays_open() {
    // What failed, what the attempt before left, what came of it.
    let table = [
        (Effect::None, false, None, Creation::Failed),
        (Effect::Untried, false, None, Creation::Failed),
        (Effect::Unknown, false, None, Creation::Open),
        (Effect::None, false, Some("2026-01-01T00:00:00Z"), Creation::Failed),
        (Effect::None, true, Some("2026-01-01T00:00:00Z"), Creation::Open),
        (Effect::Untried, true, Some("2026-01-01T00:00:00Z"), Creation::Open),
        (Effect::Unknown, false, Some("2026-01-01T00:00:00Z"), Creation::Open),
    ];
    for (effect, leftover, cut_short, expected) in table {
        let rig = Rig::new();
        rig.edit(|object| {
            if let Some(begun) = cut_short {
                object["metadata"]["annotations"] = json!({"crossplane.io/external-create-pending": begun});
            }
        });
        {
            let mut world = rig.fake.world();
            (world.outcome, world.effect, world.leftover) = (Err("no"), effect, leftover);
        }
        rig.pass().await;
        sleep(MOMENT).await;
        rig.pass().await;
        assert_eq!(rig.fake.world().before, Some(expected), "{effect:?} {leftover} {cut_short:?}");
    }
}

#[tokio::test]
async fn a_second_try_that_is_under_way_does_not_take_back_what_the_first_one_met() {
    let rig = Rig::new();
    rig.fake.world().outcome = Err("the server has no such image");
    rig.pass().await;
    let failed = "Synced=False ReconcileError: create failed: the server has no such image";
    rig.fake.world().outcome = Ok(Thing::Underway);
    sleep(MOMENT).await;
    for _ in 0..2 {
        rig.pass().await;
        assert_eq!(rig.conditions()[2], failed, "{:?}", rig.conditions());
    }
    rig.thing(Thing::Settled);
    rig.pass().await;
    assert_eq!(rig.conditions(), [READY, "Synced=True ReconcileSuccess", "UpToDate=True ObserveMatched"]);
}

#[tokio::test]
async fn while_nothing_is_known_of_its_host_an_object_keeps_what_it_says_and_costs_nothing() {
    let rig = Rig::made().await;
    let before = rig.conditions();
    rig.log();
    rig.fake.world().early = true;
    for _ in 0..3 {
        assert_eq!((rig.pass().await, rig.log(), rig.conditions()), (seconds(30), vec![], before.clone()));
    }
    // What it says of a host that is away stays as well, until there is something else to say.
    (rig.fake.world().early, rig.fake.world().away) = (false, true);
    rig.pass().await;
    let away = rig.conditions();
    rig.log();
    rig.fake.world().early = true;
    assert_eq!((rig.pass().await, rig.log(), rig.conditions()), (seconds(30), vec![], away));
    (rig.fake.world().early, rig.fake.world().away) = (false, false);
    assert_eq!((rig.pass().await, rig.conditions()), (Requeue::Poll, before));
}

#[tokio::test]
async fn a_host_of_which_it_comes_out_only_then_that_it_is_left_alone_is_left_alone() {
    let rig = Rig::new();
    rig.fake.world().held_once_connected = true;
    assert_eq!(rig.pass().await, seconds(30));
    assert!(!rig.log().iter().any(|line| line == "host: create"));
    rig.pass().await;
    assert!(rig.conditions()[0].starts_with("Ready=False Maintenance"), "{:?}", rig.conditions());
    assert!(!rig.log().iter().any(|line| line == "host: create"));
}

#[tokio::test]
async fn an_event_that_repeats_is_not_written_again() {
    let rig = Rig::made().await;
    rig.fake.world().away = true;
    for _ in 0..5 {
        rig.pass().await;
    }
    let events = rig.log().into_iter().filter(|line| line.starts_with("event")).collect::<Vec<_>>();
    assert_eq!(events, ["event Warning CannotConnectToProvider"]);
}

#[tokio::test]
async fn a_host_that_is_away_leaves_ready_and_what_was_seen_as_they_are() {
    let rig = Rig::made().await;
    rig.fake.world().away = true;
    rig.thing(Thing::Absent);
    assert_eq!(rig.pass().await, seconds(1));
    assert_eq!(rig.log(), ["event Warning CannotConnectToProvider", "status"]);
    let away = [READY, "Synced=False ReconcileError: connect failed: host is away", "UpToDate=Unknown Unreachable"];
    assert_eq!(rig.conditions(), away);
    assert_eq!(rig.object().unwrap()["status"]["atProvider"], json!({"state": "Settled"}));
    assert_eq!(rig.pass().await, seconds(2));
    assert_eq!(rig.log(), [""; 0]);
}

#[tokio::test]
async fn what_an_update_could_not_do_is_said_and_ready_stays() {
    let rig = Rig::made().await;
    rig.thing(Thing::Drifted);
    rig.fake.world().outcome = Err("not now");
    assert_eq!(rig.pass().await, seconds(1));
    // What the host shows is written also when it could not be changed.
    assert_eq!(rig.log(), ["host: update", "status", "event Warning CannotUpdateExternalResource", "status"]);
    assert_eq!(rig.object().unwrap()["status"]["atProvider"], json!({"state": "Drifted"}));
    let failed = [
        READY,
        "Synced=False ReconcileError: update failed: not now",
        "UpToDate=False UpdateFailed: size: 1, wished 2",
    ];
    assert_eq!(rig.conditions(), failed);
    // A try that failed may be an event itself: whoever is woken by it waits, and says the same.
    let Requeue::After(wait) = rig.pass().await else { panic!("it is not tried again") };
    assert!(wait.as_secs() <= 1, "{wait:?}");
    assert_eq!(rig.log(), [""; 0]);
    assert_eq!(rig.conditions(), failed);
}

#[tokio::test]
async fn policies_that_make_no_sense_stop_everything() {
    let rig = Rig::made().await;
    rig.policies(&["Observe", "Delete", "Update"]);
    rig.thing(Thing::Drifted);
    assert_eq!(rig.pass().await, Requeue::Never);
    assert_eq!(rig.log(), ["event Warning CannotUseInvalidManagementPolicy", "status"]);
    let refused = "Synced=False ReconcileError: `spec.managementPolicies` is set to a value([Observe Delete Update]) which is not \
                   supported. Check docs for supported policies";
    assert_eq!(rig.conditions()[1], refused);
    assert_eq!(rig.conditions()[0], READY);
}

#[tokio::test]
async fn an_object_without_a_place_or_a_referent_says_what_it_waits_for() {
    let rig = Rig::new();
    rig.fake.world().nowhere = true;
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.log(), ["event Warning CannotInitializeManagedResource", "status"]);
    assert_eq!(rig.conditions(), ["Synced=False ReconcileError: cannot determine placement"]);

    let rig = Rig::new();
    rig.fake.world().waits = Some("Pool q");
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(
        rig.log(),
        [
            "POST providerconfigusages",
            "PATCH providerconfigusages",
            "event Warning CannotResolveResourceReferences",
            "status"
        ]
    );
    assert_eq!(rig.conditions(), ["Synced=False ReconcileError: cannot resolve references: waiting for Pool q"]);
}

#[tokio::test]
async fn a_host_that_does_not_answer_a_question_changes_nothing() {
    let rig = Rig::made().await;
    rig.fake.world().blind = true;
    assert_eq!(rig.pass().await, seconds(1));
    assert_eq!(rig.log(), ["event Warning CannotObserveExternalResource", "status"]);
    assert_eq!(rig.conditions()[..2], [READY, "Synced=False ReconcileError: observe failed: the host does not say"]);
}

#[tokio::test]
async fn an_edit_that_no_pass_could_compare_is_not_called_up_to_date() {
    let rig = Rig::made().await;
    let unsynced = "Synced=False ReconcileError: observe failed: the host does not say";
    rig.fake.world().blind = true;
    rig.pass().await;
    let settled = [READY, "Synced=True ReconcileSuccess", "UpToDate=True ObserveMatched"];
    assert_eq!(rig.conditions(), [READY, unsynced, settled[2]], "of this spec it was found out");

    rig.edit(|object| object["spec"]["forProvider"]["autostart"] = json!(true));
    rig.log();
    rig.pass().await;
    assert_eq!(rig.log(), ["status"], "at no further write");
    let unknown = [READY, unsynced, "UpToDate=Unknown ReconcileError"];
    assert_eq!(rig.conditions(), unknown);
    for _ in 0..3 {
        rig.pass().await;
        assert_eq!((rig.log(), rig.conditions()), (Vec::<String>::new(), unknown.map(str::to_owned).to_vec()));
    }
    rig.fake.world().waits = Some("Pool q");
    rig.pass().await;
    assert_eq!(rig.conditions()[2], unknown[2], "another failure tells no more of it");

    (rig.fake.world().blind, rig.fake.world().waits) = (false, None);
    assert_eq!((rig.pass().await, rig.conditions()), (Requeue::Poll, settled.map(str::to_owned).to_vec()));
    rig.fake.world().blind = true;
    rig.edit(|object| object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    rig.policies(&["Observe", "Delete", "Update"]);
    rig.pass().await;
    assert_eq!(rig.conditions()[2], settled[2], "what is being deleted has no other spec");
}

#[tokio::test]
async fn what_is_not_ours_is_neither_claimed_nor_touched() {
    let rig = Rig::new();
    rig.thing(Thing::Foreign);
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
    let foreign = [
        "Ready=False ForeignObject: it is not ours",
        "Synced=False ReconcileError: observe failed: it is not ours",
        "UpToDate=False ForeignObject: it is not ours",
    ];
    assert_eq!(rig.conditions(), foreign);
    assert_eq!((rig.finalizers(), rig.object().unwrap()["metadata"]["annotations"].clone()), (vec![], json!(null)));
}

#[tokio::test]
async fn a_conflict_at_any_write_of_a_create_is_tried_again_without_a_word() {
    let writes = [
        ("POST providerconfigusages", AGAIN),
        ("PATCH providerconfigusages", AGAIN),
        ("metadata: external-create-pending", Requeue::Poll),
        ("metadata: external-create-succeeded", Requeue::Poll),
        ("status", Requeue::Poll),
    ];
    for (write, requeue) in writes {
        let rig = Rig::new();
        rig.server.fail(write, 409);
        assert_eq!(rig.pass().await, requeue, "{write}");
        let log = rig.log();
        assert!(log.iter().filter(|line| line.starts_with(write)).count() <= 2, "{write}: {log:?}");
        assert!(!log.iter().any(|line| line.starts_with("event Warning")), "{write}: {log:?}");
        rig.pass().await;
        let settled = [READY, "Synced=True ReconcileSuccess", "UpToDate=True ObserveMatched"];
        assert_eq!(rig.conditions(), settled, "{write}");
        assert!(rig.annotation("crossplane.io/external-create-succeeded").is_some(), "{write}");
        let creates = log.into_iter().chain(rig.log()).filter(|line| line == "host: create").count();
        assert_eq!(creates, 1, "{write}");
    }
}

#[tokio::test]
async fn a_conflict_that_does_not_end_is_no_failure_either() {
    for write in ["metadata: external-create-pending", "status"] {
        let rig = Rig::new();
        rig.server.fail_times(write, 409, 5);
        assert_eq!(rig.pass().await, AGAIN, "{write}");
        let log = rig.log();
        assert!(log.last().unwrap().starts_with(write), "{write}: {log:?}");
        assert!(!log.iter().any(|line| line.starts_with("event Warning")), "{write}: {log:?}");
        assert_eq!(rig.object().unwrap()["status"], json!(null), "{write}");
    }
}

#[tokio::test]
async fn an_old_copy_of_the_object_creates_nothing() {
    let rig = Rig::new();
    let old = rig.object().unwrap();
    rig.edit(|object| object["spec"]["forProvider"]["autostart"] = json!(true));
    assert_eq!(rig.pass_on(old).await, AGAIN);
    assert!(!rig.log().contains(&"host: create".to_owned()));
}

#[tokio::test]
async fn a_create_that_cannot_be_recorded_is_not_begun_or_is_found_again() {
    let rig = Rig::new();
    rig.server.fail("metadata: external-create-pending", 500);
    assert_eq!(rig.pass().await, seconds(1));
    let log = rig.log();
    assert!(!log.contains(&"host: create".to_owned()));
    assert_eq!(log[log.len() - 2..], ["event Warning CannotUpdateManagedResource", "status"]);
    let unwritten = "Synced=False ReconcileError: cannot update managed resource: InternalError";
    assert_eq!(rig.conditions(), ["Ready=False Creating", unwritten]);

    // One write that is not taken is made again at once.
    let rig = Rig::new();
    rig.server.fail_times("metadata: external-create-succeeded", 500, 4);
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.conditions()[0], READY);

    let rig = Rig::new();
    rig.server.fail_times("metadata: external-create-succeeded", 500, 5);
    assert_eq!(rig.pass().await, seconds(1));
    let log = rig.log();
    assert_eq!(log[log.len() - 2..], ["event Warning CannotUpdateManagedResource", "status"]);
    assert!(!log.contains(&"event Normal CreatedExternalResource".to_owned()), "{log:?}");
    let unwritten = "Synced=False ReconcileError: cannot update managed resource: cannot update critical annotations: InternalError";
    assert_eq!(rig.conditions(), ["Ready=False Creating", unwritten]);
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.log(), ["metadata: external-create-succeeded", "status"]);
    assert_eq!(rig.conditions()[0], READY);
}

#[tokio::test]
async fn a_finalizer_that_cannot_be_added_is_told_by_the_status_alone() {
    let rig = Rig::new();
    rig.thing(Thing::Settled);
    rig.server.fail("metadata: external-name finalizers", 500);
    assert_eq!(rig.pass().await, seconds(1));
    let written = "metadata: external-name finalizers instance provider-config resourceVersion";
    assert_eq!(rig.log(), ["POST providerconfigusages", "PATCH providerconfigusages", written, "status"]);
    assert_eq!(rig.conditions(), ["Synced=False ReconcileError: cannot update managed resource: InternalError"]);
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.finalizers(), ["finalizer.managedresource.crossplane.io"]);
}

#[tokio::test]
async fn an_object_that_is_gone_meanwhile_is_forgotten() {
    let rig = Rig::made().await;
    rig.thing(Thing::Refused);
    rig.server.fail("status", 404);
    assert_eq!(rig.pass().await, Requeue::Never);
    assert_eq!((rig.log(), rig.fake.world().forgotten), (vec!["status".to_owned()], 1));
}

#[tokio::test]
async fn a_thing_that_is_there_is_told_of_while_its_object_waits_and_nothing_is_done_to_it() {
    let rig = Rig::made().await;
    {
        let mut world = rig.fake.world();
        (world.waits, world.bare, world.thing) = (Some("Secret s"), true, Thing::Drifted);
    }
    rig.log();
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.log(), ["status", "event Warning CannotResolveResourceReferences", "status"]);
    let waits = "Synced=False ReconcileError: cannot resolve references: waiting for Secret s";
    assert_eq!(rig.conditions(), [READY, waits, "UpToDate=Unknown Unresolved"]);
    assert_eq!(rig.object().unwrap()["status"]["atProvider"], json!({"state": "Drifted"}));
    assert_eq!((rig.pass().await, rig.log()), (Requeue::Poll, Vec::new()), "nothing is new");

    rig.fake.world().blind = true;
    rig.thing(Thing::Settled);
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.conditions(), [READY, waits], "a host that does not say tells nothing");
    assert_eq!(rig.object().unwrap()["status"]["atProvider"], json!({"state": "Drifted"}));
    rig.fake.world().blind = false;
    rig.thing(Thing::Absent);
    rig.log();
    assert_eq!((rig.pass().await, rig.log()), (Requeue::Poll, Vec::new()), "of what is not there nothing is told");

    rig.thing(Thing::Drifted);
    rig.fake.world().waits = None;
    assert_eq!(rig.pass().await, Requeue::Poll);
    assert_eq!(rig.conditions(), [READY, "Synced=True ReconcileSuccess", "UpToDate=True ObserveMatched"]);
}
