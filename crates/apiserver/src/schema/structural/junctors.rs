//! `allOf`, `anyOf`, `oneOf` and `not`: they may constrain values, and type nothing.
//!
//! What they speak of must be specified outside of them, and they carry no types, defaults or extensions themselves; else a
//! server could not tell from the schema alone what a field is. `x-kubernetes-int-or-string` has two forms of its own.

use roadstead_kubewire::error::Cause;
use serde_json::{Value, json};

use super::{
    super::field::{self, Path},
    is,
};

/// What may not stand inside.
const TYPING: [&str; 7] = ["type", "default", "additionalProperties", "nullable", "title", "description", "readOnly"];

/// Checks the junctors of the part `outer`.
pub(super) fn check(outer: &Value, path: &Path, causes: &mut Vec<Cause>) {
    for keyword in ["allOf", "anyOf", "oneOf"] {
        let Some(list) = outer.get(keyword).and_then(Value::as_array) else { continue };
        if is_int_or_string(outer, keyword, list) {
            continue;
        }
        for (index, inner) in list.iter().enumerate() {
            value(inner, outer, &path.child(keyword).index(index), path, causes, 0);
        }
    }
    if let Some(inner) = outer.get("not") {
        value(inner, outer, &path.child("not"), path, causes, 0);
    }
}

/// `anyOf: [{type: integer}, {type: string}]`, alone or first in an `allOf`, beside `x-kubernetes-int-or-string`.
fn is_int_or_string(outer: &Value, keyword: &str, list: &[Value]) -> bool {
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    is(outer, "x-kubernetes-int-or-string")
        && match keyword {
            "anyOf" => either.as_array().is_some_and(|either| either == list),
            "allOf" => list.first().is_some_and(|first| first.get("anyOf") == Some(&either)),
            _ => false,
        }
}

/// `inner` constrains what `outer` specifies.
fn value(inner: &Value, outer: &Value, path: &Path, outside: &Path, causes: &mut Vec<Cause>, depth: usize) {
    if depth > super::MAX_DEPTH {
        return;
    }
    let Value::Object(fields) = inner else { return };
    for name in fields.keys().filter(|name| TYPING.contains(&name.as_str()) || name.starts_with("x-kubernetes-")) {
        causes.push(field::forbidden(path.child(name), "must be empty to be structural"));
    }
    let specified = |name: &str| outer.get("properties").and_then(|all| all.get(name));
    for (name, inner) in super::properties(inner) {
        let (path, outside) = (path.child("properties").key(name), outside.child("properties").key(name));
        match specified(name) {
            Some(outer) => value(inner, outer, &path, &outside, causes, depth + 1),
            None if is(outer, "x-kubernetes-preserve-unknown-fields") => {}
            None => causes.push(field::required(outside, &format!("because it is defined in {path}"))),
        }
    }
    if let Some(items) = inner.get("items") {
        let (path, outside) = (path.child("items"), outside.child("items"));
        match outer.get("items") {
            Some(outer) => value(items, outer, &path, &outside, causes, depth + 1),
            None => causes.push(field::required(outside, &format!("because it is defined in {path}"))),
        }
    }
    for keyword in ["allOf", "anyOf", "oneOf"] {
        for (index, branch) in inner.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate() {
            value(branch, outer, &path.child(keyword).index(index), outside, causes, depth + 1);
        }
    }
    if let Some(not) = inner.get("not") {
        value(not, outer, &path.child("not"), outside, causes, depth + 1);
    }
}
