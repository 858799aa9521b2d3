//! Format `distribution`: the envelope that CNCF Distribution posts, for receivers that are made for it.
//!
//! One event in one envelope, as that registry does. A test message is an envelope without events: such receivers know no tests.
//! `reconciled` is a member of the event that others pass over. `source.instanceID` stays the same for a webhook's life: receivers
//! take a new one for a registry that was restarted. Source: distribution.github.io, "Notifications".

use serde_json::{Value, json};

use crate::delivery::Message;

/// What an image is, where nobody said which of the manifests' types it has.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(super) fn body(message: &Message) -> Value {
    let event = &message.event;
    let image = &event.image;
    if event.kind == "test" {
        return json!({"events": []});
    }
    let mut target = json!({"repository": image.repository});
    if event.kind == "push" {
        target["mediaType"] = MANIFEST.into();
    }
    for (name, value) in [("digest", &image.digest), ("tag", &image.tag)] {
        if !value.is_empty() {
            target[name] = super::bounded(value).into();
        }
    }
    let method = if event.kind == "push" { "PUT" } else { "DELETE" };
    json!({"events": [{
        "id": message.id,
        "timestamp": format!("{:.6}", event.at),
        "action": event.kind,
        "target": target,
        "request": {"id": super::bounded(&event.id), "host": image.registry, "method": method},
        "actor": {"name": super::bounded(&image.actor)},
        "source": {"addr": event.origin, "instanceID": message.webhook},
        "reconciled": event.reconciled,
    }]})
}
