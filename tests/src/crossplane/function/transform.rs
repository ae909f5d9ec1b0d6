//! Transforms of function-patch-and-transform: what becomes of a value on its way.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Number, Value};

/// One transform; what is not here is refused when a Composition is read.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Transform {
    /// A table.
    Map {
        /// What comes out by what goes in.
        map: BTreeMap<String, Value>,
    },
    /// Text.
    String {
        /// How it is made.
        string: Text,
    },
    /// Another type.
    Convert {
        /// Which one.
        convert: Convert,
    },
    /// Arithmetic.
    Math {
        /// Which one.
        math: Math,
    },
}

/// How text is made.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub(crate) enum Text {
    /// By a format with one verb.
    Format {
        /// The format.
        fmt: String,
    },
    /// In other letters.
    Convert {
        /// Which ones.
        convert: Letters,
    },
}

/// Letters of a text.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) enum Letters {
    /// Capitals.
    ToUpper,
    /// Small ones.
    ToLower,
}

/// Another type.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Convert {
    to_type: Type,
}

/// What a value can be made.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Type {
    /// Text.
    String,
    /// An integer, also called int64.
    #[serde(alias = "int64")]
    Int,
    /// True or false.
    Bool,
}

/// Arithmetic with integers.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Math {
    /// Times a number.
    #[serde(rename = "Multiply")]
    Multiply {
        /// The number.
        multiply: i64,
    },
    /// Not less than a number.
    #[serde(rename = "ClampMin", rename_all = "camelCase")]
    ClampMin {
        /// The number.
        clamp_min: i64,
    },
    /// Not more than a number.
    #[serde(rename = "ClampMax", rename_all = "camelCase")]
    ClampMax {
        /// The number.
        clamp_max: i64,
    },
}

impl Transform {
    /// What becomes of this value.
    pub(crate) fn apply(&self, value: &Value) -> Result<Value> {
        match self {
            Self::Map { map } => {
                let key = value.as_str().with_context(|| format!("{value} is no text; a map takes nothing else"))?;
                map.get(key).cloned().with_context(|| format!("the map has nothing for {key:?}"))
            }
            Self::String { string: Text::Format { fmt } } => {
                format_with(fmt, std::slice::from_ref(value)).map(Value::String)
            }
            Self::String { string: Text::Convert { convert } } => Ok(Value::String(match convert {
                Letters::ToUpper => plain(value).to_uppercase(),
                Letters::ToLower => plain(value).to_lowercase(),
            })),
            Self::Convert { convert } => convert_to(convert.to_type, value),
            Self::Math { math } => {
                let number = value.as_i64().with_context(|| format!("{value} is no integer"))?;
                let result = match math {
                    Math::Multiply { multiply } => number.checked_mul(*multiply).context("multiply: too large")?,
                    Math::ClampMin { clamp_min } => number.max(*clamp_min),
                    Math::ClampMax { clamp_max } => number.min(*clamp_max),
                };
                Ok(Value::Number(Number::from(result)))
            }
        }
    }
}

/// Fills in a format of Go's with `%s` for each value, which is text, and `%%` for itself. Go's other verbs are not answered here.
pub(crate) fn format_with(fmt: &str, values: &[Value]) -> Result<String> {
    let mut values = values.iter();
    let mut text = String::new();
    let mut letters = fmt.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        match letters.next() {
            Some('%') => text.push('%'),
            Some('s') => {
                let value = values.next().with_context(|| format!("{fmt}: too few values"))?;
                text +=
                    value.as_str().with_context(|| format!("{fmt}: {value} is no text, and %s takes nothing else"))?;
            }
            other => bail!("{fmt}: the verb {other:?} is not answered here"),
        }
    }
    ensure!(values.next().is_none(), "{fmt}: too many values");
    Ok(text)
}

fn convert_to(kind: Type, value: &Value) -> Result<Value> {
    let text = plain(value);
    match kind {
        Type::String => Ok(Value::String(text)),
        Type::Int => Ok(Value::from(text.parse::<i64>().with_context(|| format!("{text:?} is no integer"))?)),
        Type::Bool => Ok(Value::from(text.parse::<bool>().with_context(|| format!("{text:?} is no boolean"))?)),
    }
}

/// A value as Go prints it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]

    use serde_json::json;

    use super::*;

    #[test]
    fn every_transform_makes_what_the_function_makes() {
        let table = [
            (json!({"type": "map", "map": {"small": "512Mi"}}), json!("small"), json!("512Mi")),
            (json!({"type": "string", "string": {"type": "Format", "fmt": "%s-100%%"}}), json!("a"), json!("a-100%")),
            (json!({"type": "string", "string": {"type": "Convert", "convert": "ToLower"}}), json!("Ab"), json!("ab")),
            (json!({"type": "convert", "convert": {"toType": "int64"}}), json!("2"), json!(2)),
            (json!({"type": "convert", "convert": {"toType": "string"}}), json!(2), json!("2")),
            (json!({"type": "convert", "convert": {"toType": "bool"}}), json!("true"), json!(true)),
            (json!({"type": "math", "math": {"type": "Multiply", "multiply": 2}}), json!(3), json!(6)),
            (json!({"type": "math", "math": {"type": "ClampMax", "clampMax": 2}}), json!(3), json!(2)),
        ];
        for (transform, before, after) in table {
            let read: Transform = serde_json::from_value(transform.clone()).unwrap();
            assert_eq!(read.apply(&before).unwrap(), after, "{transform}");
        }
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        for unknown in [
            json!({"type": "match", "match": {}}),
            json!({"type": "convert", "convert": {"toType": "int64", "format": "quantity"}}),
            json!({"type": "string", "string": {"type": "Regexp", "regexp": {}}}),
        ] {
            serde_json::from_value::<Transform>(unknown).unwrap_err();
        }
        let map: Transform = serde_json::from_value(json!({"type": "map", "map": {"a": "b"}})).unwrap();
        map.apply(&json!("c")).unwrap_err();
        map.apply(&json!(1)).unwrap_err();
        for fmt in ["%d", "%v", "%x", "%s"] {
            format_with(fmt, &[json!(1)]).unwrap_err();
        }
        format_with("%s", &[]).unwrap_err();
    }
}
