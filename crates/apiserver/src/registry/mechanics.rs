//! Where schemas and patches come in: what a registry asks of them.

use roadstead_kubewire::{
    ApiError, ApiResult, Context, Payload, WriteOptions,
    error::Cause,
    options::{Media, PatchKind},
};
use serde_json::Value;

use super::kind::Kind;

/// Parses a body and drops or refuses unknown fields.
pub fn decode(_kind: &Kind, payload: &Payload, _options: &WriteOptions, _cx: &Context) -> ApiResult<Value> {
    if payload.media != Media::Json {
        return Err(ApiError::unsupported_media_type("only JSON is understood"));
    }
    parse(payload)
}

fn parse(payload: &Payload) -> ApiResult<Value> {
    serde_json::from_slice(&payload.bytes)
        .map_err(|error| ApiError::bad_request(format!("the body is not valid JSON: {error}")))
}

/// Fills in defaults.
pub fn complete(kind: &Kind, object: &mut Value) {
    kind.hooks.default(object);
}

/// What the schema finds wrong.
pub fn validate(_kind: &Kind, _new: &Value, _old: Option<&Value>) -> Vec<Cause> {
    Vec::new()
}

/// Records in `managedFields` who changed what.
pub fn track(_kind: &Kind, _live: Option<&Value>, _new: &mut Value, _sub: Option<&str>, _options: &WriteOptions) {}

/// A parsed patch.
pub struct Patch {
    how: PatchKind,
    body: Value,
}

impl Patch {
    /// Parses a patch.
    pub fn parse(
        _kind: &Kind,
        how: PatchKind,
        payload: &Payload,
        _options: &WriteOptions,
        _cx: &Context,
    ) -> ApiResult<Self> {
        match how {
            PatchKind::Json | PatchKind::Merge => Ok(Self { how, body: parse(payload)? }),
            _ => Err(ApiError::unsupported_media_type("only JSON patch and merge patch are understood")),
        }
    }

    /// Whether the patch itself says which version it is for.
    pub fn names_version(&self) -> bool {
        match &self.body {
            Value::Array(steps) => steps.iter().any(|step| step["path"] == "/metadata/resourceVersion"),
            body => body.pointer("/metadata/resourceVersion").is_some_and(|version| !version.is_null()),
        }
    }

    /// What `live` becomes.
    pub fn to(
        &self,
        _kind: &Kind,
        live: &Value,
        _sub: Option<&str>,
        _options: &WriteOptions,
        _cx: &Context,
    ) -> ApiResult<Value> {
        let mut new = live.clone();
        match self.how {
            PatchKind::Merge => json_patch::merge(&mut new, &self.body),
            _ => {
                let patch: json_patch::Patch = serde_json::from_value(self.body.clone())
                    .map_err(|error| ApiError::bad_request(format!("not a JSON patch: {error}")))?;
                json_patch::patch(&mut new, &patch)
                    .map_err(|error| ApiError::bad_request(format!("the patch does not fit: {error}")))?;
            }
        }
        Ok(new)
    }

    /// What an apply of something new creates.
    pub fn to_new(&self, _kind: &Kind, _options: &WriteOptions, _cx: &Context) -> ApiResult<Value> {
        Ok(self.body.clone())
    }
}
