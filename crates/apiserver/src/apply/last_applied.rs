//! Moving from client-side to server-side apply.
//!
//! `kubectl apply` keeps what it applied in an annotation. When `kubectl apply --server-side` follows, what that annotation says
//! and the object still has is kubectl's own, so it is no conflict with the manager `kubectl-client-side-apply`; and the
//! annotation is kept up to date, so that one can go back. Only for the manager named `kubectl`, as in kube-apiserver.

use serde_json::Value;

use super::{Request, collect, compare, conflict::Conflict, types::Types};

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The conflicts that remain when those are left out that client-side apply explains.
pub(super) fn disputed(
    live: Option<&Value>,
    conflicts: Vec<Conflict>,
    request: &Request,
    types: Types<'_>,
) -> Vec<Conflict> {
    let Some((live, last)) = live.and_then(|live| Some((live, annotation(live)?))) else { return conflicts };
    let Ok(last) = serde_json::from_str::<Value>(last) else { return conflicts };
    if request.manager != "kubectl" || last["apiVersion"].as_str() != Some(&request.api_version) {
        return conflicts;
    }
    let diff = compare::compare(types, &last, live);
    let own = collect::fields(types, &last).difference(&diff.set()).difference(&diff.removed);
    let disputed = conflicts
        .into_iter()
        .map(|conflict| Conflict { fields: conflict.fields.difference(&own), manager: conflict.manager });
    disputed.filter(|conflict| !conflict.fields.is_empty()).collect()
}

/// Brings the annotation of `object` up to date with what is applied.
pub(super) fn renew(mut object: Value, applied: &Value, request: &Request) -> Value {
    if request.manager != "kubectl" || annotation(&object).is_none() {
        return object;
    }
    let mut applied = applied.clone();
    if let Some(Value::Object(annotations)) = applied.pointer_mut("/metadata/annotations") {
        annotations.shift_remove(ANNOTATION);
    }
    if let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") {
        annotations.insert(ANNOTATION.into(), format!("{applied}\n").into());
    }
    object
}

fn annotation(object: &Value) -> Option<&str> {
    object.pointer("/metadata/annotations")?.get(ANNOTATION)?.as_str().filter(|text| !text.is_empty())
}
