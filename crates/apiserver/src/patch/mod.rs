//! Patches: JSON (RFC 6902), merge (RFC 7386) and strategic merge.
//!
//! Each takes the present document and the patch and gives the new document; nothing is validated or stored here.

mod directive;
mod strategic;

use json_patch::{AddOperation, PatchErrorKind, PatchOperation};
use roadstead_kubewire::{ApiError, ApiResult};
use serde_json::Value;

use crate::schema::document::MAX_NESTING;
pub use strategic::strategic;

/// How many operations a JSON patch may have, as in kube-apiserver.
const MAX_OPERATIONS: usize = 10_000;

/// Applies a JSON patch. Errors: 400 for what is no JSON patch, 422 for one that does not apply (an unknown operation, a `test` that
/// fails, a path that is not there).
pub fn json(document: &Value, patch: &Value) -> ApiResult<Value> {
    let operations = patch.as_array().ok_or_else(|| ApiError::bad_request("a JSON patch is an array of operations"))?;
    if operations.len() > MAX_OPERATIONS {
        return Err(ApiError::too_large(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let parsed: Vec<PatchOperation> = operations
        .iter()
        .enumerate()
        .map(|(index, operation)| {
            serde_json::from_value(operation.clone()).map_err(|_| {
                let why = format!("operation {index} is not a valid JSON patch operation");
                if operation.is_object() { unprocessable(&why) } else { ApiError::bad_request(why) }
            })
        })
        .collect::<ApiResult<_>>()?;
    let mut result = document.clone();
    for operation in &parsed {
        if deep(&result, operation) {
            return Err(ApiError::too_large("the JSON patch nests the object too deep"));
        }
        let adds = or_add(&result, operation);
        let step = std::slice::from_ref(adds.as_ref().unwrap_or(operation));
        json_patch::patch(&mut result, step).map_err(|error| refused(operation, &error.kind))?;
        if grown(&result, operation) {
            return Err(ApiError::too_large("the JSON patch makes the object too large"));
        }
    }
    Ok(result)
}

/// The addition that a replacement of an absent field of an object is: kube-apiserver takes it for one, against RFC 6902, and clients
/// rely on it.
fn or_add(document: &Value, operation: &PatchOperation) -> Option<PatchOperation> {
    let PatchOperation::Replace(replace) = operation else { return None };
    let (parent, name) = replace.path.split_back()?;
    let fields = document.pointer(parent.as_str())?.as_object()?;
    let absent = !fields.contains_key(name.decoded().as_ref());
    absent.then(|| PatchOperation::Add(AddOperation { path: replace.path.clone(), value: replace.value.clone() }))
}

/// Whether an operation would nest the document deeper than a body may be. Copies of a part into itself double its depth, and
/// everything that reads a document recurses.
fn deep(document: &Value, operation: &PatchOperation) -> bool {
    let below = match operation {
        PatchOperation::Add(op) => depth(&op.value),
        PatchOperation::Replace(op) => depth(&op.value),
        PatchOperation::Copy(op) => document.pointer(op.from.as_str()).map_or(0, depth),
        PatchOperation::Move(op) => document.pointer(op.from.as_str()).map_or(0, depth),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return false,
    };
    operation.path().tokens().count() + below > MAX_NESTING
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// A few `copy` operations can double a document often; stop long before memory is the limit.
fn grown(document: &Value, operation: &PatchOperation) -> bool {
    const LIMIT: usize = 3 * 1024 * 1024;
    matches!(operation, PatchOperation::Copy(_)) && size(document, LIMIT) > LIMIT
}

/// Roughly the bytes of a document, counting no further than `limit`.
fn size(value: &Value, limit: usize) -> usize {
    let add = |sum: usize, part: usize| if sum > limit { sum } else { sum + part };
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => {
            items.iter().fold(2, |sum, item| if sum > limit { sum } else { add(sum, size(item, limit)) })
        }
        Value::Object(fields) => {
            fields.iter().fold(
                2,
                |sum, (name, value)| if sum > limit { sum } else { add(sum, name.len() + 4 + size(value, limit)) },
            )
        }
    }
}

fn refused(operation: &PatchOperation, kind: &PatchErrorKind) -> ApiError {
    let (name, path) = match operation {
        PatchOperation::Add(op) => ("add", &op.path),
        PatchOperation::Remove(op) => ("remove", &op.path),
        PatchOperation::Replace(op) => ("replace", &op.path),
        PatchOperation::Move(op) => ("move", &op.path),
        PatchOperation::Copy(op) => ("copy", &op.path),
        PatchOperation::Test(op) => ("test", &op.path),
    };
    let why = match kind {
        PatchErrorKind::TestFailed => "test failed",
        PatchErrorKind::CannotMoveInsideItself => "a value cannot be moved into itself",
        PatchErrorKind::InvalidFromPointer => "there is nothing at the path that it is taken from",
        _ => "doc is missing path",
    };
    unprocessable(&format!("{name} operation does not apply: {why}: {path}"))
}

fn unprocessable(why: &str) -> ApiError {
    let message = format!("the server rejected our request due to an error in our request: {why}");
    ApiError::new(http::StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
}

/// Applies a merge patch: objects merge, `null` removes, everything else replaces.
pub fn merge(document: &Value, patch: &Value) -> Value {
    let mut result = document.clone();
    json_patch::merge(&mut result, patch);
    result
}

#[cfg(test)]
mod tests;
