//! Reviews over HTTP: what is a review gets its UID and a verdict, anything else a 4xx.

use std::sync::Arc;

use apis::{Domain, Volume};
use provider_libvirt::webhook::{
    certificate::Served,
    router::{LARGEST, path},
};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    served::{Authority, client, serve},
    world::{PLACEMENT, World, object, with},
};

const ONE: Option<&str> = Some("ClusterProviderConfig/one");
const TWO: Option<&str> = Some("ClusterProviderConfig/two");

struct Door {
    client: Client,
    port: u16,
}

impl Door {
    async fn open(world: &World) -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.sign(2100);
        let served = Arc::new(Served::default());
        served.set(certificate.as_bytes(), key.as_bytes()).unwrap();
        let port = serve(world, served).await;
        Self { client: client(&authority).build().unwrap(), port }
    }

    async fn send(&self, method: Method, path: &str, media: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
        let url = format!("https://localhost:{}{path}", self.port);
        let request = self.client.request(method, url).header("content-type", media).body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The response to a review of a Domain, without its audit annotations.
    async fn review(&self, review: &Value) -> Value {
        let (status, body) = self.send(Method::POST, &path::<Domain>(), "application/json", review.to_string()).await;
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&answer["apiVersion"], &answer["kind"]),
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
        );
        answer["response"].clone()
    }
}

fn review(operation: &str, kind: &str, old: &Value, new: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "operation": operation, "object": new, "oldObject": old, "name": "d", "namespace": "n", "dryRun": false,
            "kind": {"group": "libvirt.m.nourspeed.io", "version": "v1alpha1", "kind": kind},
            "resource": {"group": "libvirt.m.nourspeed.io", "version": "v1alpha1", "resource": "domains"},
        },
    })
}

fn world() -> World {
    let mut world = World::new().listed();
    world.put(&object("Volume", "root", ONE, &json!({})));
    world
}

fn guest(config: Option<&str>) -> Value {
    object("Domain", "d", config, &json!({"disks": [{"name": "root", "volumeRef": {"name": "root"}}]}))
}

const CLASH: &str = "volume root uses providerConfig one, but domain uses providerConfig two. Resources must use the same libvirt instance";

fn denied(reason: &str, message: &str) -> Value {
    let (code, audit) = match reason {
        "Forbidden" => (403, json!({"verdict": "denied", "reason": message})),
        _ => (400, json!({"verdict": "denied"})),
    };
    json!({
        "uid": "u-1", "allowed": false, "status": {"code": code, "reason": reason, "message": message}, "auditAnnotations": audit,
    })
}

fn allowed() -> Value {
    json!({"uid": "u-1", "allowed": true, "auditAnnotations": {"verdict": "allowed"}})
}

#[tokio::test]
async fn a_review_is_answered_with_its_uid_and_the_verdict() {
    let door = Door::open(&world()).await;
    let create = |object: &Value| review("CREATE", "Domain", &Value::Null, object);
    assert_eq!(door.review(&create(&guest(ONE))).await, allowed());
    assert_eq!(door.review(&create(&guest(TWO))).await, denied("Forbidden", CLASH));
    let bare = with(guest(ONE), &json!({"labels": null}));
    let label = "no label libvirt.nourspeed.io/instance: until the provider sets it, nobody can tell by labels which libvirt instance the domain is on";
    assert_eq!(
        door.review(&create(&bare)).await,
        json!({"uid": "u-1", "allowed": true, "warnings": [label], "auditAnnotations": {"verdict": "warned"}})
    );
}

#[tokio::test]
async fn a_label_that_says_another_instance_is_told() {
    let door = Door::open(&world()).await;
    let lying = with(guest(ONE), &json!({"labels": {"libvirt.nourspeed.io/instance": "two"}}));
    let told = "the label libvirt.nourspeed.io/instance says two, but the domain uses ClusterProviderConfig one: who looks by labels is misled";
    assert_eq!(
        door.review(&review("CREATE", "Domain", &Value::Null, &lying)).await,
        json!({"uid": "u-1", "allowed": true, "warnings": [told], "auditAnnotations": {"verdict": "warned"}})
    );
}

#[tokio::test]
async fn what_deletes_and_what_changes_nothing_of_the_spec_is_always_admitted() {
    let door = Door::open(&world()).await;
    let (wrong, leaving) = (guest(TWO), json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
    let update = |old: &Value, new: &Value| review("UPDATE", "Domain", old, new);
    let mut edited = wrong.clone();
    edited["spec"]["forProvider"]["memory"] = json!("1Gi");
    let held = with(wrong.clone(), &json!({"finalizers": ["x"]}));
    let recorded = with(
        wrong.clone(),
        &json!({"annotations": {PLACEMENT: "ClusterProviderConfig/two"}, "finalizers": ["finalizer.managedresource.crossplane.io"]}),
    );
    let mut status = update(&wrong, &edited);
    status["request"]["subResource"] = "status".into();
    let admitted = [
        ("a finalizer goes", update(&held, &wrong)),
        ("a finalizer comes", update(&wrong, &held)),
        ("labels", update(&wrong, &with(wrong.clone(), &json!({"labels": {"a": "b"}})))),
        ("a pass writes down where it is", update(&wrong, &recorded)),
        ("it is being deleted", update(&with(wrong.clone(), &leaving), &with(edited.clone(), &leaving))),
        ("its status", status),
        ("it is deleted", review("DELETE", "Domain", &wrong, &Value::Null)),
        ("all are deleted", review("DELETE", "Domain", &Value::Null, &Value::Null)),
    ];
    for (what, review) in admitted {
        assert_eq!(door.review(&review).await, allowed(), "{what}");
    }
    // An object that is placed is not moved by an annotation that was taken away before, or that says another host than it does.
    let kept = json!({"finalizers": ["finalizer.managedresource.crossplane.io"]});
    let record = |config: &str| {
        with(with(guest(ONE), &kept), &json!({"annotations": {PLACEMENT: format!("ClusterProviderConfig/{config}")}}))
    };
    for (old, new, admitted) in [
        (with(guest(ONE), &kept), record("two"), false),
        (guest(ONE), record("two"), false),
        (guest(ONE), record("one"), true),
    ] {
        assert_eq!(door.review(&update(&old, &new)).await["allowed"], admitted, "{new}");
    }
    // What was wrong before keeps nobody from changing something else, and is said.
    let told = json!({"uid": "u-1", "allowed": true, "warnings": [CLASH], "auditAnnotations": {"verdict": "warned"}});
    assert_eq!(door.review(&update(&wrong, &edited)).await, told);
    assert_eq!(door.review(&update(&guest(None), &edited)).await, denied("Forbidden", CLASH));
}

#[tokio::test]
async fn before_everything_is_read_an_object_is_admitted_and_that_is_said() {
    let mut world = World::new();
    world.put(&object("Volume", "root", ONE, &json!({})));
    let door = Door::open(&world).await;
    let early = "not checked: the provider is still reading all objects; it checks this one before anything is made";
    assert_eq!(
        door.review(&review("CREATE", "Domain", &Value::Null, &guest(TWO))).await,
        json!({"uid": "u-1", "allowed": true, "warnings": [early], "auditAnnotations": {"verdict": "warned"}})
    );
    assert_eq!(door.review(&review("DELETE", "Domain", &guest(TWO), &Value::Null)).await, allowed());
    // Whether an object stays where it is is seen without the others.
    let moved = door.review(&review("UPDATE", "Domain", &guest(ONE), &guest(TWO))).await;
    let why = moved["status"]["message"].as_str().unwrap();
    assert!(why.starts_with("spec.providerConfigRef may be set once and not be changed: domain d uses"), "{why}");
}

#[tokio::test]
async fn lists_that_no_api_server_lets_through_are_not_looked_through() {
    let door = Door::open(&world()).await;
    let disks: Vec<_> = (0..129).map(|at| json!({"name": format!("d{at}"), "volumeRef": {"name": "root"}})).collect();
    let long = object("Domain", "d", ONE, &json!({"disks": disks}));
    let why = denied("BadRequest", "the object has a longer list than its schema allows");
    assert_eq!(door.review(&review("CREATE", "Domain", &Value::Null, &long)).await, why);
    // What was longer before may become shorter.
    assert_eq!(door.review(&review("UPDATE", "Domain", &long, &guest(ONE))).await, allowed());
    // What cannot be measured is too long.
    let text = review("CREATE", "Domain", &Value::Null, &guest(ONE))
        .to_string()
        .replace("\"disks\"", "\"odd\":1e999,\"disks\"");
    let (status, said) = door.send(Method::POST, &path::<Domain>(), "application/json", text).await;
    assert!(status == 200 && said.contains("longer list"), "{said}");
    assert_eq!(door.review(&review("DELETE", "Domain", &long, &Value::Null)).await, allowed());
}

#[tokio::test]
async fn a_review_of_something_else_is_refused_with_its_uid() {
    let door = Door::open(&world()).await;
    let pod = object("Pod", "d", None, &json!({}));
    let why = "here Domain of libvirt.m.nourspeed.io/v1alpha1 is reviewed, not Pod of libvirt.m.nourspeed.io/v1alpha1";
    assert_eq!(door.review(&review("CREATE", "Pod", &Value::Null, &pod)).await, denied("BadRequest", why));
    let lacking = denied("BadRequest", "the review lacks the object");
    assert_eq!(door.review(&review("CREATE", "Domain", &Value::Null, &Value::Null)).await, lacking);
    assert_eq!(door.review(&review("UPDATE", "Domain", &Value::Null, &guest(ONE))).await, lacking);
    let connect = denied("BadRequest", "CONNECT is not reviewed");
    assert_eq!(door.review(&review("CONNECT", "Domain", &Value::Null, &guest(ONE))).await, connect);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_admitted_with_a_warning_and_deleted_without() {
    let door = Door::open(&world()).await;
    let mut odd = guest(TWO);
    odd["spec"]["forProvider"]["disks"][0]["device"] = json!("Tape");
    let held = with(odd.clone(), &json!({"finalizers": ["x"]}));
    let leaving = with(odd.clone(), &json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
    let (delete, update) = ("DELETE", "UPDATE");
    for (operation, old, new) in [(delete, &odd, &Value::Null), (update, &held, &odd), (update, &odd, &leaving)] {
        assert_eq!(door.review(&review(operation, "Domain", old, new)).await, allowed(), "{operation}");
    }
    for (operation, old) in [("CREATE", &Value::Null), (update, &guest(ONE))] {
        let mut said = door.review(&review(operation, "Domain", old, &odd)).await;
        let warning = said["warnings"][0].take();
        let warning = warning.as_str().unwrap();
        assert!(
            warning
                .starts_with("not checked: the provider that was asked cannot read the object: unknown variant `Tape`"),
            "{warning}"
        );
        // What stands in the object is quoted to its author only.
        let rest =
            json!({"uid": "u-1", "allowed": true, "warnings": [null], "auditAnnotations": {"verdict": "warned"}});
        assert_eq!(said, rest, "{operation}");
    }
    // What could not be read before is judged by what it is to be, and may have been wrong before.
    let told = json!({"uid": "u-1", "allowed": true, "warnings": [CLASH], "auditAnnotations": {"verdict": "warned"}});
    assert_eq!(door.review(&review(update, "Domain", &odd, &guest(TWO))).await, told);
}

/// Bodies that are no review.
fn nonsense(good: &Value) -> Vec<String> {
    let without = |field: &str| {
        let mut review = good.clone();
        review["request"].as_object_mut().unwrap().remove(field);
        review.to_string()
    };
    let instead = |field: &str, value: Value| {
        let mut review = good.clone();
        review[field] = value;
        review.to_string()
    };
    let mut blank = good.clone();
    blank["request"]["uid"] = "".into();
    let mut odd = good.clone();
    odd["request"]["operation"] = "DESTROY".into();
    let mut endless = good.clone();
    endless["request"]["uid"] = "u".repeat(65).into();
    vec![
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "\u{0}".to_owned(),
        "[".repeat(100_000),
        without("uid"),
        without("kind"),
        without("operation"),
        blank.to_string(),
        endless.to_string(),
        odd.to_string(),
        instead("apiVersion", "admission.k8s.io/v1beta1".into()),
        instead("kind", "ConversionReview".into()),
        instead("request", Value::Null),
        "x".repeat(LARGEST),
    ]
}

#[tokio::test]
async fn what_is_no_review_gets_a_4xx_and_the_next_one_its_answer() {
    let door = Door::open(&world()).await;
    let (here, json) = (path::<Domain>(), "application/json");
    let good = review("CREATE", "Domain", &Value::Null, &guest(ONE));
    for body in nonsense(&good) {
        let shown: String = body.chars().take(200).collect();
        let (status, said) = door.send(Method::POST, &here, json, body).await;
        assert_eq!(status, 400, "{shown}: {said}");
    }
    let text = good.to_string();
    for media in ["text/plain", "application/yaml", "", "application/jsonx"] {
        assert_eq!(door.send(Method::POST, &here, media, text.clone()).await.0, 415, "{media:?}");
    }
    assert_eq!(door.send(Method::POST, &here, "application/json; charset=utf-8", text.clone()).await.0, 200);
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
        assert_eq!(door.send(method.clone(), &here, json, text.clone()).await.0, 405, "{method}");
    }
    for elsewhere in ["/", "/validate", "/metrics", "/validate-libvirt-m-nourspeed-io-v1alpha1-pod"] {
        assert_eq!(door.send(Method::POST, elsewhere, json, text.clone()).await.0, 404, "{elsewhere}");
    }
    let padded = text.clone() + &" ".repeat(LARGEST);
    assert_eq!(door.send(Method::POST, &here, json, padded).await.0, StatusCode::PAYLOAD_TOO_LARGE.as_u16());
    // Another kind's path reviews no Domains.
    let (status, said) = door.send(Method::POST, &path::<Volume>(), json, text).await;
    assert!(status == 200 && said.contains("here Volume of"), "{said}");
    assert_eq!(door.review(&good).await, allowed());
}
