//! An event as the agent holds it: the hub's WebhookEvent with its position as a number.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use roadstead_api::event::{WebhookEvent, WebhookEventSpec};

/// One event of a hub.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Position in the hub's log.
    pub position: u64,
    /// Name of the WebhookEvent.
    pub name: String,
    /// What was received.
    pub spec: WebhookEventSpec,
}

impl Event {
    /// Reads a WebhookEvent. Errors: the resourceVersion is not a number.
    pub fn new(event: WebhookEvent) -> Result<Self, String> {
        let version = event.metadata.resource_version.unwrap_or_default();
        let position = version.parse().map_err(|_| format!("resourceVersion {version:?} is not a log position"))?;
        Ok(Self { position, name: event.metadata.name.unwrap_or_default(), spec: event.spec })
    }

    /// The body, if it came with the event (up to 64 KiB). `None`: it must be read from the hub.
    pub fn inline_body(&self) -> Option<Bytes> {
        STANDARD.decode(self.spec.request.body.as_deref()?).ok().map(Bytes::from)
    }

    /// About how much memory it takes, in bytes.
    pub fn size(&self) -> u64 {
        let request = &self.spec.request;
        let headers: usize = request.headers.iter().map(|header| header.name.len() + header.value.len() + 64).sum();
        (request.body.as_ref().map_or(0, String::len) + headers + 1024) as u64
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(version: &str, body: Option<&str>) -> Result<Event, String> {
        let event = json!({
            "apiVersion": "log.roadstead.dev/v1alpha1", "kind": "WebhookEvent",
            "metadata": {"name": "shop-00000000000000000001", "resourceVersion": version},
            "spec": {"endpoint": "shop", "sequence": 1, "id": "a", "provider": "github", "type": "push",
                     "receivedAt": "2026-11-20T09:00:00Z", "verified": true, "request": {"method": "POST", "body": body}},
        });
        Event::new(serde_json::from_value(event).unwrap())
    }

    #[test]
    fn positions_are_numbers_and_bodies_bytes() {
        let read = event("88123", Some("aGkA/w==")).unwrap();
        assert_eq!((read.position, read.spec.sequence), (88123, 1));
        assert_eq!(read.inline_body().unwrap()[..], *b"hi\0\xff");
        assert_eq!(event("1", None).unwrap().inline_body(), None);
        assert!(event("abc", None).is_err());
    }
}
