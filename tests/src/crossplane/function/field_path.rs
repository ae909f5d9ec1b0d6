//! Field paths as Crossplane writes them: `spec.disks[0].name`, `metadata.labels[example.org/size]`.

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Field(String),
    Index(usize),
}

/// A path into an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldPath(Vec<Segment>);

impl FieldPath {
    /// Reads a path. Wildcards are refused.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut segments = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let after = if let Some(bracket) = rest.strip_prefix('[') {
                let (inside, after) = bracket.split_once(']').with_context(|| format!("{text}: a [ is open"))?;
                segments.push(bracketed(inside).with_context(|| format!("read {text}"))?);
                after
            } else {
                let (field, after) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
                segments.push(Segment::Field(field.to_owned()));
                after
            };
            rest = after.strip_prefix('.').unwrap_or(after);
        }
        if segments.is_empty() || segments.contains(&Segment::Field(String::new())) {
            bail!("{text:?} is no field path");
        }
        Ok(Self(segments))
    }

    /// What is there, if anything is.
    pub(crate) fn get<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(object, |value, segment| match segment {
            Segment::Field(name) => value.get(name),
            Segment::Index(index) => value.get(index),
        })
    }

    /// Puts a value there, with what has to be around it.
    pub(crate) fn set(&self, object: &mut Value, new: Value) -> Result<()> {
        let mut place = object;
        for segment in &self.0 {
            place = match segment {
                Segment::Field(name) => {
                    if place.is_null() {
                        *place = Value::Object(Map::new());
                    }
                    let map = place.as_object_mut().with_context(|| format!("there is no object around {name}"))?;
                    map.entry(name.as_str()).or_insert(Value::Null)
                }
                Segment::Index(index) => {
                    if place.is_null() {
                        *place = Value::Array(Vec::new());
                    }
                    let list = place.as_array_mut().with_context(|| format!("there is no list around {index}"))?;
                    let length = list.len().max(index + 1);
                    list.resize(length, Value::Null);
                    list.get_mut(*index).context("find the item")?
                }
            };
        }
        *place = new;
        Ok(())
    }
}

fn bracketed(inside: &str) -> Result<Segment> {
    match inside {
        "*" => bail!("wildcards are not answered here"),
        "" => bail!("there is nothing between the brackets"),
        text => Ok(text.parse().map_or_else(|_| Segment::Field(text.to_owned()), Segment::Index)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_put_somewhere_is_found_there() {
        let mut object = json!({"spec": {"disks": [{"name": "root"}]}});
        for (path, value) in [
            ("spec.disks[0].name", json!("data")),
            ("metadata.labels[example.org/size]", json!("small")),
            ("status.addresses[1].ip", json!("10.0.0.1")),
        ] {
            let path = FieldPath::parse(path).unwrap();
            path.set(&mut object, value.clone()).unwrap();
            assert_eq!(path.get(&object), Some(&value));
        }
        let wished = json!({
            "spec": {"disks": [{"name": "data"}]},
            "metadata": {"labels": {"example.org/size": "small"}},
            "status": {"addresses": [null, {"ip": "10.0.0.1"}]},
        });
        assert_eq!(object, wished);
        assert_eq!(FieldPath::parse("spec.nothing.here").unwrap().get(&object), None);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", "spec..name", "spec.disks[*].name", "spec.disks[0", "spec[]"] {
            FieldPath::parse(text).unwrap_err();
        }
    }
}
