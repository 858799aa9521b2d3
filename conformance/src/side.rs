//! One of the two servers: how requests get there and answers come back, raw.
//!
//! In: operations with their placeholders filled in. Out: status code, the headers that are compared, and the body.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use roadstead_apiserver::{Options, Server};
use serde_json::Value;
use tokio::{net::TcpListener, time::timeout};

use crate::{
    memory::Memory,
    normalise::Answer,
    operation::{Mode, Operation},
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who asks; the part before the slash is the field manager where none is given.
const AGENT: &str = "conformance/1";

/// A server that answers.
#[derive(Clone)]
pub struct Side {
    client: Client,
    distort: Option<fn(&Operation, &mut Answer)>,
}

/// The embedded server, while it is served.
pub struct Embedded {
    /// How it is reached.
    pub side: Side,
    _server: Server,
}

impl Embedded {
    /// Opens one in memory and serves it over HTTPS on a free port.
    ///
    /// # Errors
    /// When it cannot be opened or served.
    pub async fn open() -> Result<Self> {
        let server = Server::open(Options::default()).await?;
        let handle = server.handle();
        let address = handle.serve(TcpListener::bind("127.0.0.1:0").await?, None)?;
        let kubeconfig = Kubeconfig::from_yaml(&handle.kubeconfig(&format!("https://{address}")))?;
        Ok(Self { side: Side::new(kubeconfig).await?, _server: server })
    }
}

impl Side {
    /// The server that a kubeconfig file names.
    ///
    /// # Errors
    /// When the file cannot be read or used.
    pub async fn from_file(path: &Path) -> Result<Self> {
        Self::new(Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?).await
    }

    async fn new(kubeconfig: Kubeconfig) -> Result<Self> {
        // Both sides and their TLS use the one provider; a second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Self { client: Client::try_from(config)?, distort: None })
    }

    /// The same server with answers that have been changed on their way: for tests of what finds differences.
    #[must_use]
    pub fn distorted(&self, distort: fn(&Operation, &mut Answer)) -> Self {
        Self { client: self.client.clone(), distort: Some(distort) }
    }

    /// Sends an operation, its placeholders filled in from `memory`. What is no answer has the code 0 and says why.
    pub async fn send(&self, operation: &Operation, memory: &Memory) -> Answer {
        let mut answer = match timeout(PATIENCE, self.try_send(operation, memory)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer { body: format!("{error:#}").into(), ..Answer::default() },
            Err(_) => Answer { body: format!("no answer in {} s", PATIENCE.as_secs()).into(), ..Answer::default() },
        };
        if let Some(distort) = self.distort {
            distort(operation, &mut answer);
        }
        answer
    }

    async fn try_send(&self, operation: &Operation, memory: &Memory) -> Result<Answer> {
        let mut request = Request::builder().method(operation.method.as_str()).uri(memory.fill(&operation.path));
        request = request.header("user-agent", AGENT);
        request = request.header("accept", operation.accept.as_deref().unwrap_or("application/json"));
        if let Some(user) = &operation.impersonate {
            // With every right, so that nothing but the cluster's policy can be in the way.
            request = request.header("impersonate-user", user).header("impersonate-group", "system:masters");
        }
        let body = match (&operation.text, &operation.body) {
            _ if operation.mode == Mode::Stream => None,
            (Some(text), _) => Some(memory.fill(text)),
            (None, Some(body)) => Some(memory.fill_body(body).to_string()),
            (None, None) => None,
        };
        if body.is_some() {
            request = request.header("content-type", operation.content_type.as_deref().unwrap_or("application/json"));
        }
        let request = request.body(Body::from(body.unwrap_or_default().into_bytes()))?;
        let response = self.client.send(request).await?;
        let (parts, body) = response.into_parts();
        let mut answer = Answer {
            code: parts.status.as_u16(),
            content_type: header(&parts.headers, "content-type"),
            warnings: warnings(&parts.headers),
            body: Value::Null,
        };
        if operation.mode == Mode::Stream && answer.code == 200 {
            answer.body = self.events(operation, memory, body).await?.into();
            return Ok(answer);
        }
        answer.body = parse(&body.collect().await?.to_bytes());
        Ok(answer)
    }

    /// The events of a watch up to the one that says that the last object is there.
    async fn events(&self, operation: &Operation, memory: &Memory, mut stream: Body) -> Result<Vec<Value>> {
        let last = operation.body.as_ref().and_then(|object| object["metadata"]["name"].as_str());
        let collection = operation.path.split('?').next().unwrap_or_default();
        if let (Some(name), Some(object)) = (last, &operation.body) {
            let create = Operation::create(collection, object.clone());
            let made = Box::pin(self.try_send(&create, memory)).await?;
            ensure!(made.code == 201, "{name} cannot be made: {} {}", made.code, made.body);
        }
        let is_last = |event: &Value| {
            let object = &event["object"];
            // In a Table the name is in the row.
            last.is_some_and(|name| object["metadata"]["name"] == name || object["rows"][0]["cells"][0] == name)
        };
        let (mut bytes, mut events) = (BytesMut::new(), Vec::new());
        while let Some(frame) = stream.frame().await {
            if let Ok(data) = frame?.into_data() {
                bytes.extend_from_slice(data.chunk());
            }
            events.extend(lines(&mut bytes));
            if let Some(at) = events.iter().position(is_last) {
                events.truncate(at);
                break;
            }
        }
        if let Some(name) = last {
            Box::pin(self.try_send(&Operation::delete(format!("{collection}/{name}")), memory)).await?;
        }
        Ok(events)
    }
}

/// Takes the events off the beginning, one a line; what has not come as a whole remains.
fn lines(bytes: &mut BytesMut) -> Vec<Value> {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let whole = bytes.split_to(end);
    whole[..].split(|byte: &u8| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned().into())
}

fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_string()
}

/// `299 - "text"`: the text.
fn warnings(headers: &HeaderMap) -> Vec<String> {
    let all = headers.get_all("warning").iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    all.map(|warning| match warning.split_once('"') {
        Some((_, text)) => text.strip_suffix('"').unwrap_or(text).replace("\\\"", "\"").replace("\\\\", "\\"),
        None => warning,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_read() {
        let mut headers = HeaderMap::new();
        headers.append("warning", r#"299 - "unknown field \"spec.x\"""#.parse().unwrap());
        headers.append("warning", r#"299 - "second""#.parse().unwrap());
        assert_eq!(warnings(&headers), ["unknown field \"spec.x\"", "second"]);
    }

    #[test]
    fn events_are_taken_as_they_become_whole() {
        let mut bytes = BytesMut::from(&b"{\"type\":\"ADDED\"}\n{\"type\":\"MOD"[..]);
        assert_eq!(lines(&mut bytes), [serde_json::json!({"type": "ADDED"})]);
        bytes.extend_from_slice(b"IFIED\"}\n");
        assert_eq!(lines(&mut bytes), [serde_json::json!({"type": "MODIFIED"})]);
        assert!(bytes.is_empty());
    }
}
