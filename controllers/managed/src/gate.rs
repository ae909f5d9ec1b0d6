//! Which kinds the API server serves: with Crossplane's safe start the CRDs of a package come one by one, as they are wanted, and a
//! kind without one must neither be listed nor hold up the others. Beside that, whether they know every field that this program does.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use anyhow::Context;
use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Client, Resource, ResourceExt,
    api::Api,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::Deserialize;
use tokio::sync::watch;

use crate::schema::{Shape, Shapes};

/// Whether the API server serves a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nobody knows yet, or its CRD is there and not established: it may have objects.
    Unknown,
    /// It has no CRD, and so no objects.
    Absent,
    /// Its objects can be listed.
    Served,
}

/// The CRDs by name, `<plural>.<group>`; None where one could not be read.
type Definitions = HashMap<String, Option<Served>>;

/// What a CRD serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Served {
    /// The versions that can be asked for.
    versions: HashSet<String>,
    /// The fields that this program knows and the CRD does not.
    lacks: Vec<String>,
}

/// How what is installed falls short of what this program knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// There is no such CRD.
    Missing(String),
    /// The CRD is older than this program, and lacks these fields.
    Outdated(String, Vec<String>),
}

/// What is known of the CRDs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// They have not been listed yet.
    Nothing,
    /// They may not be looked at, as on a cluster without safe start: every kind counts as served, and its watch tries until it is.
    Denied,
    /// These are there.
    Listed(Definitions),
}

/// Tells whether a kind is served. Copies look at the same CRDs.
#[derive(Clone, Debug)]
pub struct Gate {
    seen: watch::Receiver<Seen>,
    known: Arc<Shapes>,
}

impl Gate {
    /// Nothing is known before [`Keeper::run`] runs. `definitions` are the CRDs of this program.
    pub fn new(client: Client, group: &str, definitions: &[CustomResourceDefinition]) -> (Self, Keeper) {
        let (tell, seen) = watch::channel(Seen::Nothing);
        let known = Arc::new(Shapes::of(definitions));
        (Self { seen, known: known.clone() }, Keeper { client, suffix: format!(".{group}"), known, tell })
    }

    /// How the CRDs fall short, by their names; nothing where they may not be looked at, or have not been yet.
    pub fn shortfalls(&self) -> Vec<Shortfall> {
        match &*self.seen.borrow() {
            Seen::Nothing | Seen::Denied => Vec::new(),
            Seen::Listed(definitions) => shortfalls(&self.known.names(), definitions),
        }
    }

    /// Whether it is known which CRDs there are, or that they may not be looked at.
    pub fn is_known(&self) -> bool {
        *self.seen.borrow() != Seen::Nothing
    }

    /// Waits until something about the CRDs is new, for ever if need be.
    pub async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            // The keeper is gone because the process is about to end.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until this is so, for ever if need be.
    pub async fn until<K: Resource<DynamicType = ()>>(&mut self, presence: impl Fn(Presence) -> bool) -> Presence {
        let seen = self.seen.wait_for(|seen| presence(seen.presence::<K>())).await.map(|seen| seen.presence::<K>());
        match seen {
            Ok(presence) => presence,
            // The keeper is gone because the process is about to end.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Seen {
    fn presence<K: Resource<DynamicType = ()>>(&self) -> Presence {
        let definitions = match self {
            Self::Nothing => return Presence::Unknown,
            Self::Denied => return Presence::Served,
            Self::Listed(definitions) => definitions,
        };
        match definitions.get(&format!("{}.{}", K::plural(&()), K::group(&()))) {
            None => Presence::Absent,
            Some(Some(served)) if !served.versions.contains(&*K::version(&())) => Presence::Unknown,
            // Where it could not be read, the watch of the kind finds out.
            Some(_) => Presence::Served,
        }
    }
}

/// Watches the CRDs of one API group for a [`Gate`].
pub struct Keeper {
    client: Client,
    suffix: String,
    known: Arc<Shapes>,
    tell: watch::Sender<Seen>,
}

impl Keeper {
    /// Keeps the gate up to date for ever. Of all CRDs only the metadata is watched: their schemas are megabytes.
    ///
    /// # Errors
    /// When the watch ends, which it does not.
    pub async fn run(self) -> anyhow::Result<()> {
        let api = Api::<PartialObjectMeta<CustomResourceDefinition>>::all(self.client.clone());
        let mut events = watcher::watcher(api, watcher::Config::default()).default_backoff().boxed();
        let mut listed = Definitions::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event, &mut listed).await,
                Err(error) if is_denied(&error) => self.denied(),
                Err(error) => tracing::warn!(%error, "watch of the CRDs interrupted"),
            }
        }
        anyhow::bail!("the watch of the CRDs ended")
    }

    async fn take(&self, event: Event<PartialObjectMeta<CustomResourceDefinition>>, listed: &mut Definitions) {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(definition) => listed.extend(self.read(&definition).await),
            Event::InitDone => self.tell(|known| *known = std::mem::take(listed)),
            Event::Apply(definition) => {
                let found = self.read(&definition).await;
                self.tell(|known| known.extend(found));
            }
            Event::Delete(definition) => self.tell(|known| drop(known.remove(&definition.name_any()))),
        }
    }

    fn tell(&self, change: impl FnOnce(&mut Definitions)) {
        self.tell.send_if_modified(|seen| {
            let mut definitions = match seen {
                Seen::Listed(definitions) => definitions.clone(),
                Seen::Nothing | Seen::Denied => Definitions::new(),
            };
            change(&mut definitions);
            let now = Seen::Listed(definitions);
            let is_news = *seen != now;
            *seen = now;
            is_news
        });
    }

    /// What was known stays so; who is denied from the start, as before a package manager has bound the role, goes on without knowing.
    fn denied(&self) {
        let is_news = self.tell.send_if_modified(|seen| {
            let is_news = *seen == Seen::Nothing;
            if is_news {
                *seen = Seen::Denied;
            }
            is_news
        });
        if is_news {
            tracing::info!("CRDs may not be watched: every kind is taken for installed");
        }
    }

    /// A CRD of our group, with what it serves. One that is gone again is told of as deleted next.
    async fn read(&self, definition: &PartialObjectMeta<CustomResourceDefinition>) -> Option<(String, Option<Served>)> {
        let name = definition.name_any();
        if !name.ends_with(&self.suffix) {
            return None;
        }
        let served = self.definition(&name).await.map(|definition| definition.served(&name, &self.known));
        if let Err(error) = &served {
            tracing::warn!(name, error = format!("{error:#}"), "CRD cannot be read");
        }
        Some((name, served.ok()))
    }

    async fn definition(&self, name: &str) -> anyhow::Result<Definition> {
        let path = format!("{}/{name}", CustomResourceDefinition::url_path(&(), None));
        let request = http::Request::get(path).body(Vec::new()).context("ask for a CRD")?;
        Ok(self.client.request(request).await?)
    }
}

fn shortfalls(known: &[String], definitions: &Definitions) -> Vec<Shortfall> {
    let fall_short = |name: &String| match definitions.get(name) {
        None => Some(Shortfall::Missing(name.clone())),
        Some(Some(served)) if !served.lacks.is_empty() => Some(Shortfall::Outdated(name.clone(), served.lacks.clone())),
        Some(_) => None,
    };
    known.iter().filter_map(fall_short).collect()
}

fn is_denied(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))) = error
    else {
        return false;
    };
    status.is_forbidden()
}

/// What is read of a CRD: the rest, most of it schema, is never unfolded in memory.
#[derive(Deserialize)]
struct Definition {
    spec: DefinitionSpec,
    status: Option<DefinitionStatus>,
}

#[derive(Deserialize)]
struct DefinitionSpec {
    versions: Vec<DefinitionVersion>,
}

#[derive(Deserialize)]
struct DefinitionVersion {
    name: String,
    served: bool,
    schema: Option<DefinitionSchema>,
}

#[derive(Deserialize)]
struct DefinitionSchema {
    #[serde(rename = "openAPIV3Schema")]
    fields: Option<Shape>,
}

#[derive(Deserialize)]
struct DefinitionStatus {
    // null in a CRD that is only just there.
    conditions: Option<Vec<DefinitionCondition>>,
}

#[derive(Deserialize)]
struct DefinitionCondition {
    r#type: String,
    status: String,
}

impl Definition {
    /// The versions that can be asked for, none before the CRD is established; and what they lack.
    fn served(self, name: &str, known: &Shapes) -> Served {
        let conditions = self.status.and_then(|status| status.conditions).unwrap_or_default();
        if !conditions.iter().any(|condition| condition.r#type == "Established" && condition.status == "True") {
            return Served::default();
        }
        let mut all = Served::default();
        for version in self.spec.versions.into_iter().filter(|version| version.served) {
            let fields = version.schema.and_then(|schema| schema.fields);
            let lacks = fields.map_or_else(Vec::new, |fields| known.lacking(name, &version.name, &fields));
            all.lacks.extend(lacks);
            all.versions.insert(version.name);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]

    use serde_json::{Value, json};

    use super::*;

    fn versions(status: &Value) -> Vec<String> {
        let versions = json!([
            {"name": "v1", "served": true, "storage": true},
            {"name": "v0", "served": false, "storage": false},
        ]);
        let definition = json!({"metadata": {"name": "x"}, "spec": {"versions": versions}, "status": status});
        let served = serde_json::from_value::<Definition>(definition).unwrap().served("x", &Shapes::default());
        served.versions.into_iter().collect()
    }

    #[test]
    fn a_crd_serves_its_versions_once_it_is_established() {
        let condition = |status: &str| json!({"conditions": [{"type": "Established", "status": status}]});
        assert_eq!(versions(&condition("True")), ["v1"]);
        // As the API server shows one that is only just there.
        let fresh = json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": null});
        for status in [condition("False"), fresh, json!({}), Value::Null] {
            assert_eq!(versions(&status), Vec::<String>::new(), "{status}");
        }
    }
}
