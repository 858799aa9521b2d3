//! `roadstead hook replay`: a recorded request once more, byte for byte, e.g. against a receiver under development.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use roadstead_api::event::Header;
use roadstead_api::names::{LOG_GROUP, VERSION, event_name};
use serde_json::json;

use super::events_api;
use crate::cli::change::duration;
use crate::cli::connect::Plane;
use crate::cli::output::Output;

/// Headers that belong to one connection or are made anew (RFC 9110, 7.6.1).
const NOT_SENT: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Arguments of `hook replay`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the endpoint.
    name: String,
    /// Sequence of the event; `hook events` shows it.
    #[arg(long)]
    sequence: u64,
    /// Where to send it.
    #[arg(long, value_name = "URL")]
    to: Uri,
    /// How long the answer may take.
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "TIME")]
    timeout: Duration,
}

/// Sends the request and prints the status of the answer; fails unless it is 2xx.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    if !matches!(args.to.scheme_str(), Some("http" | "https")) {
        bail!("--to needs a whole URL, such as http://127.0.0.1:9000/hook");
    }
    let name = event_name(&args.name, args.sequence);
    let event = events_api(plane).get(&name).await?;
    let mut request = Request::new(Full::new(body(plane, &name).await?));
    let method = Method::from_bytes(event.spec.request.method.as_bytes());
    *request.method_mut() = method.context("the recorded method is none")?;
    *request.uri_mut() = args.to.clone();
    *request.headers_mut() = headers(&event.spec.request.headers);

    eprintln!("sending {name} ({}) to {}", event.spec.id, args.to);
    let connector = HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1().build();
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let answer = tokio::time::timeout(args.timeout, client.request(request)).await;
    let answer = answer.with_context(|| format!("no answer from {} in time", args.to))?;
    let status = answer.with_context(|| format!("cannot send to {}", args.to))?.status();
    let data = json!({"event": event.spec.id, "to": args.to.to_string(), "status": status.as_u16()});
    output.value(&data, &format!("{status}\n"))?;
    if !status.is_success() {
        bail!("{} answered {status}", args.to);
    }
    Ok(())
}

/// The recorded bytes; the event itself carries only small bodies.
async fn body(plane: &Plane, name: &str) -> Result<Bytes> {
    let path = format!("/apis/{LOG_GROUP}/{VERSION}/namespaces/{}/webhookevents/{name}/body", plane.namespace);
    let answer = plane.client.send(Request::get(path).body(kube::client::Body::empty())?).await?;
    if !answer.status().is_success() {
        bail!("the body of {name} cannot be read: {}", answer.status());
    }
    Ok(answer.into_body().collect().await?.to_bytes())
}

fn headers(recorded: &[Header]) -> HeaderMap {
    let kept = recorded.iter().filter(|header| !NOT_SENT.contains(&header.name.to_ascii_lowercase().as_str()));
    let parsed = |header: &Header| Some((header.name.parse().ok()?, HeaderValue::from_str(&header.value).ok()?));
    let mut map = HeaderMap::new();
    for (name, value) in kept.filter_map(parsed) {
        map.append::<HeaderName>(name, value);
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_sent_again_and_the_old_connection_is_not() {
        let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
        let sent = headers(&[
            header("host", "hub.example.com"),
            header("x-hub-signature-256", "sha256=aa"),
            header("Content-Length", "3"),
            header("x-two", "1"),
            header("x-two", "2"),
            header("no header name", "x"),
        ]);
        assert_eq!(sent.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-hub-signature-256", "x-two"]);
        assert_eq!(sent.get_all("x-two").iter().count(), 2);
    }
}
