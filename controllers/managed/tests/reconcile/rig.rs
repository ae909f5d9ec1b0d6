//! One object, the server it is on, the host it is about, and a reconciler between them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use apis::placement::ConfigId;
use managed::{
    backoff::Backoff,
    events::Recorder,
    intent::Feature,
    reconcile::{Outcome, Reconciler, Requeue},
    secret::Secrets,
    usage::{Shown, Usages},
};
use serde_json::{Value, json};

use crate::{
    fake::{self, Fake, Thing},
    server::{Log, Server},
};

const PATH: &str = "/apis/libvirt.m.nourspeed.io/v1alpha1/namespaces/n/pools/p";

/// Whether a watch has shown the object's usage, written and held.
#[derive(Default)]
pub(crate) struct Watched(pub(crate) AtomicBool);

impl Shown for Watched {
    fn is_settled(&self, config: &ConfigId, namespace: &str, uid: &str) -> bool {
        self.held(namespace, uid).as_ref() == Some(config)
    }

    fn held(&self, namespace: &str, uid: &str) -> Option<ConfigId> {
        let is_held = (namespace, uid) == ("n", "u") && self.0.load(Ordering::Relaxed);
        is_held.then(fake::config)
    }
}

/// The rig. The object's last pass and everything before it can be asked about.
pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) fake: Fake,
    pub(crate) log: Log,
    /// What a watch has shown of usages: nothing yet.
    pub(crate) shown: Arc<Watched>,
    reconciler: Reconciler<Fake>,
}

impl Rig {
    /// An object that nobody has looked at yet, and a host without it.
    pub(crate) fn new() -> Self {
        let log = Log::default();
        let (server, fake) = (Server::new(log.clone()), Fake::new(log.clone()));
        let shown = Arc::new(Watched::default());
        let reconciler = reconciler(&server, &fake, &shown);
        let rig = Self { server, fake, log, shown, reconciler };
        rig.server.put(
            PATH,
            json!({
                "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool",
                "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1},
                "spec": {"forProvider": {"target": {"path": "/p"}}, "managementPolicies": ["*"]},
            }),
        );
        rig
    }

    /// An object that has been made and is as wished, its status written.
    pub(crate) async fn made() -> Self {
        let rig = Self::new();
        assert_eq!(rig.pass().await, Requeue::Poll);
        rig.log();
        rig
    }

    /// An object that has been made and is now being deleted by a user.
    pub(crate) async fn deleted() -> Self {
        let rig = Self::made().await;
        rig.edit(|object| object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
        rig
    }

    /// The reconciler alone.
    pub(crate) fn into_reconciler(self) -> Reconciler<Fake> {
        self.reconciler
    }

    /// The same with a reconciler that does not honour management policies.
    pub(crate) fn without_policies(mut self) -> Self {
        self.reconciler.policies = Feature::Off;
        self
    }

    /// The same with a reconciler that knows nothing yet, and a watch that has shown nothing.
    pub(crate) fn restarted(self) -> Self {
        let Self { server, fake, log, shown: _, reconciler: _ } = self;
        let shown = Arc::new(Watched::default());
        let reconciler = reconciler(&server, &fake, &shown);
        Self { server, fake, log, shown, reconciler }
    }

    /// An edit of the object by its user.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut object = self.object().unwrap();
        let (spec, deleted) = (object["spec"].clone(), object["metadata"]["deletionTimestamp"].clone());
        change(&mut object);
        if (spec, deleted) != (object["spec"].clone(), object["metadata"]["deletionTimestamp"].clone()) {
            object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_u64().unwrap() + 1);
        }
        self.server.put(PATH, object);
    }

    /// The object was made long ago: what is absent now is not still to come.
    pub(crate) fn age(&self) {
        self.annotate("crossplane.io/external-create-succeeded", "2026-01-01T00:00:00Z");
        self.annotate("crossplane.io/external-create-pending", "2026-01-01T00:00:00Z");
    }

    pub(crate) fn annotate(&self, key: &str, value: &str) {
        self.edit(|object| object["metadata"]["annotations"][key] = json!(value));
    }

    pub(crate) fn policies(&self, policies: &[&str]) {
        self.edit(|object| object["spec"]["managementPolicies"] = json!(policies));
    }

    pub(crate) fn object(&self) -> Option<Value> {
        self.server.get(PATH)
    }

    /// One pass over the object as the server has it. What it answers as last written is what the server has.
    pub(crate) async fn pass(&self) -> Requeue {
        self.pass_on(self.object().unwrap()).await
    }

    /// One pass over a copy of the object.
    pub(crate) async fn pass_on(&self, object: Value) -> Requeue {
        // The state of a pass is too large for the stacks of all who wait for it here.
        let pass = Box::pin(self.reconciler.reconcile(serde_json::from_value(object).unwrap()));
        let Outcome { object: _, requeue, failed: _, verdict: _ } = pass.await;
        requeue
    }

    /// What was done since it was last asked.
    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    /// `Type=Status Reason: message` of every condition, sorted.
    pub(crate) fn conditions(&self) -> Vec<String> {
        let object = self.object().unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut found: Vec<String> = object["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|condition| {
                let message = condition["message"].as_str().map(|message| format!(": {message}")).unwrap_or_default();
                format!(
                    "{}={} {}{message}",
                    text(&condition["type"]),
                    text(&condition["status"]),
                    text(&condition["reason"])
                )
            })
            .collect();
        found.sort();
        found
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<String> {
        Some(self.object()?["metadata"]["annotations"][key].as_str()?.to_owned())
    }

    pub(crate) fn finalizers(&self) -> Vec<String> {
        let object = self.object().unwrap();
        let all = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        all.iter().map(|finalizer| finalizer.as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn thing(&self, thing: Thing) {
        self.fake.world().thing = thing;
    }
}

fn reconciler(server: &Server, fake: &Fake, shown: &Arc<Watched>) -> Reconciler<Fake> {
    let client = server.client();
    Reconciler {
        external: fake.clone(),
        connector: Arc::new(fake.clone()),
        client: client.clone(),
        events: Recorder::new(client.clone(), "managed/pool".to_owned()),
        usages: Arc::new(Usages::new(client.clone(), shown.clone())),
        secrets: Secrets::new(client),
        backoff: Backoff::new(),
        creation_grace: Duration::from_secs(30),
        policies: Feature::On,
    }
}

pub(crate) fn seconds(seconds: u64) -> Requeue {
    Requeue::After(Duration::from_secs(seconds))
}
