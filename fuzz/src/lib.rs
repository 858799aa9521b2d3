//! What the fuzz targets do with their bytes, and what must hold whatever the bytes are.
//!
//! A target of a provider takes a content type, an event type and a body, each from a line of its own, the body to the end. Panics,
//! hangs and broken promises are findings; a refusal is none.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use roadstead_api::endpoint::{Algorithm, Authentication, Provider, Verify, WebhookEndpointSpec};
use roadstead_api::event::{GitChange, ImageChange, WebhookEventSpec};
use roadstead_apiserver::{builtin, patch};
use roadstead_hub::incoming::{Incoming, recorded_headers};
use roadstead_hub::providers::{MAX_CHANGES, MAX_COMMITS, read};
use roadstead_hub::tag_index::TagIndex;
use roadstead_hub::verify::{Policy, Secret, Verified};
use roadstead_kubewire::options::{FieldValidation, Media, PatchKind};
use roadstead_kubewire::query::Query;
use roadstead_kubewire::selector::{FieldSelector, LabelSelector};
use roadstead_kubewire::{DeleteOptions, ListOptions, Payload, WatchOptions, WriteOptions, jsonpath, protobuf as wire};
use roadstead_reconcile::Filter;
use serde_json::{Value, json};

/// The part up to a line end, and the rest.
fn line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[]),
    }
}

/// Reads a delivery.
pub fn provider(provider: Provider, data: &[u8]) {
    let (media, rest) = line(data);
    let (kind, body) = line(rest);
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: &[u8]| {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("content-type", media);
    for name in
        ["x-github-event", "x-gitlab-event", "x-gitea-event", "x-forgejo-event", "x-event-key", "ce-type", "x-kind"]
    {
        set(name, kind);
    }
    for name in ["x-github-delivery", "webhook-id", "x-gitea-delivery", "x-request-uuid", "ce-id", "ce-source", "x-id"]
    {
        set(name, kind);
    }
    let settings = Verify { id_header: Some("x-id".into()), type_header: Some("x-kind".into()), ..Verify::default() };
    let body = Bytes::copy_from_slice(body);
    let incoming = Incoming { method: &Method::POST, headers: &headers, query: None, body: &body };
    let reading = read(provider, Some(&settings), &incoming);

    assert!((1..=MAX_CHANGES).contains(&reading.changes.len()));
    let ids = reading.ids("random");
    assert!(ids.iter().all(|id| (1..=300).contains(&id.len())), "{ids:?}");
    let short = |text: &str| assert!(text.chars().count() <= 2200 && !text.contains('\u{1b}'));
    let mut index = TagIndex::new(8);
    for change in &reading.changes {
        assert!(!change.kind.is_empty() && change.kind.chars().count() <= 128);
        if let Some(GitChange { repository, reference, before, after, author, commits, url }) = &change.git {
            [repository, reference, before, after, author, url].into_iter().for_each(|text| short(text));
            assert!(commits.len() <= MAX_COMMITS && commits.iter().all(|commit| commit.message.chars().count() <= 200));
        }
        if let Some(image @ ImageChange { registry, repository, tag, digest, action, actor }) = &change.image {
            [registry, repository, tag, digest, action, actor].into_iter().for_each(|text| short(text));
            index.observe(image);
        }
    }
    let count = reading.changes.len();
    assert!(index.fill(reading.changes).len() >= count);
}

/// Verifies a delivery whose headers are anything: nobody guesses a key.
pub fn verify(data: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut rest = data;
    while !rest.is_empty() {
        let (header, after) = line(rest);
        rest = after;
        if header.is_empty() {
            break;
        }
        let colon = header.iter().position(|byte| *byte == b':').unwrap_or(header.len());
        let (name, value) = (&header[..colon], header.get(colon + 1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let body = Bytes::copy_from_slice(rest);
    let incoming = Incoming { method: &Method::POST, headers: &headers, query: None, body: &body };
    for provider in Provider::ALL {
        let algorithm = if provider == Provider::Generic { Algorithm::Sha256 } else { Algorithm::Token };
        let verify = Verify { header: "x-signature".into(), algorithm, prefix: "sha256=".into(), ..Verify::default() };
        let spec = WebhookEndpointSpec {
            provider,
            authentication: Authentication::UrlOnly,
            verify: (provider == Provider::Generic).then_some(verify),
            ..WebhookEndpointSpec::default()
        };
        let secret = Secret::new("whsec_3fBz0oYvC1eT6mWq9sLx4uKd7hGn2jRp");
        let policy = Policy::compile(&spec, vec![secret]).expect("the secret suits every provider");
        let now = Timestamp::UNIX_EPOCH;
        assert_ne!(policy.verify(&incoming, now), Ok(Verified::Proven), "{provider:?}");
        assert!(recorded_headers(&headers, &policy).iter().all(|header| header.name != "authorization"));
    }
}

/// Compiles a filter, and runs it over a push.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let git =
        GitChange { reference: "refs/heads/main".into(), commits: vec![Default::default(); 3], ..GitChange::default() };
    let event = WebhookEventSpec { git: Some(git), ..WebhookEventSpec::default() }.filter_view();
    if let Ok(filter) = Filter::compile(text) {
        assert_eq!(filter.matches(&event), filter.matches(&event));
    }
}

/// Parses a label selector (first line) and a field selector.
pub fn selectors(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (labels, fields) = text.split_once('\n').unwrap_or((text, ""));
    let object = json!({"metadata": {"name": "x", "labels": {"app": "web", "tier": "a"}}, "spec": {"endpoint": "y"}});
    if let Ok(selector) = LabelSelector::parse(labels) {
        let _ = selector.matches_object(&object);
    }
    if let Ok(selector) = FieldSelector::parse(fields) {
        let _ = selector.matches_object(&object);
    }
}

/// Parses a query string.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(query) = Query::parse(Some(text)) else { return };
    let _ = ListOptions::parse(&query);
    let _ = WatchOptions::parse(&query);
    let _ = WriteOptions::parse(&query, None, Some("kubectl/v1.34.0"));
    let _ = WriteOptions::parse(&query, Some(PatchKind::Apply), None);
    let _ = DeleteOptions::parse(&query);
}

/// Compiles and follows a path.
pub fn jsonpath(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let object =
        json!({"a": {"b.c": [[1, {"d.e": 2}]]}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    if let Ok(path) = jsonpath::JsonPath::parse(text) {
        let _ = path.find(&object);
    }
}

/// Decodes a protobuf body; what comes out is JSON.
pub fn protobuf(data: &[u8]) {
    if let Ok(json) = wire::to_json(data) {
        serde_json::from_slice::<Value>(&json).expect("JSON");
    }
}

/// Applies a patch (second line) to a document (first line).
pub fn patch(data: &[u8]) {
    let (document, change) = line(data);
    let (Ok(document), Ok(change)) =
        (serde_json::from_slice::<Value>(document), serde_json::from_slice::<Value>(change))
    else {
        return;
    };
    let _ = patch::json(&document, &change);
    let merged = patch::merge(&document, &change);
    assert_eq!(patch::merge(&merged, &change), merged, "a merge patch is idempotent");
    let schema = builtin::schema("io.k8s.api.apps.v1.Deployment").expect("a built-in kind");
    let _ = patch::strategic(&document, &change, &schema);
}

/// Takes a body through all that a write goes through.
pub fn decode(data: &[u8]) {
    let schema = builtin::schema("io.k8s.api.apps.v1.Deployment").expect("a built-in kind");
    let bytes = Bytes::copy_from_slice(data);
    for (media, validation) in [
        (Media::Json, FieldValidation::Strict),
        (Media::Json, FieldValidation::Ignore),
        (Media::Yaml, FieldValidation::Warn),
    ] {
        let Ok((mut object, _)) = schema.decode(&Payload { bytes: bytes.clone(), media }, validation) else { continue };
        schema.default(&mut object);
        let once = object.clone();
        schema.default(&mut object);
        assert_eq!(object, once, "defaults are idempotent");
        let _ = schema.validate(&object, None);
        schema.prune(&mut object);
    }
}
