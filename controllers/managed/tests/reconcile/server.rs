//! An API server in memory: objects by path, resource versions, conflicts, deletion by finalizers, and a log of every write.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
};

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Map, Value, json};

/// What was done, in order, by the reconciler on the server and on the host.
pub(crate) type Log = Arc<Mutex<Vec<String>>>;

/// The server. Clones are the same server.
#[derive(Clone)]
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    log: Log,
}

struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    /// The next writes whose lines in the log begin so are answered with this code, so many of them.
    failure: Option<(String, u16, usize)>,
}

impl Server {
    pub(crate) fn new(log: Log) -> Self {
        let state = State { objects: BTreeMap::new(), version: 100, failure: None };
        Self { state: Arc::new(Mutex::new(state)), log }
    }

    pub(crate) fn client(&self) -> kube::Client {
        let server = self.clone();
        let answer = move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        };
        kube::Client::new(tower::service_fn(answer), "n")
    }

    /// Puts an object there as a user would.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let mut state = self.state();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.objects.insert(path.to_owned(), object);
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.state().objects.get(path).cloned()
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state().objects.remove(path);
    }

    /// Lets the next write whose line in the log begins so fail with this code.
    pub(crate) fn fail(&self, line: &str, code: u16) {
        self.fail_times(line, code, 1);
    }

    /// The same for several writes.
    pub(crate) fn fail_times(&self, line: &str, code: u16, times: usize) {
        self.state().failure = Some((line.to_owned(), code, times));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await.unwrap();
        let body: Value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        let signed = parts.uri.query().is_some_and(|query| query.contains("fieldManager=provider-libvirt"));
        assert!(signed || parts.method == Method::GET, "{} {} is not signed", parts.method, parts.uri);
        let answer = self.serve(&parts.method, parts.uri.path(), &body);
        let (code, value) = answer.unwrap_or_else(|code| (code, status(code)));
        let bytes = serde_json::to_vec(&value).unwrap();
        Response::builder().status(code).header("content-type", "application/json").body(Body::from(bytes)).unwrap()
    }

    fn serve(&self, method: &Method, path: &str, body: &Value) -> Result<(u16, Value), u16> {
        let mut state = self.state();
        if method == Method::GET {
            if path.contains("/secrets/") {
                self.log.lock().unwrap().push("GET secrets".to_owned());
            }
            return state.objects.get(path).map(|object| (200, object.clone())).ok_or(404);
        }
        let line = describe(method, path, body);
        self.log.lock().unwrap().push(line.clone());
        if let Some((_, code, times)) = state.failure.as_mut().filter(|(prefix, ..)| line.starts_with(prefix.as_str()))
        {
            let code = *code;
            *times -= 1;
            state.failure.take_if(|(.., times)| *times == 0);
            return Err(code);
        }
        if method == Method::POST {
            state.create(path, body).map(|object| (201, object))
        } else if method == Method::PATCH {
            state.patch(path, body).map(|object| (200, object))
        } else {
            panic!("{method} {path} is not served")
        }
    }
}

impl State {
    fn create(&mut self, path: &str, body: &Value) -> Result<Value, u16> {
        let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
        if self.objects.contains_key(&path) {
            return Err(409);
        }
        self.version += 1;
        let mut object = body.clone();
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path, object.clone());
        Ok(object)
    }

    fn patch(&mut self, path: &str, body: &Value) -> Result<Value, u16> {
        let (path, is_status) = path.strip_suffix("/status").map_or((path, false), |path| (path, true));
        let old = self.objects.get(path).cloned().ok_or(404_u16)?;
        let version = &body["metadata"]["resourceVersion"];
        if !version.is_null() && *version != old["metadata"]["resourceVersion"] {
            return Err(409);
        }
        // A subresource changes nothing but itself, and nothing else changes it.
        let mut new = old.clone();
        let mut patch = body.clone();
        patch.as_object_mut().unwrap().retain(|key, _| (key == "status") == is_status);
        merge(&mut new, &patch);
        if new != old {
            self.version += 1;
            new["metadata"]["resourceVersion"] = json!(self.version.to_string());
        }
        let is_over = !new["metadata"]["deletionTimestamp"].is_null()
            && new["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        if is_over {
            self.objects.remove(path);
        } else {
            self.objects.insert(path.to_owned(), new.clone());
        }
        Ok(new)
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else { return target.clone_from(patch) };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn status(code: u16) -> Value {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "message": reason, "code": code})
}

/// A write in a few words: `event Normal CreatedExternalResource`, `status`, `metadata: finalizers external-name …`.
fn describe(method: &Method, path: &str, body: &Value) -> String {
    let kind = path.rsplit('/').nth(usize::from(*method == Method::PATCH)).unwrap_or_default();
    match (kind, method.as_str()) {
        ("events", "POST") => format!("event {} {}", text(&body["type"]), text(&body["reason"])),
        ("events", _) => format!("event again, {} times", body["count"]),
        ("pools", _) => format!("metadata: {}", fields(&body["metadata"]).join(" ")),
        (_, "PATCH") if path.ends_with("/status") => "status".to_owned(),
        (kind, method) => format!("{method} {kind}"),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The fields that a metadata patch names, sorted; annotations and labels by the last part of their names.
fn fields(metadata: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in metadata.as_object().into_iter().flatten() {
        match value {
            Value::Object(entries) => {
                found.extend(entries.keys().map(|key| key.rsplit('/').next().unwrap_or_default().to_owned()));
            }
            _ => found.push(name.clone()),
        }
    }
    found.sort();
    found
}
