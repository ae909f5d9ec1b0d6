//! `AdmissionReview` of `admission.k8s.io/v1`: read strictly, answered with its UID.

use std::{sync::Arc, time::Instant};

use apis::managed::{ProviderConfigReference, annotation};
use axum::http::StatusCode;
use futures::FutureExt;
use serde::Deserialize;
use serde_json::{Value, json};

use super::router::Refused;
use crate::{
    admission::{Admission, Reviewable, Verdict},
    cluster::Cluster,
    metrics::{Metrics, Reviewed},
    references::Refers,
};

/// The one version of reviews there is.
const VERSION: &str = "admission.k8s.io/v1";

/// Who reviews.
pub struct Reviewer {
    /// What the watches have shown.
    pub cluster: Arc<Cluster>,
    /// The config of objects that name none.
    pub default: Option<ProviderConfigReference>,
    /// The figures.
    pub metrics: Arc<Metrics>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

/// What is asked, as far as it is looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    kind: GroupVersionKind,
    #[serde(default)]
    sub_resource: String,
    operation: Operation,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    old_object: Value,
}

#[derive(Deserialize, PartialEq, Eq)]
struct GroupVersionKind {
    group: String,
    version: String,
    kind: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// What is answered: a verdict, or that the review is none of an object of this kind.
enum Answer {
    Said(Verdict),
    Unfit(String),
}

/// Said while the watches have not shown everything yet.
const EARLY: &str =
    "not checked: the provider is still reading all objects; it checks this one before anything is made";

/// Said of an object that this process cannot read.
const UNREADABLE: &str = "not checked: the provider that was asked cannot read the object";

impl Reviewer {
    /// Counts a request that was no review.
    pub(super) fn malformed<K: Refers>(&self) {
        self.metrics.reviewed::<K>(Reviewed::Malformed, None);
    }

    fn is_read(&self) -> bool {
        let Cluster { configs, cluster_configs, .. } = &*self.cluster;
        let listed = configs.wait_until_ready().now_or_never().is_some()
            && cluster_configs.wait_until_ready().now_or_never().is_some();
        listed && self.cluster.is_read()
    }

    fn say<K: Reviewable>(&self, request: &Request) -> Answer {
        let Request { uid: _, kind: _, sub_resource, operation, object, old_object } = request;
        if !sub_resource.is_empty() {
            return Answer::Said(Verdict::Allowed);
        }
        match operation {
            Operation::Create if object.is_object() => {
                self.once_read(object, |admission, new: K| admission.review(&new))
            }
            Operation::Update if object.is_object() && old_object.is_object() => self.change::<K>(old_object, object),
            Operation::Delete => Answer::Said(self.deletion::<K>(old_object)),
            Operation::Create | Operation::Update => Answer::Unfit("the review lacks the object".to_owned()),
            Operation::Connect => Answer::Unfit("CONNECT is not reviewed".to_owned()),
        }
    }

    fn change<K: Reviewable>(&self, old: &Value, new: &Value) -> Answer {
        if is_untouched(old, new) {
            return Answer::Said(Verdict::Allowed);
        }
        // What was stored by other rules than today's is judged by what it is to be.
        self.once_read(new, |admission, new: K| match K::deserialize(old) {
            Ok(old) => admission.change(&old, &new),
            Err(_) => admission.review(&new),
        })
    }

    /// A deletion is never refused, whatever the object looks like: there is only something to say where that is known. Without an object
    /// it is about all of a namespace, and each is asked for again by itself.
    fn deletion<K: Reviewable>(&self, object: &Value) -> Verdict {
        match K::deserialize(object) {
            Ok(object) if self.is_read() => self.admission().deletion(&object),
            Ok(_) | Err(_) => Verdict::Allowed,
        }
    }

    /// What is said of an object once the watches have shown everything. The API server has checked it by the schema already; one that
    /// cannot be read here is of a newer schema than this process, and a pass enforces what is not checked.
    fn once_read<K: Reviewable>(&self, object: &Value, say: impl FnOnce(Admission<'_>, K) -> Verdict) -> Answer {
        if !object["metadata"]["deletionTimestamp"].is_null() {
            return Answer::Said(Verdict::Allowed);
        }
        if !self.is_read() {
            return Answer::Said(Verdict::Warned(vec![EARLY.to_owned()]));
        }
        match K::deserialize(object) {
            Ok(object) => Answer::Said(say(self.admission(), object)),
            Err(error) => Answer::Said(Verdict::Warned(vec![format!("{UNREADABLE}: {error}")])),
        }
    }

    fn admission(&self) -> Admission<'_> {
        Admission { cluster: &self.cluster, default: self.default.as_ref() }
    }
}

/// The answer to a review of an object of this kind, or why the body is none.
///
/// # Errors
/// With the HTTP status and a sentence when the body is no review.
pub(super) fn answer<K: Reviewable>(reviewer: &Reviewer, body: &[u8]) -> Result<Value, Refused> {
    let begun = Instant::now();
    let malformed = |why: String| (StatusCode::BAD_REQUEST, why);
    let review: Review =
        serde_json::from_slice(body).map_err(|error| malformed(format!("not an AdmissionReview: {error}")))?;
    let Review { api_version, kind, request } = review;
    if api_version != VERSION || kind != "AdmissionReview" {
        return Err(malformed(format!("this is {kind} of {api_version}; reviewed is AdmissionReview of {VERSION}")));
    }
    let request = request.filter(|request| !request.uid.is_empty());
    let request = request.ok_or_else(|| malformed("the review has no request with a UID".to_owned()))?;
    let own = GroupVersionKind {
        group: K::group(&()).into_owned(),
        version: K::version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
    };
    let said = if request.kind == own {
        reviewer.say::<K>(&request)
    } else {
        let GroupVersionKind { group, version, kind } = &request.kind;
        let why =
            format!("here {} of {}/{} is reviewed, not {kind} of {group}/{version}", own.kind, own.group, own.version);
        Answer::Unfit(why)
    };
    let (outcome, response) = response(&request.uid, said);
    let took = begun.elapsed();
    reviewer.metrics.reviewed::<K>(outcome, Some(took));
    tell::<K>(&request, outcome, &response);
    Ok(json!({"apiVersion": VERSION, "kind": "AdmissionReview", "response": response}))
}

/// What is logged has names only: warnings may quote a URL, and a URL may hold a password.
fn tell<K: Refers>(request: &Request, outcome: Reviewed, response: &Value) {
    let Request { uid, operation, object, old_object, .. } = request;
    let meta = if object.is_object() { &object["metadata"] } else { &old_object["metadata"] };
    let name = |field: &str| meta[field].as_str().unwrap_or_default().to_owned();
    let object = format!("{}/{}", name("namespace"), name("name"));
    let (kind, verdict) = (K::kind(&()), outcome.as_str());
    match outcome {
        Reviewed::Denied => {
            let why = response["status"]["message"].as_str().unwrap_or_default();
            tracing::info!(%kind, object, ?operation, uid, why, "denied");
        }
        Reviewed::Allowed | Reviewed::Warned | Reviewed::Malformed => {
            tracing::debug!(%kind, object, ?operation, uid, verdict, "reviewed");
        }
    }
}

fn response(uid: &str, answer: Answer) -> (Reviewed, Value) {
    let mut response = json!({"uid": uid, "allowed": true});
    let refuse = |response: &mut Value, status: StatusCode, reason: &str, message: &str| {
        response["allowed"] = false.into();
        response["status"] = json!({"code": status.as_u16(), "reason": reason, "message": message});
        response["auditAnnotations"] = json!({"verdict": "denied"});
    };
    let outcome = match answer {
        Answer::Said(Verdict::Allowed) => {
            response["auditAnnotations"] = json!({"verdict": "allowed"});
            Reviewed::Allowed
        }
        Answer::Said(Verdict::Warned(warnings)) => {
            response["warnings"] = warnings.into();
            response["auditAnnotations"] = json!({"verdict": "warned"});
            Reviewed::Warned
        }
        Answer::Said(Verdict::Denied(why)) => {
            refuse(&mut response, StatusCode::FORBIDDEN, "Forbidden", &why);
            // Only names are in it.
            response["auditAnnotations"]["reason"] = why.into();
            Reviewed::Denied
        }
        Answer::Unfit(why) => {
            refuse(&mut response, StatusCode::BAD_REQUEST, "BadRequest", &why);
            Reviewed::Malformed
        }
    };
    (outcome, response)
}

/// Whether nothing that is reviewed differs: only finalizers, labels or what a pass records of the object itself. Whoever deletes needs
/// such an update to go through, whatever has become of the objects around.
fn is_untouched(old: &Value, new: &Value) -> bool {
    let place = |object: &Value| object["metadata"]["annotations"][annotation::PLACEMENT].clone();
    let is_kept = |object: &Value| {
        let finalizers = object["metadata"]["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
        finalizers.iter().any(|finalizer| finalizer == apis::managed::FINALIZER)
    };
    let recorded = place(old).is_null() && is_kept(new);
    old["spec"] == new["spec"] && (place(old) == place(new) || recorded)
}
