//! The handler that is plugged into `kubewire`.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use roadstead_api::names::{LOG_GROUP, parse_event_name};
use roadstead_kubewire::{
    ApiError, ApiResult, Context, Key, List, ListOptions, Resource, ResourceInfo, WatchOptions, WatchStream,
};
use serde_json::Value;

use super::{Scope, ScopeOf, info, list, select, watch};
use crate::log::{Log, LogError, RecordedBody};

/// How long a request for a version of the future waits for it, as the Kubernetes API server does.
const PATIENCE: Duration = Duration::from_secs(3);

/// `WebhookEvent`s over a log.
pub struct EventsResource {
    log: Arc<dyn Log>,
    scope: ScopeOf,
    info: ResourceInfo,
}

impl EventsResource {
    /// Shows everything to whoever the authoriser lets in.
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self::scoped(log, Arc::new(|_| Scope::Everything))
    }

    /// Shows every user only what `scope` says.
    pub fn scoped(log: Arc<dyn Log>, scope: ScopeOf) -> Self {
        Self { log, scope, info: info::resource_info() }
    }

    /// Endpoint and sequence of an event that the user may see. Errors: 404, which does not tell why.
    fn visible<'a>(&self, cx: &Context, key: &'a Key) -> ApiResult<(&'a str, u64)> {
        parse_event_name(&key.name)
            .filter(|(endpoint, _)| (self.scope)(&cx.user).contains(&key.namespace, endpoint))
            .ok_or_else(|| self.not_found(key))
    }

    fn not_found(&self, key: &Key) -> ApiError {
        ApiError::not_found(LOG_GROUP, &self.info.plural, &key.name)
    }
}

#[async_trait]
impl Resource for EventsResource {
    fn info(&self) -> &ResourceInfo {
        &self.info
    }

    async fn get(&self, cx: &Context, key: &Key) -> ApiResult<Bytes> {
        let (endpoint, sequence) = self.visible(cx, key)?;
        let record = self.log.get(&key.namespace, endpoint, sequence).await.map_err(api_error)?;
        Ok(record.ok_or_else(|| self.not_found(key))?.frame().object.clone())
    }

    async fn list(&self, cx: &Context, namespace: Option<&str>, options: &ListOptions) -> ApiResult<List> {
        let selection = select::selection((self.scope)(&cx.user), namespace, &options.labels, &options.fields);
        list::list(&*self.log, &selection, options).await
    }

    async fn watch(&self, cx: &Context, namespace: Option<&str>, options: &WatchOptions) -> ApiResult<WatchStream> {
        let selection = select::selection((self.scope)(&cx.user), namespace, &options.labels, &options.fields);
        watch::watch(self.log.clone(), selection, options).await
    }

    async fn connect(&self, cx: &Context, key: &Key, sub: &str, _: &Parts) -> Option<ApiResult<Response<Bytes>>> {
        if sub != info::BODY {
            return None;
        }
        let answer = async {
            let (endpoint, sequence) = self.visible(cx, key)?;
            let body = self.log.body(&key.namespace, endpoint, sequence).await.map_err(api_error)?;
            body_response(body.ok_or_else(|| self.not_found(key))?)
        };
        Some(answer.await)
    }

    fn table_cells(&self, object: &Value) -> Option<Vec<Value>> {
        Some(info::cells(object))
    }
}

/// The body as it came, with the sender's `Content-Type`. A browser must neither guess another nor run it.
fn body_response(recorded: RecordedBody) -> ApiResult<Response<Bytes>> {
    let sent = recorded.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-type"));
    let content_type = sent.and_then(|header| HeaderValue::from_str(&header.value).ok());
    let mut response = Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static("application/octet-stream")))
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'");
    // An id may hold anything that JSON may; then the header is left out.
    if let Ok(id) = HeaderValue::from_str(&recorded.id) {
        response = response.header("x-roadstead-event-id", id);
    }
    response.body(recorded.body).map_err(|error| ApiError::internal(error.to_string()))
}

/// A resourceVersion as sent; `None` if it is empty.
pub(super) fn parse_version(version: &str) -> ApiResult<Option<u64>> {
    match version {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            ApiError::bad_request(format!("Invalid value: \"{text}\": resourceVersion must be a position in the log"))
        }),
    }
}

/// Waits a little for a version of the future. Errors: 504, as the Kubernetes API server answers.
pub(super) async fn reach(log: &dyn Log, version: u64) -> ApiResult<()> {
    if version <= log.head() || log.reached(version, PATIENCE).await {
        return Ok(());
    }
    let message = format!("Timeout: Too large resource version: {version}, current: {}", log.head());
    let details = roadstead_kubewire::error::Details {
        causes: vec![roadstead_kubewire::error::Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        }],
        retry_after_seconds: Some(1),
        ..Default::default()
    };
    Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message).with_details(details))
}

/// An error of the log as the wire knows it.
pub(super) fn api_error(error: LogError) -> ApiError {
    match error {
        LogError::Gone(missed) => ApiError::expired(missed.to_string()),
        LogError::Overloaded | LogError::Full(_) | LogError::Closed => ApiError::unavailable(error.to_string(), 1),
        other => ApiError::internal(other.to_string()),
    }
}
