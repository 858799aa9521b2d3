//! `metadata`: reading it, stamping it, and what is wrong with it.

use jiff::Timestamp;
use roadstead_kubewire::error::Cause;
use serde_json::{Map, Value};

use super::{
    delete::{FOREGROUND, ORPHAN},
    kind::{Kind, KindSchema},
    names::{self, NameRule},
};
use crate::schema::field;

/// All annotations of an object together, keys and values, in bytes.
const ANNOTATIONS_MAX: usize = 256 << 10;

/// `metadata`, or nothing.
pub fn meta(object: &Value) -> Option<&Map<String, Value>> {
    object.get("metadata")?.as_object()
}

/// `metadata`, made if it is not there.
fn meta_mut(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Map::new());
    }
    match &mut object["metadata"] {
        Value::Object(meta) => meta,
        _ => unreachable!("it was made an object above"),
    }
}

/// A string of `metadata`, or the empty string.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    meta(object).and_then(|meta| meta.get(field)?.as_str()).unwrap_or_default()
}

/// Sets a field of `metadata`, or removes it.
pub fn set(object: &mut Value, field: &str, value: Option<Value>) {
    match value {
        Some(value) => meta_mut(object).insert(field.into(), value),
        None => meta_mut(object).shift_remove(field),
    };
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> Vec<&str> {
    let list = meta(object).and_then(|meta| meta.get("finalizers")?.as_array());
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether deletion has begun.
pub fn deleting(object: &Value) -> bool {
    !text(object, "deletionTimestamp").is_empty()
}

/// A time as `metadata` has it: RFC 3339, whole seconds, UTC.
pub fn time(at: Timestamp) -> Value {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()
}

/// A cause of `Invalid`.
pub fn cause(reason: &str, field: impl Into<String>, message: impl Into<String>) -> Cause {
    Cause { reason: reason.into(), message: message.into(), field: field.into() }
}

fn invalid(field: impl Into<String>, value: &str, why: &str) -> Cause {
    cause("FieldValueInvalid", field, format!("Invalid value: {value:?}: {why}"))
}

/// What is wrong with an object's `metadata`; `old` is the present object when this is an update.
pub fn validate(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let empty = Map::new();
    let meta = meta(object).unwrap_or(&empty);
    let mut causes = Vec::new();
    // It cannot change, so only what would be harmful in a path is looked at again.
    let rule = if old.is_some() && !kind.rechecks_names() { NameRule::PathSegment } else { kind.names };
    let base = text(object, "generateName");
    if !base.is_empty() {
        causes.extend(rule.check_base(base).iter().map(|why| invalid("metadata.generateName", base, why)));
    }
    match text(object, "name") {
        "" => causes.push(cause(
            "FieldValueRequired",
            "metadata.name",
            "Required value: name or generateName is required",
        )),
        name => causes.extend(rule.check(name).iter().map(|why| invalid("metadata.name", name, why))),
    }
    let map = |field: &str| meta.get(field).and_then(Value::as_object).into_iter().flatten();
    for (key, value) in map("labels") {
        causes.extend(names::qualified(key).iter().map(|why| invalid("metadata.labels", key, why)));
        let text = value.as_str().unwrap_or_default();
        let wrong = if value.is_string() { names::label_value(text) } else { vec!["must be a string".into()] };
        causes.extend(wrong.iter().map(|why| invalid("metadata.labels", text, why)));
    }
    let mut size = 0;
    for (key, value) in map("annotations") {
        // Upper case is allowed in the prefix of annotations.
        let wrong = names::qualified(&key.to_ascii_lowercase());
        causes.extend(wrong.iter().map(|why| invalid("metadata.annotations", key, why)));
        match value.as_str() {
            Some(value) => size += key.len() + value.len(),
            None => causes.push(invalid("metadata.annotations", key, "its value must be a string")),
        }
    }
    if size > ANNOTATIONS_MAX {
        let why = format!("Too long: may not be more than {ANNOTATIONS_MAX} bytes");
        causes.push(cause("FieldValueTooLong", "metadata.annotations", why));
    }
    causes.extend(owners(meta));
    causes.extend(held(kind, object));
    causes
}

/// Finalizers: each is a qualified name; those of built-in kinds have a prefix.
fn held(kind: &Kind, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let finalizers = finalizers(object);
    for (at, finalizer) in finalizers.iter().enumerate() {
        causes.extend(names::qualified(finalizer).iter().map(|why| invalid("metadata.finalizers", finalizer, why)));
        if insists(kind) && unqualified(finalizer) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(invalid(format!("metadata.finalizers[{at}]"), finalizer, why));
        }
    }
    if [ORPHAN, FOREGROUND].iter().all(|policy| finalizers.contains(policy)) {
        let why = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        causes.push(field::invalid("metadata.finalizers", &finalizers.into(), &why));
    }
    causes
}

/// Whether finalizers of this kind must say whose they are: those of all built-in kinds but definitions.
fn insists(kind: &Kind) -> bool {
    matches!(kind.schema, KindSchema::Builtin) && kind.info.group != "apiextensions.k8s.io"
}

/// Whether a finalizer has no prefix that says whose it is, and is none of Kubernetes' own.
fn unqualified(finalizer: &str) -> bool {
    !finalizer.contains('/') && ![ORPHAN, FOREGROUND, "kubernetes"].contains(&finalizer)
}

/// What is not wrong with `metadata` but had better be otherwise; of custom kinds, as built-in ones refuse it.
pub fn warnings(kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<String> {
    if matches!(kind.schema, KindSchema::Builtin) {
        return Vec::new();
    }
    let before = old.map(finalizers).unwrap_or_default();
    let added = finalizers(new).into_iter().filter(|name| unqualified(name) && !before.contains(name));
    let warn = |name: &str| {
        format!(
            "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name to avoid accidental conflicts with \
             other finalizer writers"
        )
    };
    added.map(warn).collect()
}

fn owners(meta: &Map<String, Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let path = field::Path::new("metadata.ownerReferences");
    let owners = meta.get("ownerReferences").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut controller: Option<&str> = None;
    for owner in owners {
        let given = |name: &str| owner[name].as_str().unwrap_or_default();
        for (name, what) in [("apiVersion", "version"), ("kind", "kind"), ("name", ""), ("uid", "")] {
            if given(name).is_empty() {
                causes.push(field::invalid(
                    path.child(name),
                    &"".into(),
                    format!("{what} must not be empty").trim_start(),
                ));
            }
        }
        if given("kind") == "Event" && ["v1", "events.k8s.io/v1"].contains(&given("apiVersion")) {
            let (group, version) = given("apiVersion").split_once('/').unwrap_or(("", given("apiVersion")));
            let why = format!("{group}/{version}, Kind=Event is disallowed from being an owner");
            causes.push(field::invalid(&path, owner, &why));
        }
        if owner["controller"] == true {
            if let Some(first) = controller {
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {}",
                    given("name")
                );
                causes.push(field::invalid(&path, &owners.into(), &why));
            }
            controller = Some(given("name"));
        }
    }
    causes
}

/// Drops owner references that say the same as an earlier one; answers their uids.
pub fn single_owners(object: &mut Value) -> Vec<String> {
    let Some(owners) = object.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut) else {
        return Vec::new();
    };
    let (mut kept, mut duplicates) = (Vec::new(), Vec::new());
    for owner in std::mem::take(owners) {
        match kept.contains(&owner) {
            true => duplicates.push(owner["uid"].as_str().unwrap_or_default().to_string()),
            false => kept.push(owner),
        }
    }
    *owners = kept;
    duplicates
}

/// What may not change about `metadata` of an existing object, and did. What the server itself decides is as it was by now.
pub fn validate_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if deleting(old) {
        let before = finalizers(old);
        let added = finalizers(new).into_iter().filter(|name| !before.contains(name));
        let added: Vec<String> = added.map(|name| format!("{name:?}")).collect();
        if !added.is_empty() {
            causes.push(cause(
                "FieldValueForbidden",
                "metadata.finalizers",
                format!(
                    "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers \
                     []string{{{}}}",
                    added.join(", ")
                ),
            ));
        }
    }
    let of = |object: &Value, field: &str| object["metadata"][field].clone();
    for field in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let value = of(new, field);
        if value != of(old, field) {
            causes.push(field::invalid(format!("metadata.{field}"), &value, "field is immutable"));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::tests::thing;

    #[test]
    fn bad_metadata_is_named_field_by_field() {
        let owner = json!({"apiVersion": "v1", "kind": "K", "name": "n", "uid": "u", "controller": true});
        for (extra, fields) in [
            (json!({}), vec![]),
            (json!({"name": ""}), vec!["metadata.name"]),
            (json!({"name": "A"}), vec!["metadata.name"]),
            (json!({"labels": {"a/b/c": "x", "ok": "-"}}), vec!["metadata.labels", "metadata.labels"]),
            (json!({"labels": {"ok": 1}}), vec!["metadata.labels"]),
            (json!({"annotations": {"a b": "x"}}), vec!["metadata.annotations"]),
            (json!({"annotations": {"Example.com/a": "x"}}), vec![]),
            (json!({"annotations": {"a": "x".repeat(ANNOTATIONS_MAX)}}), vec!["metadata.annotations"]),
            (json!({"finalizers": ["ok/fine", "not ok"]}), vec!["metadata.finalizers"]),
            (
                json!({"ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "n"}]}),
                vec!["metadata.ownerReferences.uid"],
            ),
            (json!({"ownerReferences": [owner, owner]}), vec!["metadata.ownerReferences"]),
        ] {
            let mut object = json!({"metadata": {"name": "x"}});
            extra.as_object().unwrap().iter().for_each(|(k, v)| object["metadata"][k] = v.clone());
            let found: Vec<_> = validate(&thing(), &object, None).into_iter().map(|cause| cause.field).collect();
            assert_eq!(found, fields, "{extra}");
        }
    }

    #[test]
    fn finalizers_only_leave_a_dying_object() {
        let old = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a", "b"]}});
        let with = |list: Value| json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": list}});
        assert!(validate_update(&with(json!(["b"])), &old).is_empty());
        assert_eq!(validate_update(&with(json!(["b", "c"])), &old).len(), 1);
        let alive = |list: Value| json!({"metadata": {"finalizers": list}});
        assert!(validate_update(&alive(json!(["c"])), &alive(json!([]))).is_empty());
        // Nothing goes because somebody writes that it did.
        assert_eq!(validate_update(&old, &alive(json!(["a", "b"])))[0].field, "metadata.deletionTimestamp");
    }
}
