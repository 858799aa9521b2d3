//! Two answers, field by field.
//!
//! In: two normalised answers to the same operation. Out: the fields in which they differ, without those that
//! [`crate::allowed`] knows.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{allowed, normalise::Answer, operation::Operation};

/// One field in which two answers differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Where: `code`, `warnings`, `body.metadata.labels.a`.
    pub path: String,
    /// What the real server answers; `None`: it has no such field.
    pub real: Option<Value>,
    /// What the embedded one answers.
    pub embedded: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |side: &Option<Value>| side.as_ref().map_or_else(|| "(absent)".into(), Value::to_string);
        write!(f, "{}\n    real:     {}\n    embedded: {}", self.path, shown(&self.real), shown(&self.embedded))
    }
}

impl Difference {
    /// The path with the parts taken out that are different for every object, to tell one kind of difference from another.
    pub fn place(&self) -> String {
        let parts = self.path.split('.').map(|part| match part.split_once('[') {
            Some((name, _)) => format!("{name}[]"),
            None => part.to_string(),
        });
        parts.take(6).collect::<Vec<_>>().join(".")
    }
}

/// All differences that are not intended.
pub fn differences(operation: &Operation, real: &Answer, embedded: &Answer) -> Vec<Difference> {
    let mut found = all(real, embedded);
    found.retain(|difference| allowed::reason(operation, real, embedded, difference).is_none());
    found
}

/// All differences.
pub fn all(real: &Answer, embedded: &Answer) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut field = |path: &str, real: Value, embedded: Value| {
        if real != embedded {
            found.push(Difference { path: path.into(), real: Some(real), embedded: Some(embedded) });
        }
    };
    field("code", real.code.into(), embedded.code.into());
    field("contentType", real.content_type.clone().into(), embedded.content_type.clone().into());
    field("warnings", real.warnings.clone().into(), embedded.warnings.clone().into());
    walk("body", Some(&real.body), Some(&embedded.body), &mut found);
    found
}

fn walk(path: &str, real: Option<&Value>, embedded: Option<&Value>, found: &mut Vec<Difference>) {
    match (real, embedded) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            for (key, value) in one {
                walk(&format!("{path}.{key}"), Some(value), other.get(key), found);
            }
            for (key, value) in other.iter().filter(|(key, _)| !one.contains_key(*key)) {
                walk(&format!("{path}.{key}"), None, Some(value), found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            for at in 0..one.len().max(other.len()) {
                walk(&format!("{path}[{at}]"), one.get(at), other.get(at), found);
            }
        }
        (one, other) if one != other => {
            found.push(Difference { path: path.into(), real: one.cloned(), embedded: other.cloned() });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(code: u16, body: Value) -> Answer {
        Answer { code, body, ..Answer::default() }
    }

    #[test]
    fn each_field_is_named() {
        let real = answer(200, json!({"a": {"b": 1, "c": [1, 2]}, "d": true, "e": 1}));
        let embedded = answer(201, json!({"a": {"b": 2, "c": [1]}, "e": 1, "f": null}));
        let paths: Vec<String> = all(&real, &embedded).into_iter().map(|one| one.path).collect();
        assert_eq!(paths, ["code", "body.a.b", "body.a.c[1]", "body.d", "body.f"]);
        assert!(all(&real, &real).is_empty());
    }

    #[test]
    fn the_order_of_fields_means_nothing() {
        let (one, other) = (answer(200, json!({"a": 1, "b": 2})), answer(200, json!({"b": 2, "a": 1})));
        assert!(all(&one, &other).is_empty());
    }

    #[test]
    fn a_difference_is_recognised_in_another_place() {
        let at = |path: &str| Difference { path: path.into(), real: None, embedded: None }.place();
        assert_eq!(at("body.items[3].metadata.name"), at("body.items[1].metadata.name"));
        assert_ne!(at("body.items[3].metadata.name"), at("body.items[3].metadata.uid"));
    }
}
