//! Every delivery that GitHub's own package of examples holds, signed by GitHub's own signer, is verified and read.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use roadstead_api::endpoint::{Provider, WebhookEndpointSpec};
use roadstead_e2e::octokit;
use roadstead_hub::incoming::Incoming;
use roadstead_hub::providers::{Reading, read};
use roadstead_hub::verify::{Policy, Rejection, Secret, Verified};
use serde_json::Value;

const SECRET: &str = "It's a Secret to Everybody";

fn deliver(
    policy: &Policy,
    event: &str,
    signature: &str,
    body: &[u8],
) -> Result<(Result<Verified, Rejection>, Reading)> {
    let mut headers = HeaderMap::new();
    headers.insert("x-github-event", HeaderValue::from_str(event)?);
    headers.insert("x-github-delivery", HeaderValue::from_static("72d3162e-cc78-11e3-81ab-4c9367dc0958"));
    headers.insert("x-hub-signature-256", HeaderValue::from_str(signature)?);
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let body = Bytes::copy_from_slice(body);
    let incoming = Incoming { method: &Method::POST, headers: &headers, query: None, body: &body };
    Ok((policy.verify(&incoming, Timestamp::now()), read(Provider::Github, None, &incoming)))
}

/// A string of the document, read the slow way; empty if it is not there.
fn text(document: &Value, pointer: &str) -> String {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[test]
fn recorded_deliveries_are_verified_and_read() -> Result<()> {
    let spec = WebhookEndpointSpec { provider: Provider::Github, ..WebhookEndpointSpec::default() };
    let policy = Policy::compile(&spec, vec![Secret::new("another"), Secret::new(SECRET)])?;
    let recorded = octokit::recorded()?;
    let bodies: Vec<_> = recorded.iter().map(|delivery| delivery.body.as_slice()).collect();
    let signatures = octokit::sign(SECRET, &bodies)?;
    assert_eq!(signatures.len(), recorded.len());
    for (delivery, signature) in recorded.iter().zip(&signatures) {
        let event = delivery.event.as_str();
        let (verified, reading) = deliver(&policy, event, signature, &delivery.body)?;
        assert_eq!(verified, Ok(Verified::Proven), "{event}");
        let mut changed = delivery.body.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        assert_eq!(deliver(&policy, event, signature, &changed)?.0, Err(Rejection::BadSignature), "{event}");

        assert_eq!((reading.malformed, reading.changes.len(), reading.ping), (None, 1, event == "ping"), "{event}");
        let change = &reading.changes[0];
        assert_eq!((change.kind.as_str(), change.id.as_deref()), (event, Some("72d3162e-cc78-11e3-81ab-4c9367dc0958")));
        let document: Value = serde_json::from_slice(&delivery.body)?;
        assert_eq!(change.git.is_some(), document["repository"].is_object(), "{event}");
        let git = change.git.clone().unwrap_or_default();
        assert_eq!(git.repository, text(&document, "/repository/full_name"), "{event}");
        match event {
            "push" => {
                assert_eq!(git.reference, text(&document, "/ref"));
                assert_eq!([git.before, git.after], [text(&document, "/before"), text(&document, "/after")]);
                assert_eq!(git.author, text(&document, "/pusher/name"));
                let commits = document["commits"].as_array().context("commits")?;
                assert_eq!(git.commits.len(), commits.len().min(20));
                for (commit, document) in git.commits.iter().zip(commits) {
                    assert_eq!([&commit.id, &commit.author], [&text(document, "/id"), &text(document, "/author/name")]);
                }
            }
            "pull_request" => assert_eq!(git.after, text(&document, "/pull_request/head/sha")),
            "create" | "delete" => assert!(git.reference.ends_with(&text(&document, "/ref"))),
            _ => {}
        }
    }
    Ok(())
}
