//! Events that come twice, late, or of what is gone by then: never more than one call for one change.

use std::time::Duration;

use libvirt::{
    Call, Connection, Endpoint, Error, Hosts, Key, LaneKind, Settings,
    double::{Double, Fault},
};
use managed::reconcile::Requeue;
use serde_json::json;

use crate::rig::{NEVER, Rig, asked};

/// When the copies of an event arrive: at once and soon, and when whatever it told of may be over.
const LATE: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(150), Duration::from_millis(900)];

/// What somebody else does on the same host.
async fn by_others(uuid: &'static str, act: impl FnOnce(&Connection) -> Result<(), Error> + Send + 'static) {
    let others = Hosts::new();
    let key = Key { who: "somebody else".to_owned(), how: String::new() };
    let host = others.get(&key, &Endpoint::parse("test:///default").unwrap(), &Settings::default()).unwrap();
    host.call(LaneKind::Short, uuid, Duration::from_secs(30), act).await.unwrap();
}

/// Passes as they come while late events arrive: one after the other for longer than the latest takes.
async fn pass_meanwhile(rig: &Rig, name: &str) {
    for _ in 0..20 {
        rig.pass(name).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
}

#[tokio::test]
async fn a_guest_whose_events_come_again_and_late_is_made_and_started_once() {
    const UUID: &str = "00000000-0000-4000-8000-000000000041";
    let rig = Rig::start(NEVER).await;
    rig.double(|double| double.shift_events(&LATE));
    rig.double(Double::take);
    rig.domain("again", UUID, &json!({"memory": "16Mi"}));
    pass_meanwhile(&rig, "again").await;
    assert_eq!(rig.changes(), [asked(Call::DomainDefine, UUID), asked(Call::DomainCreate, UUID)]);
    assert_eq!(rig.condition("again", "Ready"), "True Available");

    // That it stopped is told again when it runs.
    by_others(UUID, |connection| connection.find_domain(UUID)?.unwrap().destroy(false)).await;
    rig.until(|| rig.host().mirror().domain(UUID).is_some_and(|domain| domain.id.is_none())).await;
    pass_meanwhile(&rig, "again").await;
    assert_eq!(rig.changes(), [asked(Call::DomainCreate, UUID)]);
    assert_eq!(rig.condition("again", "Ready"), "True Available");
    assert_eq!(rig.pass("again").await, Requeue::Poll);
}

#[tokio::test]
async fn what_is_told_late_of_a_guest_that_is_gone_changes_nothing_of_the_next_one_of_its_name() {
    const FIRST: &str = "00000000-0000-4000-8000-000000000042";
    const SECOND: &str = "00000000-0000-4000-8000-000000000043";
    let rig = Rig::start(NEVER).await;
    rig.made("anew", FIRST).await;
    rig.double(|double| double.shift_events(&LATE));
    rig.delete("anew");
    let mut passes = 0;
    while rig.object("anew").is_some() {
        rig.pass("anew").await;
        passes += 1;
        assert!(passes < 20, "{:?}", rig.object("anew"));
    }
    // A driver that knows fewer flags is asked again with fewer.
    let mut done = rig.changes();
    done.dedup();
    assert_eq!(done, [asked(Call::DomainShutdown, FIRST), asked(Call::DomainUndefine, FIRST)]);

    // Its last events are still to come.
    rig.domain("anew", SECOND, &json!({"memory": "16Mi"}));
    pass_meanwhile(&rig, "anew").await;
    assert_eq!(rig.changes(), [asked(Call::DomainDefine, SECOND), asked(Call::DomainCreate, SECOND)]);
    assert_eq!(rig.condition("anew", "Ready"), "True Available");
    assert!(rig.host().mirror().domain(FIRST).is_none());
    rig.quiet().await;
    assert_eq!(rig.pass("anew").await, Requeue::Poll);
    assert_eq!(rig.was_asked(&[FIRST, SECOND]), [], "nothing is asked of a host that is as wished");
}

// Over a line of 20 ms each call on the way is 20 ms that the guest stays off.
#[tokio::test]
async fn a_guest_that_is_cut_off_is_started_after_three_calls_and_the_rest_of_it_is_read_beside_that() {
    const UUID: &str = "00000000-0000-4000-8000-000000000044";
    let rig = Rig::start(NEVER).await;
    rig.made("off", UUID).await;
    rig.double(|double| double.fault_on(Call::DomainLookup, UUID, Fault::Hang));
    by_others(UUID, |connection| connection.find_domain(UUID)?.unwrap().destroy(false)).await;
    rig.until(|| rig.host().mirror().domain(UUID).is_some_and(|domain| domain.id.is_none())).await;
    rig.until(|| rig.double(Double::hanging) == 1).await;
    let [state, lookup] = [Call::DomainState, Call::DomainLookup].map(|call| asked(call, UUID));
    assert_eq!(rig.was_asked(&[UUID]), [state, lookup], "the rest is looked up when its state is known");

    rig.double(Double::lift);
    rig.quiet().await;
    assert_eq!(rig.pass("off").await, Requeue::Poll);
    let before: Vec<_> = rig.was_asked(&[UUID]).into_iter().take(3).collect();
    let wanted = [Call::DomainLookup, Call::DomainDescribe, Call::DomainCreate].map(|call| asked(call, UUID));
    assert_eq!(before, wanted);
    assert_eq!(rig.condition("off", "Ready"), "True Available");
}
