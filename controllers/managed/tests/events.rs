//! Events as the API server gets them: whole, few, counted up, and made anew when they have expired.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use apis::{Pool, ProviderConfig};
use http::{Method, Request, Response};
use kube::client::Body;
use managed::events::{Recorder, Severity};
use serde_json::{Value, json};
use tokio::time::advance;

const COMPONENT: &str = "managed/pool.libvirt.m.nourspeed.io";

/// An API server of events: by path, and how many requests it has had.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<(BTreeMap<String, Value>, usize)>>);

impl Server {
    fn recorder(&self) -> Recorder {
        let server = self.clone();
        let answer = move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        };
        Recorder::new(kube::Client::new(tower::service_fn(answer), "n"), COMPONENT.to_owned())
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        assert_eq!(parts.uri.query().unwrap().trim_start_matches('&'), "fieldManager=provider-libvirt");
        let body: Value = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap();
        let (events, requests) = &mut *self.0.lock().unwrap();
        *requests += 1;
        let (code, answer) = if parts.method == Method::POST {
            let path = format!("{}/{}", parts.uri.path(), body["metadata"]["name"].as_str().unwrap());
            events.insert(path, body.clone());
            (201, body)
        } else if let Some(event) = events.get_mut(parts.uri.path()) {
            for (key, value) in body.as_object().unwrap() {
                event[key] = value.clone();
            }
            (200, event.clone())
        } else {
            let gone = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404, "reason": "NotFound", "message": "gone"});
            (404, gone)
        };
        let body = Body::from(serde_json::to_vec(&answer).unwrap());
        Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
    }

    /// The events by path.
    fn events(&self) -> BTreeMap<String, Value> {
        self.0.lock().unwrap().0.clone()
    }

    /// The only event.
    fn event(&self) -> Value {
        let events = self.events();
        assert_eq!(events.len(), 1, "{events:?}");
        events.into_values().next().unwrap()
    }

    /// The server forgets events after an hour.
    fn expire(&self) {
        self.0.lock().unwrap().0.clear();
    }

    fn requests(&self) -> usize {
        self.0.lock().unwrap().1
    }
}

fn pool(uid: &str) -> Pool {
    serde_json::from_value(json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool",
        "metadata": {
            "name": "p", "namespace": "n", "uid": uid, "resourceVersion": "7",
            "annotations": {"crossplane.io/external-name": "on-the-host"},
        },
        "spec": {"forProvider": {"target": {"path": "/p"}}},
    }))
    .unwrap()
}

/// An event without its name and its times, which must be in order.
fn timeless(mut event: Value) -> Value {
    let time = |event: &Value, name: &str| event[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time(&event, "firstTimestamp") <= time(&event, "lastTimestamp"), "{event}");
    for time in ["firstTimestamp", "lastTimestamp"] {
        event.as_object_mut().unwrap().remove(time);
    }
    event["metadata"].as_object_mut().unwrap().remove("name");
    event
}

#[tokio::test]
async fn an_event_is_that_of_a_go_provider() {
    let server = Server::default();
    let recorder = server.recorder();
    recorder.record(&pool("u"), Severity::Normal, "CreatedExternalResource", "Successfully requested").await;
    let (path, event) = server.events().pop_first().unwrap();
    let name = path.strip_prefix("/api/v1/namespaces/n/events/p.").unwrap();
    assert!(u64::from_str_radix(name, 16).is_ok() && event["metadata"]["name"] == format!("p.{name}"), "{path}");
    let wished = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"namespace": "n", "annotations": {"external-name": "on-the-host"}},
        "involvedObject": {
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool", "name": "p", "namespace": "n", "uid": "u",
            "resourceVersion": "7",
        },
        "type": "Normal", "reason": "CreatedExternalResource", "message": "Successfully requested",
        "source": {"component": COMPONENT}, "count": 1,
    });
    assert_eq!(timeless(event), wished);
}

#[tokio::test]
async fn an_event_on_something_else_has_no_external_name_and_a_namespace() {
    let server = Server::default();
    let config: ProviderConfig = serde_json::from_value(json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ProviderConfig",
        "metadata": {"name": "x".repeat(250), "uid": "u"}, "spec": {"uri": "test:///default"},
    }))
    .unwrap();
    server.recorder().record_on(&config, Severity::Warning, "UsageAccounting", &"é".repeat(2000)).await;
    let (path, event) = server.events().pop_first().unwrap();
    assert!(path.starts_with("/api/v1/namespaces/default/events/u."), "its own name would be too long: {path}");
    assert_eq!((&event["type"], &event["metadata"]["annotations"]), (&json!("Warning"), &Value::Null));
    assert_eq!(event["message"].as_str().unwrap(), "é".repeat(1024));
}

#[tokio::test(start_paused = true)]
async fn what_is_said_again_is_counted_up_and_made_anew_once_it_has_expired() {
    let server = Server::default();
    let (recorder, pool) = (server.recorder(), pool("u"));
    let say = || recorder.record(&pool, Severity::Warning, "CannotConnectToProvider", "connect failed: no");
    say().await;
    let first = server.event();
    say().await;
    assert_eq!(server.requests(), 1, "twice a minute at most");
    advance(Duration::from_secs(30)).await;
    say().await;
    assert_eq!((server.requests(), &server.event()["count"]), (2, &json!(3)));
    assert_eq!(server.event()["metadata"]["name"], first["metadata"]["name"]);

    server.expire();
    advance(Duration::from_mins(1)).await;
    say().await;
    let event = server.event();
    assert_eq!((server.requests(), &event["count"]), (4, &json!(4)));
    assert_eq!(event["firstTimestamp"], first["firstTimestamp"]);
    let mut wished = timeless(first);
    wished["count"] = json!(4);
    assert_eq!(timeless(event), wished);
}

#[tokio::test(start_paused = true)]
async fn messages_that_differ_are_combined_and_their_writes_limited() {
    let server = Server::default();
    let (recorder, pool) = (server.recorder(), pool("u"));
    for number in 0..100 {
        let message = format!("create failed: {number}");
        recorder.record(&pool, Severity::Warning, "CannotCreateExternalResource", &message).await;
        advance(Duration::from_secs(1)).await;
    }
    let said: Vec<_> =
        server.events().into_values().map(|event| (event["message"].clone(), event["count"].clone())).collect();
    let mut wished: Vec<_> = (0..9).map(|number| (json!(format!("create failed: {number}")), json!(1))).collect();
    wished.push((json!("(combined from similar events): create failed: 99"), json!(91)));
    assert_eq!(said, wished);
    assert_eq!(server.requests(), 13);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_messages_of_any_kind_are_twenty_five_writes_at_most_and_another_object_has_its_own() {
    let server = Server::default();
    let recorder = server.recorder();
    let reasons = [
        "CannotConnectToProvider",
        "CannotObserveExternalResource",
        "CannotUpdateExternalResource",
        "CannotCreateExternalResource",
    ];
    for uid in ["u", "other"] {
        let before = server.requests();
        for number in 0..100 {
            let reason = reasons[number % reasons.len()];
            recorder.record(&pool(uid), Severity::Warning, reason, &format!("{number}")).await;
        }
        assert_eq!(server.requests() - before, 25);
    }
    recorder.forget("u");
    recorder.record(&pool("u"), Severity::Warning, reasons[0], "0").await;
    assert_eq!(server.requests(), 51, "nothing is kept of an object that is gone");
}
