//! Errors as the wire knows them: a Kubernetes `Status` with an HTTP code and a machine-readable reason.
//!
//! Handlers return [`ApiError`]; the service turns it into the response. Messages are read by people at a terminal
//! (`Error from server (NotFound): ...`), so they say what failed, for which object, and what to do.
//! Format: Kubernetes API conventions, "Response Status Kind".

use http::StatusCode;
use serde_json::{Value, json};

/// Result of a handler.
pub type ApiResult<T> = Result<T, ApiError>;

/// One cause among several, for `Invalid` errors: which field and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable kind: `FieldValueInvalid`, `FieldValueRequired`, `FieldValueNotSupported`, ...
    pub reason: String,
    /// For people.
    pub message: String,
    /// Path of the field, e.g. `spec.provider`.
    pub field: String,
}

impl Cause {
    fn to_json(&self) -> Value {
        let all = [("reason", &self.reason), ("message", &self.message), ("field", &self.field)];
        let said = all.into_iter().filter(|(_, text)| !text.is_empty());
        said.map(|(name, text)| (name.to_string(), Value::from(text.as_str()))).collect()
    }
}

/// An error that is answered to the client as a `Status` object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status code, also `status.code`.
    pub code: u16,
    /// `status.reason`, e.g. `NotFound`, `Conflict`, `Invalid`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// `status.details`: group, plural (`kind` on the wire) and name of the object, where known.
    pub details: Option<Box<Details>>,
    /// What the client is warned of beside, as headers.
    pub warnings: Vec<String>,
}

/// `status.details`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Name of the object.
    pub name: String,
    /// API group.
    pub group: String,
    /// Plural of the resource, or the kind for `Invalid`.
    pub kind: String,
    /// UID of the object, where a precondition named it.
    pub uid: String,
    /// Causes, for `Invalid`, and for conflicts of server-side apply.
    pub causes: Vec<Cause>,
    /// When the client may try again, in seconds; also sent as `Retry-After`.
    pub retry_after_seconds: Option<u32>,
}

impl ApiError {
    /// An error without details.
    pub fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.as_u16(), reason, message: message.into(), details: None, warnings: Vec::new() }
    }

    /// Adds details.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// 400 `BadRequest`.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 401 `Unauthorized`.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// 403 `Forbidden`; the message follows the API server's wording.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// 404 `NotFound` for a named object: `secrets "x" not found`.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        let what = qualified(group, plural);
        Self::new(StatusCode::NOT_FOUND, "NotFound", format!("{what} \"{name}\" not found")).with_details(Details {
            name: name.into(),
            group: group.into(),
            kind: plural.into(),
            ..Details::default()
        })
    }

    /// 404 for a path that nothing serves.
    pub fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource")
    }

    /// 405 `MethodNotAllowed`.
    pub fn method_not_allowed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// 409 `AlreadyExists`.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        let what = qualified(group, plural);
        Self::new(StatusCode::CONFLICT, "AlreadyExists", format!("{what} \"{name}\" already exists"))
            .with_details(Details { name: name.into(), group: group.into(), kind: plural.into(), ..Details::default() })
    }

    /// 409 `Conflict`: `Operation cannot be fulfilled on secrets "x": <why>`.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, plural);
        Self::new(
            StatusCode::CONFLICT,
            "Conflict",
            format!("Operation cannot be fulfilled on {what} \"{name}\": {why}"),
        )
        .with_details(Details {
            name: name.into(),
            group: group.into(),
            kind: plural.into(),
            ..Details::default()
        })
    }

    /// 410 `Expired`: a resourceVersion or continue token that is older than what is kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// 413 `RequestEntityTooLarge`.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// 415 `UnsupportedMediaType`.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// 422 `Invalid`: `Secret "x" is invalid: spec.a: Required value`. `kind` is the kind, not the plural.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let what = if group.is_empty() { kind.to_string() } else { format!("{kind}.{group}") };
        // What is wrong twice over is told once.
        let mut told: Vec<String> = Vec::new();
        for text in causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)) {
            if !told.contains(&text) {
                told.push(text);
            }
        }
        let list = match told.len() {
            0 => String::new(),
            1 => format!(": {}", told.concat()),
            _ => format!(": [{}]", told.join(", ")),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", format!("{what} \"{name}\" is invalid{list}"))
            .with_details(Details {
                name: name.into(),
                group: group.into(),
                kind: kind.into(),
                causes,
                ..Details::default()
            })
    }

    /// 500 `InternalError`. The message must not carry secrets or request bodies.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// 503 `ServiceUnavailable` with `Retry-After`.
    pub fn unavailable(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
            .with_details(Details { retry_after_seconds: Some(retry_after_seconds), ..Details::default() })
    }

    /// The `Status` object of this error.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(details) = &self.details {
            let mut wire = serde_json::Map::new();
            for (key, value) in
                [("name", &details.name), ("group", &details.group), ("kind", &details.kind), ("uid", &details.uid)]
            {
                if !value.is_empty() {
                    wire.insert(key.into(), Value::from(value.as_str()));
                }
            }
            if !details.causes.is_empty() {
                wire.insert("causes".into(), details.causes.iter().map(Cause::to_json).collect());
            }
            if let Some(seconds) = details.retry_after_seconds {
                wire.insert("retryAfterSeconds".into(), Value::from(seconds));
            }
            status["details"] = Value::Object(wire);
        }
        status
    }
}

/// `secrets` or `webhookendpoints.roadstead.dev`.
fn qualified(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_string() } else { format!("{plural}.{group}") }
}
