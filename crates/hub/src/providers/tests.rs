//! What holds for all providers, and the builder of deliveries that their own tests use.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::*;

/// A delivery under construction.
pub(super) struct Delivery {
    headers: HeaderMap,
    body: Bytes,
}

impl Delivery {
    pub(super) fn new(body: impl AsRef<[u8]>) -> Delivery {
        Delivery { headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_ref()) }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Delivery {
        self.headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        self
    }

    pub(super) fn read(&self, read: impl Fn(&Incoming<'_>) -> Reading) -> Reading {
        read(&Incoming { method: &Method::POST, headers: &self.headers, query: None, body: &self.body })
    }
}

/// What every reading must keep, whatever was sent.
fn check(reading: &Reading) {
    assert!((1..=MAX_CHANGES).contains(&reading.changes.len()));
    // At most two strings and a separator.
    let short = |text: &str| assert!(text.chars().count() <= 2 * json::MAX_TEXT + 64, "{} long", text.len());
    for change in &reading.changes {
        assert!(!change.kind.is_empty() && change.kind.chars().count() <= 128);
        assert!(change.id.as_ref().is_none_or(|id| (1..=300).contains(&id.len())));
        if let Some(git) = &change.git {
            let texts = [&git.repository, &git.reference, &git.before, &git.after, &git.author, &git.url];
            texts.into_iter().for_each(|text| short(text));
            assert!(git.commits.len() <= MAX_COMMITS);
            assert!(git.commits.iter().all(|commit| commit.message.chars().count() <= 200));
        }
        if let Some(image) = &change.image {
            let texts = [&image.registry, &image.repository, &image.tag, &image.digest, &image.action, &image.actor];
            texts.into_iter().for_each(|text| short(text));
        }
    }
}

/// Field names that the providers look at, so that random documents reach into them.
const KEYS: [&str; 30] = [
    "ref",
    "ref_type",
    "repository",
    "full_name",
    "commits",
    "message",
    "id",
    "author",
    "name",
    "pull_request",
    "number",
    "package",
    "package_type",
    "package_version",
    "container_metadata",
    "tag",
    "digest",
    "events",
    "target",
    "action",
    "type",
    "event_data",
    "resources",
    "push_data",
    "updated_tags",
    "push",
    "changes",
    "new",
    "data",
    "project",
];

fn document() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::hash_map(prop::sample::select(&KEYS[..]), inner, 0..8).prop_map(|fields| {
                let fields: Vec<_> = fields.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_at_least_one_bounded_change(body in prop::collection::vec(any::<u8>(), 0..400), kind in "[ -~]{0,20}") {
        for provider in Provider::ALL {
            for header in ["x-github-event", "x-gitlab-event", "x-event-key", "ce-type", "ce-id", "content-type"] {
                check(&Delivery::new(&body).header(header, &kind).read(|incoming| read(provider, None, incoming)));
            }
        }
    }

    #[test]
    fn any_document_is_at_least_one_bounded_change(
        body in document(),
        kind in prop::sample::select(&["push", "package", "create", "pull_request", "Merge Request Hook"][..]),
        media in prop::sample::select(&["application/json", "application/cloudevents+json", "application/cloudevents-batch+json"][..]),
    ) {
        for provider in Provider::ALL {
            let delivery = Delivery::new(&body).header("content-type", media).header("x-github-event", kind);
            let delivery = delivery.header("x-gitlab-event", kind).header("x-event-key", kind).header("ce-type", kind);
            check(&delivery.read(|incoming| read(provider, None, incoming)));
        }
    }
}

#[test]
fn ids_are_kept_when_plain_and_hashed_when_not() {
    assert_eq!(id(" 72d3162e-cc78 "), Some("72d3162e-cc78".into()));
    assert_eq!(id("  "), None);
    assert!(id("a b").unwrap().starts_with("sha256:"));
    assert_eq!(id(&"x".repeat(300)).unwrap().len(), 71);
    assert_ne!(synthetic_id(&["a", "bc"]), synthetic_id(&["ab", "c"]));
}

#[test]
fn changes_without_an_id_share_the_random_one() {
    let change = |id: Option<&str>| Change { id: id.map(str::to_owned), ..Change::default() };
    let reading = |changes| Reading { changes, ..Reading::default() };
    assert_eq!(reading(vec![change(None)]).ids("r"), ["r"]);
    assert_eq!(reading(vec![change(None), change(None)]).ids("r"), ["r/0", "r/1"]);
    assert_eq!(reading(vec![change(Some("a")), change(Some("b"))]).ids("r"), ["a", "b"]);
}
