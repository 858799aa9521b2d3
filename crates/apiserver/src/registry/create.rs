//! What a new object becomes: a pure step from what the client sent to what is stored.

use jiff::Timestamp;
use roadstead_kubewire::{ApiError, ApiResult, error::Details};
use serde_json::Value;

use super::{
    kind::{Kind, KindSchema},
    meta, names,
};

/// Checks what must agree with the path, and stamps what the server alone decides. `namespace` is from the path.
///
/// # Errors
/// 400 where the object contradicts the path or has a resourceVersion.
pub fn stamp(kind: &Kind, namespace: Option<&str>, object: &mut Value, uid: &str, now: Timestamp) -> ApiResult<()> {
    identify(kind, namespace, object)?;
    // What is no version at all is ignored.
    if meta::text(object, "resourceVersion").parse::<u64>().is_ok_and(|version| version != 0) {
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
        meta::set(object, field, None);
    }
    meta::set(object, "uid", Some(uid.into()));
    meta::set(object, "creationTimestamp", Some(meta::time(now)));
    if kind.counts_generation {
        meta::set(object, "generation", Some(1.into()));
    }
    without_status(kind, object);
    Ok(())
}

/// Takes off the status, where it is a subresource: nothing is created with one.
pub fn without_status(kind: &Kind, object: &mut Value) {
    if kind.has_status()
        && let Some(object) = object.as_object_mut()
    {
        object.shift_remove("status");
    }
}

/// Gives the object a name where it has none but `generateName`. Returns whether it did.
pub fn name(object: &mut Value) -> bool {
    let base = meta::text(object, "generateName").to_string();
    let generate = meta::text(object, "name").is_empty() && !base.is_empty();
    if generate {
        meta::set(object, "name", Some(names::generate(&base).into()));
    }
    generate
}

/// 409 for a name that is taken, where the server might have made another one.
pub fn not_unique(taken: ApiError) -> ApiError {
    let message = format!("{}, the server was not able to generate a unique name for the object", taken.message);
    let details = taken.details.map(|details| Details { retry_after_seconds: Some(1), ..*details });
    ApiError { message, details: details.map(Box::new), ..taken }
}

/// Checks that kind and namespace are those of the path, and fills them in where they are absent.
///
/// # Errors
/// 400 where they differ.
pub fn identify(kind: &Kind, namespace: Option<&str>, object: &mut Value) -> ApiResult<()> {
    let Some(members) = object.as_object_mut() else {
        return Err(ApiError::bad_request("the object provided is not a JSON object"));
    };
    for (field, wanted, name) in
        [("apiVersion", kind.info.api_version(), "API version"), ("kind", kind.info.kind.clone(), "kind")]
    {
        match members.get(field).and_then(Value::as_str).unwrap_or_default() {
            "" => {
                members.insert(field.into(), wanted.into());
            }
            // A custom object of another kind is refused for that when it is validated.
            found if found != wanted && !(field == "kind" && matches!(kind.schema, KindSchema::Custom(_))) => {
                return Err(ApiError::bad_request(format!(
                    "the {name} in the data ({found}) does not match the expected {name} ({wanted})"
                )));
            }
            _ => {}
        }
    }
    let found = meta::text(object, "namespace");
    match namespace {
        Some(wanted) if found.is_empty() => meta::set(object, "namespace", Some(wanted.into())),
        Some(wanted) if found != wanted => {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        Some(_) => {}
        None => meta::set(object, "namespace", None),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::tests::thing;

    #[test]
    fn the_server_decides_what_is_its_own() {
        let mut object = json!({"metadata": {"name": "x", "uid": "mine", "generation": 7, "creationTimestamp": null,
            "deletionTimestamp": "2020-01-01T00:00:00Z", "labels": {"a": "b"}}, "spec": {}, "status": {"ready": true}});
        stamp(&thing(), Some("default"), &mut object, "u", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(
            object,
            json!({"apiVersion": "example.com/v1", "kind": "Thing", "spec": {}, "metadata": {"name": "x", "uid": "u",
                "generation": 1, "creationTimestamp": "1970-01-01T00:00:00Z", "namespace": "default", "labels": {"a": "b"}}})
        );
    }

    #[test]
    fn contradictions_are_refused() {
        for object in [
            json!({"apiVersion": "example.com/v2"}),
            json!({"metadata": {"namespace": "elsewhere"}}),
            json!({"metadata": {"resourceVersion": "1"}}),
            json!([]),
        ] {
            let mut changed = object.clone();
            let error = stamp(&thing(), Some("default"), &mut changed, "u", Timestamp::UNIX_EPOCH).unwrap_err();
            assert_eq!(error.code, 400, "{object}");
        }
    }
}
