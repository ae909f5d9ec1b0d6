//! `AdmissionReview` of `admission.k8s.io/v1`: read strictly, answered with its UID.

use std::{sync::Arc, time::Instant};

use apis::managed::ProviderConfigReference;
use axum::http::StatusCode;
use futures::FutureExt;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{head::Head, router::Refused};
use crate::{
    admission::{Admission, Reviewable, Verdict, moved},
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

/// As many items as any list of any kind has by its schema, DHCP's hosts.
const LIST: usize = 128;
/// No longer than an API server makes it; it is logged.
const UID: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: String,
    kind: String,
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

/// What is asked, as far as it is looked at. The objects are read as what they are to be and nothing else: a tree of anything would take
/// a hundred times the room of its text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    uid: String,
    kind: GroupVersionKind,
    #[serde(default)]
    sub_resource: String,
    operation: Operation,
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
    #[serde(borrow, default)]
    old_object: Option<&'a RawValue>,
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

    fn say<K: Reviewable>(&self, request: &Request<'_>) -> Answer {
        let Request { uid: _, kind: _, sub_resource, operation, object, old_object } = request;
        if !sub_resource.is_empty() {
            return Answer::Said(Verdict::Allowed);
        }
        match (operation, *object, *old_object) {
            (Operation::Create, Some(new), _) if is_object(new) => {
                self.read::<K>(new, |new| self.once_read(|admission| admission.review(&new)))
            }
            (Operation::Update, Some(new), Some(old)) if is_object(new) && is_object(old) => self.change::<K>(old, new),
            (Operation::Delete, _, old) => Answer::Said(self.deletion::<K>(old)),
            (Operation::Create | Operation::Update, ..) => Answer::Unfit("the review lacks the object".to_owned()),
            (Operation::Connect, ..) => Answer::Unfit("CONNECT is not reviewed".to_owned()),
        }
    }

    fn change<K: Reviewable>(&self, old: &RawValue, new: &RawValue) -> Answer {
        let heads = Head::of(new).ok().zip(Head::of(old).ok());
        if heads.is_some_and(|(now, before)| now.is_untouched(&before)) {
            return Answer::Said(Verdict::Allowed);
        }
        self.read::<K>(new, |new| match sized::<K>(old) {
            // That an object stays where it is can be said without a look at others, and nobody but the webhook says it.
            Some(old) => match self.moves(&old, &new) {
                Some(why) => Verdict::Denied(why),
                None => self.once_read(|admission| admission.change(&old, &new)),
            },
            // What was stored by other rules than today's is judged by what it is to be, and what may have been wrong before is told.
            None => self.once_read(|admission| admission.review(&new)).mild(),
        })
    }

    fn moves<K: Reviewable>(&self, old: &K, new: &K) -> Option<String> {
        if self.is_read() { self.admission().moves(old, new) } else { moved(old, new) }
    }

    /// A deletion is never refused, whatever the object looks like: there is only something to say where that is known. Without an object
    /// it is about all of a namespace, and each is asked for again by itself.
    fn deletion<K: Reviewable>(&self, object: Option<&RawValue>) -> Verdict {
        let object = object.filter(|object| Head::of(object).is_ok_and(|head| head.is_within(LIST)));
        match object.map(parse::<K>) {
            Some(Ok(object)) if self.is_read() => self.admission().deletion(&object),
            _ => Verdict::Allowed,
        }
    }

    /// What is said of an object. The API server has checked it by the schema already; one that cannot be read here is of a newer schema
    /// than this process, and a pass enforces what is not checked.
    fn read<K: Reviewable>(&self, object: &RawValue, say: impl FnOnce(K) -> Verdict) -> Answer {
        let object = match Head::of(object) {
            Ok(head) if head.is_leaving() => return Answer::Said(Verdict::Allowed),
            // The API server holds objects to their schema; whoever else asks must not make us compare everything with everything.
            Ok(head) if !head.is_within(LIST) => {
                return Answer::Unfit("the object has a longer list than its schema allows".to_owned());
            }
            head => head.and_then(|_| parse::<K>(object)),
        };
        match object {
            Ok(object) => Answer::Said(say(object)),
            Err(_) if !self.is_read() => Answer::Said(Verdict::Warned(vec![EARLY.to_owned()])),
            Err(error) => Answer::Said(Verdict::Warned(vec![format!("{UNREADABLE}: {error}")])),
        }
    }

    /// What is said once the watches have shown everything.
    fn once_read(&self, say: impl FnOnce(Admission<'_>) -> Verdict) -> Verdict {
        if self.is_read() { say(self.admission()) } else { Verdict::Warned(vec![EARLY.to_owned()]) }
    }

    fn admission(&self) -> Admission<'_> {
        Admission { cluster: &self.cluster, default: self.default.as_ref() }
    }
}

fn is_object(text: &RawValue) -> bool {
    text.get().starts_with('{')
}

fn parse<K: Reviewable>(text: &RawValue) -> serde_json::Result<K> {
    serde_json::from_str(text.get())
}

/// An object as it was, if it can be read and is not too long.
fn sized<K: Reviewable>(text: &RawValue) -> Option<K> {
    Head::of(text).ok().filter(|head| head.is_within(LIST))?;
    parse(text).ok()
}

/// The answer to a review of an object of this kind, or why the body is none.
///
/// # Errors
/// With the HTTP status and a sentence when the body is no review.
pub(super) fn answer<K: Reviewable>(reviewer: &Reviewer, body: &[u8]) -> Result<Value, Refused> {
    let begun = Instant::now();
    let malformed = |why: String| (StatusCode::BAD_REQUEST, why);
    let review: Review<'_> =
        serde_json::from_slice(body).map_err(|error| malformed(format!("not an AdmissionReview: {error}")))?;
    let Review { api_version, kind, request } = review;
    if api_version != VERSION || kind != "AdmissionReview" {
        return Err(malformed(format!("this is {kind} of {api_version}; reviewed is AdmissionReview of {VERSION}")));
    }
    let request = request.filter(|request| (1..=UID).contains(&request.uid.len()));
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
fn tell<K: Refers>(request: &Request<'_>, outcome: Reviewed, response: &Value) {
    let Request { uid, operation, object, old_object, .. } = request;
    let object = object
        .or(*old_object)
        .and_then(|object| Head::of(object).ok())
        .map(|head| head.full_name())
        .unwrap_or_default();
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
