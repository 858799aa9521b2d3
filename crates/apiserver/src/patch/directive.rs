//! The directives of strategic merge patches: keys that begin with `$` and say how to merge rather than what.
//! Source: Kubernetes, "Strategic Merge Patch" (the design document of its API conventions).

use roadstead_kubewire::{ApiError, ApiResult};
use serde_json::{Map, Value};

/// `$patch`, in an object: what to do with the object that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Merge the fields; also when `$patch` is absent.
    Merge,
    /// Take the patch instead of what was there.
    Replace,
    /// Remove what was there.
    Delete,
}

/// Reads `$patch`. Errors: 400 for a value that is none of the three.
pub(super) fn mode(patch: &Map<String, Value>) -> ApiResult<Mode> {
    match patch.get("$patch").map(Value::as_str) {
        None | Some(Some("merge")) => Ok(Mode::Merge),
        Some(Some("replace")) => Ok(Mode::Replace),
        Some(Some("delete")) => Ok(Mode::Delete),
        Some(_) => {
            Err(ApiError::bad_request("Unknown patch type found in $patch: replace, delete or merge is expected"))
        }
    }
}

/// Directives that stand beside the list or object that they are about.
pub(super) enum Beside<'a> {
    /// `$deleteFromPrimitiveList/<field>`: values to remove from a list of scalars.
    DeleteFrom(&'a str),
    /// `$setElementOrder/<field>`: the order of the merged list.
    Order(&'a str),
    /// `$patch`, `$retainKeys`: about the object itself.
    Own,
    /// An ordinary field.
    Field,
}

/// Which directive a key is.
pub(super) fn beside(key: &str) -> Beside<'_> {
    if let Some(field) = key.strip_prefix("$deleteFromPrimitiveList/") {
        Beside::DeleteFrom(field)
    } else if let Some(field) = key.strip_prefix("$setElementOrder/") {
        Beside::Order(field)
    } else if key == "$patch" || key == "$retainKeys" {
        Beside::Own
    } else {
        Beside::Field
    }
}

/// A patch that is taken as a value: without directives and without the `null`s that mean "remove". `$retainKeys` stays, and is
/// told to be an unknown field, as by kube-apiserver: there is nothing that it could retain.
pub(super) fn strip(patch: &Value) -> Value {
    match patch {
        Value::Object(fields) => {
            let field = |key: &str| key == "$retainKeys" || matches!(beside(key), Beside::Field);
            let kept = fields.iter().filter(|(key, value)| field(key) && !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), strip(value))).collect())
        }
        Value::Array(items) => {
            let deletes = |item: &Value| item.get("$patch").and_then(Value::as_str) == Some("delete");
            let only_directive =
                |item: &Value| item.as_object().is_some_and(|o| o.len() == 1 && o.contains_key("$patch"));
            Value::Array(items.iter().filter(|item| !deletes(item) && !only_directive(item)).map(strip).collect())
        }
        scalar => scalar.clone(),
    }
}
