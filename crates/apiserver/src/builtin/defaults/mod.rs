//! What kube-apiserver fills in, kind by kind.
//!
//! Each function takes an object as decoded and completes it in place. Only what is absent is touched, so every function is
//! idempotent. Source: the "Defaults to" sentences of the published field descriptions, and Kubernetes' defaulting functions.

mod pod;
mod service;
mod workload;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

pub(super) use service::{addresses, service};
pub(super) use workload::{daemon_set, deployment, stateful_set};

/// Sets a field that is absent or null; an empty text counts as absent.
fn fill(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Value::Object(fields) = object
        && fields.get(field).is_none_or(|present| present.is_null() || present.as_str() == Some(""))
    {
        fields.insert(field.into(), value.into());
    }
}

/// The object in a field, made if it is absent.
fn object<'a>(parent: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    fill(parent, field, Value::Object(Map::new()));
    parent.get_mut(field).filter(|value| value.is_object())
}

/// The objects of a list field.
fn items<'a>(parent: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    parent.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten().filter(|item| item.is_object())
}

/// Secret: the type, and `stringData` folded into `data`.
pub(super) fn secret(secret: &mut Value) {
    fill(secret, "type", "Opaque");
    let Value::Object(fields) = secret else { return };
    let Some(Value::Object(texts)) = fields.shift_remove("stringData") else { return };
    if texts.is_empty() {
        return;
    }
    let data = fields.entry("data").or_insert_with(|| Value::Object(Map::new()));
    if !data.is_object() {
        *data = Value::Object(Map::new());
    }
    for (key, text) in texts {
        data[key] = STANDARD.encode(text.as_str().unwrap_or_default()).into();
    }
}

#[cfg(test)]
mod tests;
