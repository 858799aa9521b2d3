//! One hub, as a subscriber sees it: requests in the Kubernetes wire format over a `kube::Client`, each with a deadline.
//!
//! [`Hub`] makes single requests, [`source`] follows an endpoint through disconnects, [`frames`] reads the watch's
//! lines, [`grant`] decides what a trigger may see, [`report`] writes the subscriber's status, [`access`] holds the client and renews it from its kubeconfig.

pub mod access;
pub mod frames;
pub mod grant;
pub mod report;
pub mod source;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kube::{client::Body, core::Status};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use roadstead_api::{
    Subscriber,
    event::WebhookEvent,
    names::{GROUP, LOG_GROUP, VERSION},
    trigger::HubEndpoint,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use access::Connection;
pub use access::{AccessError, HubAccess, Identity};
use frames::Frames;
pub use grant::Asker;

use crate::event::Event;

/// How long one answer may take, body included.
const ANSWER: Duration = Duration::from_secs(15);
/// Largest JSON answer, and largest error, in bytes.
const MAX_JSON: usize = 8 << 20;
/// Largest recorded body, in bytes: the hub's own limit is 100 MiB.
const MAX_BODY: usize = 101 << 20;

/// Why the hub did not give what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// No connection, a broken one, no answer in time, or the hub is not well (5xx, 429).
    #[error("the hub cannot be reached: {0}")]
    Unreachable(String),
    /// 401 or 403.
    #[error("the hub refuses: {0}; the subscriber's token may have been revoked or the endpoint not granted")]
    Denied(String),
    /// 404.
    #[error("the hub does not have it: {0}")]
    NotFound(String),
    /// The endpoint is missing, or the trigger may not see it: one answer for both, since it must not learn which.
    #[error(
        "endpoint {endpoint} is not available: missing, or its spec.allowSubscribersFrom lacks namespace {namespace}"
    )]
    Unavailable {
        /// `namespace/name` of the endpoint.
        endpoint: String,
        /// Namespace of the trigger.
        namespace: String,
    },
    /// 410: events after the position were removed.
    #[error("{0}")]
    Expired(String),
    /// The hub's log has not come to the position that was asked for (the API server's `ResourceVersionTooLarge`).
    #[error("{0}")]
    Ahead(String),
    /// The hub answered something that is not understood.
    #[error("the hub answered what is not understood: {0}")]
    Protocol(String),
}

impl HubError {
    fn from_status(status: StatusCode, message: String) -> Self {
        match status.as_u16() {
            401 | 403 => Self::Denied(message),
            404 => Self::NotFound(message),
            410 => Self::Expired(message),
            408 | 425 | 429 | 500.. => Self::Unreachable(message),
            code => Self::Protocol(format!("{code}: {message}")),
        }
    }

    /// The error that a `Status` object tells.
    pub fn from_object(status: Status) -> Self {
        let causes = status.details.iter().flat_map(|details| &details.causes);
        if causes.into_iter().any(|cause| cause.reason == "ResourceVersionTooLarge") {
            return Self::Ahead(status.message);
        }
        let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::from_status(code, status.message)
    }
}

/// Where the log of an endpoint begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Position after which the first retained event comes.
    pub start: u64,
    /// Sequence before the first retained event; `None` where no event is retained.
    pub before_first: Option<u64>,
    /// Position of the log's end.
    pub head: u64,
}

/// One hub.
pub struct Hub {
    name: String,
    connection: Connection,
    /// What the subscriber's status is told.
    pub(crate) positions: report::Positions,
}

impl Hub {
    /// Opens a hub. Errors: its kubeconfig cannot be read.
    pub async fn open(name: &str, access: HubAccess) -> Result<Self, AccessError> {
        Ok(Self {
            name: name.to_string(),
            connection: Connection::open(access).await?,
            positions: report::Positions::default(),
        })
    }

    /// Its name, as triggers use it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who the agent is at this hub; `None` where it did not come as a subscriber.
    pub fn identity(&self) -> Option<Identity> {
        self.connection.identity()
    }

    /// Reads the kubeconfig again, after the hub refused the token: it may have been rotated.
    pub async fn renew(&self) {
        self.connection.renew(&self.name).await;
    }

    /// Where the endpoint's log begins and ends now.
    pub async fn extent(&self, endpoint: &HubEndpoint) -> Result<Extent, HubError> {
        #[derive(Deserialize)]
        struct List {
            metadata: kube::core::ListMeta,
            #[serde(default)]
            items: Vec<WebhookEvent>,
        }
        let list: List = self.json(get(format!("{}&limit=1", events_of(endpoint)))).await?;
        let version = list.metadata.resource_version.unwrap_or_default();
        let head = version
            .parse()
            .map_err(|_| HubError::Protocol(format!("the list's resourceVersion {version:?} is not a log position")))?;
        let Some(first) = list.items.into_iter().next() else {
            return Ok(Extent { start: head, before_first: None, head });
        };
        let first = Event::new(first).map_err(HubError::Protocol)?;
        Ok(Extent {
            start: first.position.saturating_sub(1),
            before_first: Some(first.spec.sequence.saturating_sub(1)),
            head,
        })
    }

    /// The endpoint itself, as JSON: a newer hub's may have fields that are not known here. Errors: 404 where it does not exist or is not granted.
    async fn endpoint(&self, endpoint: &HubEndpoint) -> Result<Value, HubError> {
        let HubEndpoint { namespace, name, .. } = endpoint;
        let path =
            format!("/apis/{GROUP}/{VERSION}/namespaces/{}/webhookendpoints/{}", escape(namespace), escape(name));
        self.json(get(path)).await
    }

    /// One event. Errors: 404 where it is not retained any more.
    pub async fn event(&self, namespace: &str, name: &str) -> Result<Event, HubError> {
        let event: WebhookEvent = self.json(get(event_path(namespace, name))).await?;
        Event::new(event).map_err(HubError::Protocol)
    }

    /// The body of an event, byte for byte.
    pub async fn body(&self, namespace: &str, name: &str) -> Result<Bytes, HubError> {
        self.bytes(get(format!("{}/body", event_path(namespace, name))), MAX_BODY).await
    }

    /// Opens a watch of the endpoint's events after `position`.
    pub async fn watch(&self, endpoint: &HubEndpoint, position: u64) -> Result<Frames, HubError> {
        let path = format!("{}&watch=1&resourceVersion={position}&allowWatchBookmarks=true", events_of(endpoint));
        let opening = async { accept(self.send(get(path)).await?).await };
        let response = tokio::time::timeout(ANSWER, opening).await.map_err(|_| late())??;
        Ok(Frames::new(response.into_body()))
    }

    /// Merges `status` into the subscriber's own status and answers the object.
    async fn report(&self, identity: &Identity, status: &Value) -> Result<Subscriber, HubError> {
        let Identity { namespace, name } = identity;
        let path =
            format!("/apis/{GROUP}/{VERSION}/namespaces/{}/subscribers/{}/status", escape(namespace), escape(name));
        let body = serde_json::json!({ "status": status }).to_string().into_bytes();
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::PATCH;
        *request.uri_mut() = path.parse().unwrap_or_default();
        let merge = header::HeaderValue::from_static("application/merge-patch+json");
        request.headers_mut().insert(header::CONTENT_TYPE, merge);
        self.json(request).await
    }

    async fn json<T: DeserializeOwned>(&self, request: Request<Body>) -> Result<T, HubError> {
        let bytes = self.bytes(request, MAX_JSON).await?;
        serde_json::from_slice(&bytes).map_err(|error| HubError::Protocol(error.to_string()))
    }

    async fn bytes(&self, request: Request<Body>, limit: usize) -> Result<Bytes, HubError> {
        let whole = async { collect(accept(self.send(request).await?).await?, limit).await };
        tokio::time::timeout(ANSWER, whole).await.map_err(|_| late())?
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, HubError> {
        self.connection.client().send(request).await.map_err(|error| HubError::Unreachable(chain(&error)))
    }
}

fn late() -> HubError {
    HubError::Unreachable(format!("no answer within {} s", ANSWER.as_secs()))
}

/// An error with its causes: a failed connection says why only in the last of them.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Passes a good answer on; a bad one becomes an error with the message of its `Status`.
async fn accept(response: Response<Body>) -> Result<Response<Body>, HubError> {
    let code = response.status();
    if code.is_success() {
        return Ok(response);
    }
    let body = collect(response, MAX_JSON).await.unwrap_or_default();
    Err(match serde_json::from_slice::<Status>(&body) {
        Ok(status) if !status.message.is_empty() => HubError::from_object(Status { code: code.as_u16(), ..status }),
        _ => HubError::from_status(code, code.to_string()),
    })
}

async fn collect(response: Response<Body>, limit: usize) -> Result<Bytes, HubError> {
    match Limited::new(response.into_body(), limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(HubError::Protocol(format!("an answer of more than {limit} bytes")))
        }
        Err(error) => Err(HubError::Unreachable(error.to_string())),
    }
}

fn get(path: String) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    // Everything variable in it is escaped, so it always parses.
    *request.uri_mut() = path.parse().unwrap_or_default();
    // A watch's lines must arrive one by one: no compression.
    request.headers_mut().insert(header::ACCEPT_ENCODING, header::HeaderValue::from_static("identity"));
    request
}

fn escape(part: &str) -> String {
    utf8_percent_encode(part, NON_ALPHANUMERIC).to_string()
}

fn events_of(endpoint: &HubEndpoint) -> String {
    let HubEndpoint { namespace, name, .. } = endpoint;
    let selector = escape(&format!("spec.endpoint={name}"));
    format!("/apis/{LOG_GROUP}/{VERSION}/namespaces/{}/webhookevents?fieldSelector={selector}", escape(namespace))
}

fn event_path(namespace: &str, name: &str) -> String {
    format!("/apis/{LOG_GROUP}/{VERSION}/namespaces/{}/webhookevents/{}", escape(namespace), escape(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped() {
        let endpoint = HubEndpoint { hub: "main".into(), namespace: "a/b".into(), name: "x&limit=9".into() };
        let uri = get(events_of(&endpoint)).uri().to_string();
        assert_eq!(
            uri,
            "/apis/log.roadstead.dev/v1alpha1/namespaces/a%2Fb/webhookevents?fieldSelector=spec%2Eendpoint%3Dx%26limit%3D9"
        );
    }

    #[test]
    fn codes_become_kinds_of_errors() {
        let kind = |code| HubError::from_status(StatusCode::from_u16(code).unwrap(), "m".into());
        for code in [401, 403] {
            assert!(matches!(kind(code), HubError::Denied(_)));
        }
        for code in [408, 429, 500, 503] {
            assert!(matches!(kind(code), HubError::Unreachable(_)));
        }
        assert!(matches!(kind(404), HubError::NotFound(_)));
        assert!(matches!(kind(410), HubError::Expired(_)));
        assert!(matches!(kind(418), HubError::Protocol(_)));
        let ahead = serde_json::json!({"code": 504, "message": "m", "details": {"causes": [{"reason": "ResourceVersionTooLarge"}]}});
        assert_eq!(HubError::from_object(serde_json::from_value(ahead).unwrap()), HubError::Ahead("m".into()));
    }
}
