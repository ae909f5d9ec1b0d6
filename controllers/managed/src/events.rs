//! Events on objects, as core/v1: Crossplane grants its providers no rights on `events.k8s.io`, which kube's own recorder writes.

mod correlation;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use apis::Managed;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{Api, Client, Resource, api::Patch};
use serde_json::json;
use tokio::time::Instant;

use crate::publish::{patch_by_us, post_by_us};
use correlation::{Correlation, Said, Writing};

/// How many characters of a message are told.
const LONGEST: usize = 1024;
/// What the message of an event begins with that stands for many.
const COMBINED: &str = "(combined from similar events): ";
/// The longest name of an object in Kubernetes.
const LONGEST_NAME: usize = 253;

/// Normal or Warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Something was done.
    Normal,
    /// Something went wrong.
    Warning,
}

/// Writes events of one controller, as few as client-go would.
pub struct Recorder {
    client: Client,
    component: String,
    lately: Mutex<Correlation>,
}

impl Recorder {
    /// A recorder that signs as `component`.
    pub fn new(client: Client, component: String) -> Self {
        Self { client, component, lately: Mutex::default() }
    }

    /// Writes an event on the object, or counts up the one that said the same. An event that cannot be written is logged and forgotten.
    pub async fn record<K: Managed>(&self, object: &K, severity: Severity, reason: &'static str, message: &str) {
        let annotations = [("external-name".to_owned(), object.external_name().to_owned())].into();
        self.write(&reference(object), Some(annotations), Said { severity, reason, message }).await;
    }

    /// The same on an object that is not managed. An event on an object of no namespace is written into the namespace `default`.
    pub async fn record_on<K>(&self, object: &K, severity: Severity, reason: &'static str, message: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        self.write(&reference(object), None, Said { severity, reason, message }).await;
    }

    async fn write(&self, object: &ObjectReference, annotations: Option<BTreeMap<String, String>>, said: Said<'_>) {
        let uid = object.uid.as_deref().unwrap_or_default();
        let Some(writing) = self.lately().judge(uid, said, Instant::now()) else { return };
        let mut event = self.event(object, said, writing);
        event.metadata.annotations = annotations;
        if let Err(error) = self.send(&event, writing).await {
            tracing::debug!(object = object.name, reason = said.reason, %error, "cannot write event");
        }
    }

    async fn send(&self, event: &Event, writing: Writing) -> kube::Result<()> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        if writing.again {
            let mut patch = json!({ "count": event.count, "lastTimestamp": event.last_timestamp });
            if writing.combined {
                patch["message"] = json!(event.message);
            }
            let name = event.metadata.name.as_deref().unwrap_or_default();
            match api.patch(name, &patch_by_us(), &Patch::Merge(&patch)).await {
                // The API server keeps events for an hour.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                patched => return patched.map(drop),
            }
        }
        api.create(&post_by_us(), event).await.map(drop)
    }

    /// Forgets what was said about an object.
    pub fn forget(&self, uid: &str) {
        self.lately().forget(uid);
    }

    fn event(&self, object: &ObjectReference, said: Said<'_>, writing: Writing) -> Event {
        let Said { severity, reason, message } = said;
        let begin = if writing.combined { COMBINED } else { "" };
        let first = Timestamp::from_nanosecond(writing.serial).unwrap_or_else(|_| Timestamp::now());
        Event {
            metadata: ObjectMeta {
                name: Some(name(object, writing.serial)),
                namespace: Some(object.namespace.clone().unwrap_or_else(|| "default".to_owned())),
                ..ObjectMeta::default()
            },
            involved_object: object.clone(),
            type_: Some(match severity {
                Severity::Normal => "Normal".to_owned(),
                Severity::Warning => "Warning".to_owned(),
            }),
            reason: Some(reason.to_owned()),
            message: Some(begin.chars().chain(message.chars()).take(LONGEST).collect()),
            source: Some(EventSource { component: Some(self.component.clone()), host: None }),
            first_timestamp: Some(Time(first)),
            last_timestamp: Some(Time(Timestamp::now())),
            count: Some(writing.count),
            ..Event::default()
        }
    }

    fn lately(&self) -> MutexGuard<'_, Correlation> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..ObjectReference::default()
    }
}

/// As client-go names events: the object's name and a time; of an object whose name is too long for that, its UID and a time.
fn name(object: &ObjectReference, serial: i128) -> String {
    let time = format!("{serial:x}");
    let fits = |name: &&str| name.len() + 1 + time.len() <= LONGEST_NAME;
    let of = object.name.as_deref().filter(fits).or(object.uid.as_deref()).unwrap_or_default();
    format!("{of}.{time}")
}
