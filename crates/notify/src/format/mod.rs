//! What the body of a message looks like: pure functions of a message, one file for each `spec.format`.
//!
//! All say the same: what happened, to which image, when, and whether a comparison with the registry found it. The same message
//! gives the same bytes at each attempt. Names are bounded by [`MAX_NAME`], so that no body reaches the 20 kB that Standard
//! Webhooks recommends as a limit.

mod cloudevents;
mod distribution;
mod roadstead;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use roadstead_api::{event::ImageChange, registry_webhook::Format};
use serde_json::{Map, Value};

use crate::delivery::{Event, Message};

/// Longest name of a registry, repository, tag, digest or person that is told, in bytes. The OCI distribution specification allows
/// 255 for a repository and 128 for a tag.
pub const MAX_NAME: usize = 512;

/// A body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Media type.
    pub content_type: &'static str,
    /// The bytes that are signed and sent.
    pub bytes: Bytes,
}

/// The body of a message in a format.
pub fn render(format: Format, message: &Message) -> Body {
    let (content_type, value) = match format {
        Format::Roadstead => ("application/json", roadstead::body(message)),
        Format::Cloudevents => ("application/cloudevents+json", cloudevents::body(message)),
        Format::Distribution => ("application/vnd.docker.distribution.events.v2+json", distribution::body(message)),
    };
    Body { content_type, bytes: Bytes::from(value.to_string()) }
}

/// The type of an event: `image.push`, `image.delete`; `webhook.test`.
fn type_of(event: &Event) -> String {
    match event.kind.as_str() {
        "test" => "webhook.test".into(),
        kind => format!("image.{kind}"),
    }
}

/// What formats roadstead and cloudevents have as `data`. Fields that are not known are absent.
fn data(message: &Message) -> Value {
    let event = &message.event;
    let ImageChange { registry, repository, tag, digest, action: _, actor } = &event.image;
    let mut data = Map::new();
    let reference = reference(&event.image);
    for (name, value) in [
        ("registry", registry),
        ("repository", repository),
        ("tag", tag),
        ("digest", digest),
        ("reference", &reference),
        ("actor", actor),
        ("source", &event.origin),
        ("event", &event.id),
    ] {
        if !value.is_empty() {
            data.insert(name.into(), bounded(value).into());
        }
    }
    data.insert("sequence".into(), message.number.into());
    data.insert("reconciled".into(), event.reconciled.into());
    Value::Object(data)
}

/// What can be pulled: `registry/repository@digest`, or with the tag where the digest is not known; empty if neither is, after a
/// deletion, and where nobody told the registry: without one it would be pulled from Docker Hub.
fn reference(image: &ImageChange) -> String {
    let base = format!("{}/{}", image.registry, image.repository);
    match (image.action.as_str(), image.digest.as_str(), image.tag.as_str()) {
        ("delete", ..) | (_, "", "") => String::new(),
        _ if image.registry.is_empty() => String::new(),
        (_, "", tag) => format!("{base}:{tag}"),
        (_, digest, _) => format!("{base}@{digest}"),
    }
}

/// At most three names' worth of a text; only a person's name, an event's id and a reference can be that long.
fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(3 * MAX_NAME)]
}
