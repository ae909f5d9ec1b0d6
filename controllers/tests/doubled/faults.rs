//! Calls that hang or fail: who waits, for how long, and what is said of it.

use std::time::Duration;

use libvirt::{
    Call,
    double::{Double, Fault},
};
use managed::reconcile::Requeue;
use serde_json::json;

use crate::rig::{NEVER, Rig, asked};

/// Longer than any call may take.
const TOO_LONG: Duration = Duration::from_secs(601);

#[tokio::test]
async fn a_call_that_hangs_keeps_its_own_object_waiting_and_no_other() {
    const STUCK: &str = "00000000-0000-4000-8000-000000000021";
    const OTHER: &str = "00000000-0000-4000-8000-000000000022";
    let rig = Rig::start(NEVER).await;
    rig.domain("stuck", STUCK, &json!({"memory": "16Mi"}));
    rig.domain("beside", OTHER, &json!({"memory": "16Mi"}));
    rig.double(Double::take);
    rig.double(|double| double.fault_on(Call::DomainDefine, STUCK, Fault::Hang));
    let meanwhile = async {
        rig.until(|| rig.double(Double::hanging) == 1).await;
        assert_eq!(rig.pass("beside").await, Requeue::Poll);
        tokio::time::pause();
        tokio::time::advance(TOO_LONG).await;
        tokio::time::resume();
    };
    let (requeue, ()) = tokio::join!(rig.pass("stuck"), meanwhile);
    assert_eq!(requeue, Requeue::After(Duration::from_secs(1)));
    let failed = "False ReconcileError: create failed: ".to_owned();
    assert_eq!(rig.condition("stuck", "Synced"), format!("{failed}libvirt did not answer within 600 s"));
    assert_eq!(rig.host().counters().quarantined(), 1);

    // What failed rests for a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.quiet().await;
    assert_eq!(rig.pass("stuck").await, Requeue::After(Duration::from_secs(2)));
    let waits = format!("{failed}{STUCK} is still waiting for a call that libvirt has not answered");
    assert_eq!(rig.condition("stuck", "Synced"), waits);
    assert_eq!(rig.was_asked(&[STUCK, OTHER]), [], "nothing is asked that would wait behind it");
    assert_eq!(rig.pass("beside").await, Requeue::Poll);
    assert_eq!(rig.condition("beside", "Ready"), "True Available");

    rig.double(Double::lift);
    rig.until(|| rig.host().counters().quarantined() == 0).await;
    rig.until_passed("stuck").await;
    assert_eq!(
        rig.changes(),
        [asked(Call::DomainCreate, STUCK)],
        "the definition that hung was made, and none after it"
    );
}

#[tokio::test]
async fn each_class_of_errors_has_its_own_delay_and_is_told_in_libvirts_words() {
    let rig = Rig::start(NEVER).await;
    let (delay, soon) = (Requeue::After(Duration::from_secs(1)), Requeue::After(Duration::from_secs(2)));
    let rows = [
        ("rejected", 92, 20, "XML document failed to validate against schema", Requeue::Poll),
        ("denied", 88, 0, "access denied", Requeue::Poll),
        ("busy", 68, 10, "Timed out during operation: cannot acquire state change lock", soon),
        ("exists", 9, 20, "operation failed: domain 'd' already exists with uuid 1", delay),
        ("gone", 42, 10, "Domain not found", delay),
        ("other", 1, 10, "internal error: qemu unexpectedly closed the monitor", delay),
        ("away", 38, 7, "Cannot recv data: Connection reset by peer", delay),
    ];
    for (number, (name, code, domain, message, requeue)) in rows.into_iter().enumerate() {
        let uuid = format!("00000000-0000-4000-8000-0000000001{number:02}");
        rig.double(|double| double.fault_on(Call::DomainDefine, &uuid, Fault::Fail(code, domain, message)));
        rig.domain(name, &uuid, &json!({"memory": "16Mi"}));
        rig.double(Double::take);
        assert_eq!(rig.pass(name).await, requeue, "{name}");
        let conditions = ["Synced", "Ready", "UpToDate"].map(|kind| rig.condition(name, kind));
        let synced = format!("False ReconcileError: create failed: define domain: {message}");
        assert_eq!(conditions, [synced, "False Creating".to_owned(), String::new()], "{name}");
        assert_eq!(rig.changes(), [asked(Call::DomainDefine, &uuid)], "{name}");

        // Nothing is left of it: what was wrong is over, and the next pass makes the guest.
        rig.double(Double::lift);
        rig.until_passed(name).await;
        assert_eq!(rig.changes(), [asked(Call::DomainDefine, &uuid), asked(Call::DomainCreate, &uuid)], "{name}");
        assert_eq!(rig.condition(name, "Synced"), "True ReconcileSuccess", "{name}");
    }
}

#[tokio::test]
async fn of_a_host_that_is_read_for_long_its_objects_wait_without_a_worker_and_say_nothing_of_it() {
    const SLOW: &str = "00000000-0000-4000-8000-000000000031";
    let rig = Rig::start(NEVER).await;
    rig.double(|double| double.fault(Call::NetworkList, Fault::Hang));
    // It is connected anew, and so read anew.
    rig.configure(&json!({"uri": "test:///default", "connection": {"callTimeout": "500s"}}));
    rig.domain("slow", SLOW, &json!({"memory": "16Mi"}));
    let later = Requeue::After(Duration::from_secs(30));
    for _ in 0..3 {
        assert_eq!(rig.pass("slow").await, later);
        assert_eq!(rig.object("slow").unwrap()["status"], serde_json::Value::Null);
    }
    rig.double(Double::lift);
    rig.until(|| rig.host().mirror().synced()).await;
    rig.until_passed("slow").await;
}

#[tokio::test]
async fn of_a_host_that_cannot_be_read_its_objects_say_why_and_go_on_when_it_can() {
    const UNREAD: &str = "00000000-0000-4000-8000-000000000032";
    let rig = Rig::start(NEVER).await;
    rig.double(|double| double.fault(Call::NetworkList, Fault::Fail(1, 19, "internal error: no list")));
    rig.configure(&json!({"uri": "test:///default", "connection": {"callTimeout": "501s"}}));
    rig.domain("unread", UNREAD, &json!({"memory": "16Mi"}));
    while rig.object("unread").unwrap()["status"].is_null() {
        rig.pass("unread").await;
    }
    let said = rig.condition("unread", "Synced");
    let begin = "False ReconcileError: connect failed: ClusterProviderConfig host: ";
    assert!(said.starts_with(begin) && said.ends_with("internal error: no list"), "{said}");
    rig.double(Double::lift);
    rig.until(|| rig.host().mirror().synced()).await;
    rig.until_passed("unread").await;
}
