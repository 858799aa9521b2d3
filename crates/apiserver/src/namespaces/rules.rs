//! What the API asks of namespaces before it writes: their own shape, what may not be deleted, what may not be created in them.
//!
//! Pure functions, for whoever stores objects to call. Wording follows kube-apiserver where people know it.

use roadstead_kubewire::{
    ApiError, ApiResult, Key,
    error::{Cause, Details},
};
use serde_json::{Value, json};

use super::plan::{FINALIZER, is_terminating};
use crate::objects::text;

/// The namespaces that always exist.
pub const SYSTEM: [&str; 2] = ["default", "kube-system"];

/// Completes a namespace (a JSON object) before it is stored: its label, and on creation (`old` is `None`) phase and finalizer.
pub fn complete(namespace: &mut Value, old: Option<&Value>) {
    let name = text(namespace, "/metadata/name").to_string();
    if let Some(metadata) = namespace.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(labels) = metadata.entry("labels").or_insert_with(|| json!({})).as_object_mut()
    {
        labels.insert("kubernetes.io/metadata.name".into(), json!(name));
    }
    match old {
        None => {
            namespace["spec"]["finalizers"] = json!([FINALIZER]);
            namespace["status"] = json!({"phase": "Active"});
        }
        // Finalizers of `spec` change through the subresource `finalize` only.
        Some(old) => namespace["spec"] = old.get("spec").cloned().unwrap_or_else(|| json!({})),
    }
}

/// Whether finalizers in `spec` still hold a namespace whose deletion has begun.
pub fn is_held(namespace: &Value) -> bool {
    namespace.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|finalizers| !finalizers.is_empty())
}

/// Marks a namespace whose deletion begins.
pub fn mark_deleted(namespace: &mut Value) {
    namespace["status"]["phase"] = json!("Terminating");
}

/// Whether a namespace may be deleted at all. Errors: 403.
pub fn may_delete(name: &str) -> ApiResult<()> {
    if SYSTEM.contains(&name) {
        return Err(ApiError::forbidden(format!(
            "namespaces {name:?} is forbidden: this namespace may not be deleted"
        ))
        .with_details(Details { name: name.into(), kind: "namespaces".into(), ..Details::default() }));
    }
    Ok(())
}

/// Whether an object of `group` and `plural` at `key` may be created in its namespace, which is as given. Errors: 404 where
/// the namespace does not exist, 403 where it is being deleted.
pub fn may_create(namespace: Option<&Value>, group: &str, plural: &str, key: &Key) -> ApiResult<()> {
    let Some(namespace) = namespace else {
        return Err(ApiError::not_found("", "namespaces", &key.namespace));
    };
    if !is_terminating(namespace) {
        return Ok(());
    }
    let what = if group.is_empty() { plural.to_string() } else { format!("{plural}.{group}") };
    let (home, name) = (&key.namespace, &key.name);
    let message = format!(
        "{what} {name:?} is forbidden: unable to create new content in namespace {home} because it is being terminated"
    );
    let cause = Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {home} is being terminated"),
        field: "metadata.namespace".into(),
    };
    Err(ApiError::forbidden(message).with_details(Details {
        name: name.clone(),
        group: group.into(),
        kind: plural.into(),
        causes: vec![cause],
        ..Details::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_namespace_is_completed() {
        let mut new = json!({"metadata": {"name": "team", "labels": {"a": "b"}}, "spec": {"finalizers": []}});
        complete(&mut new, None);
        assert_eq!(
            new,
            json!({
                "metadata": {"name": "team", "labels": {"a": "b", "kubernetes.io/metadata.name": "team"}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
            })
        );
        let mut update = json!({"metadata": {"name": "team"}, "spec": {"finalizers": []}});
        complete(&mut update, Some(&new));
        assert_eq!(update["spec"], new["spec"]);
    }

    #[test]
    fn system_namespaces_stay() {
        for (name, code) in [("default", Some(403)), ("kube-system", Some(403)), ("team", None)] {
            assert_eq!(may_delete(name).err().map(|error| error.code), code);
        }
    }

    #[test]
    fn only_a_living_namespace_takes_objects() {
        let active = json!({"metadata": {"name": "team"}});
        let terminating = json!({"metadata": {"name": "team", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let key = Key::new("team", "x");
        for (namespace, code) in [(Some(&active), None), (Some(&terminating), Some(403)), (None, Some(404))] {
            assert_eq!(may_create(namespace, "", "secrets", &key).err().map(|error| error.code), code);
        }
        let error = may_create(Some(&terminating), "g.io", "things", &key).unwrap_err();
        assert_eq!(
            error.message,
            "things.g.io \"x\" is forbidden: unable to create new content in namespace team because it is being terminated"
        );
        assert_eq!(error.details.unwrap().causes[0].reason, "NamespaceTerminating");
    }
}
