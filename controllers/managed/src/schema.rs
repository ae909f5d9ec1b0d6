//! Which fields a CRD on the cluster lacks that this program knows: what users write there, the API server drops without a word.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde::Deserialize;

/// The names of a schema's fields. Of the rest, which is most of it, nothing is unfolded in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shape {
    #[serde(default)]
    properties: BTreeMap<String, Self>,
    items: Option<Box<Self>>,
    #[serde(default, deserialize_with = "of_entries")]
    additional_properties: Option<Box<Self>>,
    /// Whether whatever is written is kept.
    #[serde(default, rename = "x-kubernetes-preserve-unknown-fields")]
    is_open: bool,
}

/// `additionalProperties` is a schema, or whether there may be any.
fn of_entries<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<Option<Box<Shape>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Entries {
        Any(bool),
        Shape(Box<Shape>),
    }
    Ok(match Entries::deserialize(reader)? {
        Entries::Any(any) => any.then(|| Box::new(Shape { is_open: true, ..Shape::default() })),
        Entries::Shape(shape) => Some(shape),
    })
}

impl Shape {
    fn of(schema: &JSONSchemaProps) -> Self {
        let properties = schema.properties.iter().flatten().map(|(name, schema)| (name.clone(), Self::of(schema)));
        let boxed = |schema: &JSONSchemaProps| Box::new(Self::of(schema));
        Self {
            properties: properties.collect(),
            items: match &schema.items {
                Some(JSONSchemaPropsOrArray::Schema(items)) => Some(boxed(items)),
                Some(JSONSchemaPropsOrArray::Schemas(_)) | None => None,
            },
            additional_properties: match &schema.additional_properties {
                Some(JSONSchemaPropsOrBool::Schema(entries)) => Some(boxed(entries)),
                Some(JSONSchemaPropsOrBool::Bool(_)) | None => None,
            },
            is_open: schema.x_kubernetes_preserve_unknown_fields == Some(true),
        }
    }

    /// The paths of the fields that are wished and not there, the outermost of each branch, in their order.
    pub(crate) fn lacks(&self, wished: &Self) -> Vec<String> {
        let mut missing = Vec::new();
        self.compare(wished, "", &mut missing);
        missing
    }

    fn compare(&self, wished: &Self, path: &str, missing: &mut Vec<String>) {
        if self.is_open {
            return;
        }
        for (name, wished) in &wished.properties {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match self.properties.get(name) {
                Some(known) => known.compare(wished, &path, missing),
                None => missing.push(path),
            }
        }
        let inner =
            [("[]", &self.items, &wished.items), (".*", &self.additional_properties, &wished.additional_properties)];
        for (mark, known, wished) in inner {
            match (known, wished) {
                (Some(known), Some(wished)) => known.compare(wished, &format!("{path}{mark}"), missing),
                (None, Some(_)) => missing.push(format!("{path}{mark}")),
                (_, None) => {}
            }
        }
    }
}

/// What this program knows of its kinds: by CRD and version.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shapes(HashMap<String, HashMap<String, Shape>>);

impl Shapes {
    /// Of these CRDs.
    pub(crate) fn of(definitions: &[CustomResourceDefinition]) -> Self {
        let versions = |definition: &CustomResourceDefinition| {
            let schemas = definition.spec.versions.iter().filter_map(|version| {
                let schema = version.schema.as_ref()?.open_api_v3_schema.as_ref()?;
                Some((version.name.clone(), Shape::of(schema)))
            });
            schemas.collect()
        };
        let named =
            definitions.iter().filter_map(|definition| Some((definition.metadata.name.clone()?, versions(definition))));
        Self(named.collect())
    }

    /// The names of the CRDs, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.keys().cloned().collect();
        names.sort();
        names
    }

    /// What a version of a CRD, as it is on the cluster, lacks. Of what is not known here, nothing.
    pub(crate) fn lacking(&self, name: &str, version: &str, served: &Shape) -> Vec<String> {
        self.0.get(name).and_then(|versions| versions.get(version)).map_or_else(Vec::new, |wished| served.lacks(wished))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]

    use serde_json::{Value, json};

    use super::*;

    fn object(properties: &Value) -> Value {
        json!({"type": "object", "properties": properties})
    }

    fn lacks(served: &Value, wished: &Value) -> Vec<String> {
        let wished: JSONSchemaProps = serde_json::from_value(wished.clone()).unwrap();
        serde_json::from_value::<Shape>(served.clone()).unwrap().lacks(&Shape::of(&wished))
    }

    #[test]
    fn fields_are_missed_wherever_they_are_and_by_their_outermost_path() {
        let text = json!({"type": "string"});
        let list = |items: &Value| json!({"type": "array", "items": items});
        let map = |entries: &Value| json!({"type": "object", "additionalProperties": entries});
        let wished = object(&json!({
            "memory": text,
            "cpu": object(&json!({"mode": text, "model": text})),
            "disks": list(&object(&json!({"name": text, "cache": object(&json!({"mode": text}))}))),
            "labels": map(&object(&json!({"a": text, "b": text}))),
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }));
        assert_eq!(lacks(&wished, &wished), Vec::<String>::new());
        let older = object(&json!({
            "cpu": object(&json!({"mode": text})),
            "disks": list(&object(&json!({"name": text}))),
            "labels": map(&object(&json!({"a": text}))),
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "retired": text,
        }));
        assert_eq!(lacks(&older, &wished), ["cpu.model", "disks[].cache", "labels.*.b", "memory"]);
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        assert_eq!(lacks(&open, &wished), Vec::<String>::new(), "everything is kept");
        assert_eq!(lacks(&json!({"type": "object"}), &object(&json!({"a": text}))), ["a"]);
    }

    #[test]
    fn the_crds_of_this_program_lack_nothing_as_the_api_server_gives_them() {
        let shapes = Shapes::of(&apis::crds());
        assert_eq!(shapes.names().len(), 8);
        for definition in apis::crds() {
            let whole = serde_json::to_value(&definition).unwrap();
            let name = whole["metadata"]["name"].as_str().unwrap();
            let version = &whole["spec"]["versions"][0];
            let served = serde_json::from_value(version["schema"]["openAPIV3Schema"].clone()).unwrap();
            assert_eq!(
                shapes.lacking(name, version["name"].as_str().unwrap(), &served),
                Vec::<String>::new(),
                "{name}"
            );
        }
    }
}
