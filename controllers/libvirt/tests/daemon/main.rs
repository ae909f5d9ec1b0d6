//! The host half against a real libvirt daemon with QEMU: events, uploads, a daemon that freezes, dies and comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod back;
mod burst;
mod lanes;
mod rig;

use std::sync::Arc;
use std::time::{Duration, Instant};

use libvirt::mirror::Presence;
use libvirt::{
    Call, Claim, Connection, Endpoint, Error, Host, HostState, Hosts, Key, Kind, LaneKind, Settings, State,
    UploadRequest,
};
use rig::Daemon;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        connect_timeout: 2 * SECOND,
        call_timeout: 5 * SECOND,
        keepalive_interval: 1,
        keepalive_count: 2,
        poll: Duration::from_hours(1),
    }
}

async fn connect(hosts: &Hosts, daemon: &Daemon, settings: &Settings) -> Arc<Host> {
    let host = hosts
        .get(&Key { who: "rig".into(), how: String::new() }, &Endpoint::parse(&daemon.uri()).unwrap(), settings)
        .unwrap();
    host.facts().await.unwrap();
    until("the mirror is synced", 10 * SECOND, || host.mirror().synced()).await;
    host
}

async fn until(what: &str, patience: Duration, condition: impl Fn() -> bool) {
    let end = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn short<T: Send + 'static>(
    host: &Host,
    object: &str,
    make: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    host.call(LaneKind::Short, object, 10 * SECOND, make).await
}

fn guest(name: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os><devices><memballoon model='none'/></devices></domain>"
    )
}

async fn make_pool(host: &Host, daemon: &Daemon) {
    let path = daemon.pool().display().to_string();
    short(host, "store", move |connection| {
        let xml = format!("<pool type='dir'><name>store</name><target><path>{path}</path></target></pool>");
        let uuid = connection.define_pool(&xml)?;
        let pool = connection.find_pool(&uuid)?.unwrap();
        pool.build()?;
        pool.create()
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_are_those_of_the_daemon() {
    let daemon = Daemon::start("facts");
    let hosts = Hosts::new();
    let facts = connect(&hosts, &daemon, &settings()).await.facts().await.unwrap();
    assert_eq!(facts.uuid.as_deref(), Some("00000000-aaaa-4bbb-8ccc-00000000cafe"));
    assert_eq!((facts.hostname.as_str(), facts.driver.as_str()), ("virtlib-test", "QEMU"));
    assert!(facts.domain_types.contains(&"qemu".to_owned()), "{:?}", facts.domain_types);
    assert!(facts.hypervisor_version.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_do_to_a_guest_wakes_its_owner_within_milliseconds() {
    let daemon = Daemon::start("events");
    let hosts = Hosts::new();
    let host = connect(&hosts, &daemon, &settings()).await;
    host.mirror().claim(Claim::Domain("g".into()), "owner");
    short(&host, "g", |connection| connection.define_domain(&guest("g"), true)?.uuid()).await.unwrap();
    short(&host, "g", |connection| connection.find_domain_by_name("g")?.unwrap().create()).await.unwrap();
    let state = || host.mirror().domain_by_name("g").map(|entry| (entry.state.state, entry.live.is_some()));
    until("the guest runs", 5 * SECOND, || state() == Some((State::Running, true))).await;
    tokio::time::sleep(SECOND / 2).await;
    let wakes = hosts.wakes();
    daemon.run("virsh -q destroy g");
    let begin = Instant::now();
    let woken = tokio::time::timeout(SECOND, wakes.next()).await.unwrap();
    assert!(begin.elapsed() < SECOND / 10, "{:?} after virsh had returned", begin.elapsed());
    assert_eq!(&*woken, "owner");
    // The first wake may be for a step on the way: libvirt calls a guest off before it has let go of its running description.
    until("the guest is seen off", SECOND, || state() == Some((State::Shutoff, false))).await;
    daemon.run("virsh -q undefine g");
    until("the guest is gone", SECOND, || state().is_none()).await;
    let calls = host.counters().calls();
    tokio::time::sleep(SECOND).await;
    assert_eq!(host.counters().calls(), calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_and_pools_stopped_by_others_are_seen_at_once() {
    let daemon = Daemon::start("stores");
    let hosts = Hosts::new();
    let host = connect(&hosts, &daemon, &settings()).await;
    make_pool(&host, &daemon).await;
    short(&host, "net", |connection| {
        connection.define_network("<network><name>net</name><bridge name='vbr-t'/></network>")?;
        connection.find_network_by_name("net")?.unwrap().create()
    })
    .await
    .unwrap();
    let active = || {
        let network = host.mirror().network_by_name("net").map(|entry| entry.active);
        (network, host.mirror().pool_by_name("store").map(|entry| entry.active))
    };
    until("both run", SECOND, || active() == (Some(true), Some(true))).await;
    daemon.run("virsh -q net-destroy net; virsh -q pool-destroy store");
    until("both are stopped", SECOND, || active() == (Some(false), Some(false))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_daemon_fails_fast_and_is_used_again_when_it_goes_on() {
    let daemon = Daemon::start("freeze");
    let hosts = Hosts::new();
    let host = connect(&hosts, &daemon, &settings()).await;
    host.mirror().claim(Claim::Domain("absent".into()), "owner");
    daemon.freeze();
    let begin = Instant::now();
    let call = host.call(LaneKind::Short, "a", SECOND, |connection| connection.find_domain_by_name("a").map(|_| ()));
    assert_eq!(call.await, Err(Error::unreachable("libvirt did not answer within 1 s")));
    assert!(begin.elapsed() < SECOND * 3 / 2);
    until("keepalive notices", 10 * SECOND, || matches!(*host.state().borrow(), HostState::Down { .. })).await;
    let begin = Instant::now();
    let refused = short(&host, "b", |_| Ok(())).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unreachable);
    assert!(begin.elapsed() < SECOND / 10);
    until("the stuck call returns", 5 * SECOND, || host.counters().quarantined() == 0).await;
    tokio::time::sleep(4 * SECOND).await;
    let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
    assert!(threads < 60, "{threads} threads while a daemon is frozen");
    let wakes = hosts.wakes();
    daemon.thaw();
    // It has to answer all that was asked meanwhile, and its machine may be busy.
    until("the host is back", 60 * SECOND, || matches!(*host.state().borrow(), HostState::Up { .. })).await;
    assert_eq!(&*tokio::time::timeout(30 * SECOND, wakes.next()).await.unwrap(), "owner");
    assert_eq!(short(&host, "a", |connection| Ok(connection.find_domain_by_name("a")?.is_none())).await, Ok(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_is_noticed_at_once_and_read_anew_when_it_is_back() {
    let daemon = Daemon::start("kill");
    let hosts = Hosts::new();
    let host = connect(&hosts, &daemon, &settings()).await;
    host.mirror().claim(Claim::Domain("kept".into()), "owner");
    short(&host, "kept", |connection| connection.define_domain(&guest("kept"), true)?.uuid()).await.unwrap();
    until("it is mirrored", SECOND, || host.mirror().domain_by_name("kept").is_some()).await;
    daemon.kill();
    until("the end is noticed", SECOND, || matches!(*host.state().borrow(), HostState::Down { .. })).await;
    let refused = short(&host, "a", |_| Ok(())).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unreachable);
    let wakes = hosts.wakes();
    daemon.run("sed -i 's/<vcpu[^>]*>1</<vcpu>2</' /etc/libvirt/qemu/kept.xml");
    daemon.launch();
    assert_eq!(&*tokio::time::timeout(15 * SECOND, wakes.next()).await.unwrap(), "owner");
    until("it is read anew", 5 * SECOND, || host.mirror().synced()).await;
    let entry = host.mirror().domain_by_name("kept").unwrap();
    assert_eq!(entry.inactive.as_ref().unwrap().text_at("vcpu"), Some("2"));
    assert_eq!(host.counters().reconnects(), 1);
    daemon.run("virsh -q undefine kept");
    until("events come again", SECOND, || host.mirror().domain_by_name("kept").is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_arrives_whole_and_a_dropped_one_ends() {
    let daemon = Daemon::start("upload");
    let hosts = Hosts::new();
    let host = connect(&hosts, &daemon, &settings()).await;
    make_pool(&host, &daemon).await;
    short(&host, "store", |connection| {
        let pool = connection.find_pool_by_name("store")?.unwrap();
        for name in ["whole", "dropped"] {
            let xml = format!(
                "<volume><name>{name}</name><capacity>8388608</capacity><target><format type='raw'/></target></volume>"
            );
            pool.create_volume(&xml)?;
        }
        Ok(())
    })
    .await
    .unwrap();
    let request = |volume: &str| UploadRequest {
        pool: "store".into(),
        volume: volume.into(),
        offset: 0,
        length: 8 << 20,
        progress: 5 * SECOND,
    };
    let bytes: Vec<u8> = (0..8_u32 << 20).map(|n| n.to_le_bytes()[1] ^ n.to_le_bytes()[2]).collect();
    let mut upload = host.upload(request("whole")).await.unwrap();
    for chunk in bytes.chunks(300_000) {
        upload.send(chunk.to_vec()).await.unwrap();
    }
    assert_eq!(upload.finish().await, Ok(8 << 20));
    assert!(std::fs::read(daemon.pool().join("whole")).unwrap() == bytes);
    let mut upload = host.upload(request("dropped")).await.unwrap();
    upload.send(vec![1; 100_000]).await.unwrap();
    drop(upload);
    until("its thread ends", 5 * SECOND, || host.counters().in_flight() == 0).await;
    short(&host, "store", |connection| {
        connection.find_pool_by_name("store")?.unwrap().find_volume("dropped")?.unwrap().delete()
    })
    .await
    .unwrap();
    let mut upload = host.upload(request("nowhere")).await.unwrap();
    let mut answer = Ok(());
    for _ in 0..10 {
        answer = answer.and(upload.send(vec![0; 10]).await);
    }
    assert_eq!(answer.and(upload.finish().await.map(drop)).unwrap_err().kind, Kind::Gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_to_a_frozen_daemon_fails_by_its_own_deadline() {
    let daemon = Daemon::start("stall");
    let hosts = Hosts::new();
    let host = connect(&hosts, &daemon, &Settings { keepalive_interval: 5, ..settings() }).await;
    make_pool(&host, &daemon).await;
    short(&host, "store", |connection| {
        let pool = connection.find_pool_by_name("store")?.unwrap();
        pool.create_volume("<volume><name>v</name><capacity>1073741824</capacity></volume>").map(drop)
    })
    .await
    .unwrap();
    let request = UploadRequest { pool: "store".into(), volume: "v".into(), offset: 0, length: 0, progress: SECOND };
    let mut upload = host.upload(request.clone()).await.unwrap();
    upload.send(vec![1; 1 << 20]).await.unwrap();
    daemon.freeze();
    let begin = Instant::now();
    let mut answer = Ok(());
    while answer.is_ok() {
        answer = upload.send(vec![1; 1 << 20]).await;
    }
    assert_eq!(answer, Err(Error::unreachable("the upload made no progress for 1 s")));
    assert!(begin.elapsed() < 3 * SECOND);
    assert_eq!(host.upload(request).await.err().unwrap().kind, Kind::Busy);
    daemon.thaw();
    until("the stuck upload ends", 10 * SECOND, || host.counters().quarantined() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_vanished_behind_the_pools_back_is_absent_at_the_next_look() {
    let daemon = Daemon::start("vanish");
    let hosts = Hosts::new();
    let host = connect(&hosts, &daemon, &settings()).await;
    make_pool(&host, &daemon).await;
    let claim = Claim::Volume { pool: "store".into(), name: "v".into() };
    host.mirror().claim(claim.clone(), "owner");
    short(&host, "store", |connection| {
        let pool = connection.find_pool_by_name("store")?.unwrap();
        pool.create_volume("<volume><name>v</name><capacity>4096</capacity></volume>").map(drop)
    })
    .await
    .unwrap();
    let presence = || host.mirror().volume("store", "v").map(|entry| entry.presence.clone());
    host.mirror().refresh(claim.clone());
    until("it is there", SECOND, || matches!(presence(), Some(Presence::Present(_)))).await;
    std::fs::remove_file(daemon.pool().join("v")).unwrap();
    host.mirror().refresh(claim);
    until("it is absent", SECOND, || presence() == Some(Presence::Absent)).await;
    assert!(host.counters().of(Call::VolumeDescribe).count > 0);
}
