//! `x-kubernetes-list-type` and its keys: whether items can be told apart.

use roadstead_kubewire::error::Cause;
use serde_json::Value;

use super::{
    super::field::{self, Path},
    is, text,
};

const LIST: &str = "x-kubernetes-list-type";
const KEYS: &str = "x-kubernetes-list-map-keys";

/// Checks the list extensions of one part.
pub(super) fn check(schema: &Value, path: &Path, causes: &mut Vec<Cause>) {
    let keys: Vec<&str> =
        schema.get(KEYS).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(list) = text(schema, LIST) else {
        if !keys.is_empty() {
            let why = "x-kubernetes-list-type must be map if x-kubernetes-list-map-keys is non-empty";
            causes.push(field::required(path.child(LIST), why));
        }
        return;
    };
    if !["atomic", "map", "set"].contains(&list) {
        causes.push(field::not_supported(path.child(LIST), &list.into(), &["atomic", "map", "set"]));
        return;
    }
    let kind = text(schema, "type").unwrap_or_default();
    if kind != "array" {
        let why = "must be array if x-kubernetes-list-type is specified";
        causes.push(field::invalid(path.child("type"), &kind.into(), why));
    }
    let Some(items) = schema.get("items") else { return };
    match list {
        "map" => map(&keys, items, path, causes),
        _ if !keys.is_empty() => {
            let why = "x-kubernetes-list-type must be map if x-kubernetes-list-map-keys is non-empty";
            causes.push(field::invalid(path.child(LIST), &list.into(), why));
        }
        "set" => set(items, &path.child("items"), causes),
        _ => {}
    }
}

fn map(keys: &[&str], items: &Value, path: &Path, causes: &mut Vec<Cause>) {
    if keys.is_empty() {
        causes.push(field::required(path.child(KEYS), "must not be empty if x-kubernetes-list-type is map"));
    }
    let kind = text(items, "type").unwrap_or_default();
    if kind != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        causes.push(field::invalid(path.child("items").child("type"), &kind.into(), why));
        return;
    }
    let required = |key: &str| {
        items.get("required").and_then(Value::as_array).into_iter().flatten().any(|name| name.as_str() == Some(key))
    };
    for (index, key) in keys.iter().enumerate() {
        if keys[..index].contains(key) {
            causes.push(field::duplicate(path.child(KEYS).index(index), &(*key).into()));
        }
        let Some(property) = items.get("properties").and_then(|all| all.get(key)) else {
            let why = "entries must all be names of item properties";
            causes.push(field::invalid(path.child(KEYS).index(index), &(*key).into(), why));
            continue;
        };
        let path = path.child("items").child("properties").key(key);
        let kind = text(property, "type").unwrap_or_default();
        if kind == "object" || kind == "array" {
            let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            causes.push(field::invalid(path.child("type"), &kind.into(), why));
        }
        if is(property, "nullable") {
            let why = "must not be nullable if parent array's x-kubernetes-list-type is map";
            causes.push(field::forbidden(path.child("nullable"), why));
        }
        if property.get("default").is_none() && !required(key) {
            let why =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            causes.push(field::required(path.child("default"), why));
        }
    }
}

/// Items of a set are compared as a whole.
fn set(items: &Value, path: &Path, causes: &mut Vec<Cause>) {
    if is(items, "nullable") {
        let why = "must not be nullable if parent array's x-kubernetes-list-type is set";
        causes.push(field::forbidden(path.child("nullable"), why));
    }
    let (kind, extension) = match text(items, "type") {
        Some("object") => ("object", "x-kubernetes-map-type"),
        Some("array") => ("array", LIST),
        _ => return,
    };
    if text(items, extension).is_some_and(|value| value != "atomic")
        || (kind == "object" && text(items, extension).is_none())
    {
        let why =
            format!("must be atomic as item of a list with x-kubernetes-list-type=set, but the item's type is {kind}");
        causes.push(field::invalid(path.child(extension), &text(items, extension).unwrap_or_default().into(), &why));
    }
}
