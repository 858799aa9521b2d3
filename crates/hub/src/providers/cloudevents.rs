//! CloudEvents 1.0 over HTTP: binary (`ce-*` headers), structured, and batched.
//!
//! The event's type is the CloudEvent's; the id is its source and id together, since only the pair is unique. Data is not read:
//! what it means is between sender and receiver. Source: cloudevents.io, "HTTP Protocol Binding" and "Web Hooks for Event Delivery".

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::json::{self, List, Object, Text, clean};
use super::{Change, MAX_CHANGES, Reading, id, kind, synthetic_id};
use crate::incoming::Incoming;

/// Media type of one event with its data inside.
pub(super) const STRUCTURED: &str = "application/cloudevents+json";

/// Media type of an array of those.
const BATCH: &str = "application/cloudevents-batch+json";

/// Type of a delivery that cannot be read.
const KIND: &str = "cloudevent";

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Event {
    id: Text,
    source: Text,
    r#type: Text,
}

pub(super) fn read(incoming: &Incoming<'_>) -> Reading {
    if incoming.is(BATCH) {
        return match json::document::<List<Object<Event>, MAX_CHANGES>>(incoming.body) {
            Err(why) => Reading::unreadable(None, KIND, why),
            Ok(batch) => {
                let changes = batch.items.into_iter().map(|event| change(&event.get())).collect();
                Reading::several(None, KIND, changes, batch.total)
            }
        };
    }
    let event = if incoming.is(STRUCTURED) { json::root::<Event>(incoming.body) } else { Ok(binary(incoming)) };
    match event {
        Err(why) => Reading::unreadable(None, KIND, why),
        Ok(event) => {
            let malformed = (event.id.is_empty() || event.source.is_empty() || event.r#type.is_empty())
                .then(|| "the CloudEvent lacks id, source or type".to_owned());
            Reading { malformed, ..Reading::one(change(&event)) }
        }
    }
}

/// Attributes from headers, where they are percent-encoded.
fn binary(incoming: &Incoming<'_>) -> Event {
    let attribute = |name: &str| {
        let value = incoming.header(name).unwrap_or_default();
        Text(clean(&percent_decode_str(value).decode_utf8_lossy()))
    };
    Event { id: attribute("ce-id"), source: attribute("ce-source"), r#type: attribute("ce-type") }
}

fn change(event: &Event) -> Change {
    let kind = if event.r#type.is_empty() { KIND.to_owned() } else { kind(&event.r#type) };
    Change { id: event_id(event), kind, ..Change::default() }
}

/// `<source>#<id>`; hashed where that could mean two different pairs.
fn event_id(event: &Event) -> Option<String> {
    if event.id.is_empty() || event.source.is_empty() {
        return None;
    }
    if event.id.contains('#') {
        return Some(synthetic_id(&[&event.source, &event.id]));
    }
    id(&format!("{}#{}", &*event.source, &*event.id))
}

/// Answer to the handshake: a sender that wants to post asks first, with `OPTIONS` and `WebHook-Request-Origin`, and posts
/// only if that origin is allowed. The URL is a secret, so whoever asks here may post here, at any rate. None: it was not a
/// handshake.
pub fn handshake(headers: &HeaderMap) -> Option<[(HeaderName, HeaderValue); 3]> {
    let origin = headers.get("webhook-request-origin")?;
    Some([
        (HeaderName::from_static("webhook-allowed-origin"), origin.clone()),
        (HeaderName::from_static("webhook-allowed-rate"), HeaderValue::from_static("*")),
        (http::header::ALLOW, HeaderValue::from_static("POST, OPTIONS")),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::tests::Delivery;
    use super::*;

    fn event(id: &str, source: &str) -> String {
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"{source}","type":"com.example.order","datacontenttype":"application/json",
            "data":{{"type":"inner","id":"inner"}}}}"#
        )
    }

    #[test]
    fn reads_all_three_modes() {
        let binary = Delivery::new("any data")
            .header("ce-id", "A234-1234")
            .header("ce-source", "/my%20context")
            .header("ce-type", "com.example.order")
            .header("content-type", "text/plain")
            .read(read);
        let structured = Delivery::new(event("A234-1234", "/my context")).header("content-type", STRUCTURED).read(read);
        assert_eq!(binary, structured);
        assert_eq!(binary.changes[0].kind, "com.example.order");
        let batch = Delivery::new(format!("[{},{}]", event("1", "/a"), event("2", "/a")))
            .header("content-type", BATCH)
            .read(read);
        assert_eq!(batch.ids("unused"), ["/a#1", "/a#2"]);
    }

    #[test]
    fn two_pairs_never_share_an_id() {
        let id = |id: &str, source: &str| {
            let delivery = Delivery::new(event(id, source)).header("content-type", STRUCTURED);
            delivery.read(read).changes.remove(0).id.unwrap()
        };
        assert_ne!(id("b#c", "a"), id("c", "a#b"));
        assert_eq!(id("c", "a#b"), "a#b#c");
    }

    #[test]
    fn what_lacks_its_attributes_is_kept_and_named() {
        let bare = Delivery::new("{}").read(read);
        assert_eq!((bare.ids("r"), bare.changes[0].kind.as_str()), (vec!["r".to_owned()], "cloudevent"));
        assert!(bare.malformed.is_some());
        for (body, media) in [("{}", BATCH), ("[]", STRUCTURED), ("[1", BATCH), ("x", STRUCTURED)] {
            let reading = Delivery::new(body).header("content-type", media).read(read);
            assert_eq!(reading.changes.len(), 1, "{body}");
        }
    }

    #[test]
    fn answers_the_handshake() {
        let mut headers = HeaderMap::new();
        assert!(handshake(&headers).is_none());
        headers.insert("WebHook-Request-Origin", HeaderValue::from_static("eventemitter.example.com"));
        let answer = handshake(&headers).unwrap();
        assert_eq!(answer[0].1, "eventemitter.example.com");
    }
}
