//! The messages of Crossplane's composition functions, as far as this one needs them, by the numbers of their fields.
//!
//! The protocol is `proto/fn/v1/run_function.proto` of Crossplane. Unknown fields are dropped, so what a function has to hand on is here.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

/// A request.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RunFunctionRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) meta: Option<RequestMeta>,
    #[prost(message, optional, tag = "2")]
    pub(crate) observed: Option<State>,
    #[prost(message, optional, tag = "3")]
    pub(crate) desired: Option<State>,
    #[prost(message, optional, tag = "4")]
    pub(crate) input: Option<Struct>,
    #[prost(message, optional, tag = "5")]
    pub(crate) context: Option<Struct>,
}

/// What a request is about.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct RequestMeta {
    #[prost(string, tag = "1")]
    pub(crate) tag: String,
}

/// An answer.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RunFunctionResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) meta: Option<ResponseMeta>,
    #[prost(message, optional, tag = "2")]
    pub(crate) desired: Option<State>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) results: Vec<Outcome>,
    #[prost(message, optional, tag = "4")]
    pub(crate) context: Option<Struct>,
}

/// How long an answer is good.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ResponseMeta {
    #[prost(string, tag = "1")]
    pub(crate) tag: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) ttl: Option<Span>,
}

/// A span of time.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Span {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
}

/// A composite resource and what it is composed of.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct State {
    #[prost(message, optional, tag = "1")]
    pub(crate) composite: Option<Resource>,
    #[prost(btree_map = "string, message", tag = "2")]
    pub(crate) resources: BTreeMap<String, Resource>,
}

/// A resource.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Resource {
    #[prost(message, optional, tag = "1")]
    pub(crate) object: Option<Struct>,
    #[prost(btree_map = "string, bytes", tag = "2")]
    pub(crate) connection_details: BTreeMap<String, Vec<u8>>,
    #[prost(enumeration = "Ready", tag = "3")]
    pub(crate) ready: i32,
}

/// Whether a resource is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Ready {
    Unspecified = 0,
    True = 1,
    False = 2,
}

/// What a function has to say to people.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Outcome {
    #[prost(enumeration = "Severity", tag = "1")]
    pub(crate) severity: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Severity {
    Unspecified = 0,
    Fatal = 1,
    Warning = 2,
    Normal = 3,
}

/// `google.protobuf.Struct`: a JSON object.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(crate) fields: BTreeMap<String, Any>,
}

/// `google.protobuf.Value`: any JSON.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Any {
    #[prost(oneof = "Json", tags = "1, 2, 3, 4, 5, 6")]
    pub(crate) json: Option<Json>,
}

/// What it is.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Json {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    String(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Object(Struct),
    #[prost(message, tag = "6")]
    List(List),
}

/// `google.protobuf.ListValue`: a JSON list.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct List {
    #[prost(message, repeated, tag = "1")]
    pub(crate) values: Vec<Any>,
}

impl From<Struct> for Value {
    fn from(object: Struct) -> Self {
        Self::Object(object.fields.into_iter().map(|(name, value)| (name, value.into())).collect())
    }
}

impl From<Any> for Value {
    fn from(any: Any) -> Self {
        match any.json {
            None | Some(Json::Null(_)) => Self::Null,
            Some(Json::Number(number)) => Self::Number(number_of(number)),
            Some(Json::String(text)) => Self::String(text),
            Some(Json::Bool(truth)) => Self::Bool(truth),
            Some(Json::Object(object)) => object.into(),
            Some(Json::List(list)) => Self::Array(list.values.into_iter().map(Into::into).collect()),
        }
    }
}

/// The protocol has no integers; what has no fraction was one.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "checked by coming back to the same"
)]
fn number_of(number: f64) -> Number {
    let whole = number as i64;
    if whole as f64 == number {
        return Number::from(whole);
    }
    Number::from_f64(number).unwrap_or_else(|| Number::from(0))
}

impl From<Map<String, Value>> for Struct {
    fn from(object: Map<String, Value>) -> Self {
        Self { fields: object.into_iter().map(|(name, value)| (name, value.into())).collect() }
    }
}

impl From<Value> for Any {
    fn from(value: Value) -> Self {
        let json = match value {
            Value::Null => Json::Null(0),
            Value::Bool(truth) => Json::Bool(truth),
            Value::Number(number) => Json::Number(number.as_f64().unwrap_or_default()),
            Value::String(text) => Json::String(text),
            Value::Array(list) => Json::List(List { values: list.into_iter().map(Into::into).collect() }),
            Value::Object(object) => Json::Object(object.into()),
        };
        Self { json: Some(json) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]

    use prost::Message as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn json_comes_back_as_it_went() {
        let value = json!({"a": [1, 2.5, "x", true, null, {"b": {}}], "n": -3});
        let Value::Object(object) = value.clone() else { unreachable!("it is an object") };
        let bytes = Struct::from(object).encode_to_vec();
        assert_eq!(Value::from(Struct::decode(bytes.as_slice()).unwrap()), value);
    }
}
