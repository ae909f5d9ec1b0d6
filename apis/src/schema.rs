//! The CRDs as they are installed: generated from the types, then brought to what the API server calls structural and clean.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;
use serde_json::json;

use crate::{
    CloudInit, ClusterProviderConfig, Domain, Network, Pool, ProviderConfig, ProviderConfigUsage, Volume,
    quantity::Quantity,
};

/// All CRDs of the package, in the order of their names.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [
        CloudInit::crd(),
        ClusterProviderConfig::crd(),
        Domain::crd(),
        Network::crd(),
        Pool::crd(),
        ProviderConfig::crd(),
        ProviderConfigUsage::crd(),
        Volume::crd(),
    ]
    .into_iter()
    .map(clean)
    .collect()
}

/// Takes the description off a type, which would stand in place of that of the field: what `kubectl explain` shows is the field's.
pub(crate) fn undescribed(schema: &mut schemars::Schema) {
    schema.remove("description");
}

fn clean(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|validation| validation.open_api_v3_schema.as_mut()) {
            strip(schema);
            begin(schema);
            if let Some(spec) = schema.properties.as_mut().and_then(|properties| properties.get_mut("spec")) {
                explain_sizes(spec);
            }
        }
    }
    crd
}

/// Gives an object that nobody has looked at yet the status that says so. Without any, tools that follow a roll-out by kstatus take it for done.
fn begin(schema: &mut JSONSchemaProps) {
    let status = schema.properties.as_mut().and_then(|properties| properties.get_mut("status"));
    let Some(status) = status else { return };
    if status.properties.as_ref().is_some_and(|properties| properties.contains_key("observedGeneration")) {
        status.default = Some(JSON(json!({"observedGeneration": 0})));
    }
}

/// Says with each size how it is written.
fn explain_sizes(schema: &mut JSONSchemaProps) {
    if schema.pattern.as_deref().is_some_and(Quantity::is_pattern) {
        let said = schema.description.take().unwrap_or_default();
        schema.description = Some(format!("{said} {}", Quantity::WRITTEN).trim_start().to_owned());
    }
    each_below(schema, explain_sizes);
}

/// Removes `nullable`, which would let a null reach an optional enum that then refuses it, and the formats Kubernetes does not know.
fn strip(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if schema.format.as_deref().is_some_and(|format| format.starts_with('u') || format == "double" || format == "float")
    {
        schema.format = None;
    }
    each_below(schema, strip);
}

/// Does the same to what is within an object or a list.
fn each_below(schema: &mut JSONSchemaProps, change: fn(&mut JSONSchemaProps)) {
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(change);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => change(items),
        Some(JSONSchemaPropsOrArray::Schemas(all)) => all.iter_mut().for_each(change),
        None => {}
    }
}
