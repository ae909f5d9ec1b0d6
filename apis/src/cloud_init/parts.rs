//! User-data and vendor-data: one content, or several that cloud-init reads as one MIME message.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Place;
use crate::reference::KeyReference;

/// One content, or several parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.inline), has(self.secretKeyRef), has(self.configMapKeyRef), has(self.parts)].filter(x, x).size() == 1").message("set exactly one of inline, secretKeyRef, configMapKeyRef and parts")
)]
pub struct Data {
    /// The text itself, byte for byte. Passwords and keys belong in a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 524_288))]
    pub inline: Option<String>,
    /// A key of a Secret of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyReference>,
    /// A key of a ConfigMap of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyReference>,
    /// Several contents, which cloud-init gets as one MIME message and handles in this order: scripts run in it, and what a later cloud-config says counts over an earlier one, unless its merge_how says otherwise. Each gets to the guest byte for byte; cloud-init itself leaves out one that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 16))]
    pub parts: Option<Vec<Part>>,
}

impl Data {
    /// Where its only content comes from; None of one in parts.
    pub fn place(&self) -> Option<Place<'_>> {
        let Self { inline, secret_key_ref, config_map_key_ref, parts } = self;
        match parts {
            Some(_) => None,
            None => Some(Place::of(inline.as_ref(), secret_key_ref.as_ref(), config_map_key_ref.as_ref())),
        }
    }
}

/// One of several contents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.inline), has(self.secretKeyRef), has(self.configMapKeyRef)].filter(x, x).size() == 1").message("set exactly one of inline, secretKeyRef and configMapKeyRef")
)]
pub struct Part {
    /// What tells it from the others. cloud-init names its file after it.
    #[schemars(length(max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub name: String,
    /// What it is. Default: what its first line says, as cloud-init itself would read it (#cloud-config, #!, #include, ## template: jinja and so on); one whose first line says nothing needs it, and one that is compressed by gzip says it inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<ContentType>,
    /// The text itself. Passwords and keys belong in a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 524_288))]
    pub inline: Option<String>,
    /// A key of a Secret of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyReference>,
    /// A key of a ConfigMap of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyReference>,
}

impl Part {
    /// Where it comes from.
    pub fn place(&self) -> Place<'_> {
        let Self { name: _, content_type: _, inline, secret_key_ref, config_map_key_ref } = self;
        Place::of(inline.as_ref(), secret_key_ref.as_ref(), config_map_key_ref.as_ref())
    }
}

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum ContentType {
    /// `#cloud-config`.
    CloudConfig,
    /// `#cloud-config-archive`.
    CloudConfigArchive,
    /// `#cloud-config-jsonp`: a JSON patch of the cloud-config so far.
    CloudConfigJsonp,
    /// `#cloud-boothook`: run early at every boot.
    CloudBoothook,
    /// `## template: jinja`: one of the others, filled in with the instance's data.
    Jinja2,
    /// `#part-handler`: Python that handles further types.
    PartHandler,
    /// `#include`: addresses of further contents.
    IncludeUrl,
    /// `#include-once`: the same, and each is fetched once.
    IncludeOnceUrl,
    /// A script, run at the first boot of an instance.
    ShellScript,
    /// A script, run at every boot.
    ShellScriptPerBoot,
    /// A script, run once an instance.
    ShellScriptPerInstance,
    /// A script, run once ever.
    ShellScriptPerOnce,
}
