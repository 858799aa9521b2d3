//! Format `cloudevents`: CloudEvents 1.0 in structured mode (`application/cloudevents+json`).
//!
//! `id` is the message's id, which stays the same at each attempt; `source` names the repository, `subject` the tag or digest in it.
//! `reconciled` is an extension attribute too, so that a broker can filter by it. Source: cloudevents.io, version 1.0.2.

use serde_json::{Value, json};

use crate::delivery::Message;

pub(super) fn body(message: &Message) -> Value {
    let event = &message.event;
    let image = &event.image;
    let mut body = json!({
        "specversion": "1.0",
        "id": message.id,
        "source": format!("//{}/{}", part(&image.registry), part(&image.repository)),
        "type": format!("dev.roadstead.{}", super::type_of(event)),
        "time": format!("{:.6}", event.at),
        "datacontenttype": "application/json",
        "reconciled": event.reconciled,
        "data": super::data(message),
    });
    let subject = if image.tag.is_empty() { &image.digest } else { &image.tag };
    if !subject.is_empty() {
        body["subject"] = super::bounded(subject).into();
    }
    body
}

/// A text as part of a URI reference (RFC 3986): what is not allowed there is percent-encoded.
fn part(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in super::bounded(text).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b'[' | b']' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
