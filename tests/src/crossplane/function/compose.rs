//! What function-patch-and-transform makes of its input: bases, patched from and to the composite resource.
//!
//! Only what this project's Compositions use is known; everything else is an error, never silently left out.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::{
    field_path::FieldPath,
    transform::{Transform, format_with},
};
use crate::kubectl::is_true;

/// The function's input.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Input {
    /// The version of this form.
    #[serde(rename = "apiVersion")]
    _api_version: Version,
    /// Its name.
    #[serde(rename = "kind")]
    _kind: Kind,
    #[serde(default)]
    patch_sets: Vec<PatchSet>,
    resources: Vec<Template>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Version {
    #[serde(rename = "pt.fn.crossplane.io/v1beta1")]
    V1Beta1,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Kind {
    Resources,
}

/// Patches under a name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchSet {
    name: String,
    patches: Vec<Patch>,
}

/// A composed resource.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Template {
    name: String,
    base: Value,
    #[serde(default)]
    patches: Vec<Patch>,
    #[serde(default)]
    readiness_checks: Vec<Check>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Patch {
    #[serde(default, rename = "type")]
    kind: Direction,
    from_field_path: Option<String>,
    to_field_path: Option<String>,
    #[serde(rename = "patchSetName")]
    set: Option<String>,
    combine: Option<Combine>,
    #[serde(default)]
    transforms: Vec<Transform>,
    #[serde(default)]
    policy: Policy,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
enum Direction {
    #[default]
    FromCompositeFieldPath,
    ToCompositeFieldPath,
    CombineFromComposite,
    PatchSet,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Combine {
    variables: Vec<Variable>,
    #[serde(rename = "strategy")]
    _strategy: Strategy,
    string: Format,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Strategy {
    String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Variable {
    from_field_path: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Format {
    fmt: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Policy {
    #[serde(default)]
    from_field_path: Presence,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
enum Presence {
    #[default]
    Optional,
    Required,
}

/// When a composed resource is ready; without any, when its condition Ready is True.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum Check {
    /// Always.
    None,
    /// When a field has this text.
    #[serde(rename_all = "camelCase")]
    MatchString { field_path: String, match_string: String },
    /// When a field is not empty.
    #[serde(rename_all = "camelCase")]
    NonEmpty { field_path: String },
}

/// What the function wishes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Composed {
    /// What it adds to the composite resource.
    pub(crate) composite: Value,
    /// The composed resources, and whether they are ready.
    pub(crate) resources: BTreeMap<String, (Value, bool)>,
    /// What it could not make, and why.
    pub(crate) warnings: Vec<String>,
}

/// Makes the composed resources of a composite resource, as it and they are now.
pub(crate) fn compose(input: &Input, composite: &Value, observed: &BTreeMap<String, Value>) -> Result<Composed> {
    let mut composed = Composed { composite: Value::Object(serde_json::Map::default()), ..Composed::default() };
    for template in &input.resources {
        let patches = expanded(input, &template.patches)?;
        let found = observed.get(&template.name);
        if let Some(found) = found {
            for patch in patches.iter().filter(|patch| patch.kind == Direction::ToCompositeFieldPath) {
                let done = patch.apply(found, &mut composed.composite);
                done.with_context(|| format!("patch from {}", template.name))?;
            }
        }
        let mut wished = template.base.clone();
        let mut lacking = None;
        for patch in patches.iter().filter(|patch| patch.kind != Direction::ToCompositeFieldPath) {
            let done = patch.apply(composite, &mut wished);
            lacking = lacking.or(done.with_context(|| format!("patch {}", template.name))?);
        }
        // What is not there yet waits for the field; what is there stays as it can be made.
        if let (Some(field), None) = (lacking, found) {
            composed.warnings.push(format!("cannot make composed resource {}: {field} is required", template.name));
            continue;
        }
        let ready = found.is_some_and(|found| is_ready(&template.readiness_checks, found));
        composed.resources.insert(template.name.clone(), (wished, ready));
    }
    Ok(composed)
}

/// The patches, with those of a set in its place.
fn expanded<'a>(input: &'a Input, patches: &'a [Patch]) -> Result<Vec<&'a Patch>> {
    let mut all = Vec::new();
    for patch in patches {
        match (patch.kind, &patch.set) {
            (Direction::PatchSet, Some(name)) => {
                let set = input.patch_sets.iter().find(|set| set.name == *name);
                all.extend(&set.with_context(|| format!("there is no patch set {name}"))?.patches);
            }
            (Direction::PatchSet, None) => bail!("a patch names no patch set"),
            _ => all.push(patch),
        }
    }
    Ok(all)
}

impl Patch {
    /// Answers a field that is required and missing.
    fn apply(&self, from: &Value, to: &mut Value) -> Result<Option<String>> {
        let Some(value) = self.value(from)? else {
            let required = self.policy.from_field_path == Presence::Required;
            return Ok(required.then(|| self.from_field_path.clone().unwrap_or_else(|| "a variable".to_owned())));
        };
        let value = self.transforms.iter().try_fold(value, |value, transform| transform.apply(&value))?;
        let path =
            self.to_field_path.as_ref().or(self.from_field_path.as_ref()).context("a patch has no toFieldPath")?;
        FieldPath::parse(path)?.set(to, value)?;
        Ok(None)
    }

    /// What is to be put somewhere, if all of it is there.
    fn value(&self, from: &Value) -> Result<Option<Value>> {
        let look = |path: &str| Ok::<_, anyhow::Error>(FieldPath::parse(path)?.get(from).cloned());
        match self.kind {
            Direction::FromCompositeFieldPath | Direction::ToCompositeFieldPath => {
                look(self.from_field_path.as_ref().context("a patch has no fromFieldPath")?)
            }
            Direction::CombineFromComposite => {
                let combine = self.combine.as_ref().context("a patch has no combine")?;
                let values = combine.variables.iter().map(|variable| look(&variable.from_field_path));
                let values: Option<Vec<Value>> = values.collect::<Result<_>>()?;
                values.map(|values| format_with(&combine.string.fmt, &values).map(Value::String)).transpose()
            }
            Direction::PatchSet => bail!("a patch set names another one"),
        }
    }
}

fn is_ready(checks: &[Check], object: &Value) -> bool {
    let look = |path: &str| FieldPath::parse(path).ok().and_then(|path| path.get(object).cloned());
    match checks {
        [] => is_true(object, "Ready"),
        all => all.iter().all(|check| match check {
            Check::None => true,
            Check::MatchString { field_path, match_string } => {
                look(field_path).is_some_and(|value| value == **match_string)
            }
            Check::NonEmpty { field_path } => look(field_path).is_some_and(|value| !value.is_null()),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]

    use serde_json::json;

    use super::*;

    fn input(resource: &Value) -> Input {
        let input = json!({
            "apiVersion": "pt.fn.crossplane.io/v1beta1",
            "kind": "Resources",
            "patchSets": [{"name": "host", "patches": [
                {"type": "FromCompositeFieldPath", "fromFieldPath": "spec.host", "toFieldPath": "spec.providerConfigRef.name"},
            ]}],
            "resources": [resource],
        });
        serde_json::from_value(input).unwrap()
    }

    #[test]
    fn a_resource_is_its_base_with_what_the_composite_says() {
        let input = input(&json!({
            "name": "root",
            "base": {"kind": "Volume"},
            "patches": [
                {"type": "PatchSet", "patchSetName": "host"},
                {"fromFieldPath": "spec.size", "toFieldPath": "spec.memory", "transforms": [{"type": "map", "map": {"small": "1Gi"}}]},
                {"fromFieldPath": "spec.nothing", "toFieldPath": "spec.never"},
                {"type": "CombineFromComposite", "toFieldPath": "metadata.name", "combine": {
                    "variables": [{"fromFieldPath": "metadata.name"}, {"fromFieldPath": "spec.host"}],
                    "strategy": "string", "string": {"fmt": "%s-%s"},
                }},
                {"type": "ToCompositeFieldPath", "fromFieldPath": "status.path", "toFieldPath": "status.disk"},
            ],
        }));
        let composite = json!({"metadata": {"name": "web"}, "spec": {"host": "rack1", "size": "small"}});
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let observed = json!({"metadata": {"name": "web-rack1"}, "status": {"path": "/p", "conditions": ready}});
        let found = compose(&input, &composite, &BTreeMap::from([("root".to_owned(), observed)])).unwrap();
        let wished = json!({
            "kind": "Volume",
            "metadata": {"name": "web-rack1"},
            "spec": {"providerConfigRef": {"name": "rack1"}, "memory": "1Gi"},
        });
        let resources = BTreeMap::from([("root".to_owned(), (wished, true))]);
        assert_eq!(found, Composed { composite: json!({"status": {"disk": "/p"}}), resources, warnings: vec![] });
    }

    #[test]
    fn what_is_required_and_missing_leaves_only_its_resource_out() {
        let patch = json!({"fromFieldPath": "spec.image", "policy": {"fromFieldPath": "Required"}});
        let input = input(&json!({"name": "root", "base": {}, "patches": [patch]}));
        let found = compose(&input, &json!({"spec": {}}), &BTreeMap::new()).unwrap();
        assert_eq!(found.resources, BTreeMap::new());
        assert_eq!(found.warnings, ["cannot make composed resource root: spec.image is required"]);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for unknown in [
            json!({"name": "a", "base": {}, "connectionDetails": []}),
            json!({"name": "a", "base": {}, "patches": [{"type": "FromEnvironmentFieldPath", "fromFieldPath": "a"}]}),
            json!({"name": "a", "base": {}, "patches": [{"fromFieldPath": "a", "policy": {"toFieldPath": "MergeObject"}}]}),
            json!({"name": "a", "base": {}, "readinessChecks": [{"type": "MatchInteger", "fieldPath": "a"}]}),
        ] {
            let input =
                json!({"apiVersion": "pt.fn.crossplane.io/v1beta1", "kind": "Resources", "resources": [unknown]});
            serde_json::from_value::<Input>(input).unwrap_err();
        }
    }
}
