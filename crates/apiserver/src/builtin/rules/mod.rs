//! What is wrong with an object of a built-in kind beyond its schema: rules between fields, names, what may not change.
//!
//! Each function gets the new object (defaulted, and of the right types) and, for an update, the present one. The rules and
//! their wording are kube-apiserver's; those are here that people meet. RBAC and CustomResourceDefinitions have theirs with
//! the code that acts on them.

mod data;
mod pod;
mod service;
mod workload;

use roadstead_kubewire::error::Cause;
use serde_json::Value;

pub(super) use data::{config_map, secret};
pub(super) use pod::bad_label;
pub(super) use service::{addresses, service};
pub(super) use workload::{daemon_set, deployment, stateful_set};

use crate::schema::field::{self, Path};

const IMMUTABLE: &str = "field is immutable";

pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A number that may not be negative.
fn not_negative(object: &Value, pointer: &str, causes: &mut Vec<Cause>) {
    if let Some(number) = object.pointer(pointer).filter(|number| number.as_i64().is_some_and(|n| n < 0)) {
        let path = pointer.trim_start_matches('/').replace('/', ".");
        causes.push(field::invalid(path, number, "must be greater than or equal to 0"));
    }
}

/// A text that must be one of some; absent texts are somebody else's matter.
fn one_of(value: &Value, path: Path, supported: &[&str], causes: &mut Vec<Cause>) {
    if value.as_str().is_some_and(|text| !supported.contains(&text)) {
        causes.push(field::not_supported(path, value, supported));
    }
}

/// Lease: a duration is positive.
pub(super) fn lease(lease: &Value, _old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Some(seconds) = lease.pointer("/spec/leaseDurationSeconds").filter(|n| n.as_i64().is_some_and(|n| n <= 0)) {
        causes.push(field::invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"));
    }
    not_negative(lease, "/spec/leaseTransitions", &mut causes);
    causes
}

/// Event: it is in the namespace of what it is about.
pub(super) fn event(event: &Value, _old: Option<&Value>) -> Vec<Cause> {
    let (about, own) = (text(event, "/involvedObject/namespace"), text(event, "/metadata/namespace"));
    let fits = about == own || (about.is_empty() && own == "default");
    if fits {
        return Vec::new();
    }
    vec![field::invalid("involvedObject.namespace", &Value::from(about), "does not match event.namespace")]
}

#[cfg(test)]
mod tests;
