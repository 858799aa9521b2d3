//! Server-side apply: who owns which field, and what follows from it.

use jiff::Timestamp;
use roadstead_kubewire::{ApiError, ApiResult};
use serde_json::Value;

use crate::schema::Schema;

/// Who writes, how and when.
#[derive(Clone, Debug)]
pub struct Request {
    /// `fieldManager`.
    pub manager: String,
    /// `force`: take fields that others own.
    pub force: bool,
    /// The subresource written through, e.g. `status`; empty for the object itself.
    pub subresource: String,
    /// `apiVersion` of the object as written.
    pub api_version: String,
    /// The time of the write, for `managedFields`.
    pub now: Timestamp,
}

/// Applies `applied` to `live` (`None`: the object does not exist yet).
///
/// Answers the merged object with its new `metadata.managedFields`. Errors: 409 `Conflict` with a cause for each field that
/// another manager owns with another value, unless forced; 400 for an object that does not fit the schema.
pub fn apply(_live: Option<&Value>, _applied: &Value, _request: &Request, _schema: &Schema) -> ApiResult<Value> {
    Err(ApiError::unsupported_media_type("server-side apply is not served yet"))
}

/// Notes in `new`'s `metadata.managedFields` what an update changed: call it after every create, update and patch that is not
/// an apply, with the object as it was (`None`: it is created) and as it will be stored.
pub fn track_update(_live: Option<&Value>, _new: &mut Value, _request: &Request, _schema: &Schema) {}
