//! Who leads, against an API server of one Lease: taking, waiting, fail-over, and that no leader outlives its lease.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use http::{Method, Request, Response};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, client::Body};
use managed::lease::{Election, Lost, Timing};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

const NAME: &str = "crossplane-leader-election-provider-libvirt";
/// As in production.
const TIMING: Timing =
    Timing { lease: Duration::from_mins(1), renew: Duration::from_secs(50), retry: Duration::from_secs(2) };

/// What the server does with requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// The next write meets a version that is not the newest.
    Late,
    Broken,
    Denying,
    Silent,
}

#[derive(Clone)]
struct Server(Arc<Mutex<State>>);

struct State {
    lease: Option<Value>,
    version: u64,
    writes: usize,
    mood: Mood,
}

impl Server {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State { lease: None, version: 0, writes: 0, mood: Mood::Well })))
    }

    fn election(&self, identity: &str) -> Election {
        let server = self.clone();
        let answer = move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        };
        let client = kube::Client::new(tower::service_fn(answer), "crossplane-system");
        Election::new(Api::<Lease>::default_namespaced(client), NAME, identity.to_owned(), TIMING)
    }

    /// Somebody writes the lease, of whose clock nothing is known.
    fn put(&self, holder: &str, seconds: i32, renewed: &str) {
        let mut state = self.state();
        state.store(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": NAME, "namespace": "crossplane-system", "labels": {"kept": "yes"}},
            "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": seconds, "leaseTransitions": 4,
                "acquireTime": "2020-01-01T00:00:00.000000Z", "renewTime": renewed,
            },
        }));
    }

    fn mood(&self, mood: Mood) {
        self.state().mood = mood;
    }

    fn lease(&self) -> Value {
        self.state().lease.clone().unwrap()
    }

    /// Holder, seconds and transitions.
    fn held(&self) -> (String, i64, i64) {
        let spec = &self.lease()["spec"];
        (
            spec["holderIdentity"].as_str().unwrap().to_owned(),
            spec["leaseDurationSeconds"].as_i64().unwrap(),
            spec["leaseTransitions"].as_i64().unwrap(),
        )
    }

    fn writes(&self) -> usize {
        self.state().writes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        if self.state().mood == Mood::Silent {
            std::future::pending::<()>().await;
        }
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await.unwrap();
        let (code, value) = match self.state().serve(&parts.method, parts.uri.path(), &bytes) {
            Ok((code, value)) => (code, value),
            Err((code, reason)) => {
                let text = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason, "message": reason});
                (code, text)
            }
        };
        let body = Body::from(serde_json::to_vec(&value).unwrap());
        Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
    }
}

impl State {
    fn serve(&mut self, method: &Method, path: &str, body: &[u8]) -> Result<(u16, Value), (u16, &'static str)> {
        let all = "/apis/coordination.k8s.io/v1/namespaces/crossplane-system/leases";
        if self.mood == Mood::Broken {
            return Err((500, "InternalError"));
        }
        if self.mood == Mood::Denying {
            return Err((403, "Forbidden"));
        }
        if *method == Method::GET {
            assert_eq!(path, format!("{all}/{NAME}"));
            return self.lease.clone().map(|lease| (200, lease)).ok_or((404, "NotFound"));
        }
        self.writes += 1;
        if self.mood == Mood::Late {
            self.mood = Mood::Well;
            return Err((409, "Conflict"));
        }
        let body: Value = serde_json::from_slice(body).unwrap();
        if *method == Method::POST {
            assert_eq!(path, all);
            if self.lease.is_some() {
                return Err((409, "AlreadyExists"));
            }
            return Ok((201, self.store(body)));
        }
        assert_eq!((method, path), (&Method::PUT, format!("{all}/{NAME}").as_str()));
        let lease = self.lease.as_ref().ok_or((404, "NotFound"))?;
        if body["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"] {
            return Err((409, "Conflict"));
        }
        Ok((200, self.store(body)))
    }

    fn store(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease.clone());
        lease
    }
}

/// How long it takes to lead.
async fn acquire(election: &mut Election) -> Duration {
    let begin = Instant::now();
    election.acquire().await;
    begin.elapsed()
}

fn seconds(begin: u64, end: u64) -> std::ops::Range<Duration> {
    Duration::from_secs(begin)..Duration::from_secs(end)
}

#[tokio::test(start_paused = true)]
async fn the_first_takes_the_lease_at_once_and_renews_it() {
    let server = Server::new();
    let mut first = server.election("first");
    assert!(!first.term().holds());
    assert_eq!(acquire(&mut first).await, Duration::ZERO);
    assert_eq!((server.held(), first.term().holds()), (("first".to_owned(), 60, 0), true));
    let taken = server.lease();

    assert!(timeout(Duration::from_mins(10), first.hold()).await.is_err(), "it leads on");
    assert!((290..=310).contains(&server.writes()), "{} writes", server.writes());
    let renewed = server.lease();
    assert_eq!(renewed["spec"]["acquireTime"], taken["spec"]["acquireTime"]);
    assert_ne!(renewed["spec"]["renewTime"], taken["spec"]["renewTime"]);
    assert!(first.term().holds());
}

#[tokio::test(start_paused = true)]
async fn the_second_waits_while_the_first_renews_and_takes_over_when_it_is_dead() {
    let server = Server::new();
    let (mut first, mut second) = (server.election("first"), server.election("second"));
    first.acquire().await;
    tokio::select! {
        lost = first.hold() => panic!("{lost}"),
        () = second.acquire() => panic!("two lead"),
        () = tokio::time::sleep(Duration::from_mins(10)) => {}
    }
    let before = server.writes();
    // The first is gone without a word.
    let took = acquire(&mut second).await;
    assert!(seconds(56, 63).contains(&took), "{took:?}");
    assert_eq!((server.held(), server.writes()), (("second".to_owned(), 60, 1), before + 1));
}

#[tokio::test(start_paused = true)]
async fn the_clock_of_another_is_not_believed() {
    // By its own clock, one lease ran out years ago and the other will not for years: both are waited for as long.
    for renewed in ["2001-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"] {
        let server = Server::new();
        server.put("other", 30, renewed);
        let mut mine = server.election("mine");
        let took = acquire(&mut mine).await;
        assert!(seconds(30, 33).contains(&took), "{renewed}: {took:?}");
        assert_eq!(server.held(), ("mine".to_owned(), 60, 5));
        assert_eq!(server.lease()["metadata"]["labels"]["kept"], "yes");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_that_take_it_at_once_one_leads() {
    let server = Server::new();
    server.put("", 1, "2020-01-01T00:00:00.000000Z");
    server.mood(Mood::Late);
    let mut late = server.election("late");
    let took = acquire(&mut late).await;
    assert!(seconds(1, 3).contains(&took), "{took:?}: after one more try");
    assert_eq!((server.held(), server.writes()), (("late".to_owned(), 60, 5), 2));

    let server = Server::new();
    let mut elections = ["a", "b", "c"].map(|identity| server.election(identity));
    let [a, b, c] = &mut elections;
    let _ = timeout(Duration::from_secs(30), async { tokio::join!(a.acquire(), b.acquire(), c.acquire()) }).await;
    assert_eq!(elections.iter().filter(|election| election.term().holds()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_does_not_end_leading() {
    let server = Server::new();
    let mut first = server.election("first");
    first.acquire().await;
    server.mood(Mood::Late);
    assert!(timeout(Duration::from_mins(2), first.hold()).await.is_err());
    assert_eq!(server.held().0, "first");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_deleted_is_made_anew() {
    let server = Server::new();
    let mut first = server.election("first");
    first.acquire().await;
    server.state().lease = None;
    assert!(timeout(Duration::from_secs(5), first.hold()).await.is_err());
    assert_eq!(server.held(), ("first".to_owned(), 60, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_released_is_taken_by_the_next_at_once() {
    let server = Server::new();
    let (mut first, mut second) = (server.election("first"), server.election("second"));
    first.acquire().await;
    assert!(timeout(Duration::from_secs(30), second.acquire()).await.is_err());
    first.release().await;
    assert_eq!((server.held(), first.term().holds()), ((String::new(), 1, 0), false));
    let took = acquire(&mut second).await;
    assert!(took <= Duration::from_millis(2200), "{took:?}");
    assert_eq!(server.held(), ("second".to_owned(), 60, 1));
    // Who holds nothing releases nothing.
    first.release().await;
    assert_eq!(server.held(), ("second".to_owned(), 60, 1));
}

#[tokio::test(start_paused = true)]
async fn a_release_without_the_right_to_is_tried_again_but_not_for_long() {
    let server = Server::new();
    let mut first = server.election("first");
    first.acquire().await;
    server.mood(Mood::Denying);
    let grant = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        server.mood(Mood::Well);
    };
    tokio::join!(first.release(), grant);
    assert_eq!(server.held().0, "");

    first.acquire().await;
    for (mood, most) in [(Mood::Broken, 0), (Mood::Silent, 5), (Mood::Denying, 15)] {
        server.mood(mood);
        let begin = Instant::now();
        first.release().await;
        assert_eq!((begin.elapsed().as_secs(), server.held().0.as_str()), (most, "first"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_its_lease_could_have_run_out() {
    for mood in [Mood::Silent, Mood::Broken] {
        let server = Server::new();
        let mut first = server.election("first");
        first.acquire().await;
        let begin = Instant::now();
        server.mood(mood);
        assert_eq!(first.hold().await, Lost::Expired);
        assert_eq!((begin.elapsed().as_secs(), first.term().holds()), (50, false), "the lease is for 60 s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_slept_may_begin_nothing_when_it_wakes() {
    let server = Server::new();
    let mut first = server.election("first");
    first.acquire().await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(!first.term().holds(), "before it has looked at the lease");
    assert_eq!(first.hold().await, Lost::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_sees_another_stops_at_once() {
    let server = Server::new();
    let mut first = server.election("first");
    first.acquire().await;
    server.put("other", 60, "2020-01-01T00:00:00.000000Z");
    let begin = Instant::now();
    let lost = first.hold().await;
    assert_eq!((lost.clone(), lost.to_string()), (Lost::Taken("other".to_owned()), "other holds the lease".to_owned()));
    assert!(begin.elapsed() <= Duration::from_secs(2) && !first.term().holds());
    assert_eq!(server.held().0, "other");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_waited_for() {
    for mood in [Mood::Silent, Mood::Broken] {
        let server = Server::new();
        server.mood(mood);
        let mut first = server.election("first");
        assert!(timeout(Duration::from_mins(10), first.acquire()).await.is_err());
        server.mood(Mood::Well);
        first.acquire().await;
        assert_eq!(server.held().0, "first");
    }
}

#[test]
fn times_under_which_two_could_lead_are_refused() {
    let [second, minute] = [Duration::from_secs(1), Duration::from_mins(1)];
    let check = |lease, renew, retry| Timing { lease, renew, retry }.check();
    assert_eq!(TIMING.check(), Ok(()));
    assert_eq!(
        check(minute, minute, second),
        Err("the lease duration 60s is not longer than the renew deadline 60s".to_owned())
    );
    assert_eq!(
        check(minute, second * 2, second),
        Err("the renew deadline 2s is not longer than twice the retry period 1s".to_owned())
    );
    assert_eq!(
        check(second * 3 / 2, second, second / 10),
        Err("the lease duration 1.5s is not in whole seconds".to_owned())
    );
}
