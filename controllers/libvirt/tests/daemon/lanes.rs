//! A connection for each thread: how many there are, that threads end, and that the client library bears what is asked of it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use libvirt::{Connection, Endpoint, Error, Host, HostState, Hosts, Key, Kind, LaneKind, Settings, UploadRequest};
use tokio::task::JoinHandle;

use crate::rig::Daemon;
use crate::{SECOND, make_pool, settings, short, until};

/// Nothing here is about how soon.
const PATIENCE: Duration = Duration::from_mins(2);

/// As many as a host takes at a time.
const ALL: [LaneKind; 7] = {
    use LaneKind::{Long, Short};
    [Short, Short, Short, Short, Long, Long, Long]
};

/// A host by a name of its own, which its threads have too.
async fn named(hosts: &Hosts, who: &str, daemon: &Daemon, settings: &Settings) -> Arc<Host> {
    let (key, endpoint) = (Key { who: who.into(), how: String::new() }, Endpoint::parse(&daemon.uri()).unwrap());
    let host = hosts.get(&key, &endpoint, settings).unwrap();
    host.facts().await.unwrap();
    until("the mirror is synced", PATIENCE, || host.mirror().synced()).await;
    host
}

fn look(connection: &Connection) -> Result<(), Error> {
    connection.find_domain_by_name("absent").map(drop)
}

type Answer = JoinHandle<Result<(), Error>>;

/// Calls that have all begun: each looks, and looks again once it is let go, which is when its sender is dropped.
async fn begin_all(host: &Arc<Host>) -> (Vec<Answer>, Vec<Sender<()>>) {
    let count = Arc::new(AtomicU64::new(0));
    let begun = ALL.into_iter().enumerate().map(|(number, lane)| {
        let (hold, held) = channel();
        let (host, count) = (Arc::clone(host), Arc::clone(&count));
        let make = move |connection: &Connection| {
            look(connection)?;
            count.fetch_add(1, Ordering::SeqCst);
            let _ = held.recv();
            look(connection)
        };
        let call = async move { host.call(lane, &format!("g{number}"), 10 * PATIENCE, make).await };
        (tokio::spawn(call), hold)
    });
    let begun = begun.collect();
    until("all are under way", PATIENCE, || count.load(Ordering::SeqCst) == ALL.len() as u64).await;
    begun
}

fn lane_threads(who: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    let lanes = ["short", "long"].map(|lane| format!("lv-{who}-{lane}"));
    names.filter(|name| lanes.iter().any(|lane| name.starts_with(lane.as_str()))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_has_two_connections_at_rest_and_one_for_each_call_while_it_is_busy() {
    let daemon = Daemon::start("rest");
    let hosts = Hosts::new();
    // Where all are busy the host would be asked over one more.
    let host = named(&hosts, "rest", &daemon, &Settings { keepalive_interval: 3600, ..settings() }).await;
    let used = || (daemon.clients(), lane_threads("rest"));
    until("only it is connected", PATIENCE, || used() == (2, 2)).await;
    let (answers, held) = begin_all(&host).await;
    assert_eq!(used(), (7, 7));
    drop(held);
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Ok(()));
    }
    until("two are left", PATIENCE, || used() == (2, 2)).await;
    assert_eq!(short(&host, "a", look).await, Ok(()));
    assert_eq!((host.counters().reconnects(), daemon.clients()), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_threads_are_all_in_calls_is_asked_over_one_more_connection() {
    let daemon = Daemon::start("asked");
    let hosts = Hosts::new();
    let host = named(&hosts, "asked", &daemon, &Settings { keepalive_count: 60, ..settings() }).await;
    let (answers, held) = begin_all(&host).await;
    let opened = || host.counters().of(libvirt::Call::Open).count;
    let before = opened();
    until("it is asked", PATIENCE, || opened() > before).await;
    assert!(matches!(*host.state().borrow(), HostState::Up { .. }));
    drop(held);
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Ok(()));
    }
    assert_eq!(host.counters().reconnects(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_threads_in_calls_to_a_daemon_that_stays_frozen_end() {
    let daemon = Daemon::start("still");
    let hosts = Hosts::new();
    let host = named(&hosts, "still", &daemon, &settings()).await;
    let (answers, held) = begin_all(&host).await;
    daemon.freeze();
    drop(held);
    for answer in answers {
        assert_eq!(answer.await.unwrap().unwrap_err().kind, Kind::Unreachable);
    }
    until("the threads have ended", PATIENCE, || lane_threads("still") == 0).await;
    daemon.thaw();
    until("the host is back", PATIENCE, || matches!(*host.state().borrow(), HostState::Up { .. })).await;
    assert_eq!(short(&host, "a", look).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_while_nobody_uses_it_is_replaced_and_nobody_notices() {
    let daemon = Daemon::start("ended");
    let hosts = Hosts::new();
    let host = named(&hosts, "ended", &daemon, &Settings { keepalive_interval: 3600, ..settings() }).await;
    let first = ids(&daemon);
    let (answers, held) = begin_all(&host).await;
    drop(held);
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Ok(()));
    }
    for id in ids(&daemon).iter().filter(|id| !first.contains(id)) {
        daemon.run(&format!("virt-admin -q client-disconnect libvirtd {id}"));
    }
    until("they have ended", PATIENCE, || daemon.clients() == 2).await;
    let (answers, held) = begin_all(&host).await;
    assert_eq!(daemon.clients(), 7);
    drop(held);
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Ok(()));
    }
    assert_eq!(host.counters().reconnects(), 0);
}

/// The daemon's numbers of its clients.
fn ids(daemon: &Daemon) -> Vec<String> {
    let list = daemon.run("virt-admin -q client-list libvirtd");
    list.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

/// Whether everybody pauses, and so long that keepalive messages are due.
fn is_pause(begin: Instant) -> bool {
    begin.elapsed().as_millis() % 4000 > 2700
}

/// Calls over and over again, until the end.
async fn hammer(host: Arc<Host>, lane: LaneKind, number: u32, (begin, end): (Instant, Instant)) -> u64 {
    let mut calls = 0;
    while Instant::now() < end {
        if is_pause(begin) {
            tokio::time::sleep(SECOND / 100).await;
            continue;
        }
        let answer = host.call(lane, &format!("{lane:?}{number}"), 10 * PATIENCE, look).await;
        assert_eq!(answer, Ok(()));
        calls += 1;
        if calls % 64 == 0 {
            tokio::time::sleep(Duration::from_millis(u64::from(number))).await;
        }
    }
    calls
}

/// Uploads over and over again; every other one is dropped half-way.
async fn send(host: Arc<Host>, end: Instant) -> u64 {
    let mut uploads = 0;
    while Instant::now() < end {
        let request =
            UploadRequest { pool: "store".into(), volume: "v".into(), offset: 0, length: 1 << 20, progress: PATIENCE };
        let mut upload = host.upload(request).await.unwrap();
        for _ in 0..16 >> (uploads % 2) {
            upload.send(vec![1; 1 << 16]).await.unwrap();
            tokio::time::sleep(SECOND / 100).await;
        }
        if uploads % 2 == 0 {
            assert_eq!(upload.finish().await, Ok(1 << 20));
        }
        uploads += 1;
    }
    uploads
}

/// Keeps the machine busy until dropped.
struct Load(Arc<AtomicBool>);

impl Load {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..2 * thread::available_parallelism().unwrap().get() {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let counter = AtomicU64::new(0);
                while !stop.load(Ordering::Relaxed) {
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        Self(stop)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How long the machine is to be busy, where somebody wants to wait for longer.
fn span() -> Duration {
    std::env::var("HAMMER_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(12) * SECOND
}

// Where threads share connections the client library before 10.3 can end the process with a segmentation fault.
#[tokio::test(flavor = "multi_thread")]
async fn calls_of_all_lanes_at_once_are_answered_on_a_busy_machine_with_keepalive_messages_on_their_way() {
    let daemon = Daemon::with("hammer", "keepalive_interval = 1\nkeepalive_count = 60\n");
    let hosts = Hosts::new();
    let host = named(&hosts, "hammer", &daemon, &Settings { keepalive_count: 60, ..settings() }).await;
    make_pool(&host, &daemon).await;
    short(&host, "store", |connection| {
        let pool = connection.find_pool_by_name("store")?.unwrap();
        pool.create_volume("<volume><name>v</name><capacity>1048576</capacity></volume>").map(drop)
    })
    .await
    .unwrap();
    let load = Load::start();
    let begin = Instant::now();
    let span = (begin, begin + span());
    let short = (0..8).map(|number| hammer(Arc::clone(&host), LaneKind::Short, number, span));
    let long = (0..6).map(|number| hammer(Arc::clone(&host), LaneKind::Long, number, span));
    let callers: Vec<_> = short.map(tokio::spawn).chain(long.map(tokio::spawn)).collect();
    let uploads = tokio::spawn(send(Arc::clone(&host), span.1));
    let mut calls = Vec::new();
    for caller in callers {
        calls.push(caller.await.unwrap());
    }
    println!("{calls:?} calls, {} uploads", uploads.await.unwrap());
    drop(load);
    assert!(calls.iter().all(|calls| *calls > 0), "{calls:?}");
    assert_eq!((host.counters().quarantined(), host.counters().reconnects()), (0, 0));
}

// libvirt gives up the connections that we have given up, or hears of the daemon while it is about to. Where several threads wait on one
// of them the client library before 10.3 ends the process, or lets some wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_goes_on_at_whatever_moment_after_it_froze_is_used_again() {
    let daemon = Daemon::start("moment");
    let hosts = Hosts::new();
    let host = named(&hosts, "moment", &daemon, &Settings { keepalive_count: 4, ..settings() }).await;
    let _load = Load::start();
    let begin = Instant::now();
    for frozen in (0..).map(|round| SECOND + SECOND * (round * 7 % 10) / 2) {
        let (answers, held) = begin_all(&host).await;
        daemon.freeze();
        drop(held);
        tokio::time::sleep(frozen).await;
        daemon.thaw();
        for answer in answers {
            let answer = answer.await.unwrap();
            assert!(answer.is_ok() || answer.is_err_and(|error| error.kind == Kind::Unreachable));
        }
        until("it is used again", PATIENCE, || {
            matches!(*host.state().borrow(), HostState::Up { .. }) && host.mirror().synced()
        })
        .await;
        if begin.elapsed() > span() {
            break;
        }
    }
    until("nothing is left of before", PATIENCE, || daemon.clients() <= 7 && lane_threads("moment") <= 7).await;
}
