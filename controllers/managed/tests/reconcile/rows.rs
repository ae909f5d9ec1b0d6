//! crossplane-runtime's outcome table, a row for each situation: what a pass tells, what it leaves in the status, when it goes on.

use std::time::Duration;

use managed::{
    external::{Deletion, Effect},
    reconcile::Requeue,
};
use serde_json::json;

use crate::{
    fake::Thing,
    rig::{Rig, seconds},
};

/// What the rows begin with.
#[derive(Clone, Copy)]
enum Given {
    /// An object that nobody has looked at yet.
    New,
    /// An object that was made and is as wished.
    Made,
    /// The same, being deleted.
    Deleted,
}

/// One row. `None` as a condition: it is left as it was.
struct Row {
    situation: &'static str,
    given: Given,
    set: fn(&Rig),
    event: Option<&'static str>,
    ready: Option<&'static str>,
    synced: Option<&'static str>,
    requeue: Requeue,
    writes_status: bool,
}

const B: Requeue = Requeue::After(Duration::from_secs(1));
const P: Requeue = Requeue::Poll;
const OFF: Requeue = Requeue::Never;
const ERROR: Option<&str> = Some("False ReconcileError");
const SUCCESS: Option<&str> = Some("True ReconcileSuccess");
const AVAILABLE: Option<&str> = Some("True Available");
const CREATING: Option<&str> = Some("False Creating");
const HELD: Option<&str> = Some("False Maintenance");
const DELETING: Option<&str> = Some("False Deleting");

use Given::{Deleted, Made, New};

/// Where this differs from crossplane-runtime's own table it says why.
#[rustfmt::skip]
#[allow(clippy::too_many_lines, reason = "one table, to be read as one")]
fn rows() -> Vec<Row> {
    let row = |situation, given, set, event, ready, synced, requeue, writes_status| {
        Row { situation, given, set, event, ready, synced, requeue, writes_status }
    };
    vec![
        row("paused", Made, |rig| rig.annotate("crossplane.io/paused", "true"),
            Some("Normal ReconciliationPaused"), None, Some("False ReconcilePaused"), OFF, true),
        row("paused by no policies", Made, |rig| rig.policies(&[]),
            Some("Normal ReconciliationPaused"), None, Some("False ReconcilePaused"), OFF, true),
        row("paused while being deleted", Deleted, |rig| rig.annotate("crossplane.io/paused", "true"),
            Some("Normal ReconciliationPaused"), None, Some("False ReconcilePaused"), OFF, true),
        row("policies that are not supported", Made, |rig| rig.policies(&["Observe", "Update", "Delete"]),
            Some("Warning CannotUseInvalidManagementPolicy"), None, ERROR, OFF, true),
        row("orphan: the finalizer cannot be removed", Deleted, |rig| {
            rig.policies(&["Observe"]);
            rig.server.fail("metadata: finalizers", 500);
        }, None, DELETING, ERROR, B, true),
        row("orphan", Deleted, |rig| rig.policies(&["Observe"]), None, None, None, OFF, false),
        row("final: the finalizer cannot be removed", Deleted, |rig| {
            rig.thing(Thing::Absent);
            rig.server.fail("metadata: finalizers", 500);
        }, None, DELETING, ERROR, B, true),
        row("final", Deleted, |rig| rig.thing(Thing::Absent), None, None, None, OFF, false),
        // Placement and references go on when what they wait for changes, so that they are looked at with the poll only.
        row("initialization error", New, |rig| rig.fake.world().nowhere = true,
            Some("Warning CannotInitializeManagedResource"), None, ERROR, P, true),
        row("a reference that cannot be resolved", New, |rig| rig.fake.world().waits = Some("Pool q"),
            Some("Warning CannotResolveResourceReferences"), None, ERROR, P, true),
        row("the usage cannot be written", New, |rig| rig.server.fail("POST providerconfigusages", 500),
            Some("Warning CannotConnectToProvider"), None, ERROR, B, true),
        row("connect error", Made, |rig| rig.fake.world().away = true,
            Some("Warning CannotConnectToProvider"), None, ERROR, B, true),
        row("observe error", Made, |rig| rig.fake.world().blind = true,
            Some("Warning CannotObserveExternalResource"), None, ERROR, B, true),
        row("absent, and only observed", New, |rig| rig.policies(&["Observe"]),
            Some("Warning CannotObserveExternalResource"), None, ERROR, P, true),
        row("absent right after its creation", Made, |rig| rig.thing(Thing::Absent),
            Some("Normal PendingExternalResource"), None, None, B, false),
        row("being deleted, with finalizers of others", Deleted, |rig| rig.edit(|object| {
            object["metadata"]["finalizers"].as_array_mut().unwrap().push(json!("example.org/keep"));
        }), None, None, None, B, false),
        row("delete error", Deleted, |rig| rig.fake.world().deletion = |_| Err(anyhow::anyhow!("no")),
            Some("Warning CannotDeleteExternalResource"), DELETING, ERROR, B, true),
        // Looked at again at once: nothing else would wake it before the delay is over.
        row("deletion requested", Deleted, |_| (),
            Some("Normal DeletedExternalResource"), DELETING, SUCCESS, Requeue::After(Duration::from_millis(1)), true),
        row("deletion that takes time", Deleted, |rig| {
            rig.fake.world().deletion = |_| Ok(Deletion::Waiting("it stops".to_owned(), Duration::from_secs(5)));
        }, None, DELETING, SUCCESS, seconds(5), true),
        row("connection details cannot be published", Made, |rig| {
            secret(rig);
            rig.server.fail("POST secrets", 500);
        }, Some("Warning CannotPublishConnectionDetails"), None, ERROR, B, true),
        row("connection details cannot be published after an update", Made, |rig| {
            rig.thing(Thing::Drifted);
            secret(rig);
            rig.fake.world().born = vec![("path", "/p")];
            rig.server.fail("PATCH secrets", 500);
        }, Some("Warning CannotPublishConnectionDetails"), None, ERROR, B, true),
        row("the finalizer cannot be added", New, |rig| {
            rig.thing(Thing::Settled);
            rig.server.fail("metadata: external-name finalizers", 500);
        }, None, None, ERROR, B, true),
        row("the beginning of a create cannot be written", New, |rig| rig.server.fail("metadata: external-create-pending", 500),
            Some("Warning CannotUpdateManagedResource"), CREATING, ERROR, B, true),
        row("create error", New, |rig| rig.fake.world().outcome = Err("no"),
            Some("Warning CannotCreateExternalResource"), CREATING, ERROR, B, true),
        row("create error that may have done something", New, |rig| {
            rig.fake.world().outcome = Err("no answer");
            rig.fake.world().effect = Effect::Unknown;
        }, Some("Warning CannotCreateExternalResource"), CREATING, ERROR, B, true),
        row("created, and that cannot be written", New, |rig| rig.server.fail_times("metadata: external-create-succeeded", 500, 5),
            Some("Warning CannotUpdateManagedResource"), CREATING, ERROR, B, true),
        row("created, and its connection details cannot be published", New, |rig| {
            secret(rig);
            rig.fake.world().details = vec![("path", "/p")];
            rig.server.fail("PATCH secrets", 500);
        }, Some("Warning CannotPublishConnectionDetails"), CREATING, ERROR, B, true),
        // What was made is looked at in the same pass, so that Ready is the host's word already.
        row("created", New, |_| (), Some("Normal CreatedExternalResource"), AVAILABLE, SUCCESS, P, true),
        row("created, and not done yet", New, |rig| rig.fake.world().outcome = Ok(Thing::Underway),
            Some("Normal CreatedExternalResource"), CREATING, SUCCESS, P, true),
        // Nothing is late-initialised: no field of a spec is ever written.
        row("late initialization is allowed", New, |rig| {
            rig.thing(Thing::Settled);
            rig.policies(&["Observe", "LateInitialize"]);
        }, None, AVAILABLE, SUCCESS, P, true),
        row("up to date", Made, |_| (), None, None, None, P, false),
        // A host that is left alone: nothing of crossplane-runtime's.
        row("held: up to date", Made, |rig| rig.fake.world().held = true, None, None, None, P, true),
        row("held: drift", Made, |rig| {
            rig.fake.world().held = true;
            rig.thing(Thing::Drifted);
        }, None, None, None, P, true),
        row("held: absent", New, |rig| rig.fake.world().held = true,
            Some("Warning CannotCreateExternalResource"), HELD, ERROR, P, true),
        row("held: being deleted", Deleted, |rig| rig.fake.world().held = true,
            Some("Warning CannotDeleteExternalResource"), HELD, ERROR, P, true),
        row("held: let go of", Deleted, |rig| {
            rig.fake.world().held = true;
            rig.policies(&["Observe"]);
        }, None, None, None, OFF, false),
        row("nothing places it, and the hosts do not agree", New, |rig| {
            rig.fake.world().nowhere = true;
            rig.fake.world().found = Err("it is on two".to_owned());
        }, Some("Warning CannotInitializeManagedResource"), None, ERROR, P, true),
        row("drift, and no policy Update", Made, |rig| {
            rig.policies(&["Observe", "Create", "Delete"]);
            rig.thing(Thing::Drifted);
        }, None, None, None, P, true),
        row("update error", Made, |rig| {
            rig.thing(Thing::Drifted);
            rig.fake.world().outcome = Err("no");
        }, Some("Warning CannotUpdateExternalResource"), None, ERROR, B, true),
        row("updated", Made, |rig| rig.thing(Thing::Drifted),
            Some("Normal UpdatedExternalResource"), None, None, P, false),
    ]
}

fn secret(rig: &Rig) {
    rig.edit(|object| object["spec"]["writeConnectionSecretToRef"] = json!({"name": "out"}));
}

/// `Status Reason` of a condition, if the object has it.
fn condition(rig: &Rig, kind: &str) -> Option<String> {
    let all = rig.object().map(|_| rig.conditions()).unwrap_or_default();
    let found = all.into_iter().find_map(|line| Some(line.strip_prefix(&format!("{kind}="))?.to_owned()))?;
    Some(found.split(':').next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn every_row_of_the_outcome_table_is_as_crossplane_users_know_it() {
    for Row { situation, given, set, event, ready, synced, requeue, writes_status } in rows() {
        let rig = match given {
            New => Rig::new(),
            Made => Rig::made().await,
            Deleted => Rig::deleted().await,
        };
        set(&rig);
        let before = (condition(&rig, "Ready"), condition(&rig, "Synced"));
        let spec = rig.object().unwrap()["spec"].clone();
        assert_eq!(rig.pass().await, requeue, "{situation}: requeue");
        let log = rig.log();
        let events: Vec<&str> = log.iter().filter_map(|line| line.strip_prefix("event ")).collect();
        assert_eq!(events, event.into_iter().collect::<Vec<_>>(), "{situation}: event");
        assert_eq!(log.iter().any(|line| line == "status"), writes_status, "{situation}: status written");
        let Some(object) = rig.object() else {
            assert_eq!((ready, synced), (None, None), "{situation}: the object is gone");
            continue;
        };
        assert_eq!(condition(&rig, "Ready"), ready.map(str::to_owned).or(before.0), "{situation}: Ready");
        assert_eq!(condition(&rig, "Synced"), synced.map(str::to_owned).or(before.1), "{situation}: Synced");
        assert_eq!(object["spec"], spec, "{situation}: spec");
    }
}
