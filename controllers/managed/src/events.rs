//! Events on objects, as core/v1: Crossplane grants its providers no rights on `events.k8s.io`, which kube's own recorder writes.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Mutex,
    time::{Duration, Instant},
};

use apis::Managed;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

/// How long an event that repeats is counted up instead of written anew.
const AGGREGATE: Duration = Duration::from_mins(10);
/// At most one write of the same event in this time: an object that fails every second must not fill etcd.
const QUIET: Duration = Duration::from_secs(30);

/// Normal or Warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Something was done.
    Normal,
    /// Something went wrong.
    Warning,
}

/// Writes events of one controller.
pub struct Recorder {
    client: Client,
    component: String,
    recent: Mutex<HashMap<Key, Recent>>,
}

/// The object's UID, and a digest of what was said: there may be one of each object at a time, so they are kept small.
type Key = (Box<str>, u64);

struct Recent {
    /// The end of the event's name; the UID is the begin.
    serial: i128,
    count: i32,
    first: Instant,
    written: Instant,
}

impl Recorder {
    /// A recorder that signs as `component`.
    pub fn new(client: Client, component: String) -> Self {
        Self { client, component, recent: Mutex::new(HashMap::new()) }
    }

    /// Writes an event on the object, or counts up the one that said the same. An event that cannot be written is logged and forgotten.
    pub async fn record<K: Managed>(&self, object: &K, severity: Severity, reason: &'static str, message: &str) {
        let annotations = [("external-name".to_owned(), object.external_name().to_owned())].into();
        self.write(&reference(object), Some(annotations), severity, (reason, message)).await;
    }

    /// The same on an object that is not managed. An event on an object of no namespace is written into the namespace `default`.
    pub async fn record_on<K>(&self, object: &K, severity: Severity, reason: &'static str, message: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        self.write(&reference(object), None, severity, (reason, message)).await;
    }

    async fn write(
        &self,
        object: &ObjectReference,
        annotations: Option<BTreeMap<String, String>>,
        severity: Severity,
        (reason, message): (&'static str, &str),
    ) {
        let key = (object.uid.as_deref().unwrap_or_default().into(), digest(reason, message));
        let namespace = object.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let written = match self.count(key) {
            Counted::Quiet => return,
            Counted::First(name) => {
                let metadata = ObjectMeta {
                    name: Some(name),
                    namespace: Some(namespace.to_owned()),
                    annotations,
                    ..ObjectMeta::default()
                };
                let event = self.event(object, metadata, severity, (reason, message));
                api.create(&PostParams::default(), &event).await
            }
            Counted::Again(name, count) => {
                let patch = json!({ "count": count, "lastTimestamp": Time(Timestamp::now()) });
                api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await
            }
        };
        if let Err(error) = written {
            tracing::debug!(object = object.name, reason, %error, "cannot write event");
        }
    }

    /// Forgets what was said about an object.
    pub fn forget(&self, uid: &str) {
        self.lock().retain(|(of, _), _| **of != *uid);
    }

    fn count(&self, key: Key) -> Counted {
        let now = Instant::now();
        let mut recent = self.lock();
        recent.retain(|_, event| now.duration_since(event.first) < AGGREGATE);
        if let Some(event) = recent.get_mut(&key) {
            event.count += 1;
            if now.duration_since(event.written) < QUIET {
                return Counted::Quiet;
            }
            event.written = now;
            return Counted::Again(name(&key, event.serial), event.count);
        }
        let serial = Timestamp::now().as_nanosecond();
        let name = name(&key, serial);
        recent.insert(key, Recent { serial, count: 1, first: now, written: now });
        Counted::First(name)
    }

    fn event(
        &self,
        object: &ObjectReference,
        metadata: ObjectMeta,
        severity: Severity,
        (reason, message): (&str, &str),
    ) -> Event {
        let now = Time(Timestamp::now());
        Event {
            metadata,
            involved_object: object.clone(),
            type_: Some(match severity {
                Severity::Normal => "Normal".to_owned(),
                Severity::Warning => "Warning".to_owned(),
            }),
            reason: Some(reason.to_owned()),
            message: Some(message.chars().take(1024).collect()),
            source: Some(EventSource { component: Some(self.component.clone()), host: None }),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(1),
            ..Event::default()
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Recent>> {
        self.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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

fn digest(reason: &str, message: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (reason, message).hash(&mut hasher);
    hasher.finish()
}

fn name((uid, _): &Key, serial: i128) -> String {
    format!("{uid}.{serial:x}")
}

enum Counted {
    First(String),
    Again(String, i32),
    Quiet,
}
