//! A bare HTTP client over the in-process transport, for what kube-rs would hide.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use roadstead_kubewire::{Origin, User, auth};
use serde_json::Value;

use crate::plane::Plane;

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {:?}", self.bytes))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Plane {
    /// Sends `METHOD /path`, with headers, as the system user.
    pub async fn send(&self, what: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send_as(Some(User::system()), what, headers, body).await
    }

    /// Sends over a connection that vouches for nobody.
    pub async fn send_as(&self, user: Option<User>, what: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let (method, uri) = what.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_string()))).unwrap();
        let origin = auth::Origin { secure: true, user, ..Origin::default() };
        let response = self.service.handle(request, origin).await;
        let (parts, body) = response.into_parts();
        Answer { status: parts.status, headers: parts.headers, bytes: body.collect().await.unwrap().to_bytes() }
    }
}
