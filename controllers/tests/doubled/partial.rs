//! What the host does not tell, or not in time: a look-up of the one object decides, and the next poll makes up for what was lost.

use std::time::Duration;

use libvirt::{
    Call, Endpoint, Hosts, Key, LaneKind, Settings,
    double::{Double, Fault},
};
use managed::reconcile::Requeue;

use crate::rig::{Rig, asked};

const POLL: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_list_that_arrives_in_part_neither_makes_a_guest_anew_nor_lets_go_of_it() {
    const UUID: &str = "00000000-0000-4000-8000-000000000011";
    let rig = Rig::start(POLL).await;
    rig.made("part", UUID).await;
    rig.double(|double| double.fault(Call::DomainStates, Fault::Partial(0)));
    rig.until(|| rig.host().mirror().domain(UUID).is_none()).await;
    for _ in 0..3 {
        rig.pass("part").await;
    }
    assert_eq!(rig.changes(), []);
    assert_eq!(rig.condition("part", "Ready"), "True Available");
    assert_eq!(rig.condition("part", "Synced"), "True ReconcileSuccess");

    rig.until(|| rig.host().mirror().domain(UUID).is_none()).await;
    rig.delete("part");
    let mut passes = 0;
    while rig.object("part").is_some() {
        rig.pass("part").await;
        passes += 1;
        assert!(passes < 20, "{:?}", rig.object("part"));
    }
    // A driver that knows fewer flags is asked again with fewer.
    let mut done = rig.changes();
    done.dedup();
    assert_eq!(done, [asked(Call::DomainShutdown, UUID), asked(Call::DomainUndefine, UUID)]);
    let host = rig.host();
    let left = host
        .call(LaneKind::Short, UUID, Duration::from_secs(30), |connection| Ok(connection.find_domain(UUID)?.is_some()));
    assert_eq!(left.await, Ok(false), "it was let go of only once it was gone from the host");
}

#[tokio::test]
async fn an_event_that_is_lost_is_made_up_for_by_the_next_poll() {
    const UUID: &str = "00000000-0000-4000-8000-000000000012";
    let rig = Rig::start(POLL).await;
    rig.made("lost", UUID).await;
    let wakes = rig.connector.hosts().wakes();
    rig.double(Double::lose_events);
    let others = Hosts::new();
    let key = Key { who: "somebody else".to_owned(), how: String::new() };
    let host = others.get(&key, &Endpoint::parse("test:///default").unwrap(), &Settings::default()).unwrap();
    let destroyed = host.call(LaneKind::Short, UUID, Duration::from_secs(30), |connection| {
        connection.find_domain(UUID)?.unwrap().destroy(false)
    });
    destroyed.await.unwrap();
    rig.until(|| rig.double(Double::lost) > 0).await;
    let woken = tokio::time::timeout(Duration::from_secs(30), wakes.next()).await.unwrap();
    assert_eq!(&*woken, "Domain/n/lost");
    rig.double(Double::take);
    assert_eq!(rig.pass("lost").await, Requeue::Poll);
    assert_eq!(rig.changes(), [asked(Call::DomainCreate, UUID)]);
    assert_eq!(rig.condition("lost", "Ready"), "True Available");
}
