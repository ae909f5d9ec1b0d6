//! References between objects: by name, or by labels and owner.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Another managed resource, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reference {
    /// The name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The namespace of the object. Default: that of the object that refers to it. Both must be on the same libvirt host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// What happens when it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
}

impl Reference {
    /// The object of this name in the namespace of the one that refers to it.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// Another managed resource, by its labels, by its owner or by both. Of several that match, the first by name is chosen; the choice is
/// kept in the annotation libvirt.nourspeed.io/references.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchControllerRef) && self.matchControllerRef)").message("a selector needs matchLabels or matchControllerRef: true")
)]
pub struct Selector {
    /// Labels that the object has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "labels")]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Whether the object has the same controller, as objects of one composite resource have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_controller_ref: Option<bool>,
    /// The namespace of the object. Default: that of the object that refers to it. Both must be on the same libvirt host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// When it is chosen, and what happens when it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
}

/// Labels as they may be on an object: at most eight, of the length that Kubernetes allows.
fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 8,
        "additionalProperties": {"type": "string", "maxLength": 63},
    })
}

/// How an object that is referred to is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// IfNotPresent keeps what a selector chose for as long as it is there, whatever its labels become. Always chooses anew whenever this object is looked at. What lies where the object chosen says, a volume or a seed, stays there once it is made. A reference by name is always followed. Default IfNotPresent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolve: Option<Resolve>,
    /// Required waits for an object that is not there or has nothing to tell yet. Optional does without it until it is: a guest is made without that disk, interface, seed or kernel. Default Required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Resolution>,
}

/// When a selector chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum Resolve {
    /// When nothing is chosen, or what was chosen is gone.
    #[default]
    IfNotPresent,
    /// Whenever the object is looked at.
    Always,
}

/// What is done without the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum Resolution {
    /// Nothing: it is waited for.
    #[default]
    Required,
    /// As if the field were not set.
    Optional,
}

impl Policy {
    /// When a selector with this policy, or without one, chooses.
    pub fn resolve_of(policy: Option<&Self>) -> Resolve {
        policy.and_then(|policy| policy.resolve).unwrap_or_default()
    }

    /// Whether a field with this policy, or without one, may do without its object.
    pub fn is_optional(policy: Option<&Self>) -> bool {
        match policy.and_then(|policy| policy.resolution).unwrap_or_default() {
            Resolution::Required => false,
            Resolution::Optional => true,
        }
    }
}

/// A key of a Secret or ConfigMap of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyReference {
    /// The name of the Secret or ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
