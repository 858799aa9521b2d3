//! CNCF Distribution (`registry:2`, `registry:3`, GitLab's registry), and the event that Azure's registry has in common with it.
//!
//! An envelope of events, each with an id of its own. Types are `push`, `pull`, `delete` for manifests and tags, `mount`,
//! `blob_push`, `blob_pull` for layers, which the registry calls by the same names: a layer's digest must never be taken for an
//! image's. Deletions come in three shapes: repository and digest (a manifest, or a blob: the registry does not say), repository
//! and tag, repository alone. Source: distribution.github.io, "Notifications", and its package `notifications`. The media type
//! (`application/vnd.docker.distribution.events.v1+json` or `.v2+json`) makes no difference.

use roadstead_api::event::ImageChange;
use serde::Deserialize;

use super::json::{self, List, Object, Text};
use super::{Change, MAX_CHANGES, Reading, id, kind};
use crate::incoming::Incoming;

/// Type of a delivery whose events cannot be read.
const KIND: &str = "events";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    events: List<Object<Event>, MAX_CHANGES>,
}

/// One event; Azure sends it without an envelope.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    pub(super) id: Text,
    pub(super) action: Text,
    target: Object<Target>,
    request: Object<Request>,
    actor: Object<Actor>,
    source: Object<Source>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Target {
    #[serde(rename = "mediaType")]
    media_type: Text,
    digest: Text,
    repository: Text,
    tag: Text,
    url: Text,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Request {
    host: Text,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Actor {
    name: Text,
}

/// The registry's process; `instanceID` is another one after each start.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Source {
    #[serde(rename = "instanceID")]
    instance: Text,
}

pub(super) fn read(incoming: &Incoming<'_>) -> Reading {
    match json::root::<Envelope>(incoming.body) {
        Err(why) => Reading::unreadable(None, KIND, why),
        Ok(envelope) => {
            let events: Vec<Event> = envelope.events.items.into_iter().map(|event| event.get()).collect();
            let instance = events.iter().rev().find_map(|event| id(&event.source.clone().get().instance));
            let changes = events.into_iter().map(change).collect();
            Reading { instance, ..Reading::several(None, KIND, changes, envelope.events.total) }
        }
    }
}

/// One event as a change.
pub(super) fn change(event: Event) -> Change {
    let target = event.target.get();
    let action = match &*event.action {
        "push" if is_blob(&target) => "blob_push".to_owned(),
        "pull" if is_blob(&target) => "blob_pull".to_owned(),
        _ => kind(&event.action),
    };
    let image = (!target.repository.is_empty()).then(|| ImageChange {
        registry: event.request.get().host.0,
        repository: target.repository.0,
        tag: target.tag.0,
        digest: target.digest.0,
        action: action.clone(),
        actor: event.actor.get().name.0,
    });
    Change { id: id(&event.id), kind: action, image, ..Change::default() }
}

/// Whether a pushed or pulled thing is a layer or configuration. What has a tag is a manifest; else its URL says, else its type.
fn is_blob(target: &Target) -> bool {
    if !target.tag.is_empty() || target.url.contains("/manifests/") {
        return false;
    }
    let manifest = target.media_type.contains("manifest") || target.media_type.contains("image.index");
    target.url.contains("/blobs/") || !manifest
}

#[cfg(test)]
mod tests {
    use super::super::tests::Delivery;
    use super::*;

    const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

    fn event(id: &str, action: &str, target: &str) -> String {
        format!(
            r#"{{"id":"{id}","timestamp":"2016-03-09T14:44:26.402973972-08:00","action":"{action}","target":{target},
            "request":{{"id":"6df24a34","addr":"192.168.64.11:42961","host":"192.168.100.227:5000","method":"PUT"}},
            "actor":{{"name":"test-actor"}},"source":{{"addr":"xtal.local:5000","instanceID":"a53db899"}}}}"#
        )
    }

    fn deliver(events: &[String]) -> Reading {
        Delivery::new(format!(r#"{{"events":[{}]}}"#, events.join(",")))
            .header("Content-Type", "application/vnd.docker.distribution.events.v2+json")
            .read(read)
    }

    #[test]
    fn reads_the_documented_push() {
        let target = format!(
            r#"{{"mediaType":"{MANIFEST}","digest":"sha256:fea8","size":708,"length":708,"repository":"hello-world",
            "url":"http://192.168.100.227:5000/v2/hello-world/manifests/sha256:fea8","tag":"latest"}}"#
        );
        let reading = deliver(&[event("320678d8", "push", &target)]);
        assert_eq!(reading.ids("unused"), ["320678d8"]);
        let image = reading.changes[0].image.clone().unwrap();
        assert_eq!(
            [image.registry, image.repository, image.tag, image.digest, image.action, image.actor],
            ["192.168.100.227:5000", "hello-world", "latest", "sha256:fea8", "push", "test-actor"]
        );
        assert!(!reading.changes[0].hint);
        assert_eq!(reading.instance.as_deref(), Some("a53db899"));
    }

    #[test]
    fn tells_every_shape_apart() {
        let url = |kind: &str| format!(r#","url":"http://r/v2/a/{kind}/sha256:d""#);
        for (action, target, expected) in [
            (
                "push",
                format!(r#"{{"mediaType":"{MANIFEST}","digest":"sha256:d","repository":"a"}}"#),
                ["push", "", "sha256:d"],
            ),
            (
                "push",
                r#"{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:d","repository":"a"}"#
                    .into(),
                ["push", "", "sha256:d"],
            ),
            (
                "push",
                format!(
                    r#"{{"mediaType":"application/x-odd","digest":"sha256:d","repository":"a"{}}}"#,
                    url("manifests")
                ),
                ["push", "", "sha256:d"],
            ),
            (
                "push",
                format!(
                    r#"{{"mediaType":"application/octet-stream","digest":"sha256:d","repository":"a"{}}}"#,
                    url("blobs")
                ),
                ["blob_push", "", "sha256:d"],
            ),
            ("pull", r#"{"digest":"sha256:d","repository":"a"}"#.into(), ["blob_pull", "", "sha256:d"]),
            ("pull", format!(r#"{{"mediaType":"{MANIFEST}","repository":"a","tag":"v1"}}"#), ["pull", "v1", ""]),
            (
                "mount",
                r#"{"digest":"sha256:d","repository":"a","fromRepository":"b"}"#.into(),
                ["mount", "", "sha256:d"],
            ),
            ("delete", r#"{"digest":"sha256:d","repository":"a"}"#.into(), ["delete", "", "sha256:d"]),
            ("delete", r#"{"tag":"v1","repository":"a"}"#.into(), ["delete", "v1", ""]),
            ("delete", r#"{"repository":"a"}"#.into(), ["delete", "", ""]),
        ] {
            let change = deliver(&[event("i", action, &target)]).changes.remove(0);
            let image = change.image.unwrap();
            assert_eq!([image.action.as_str(), image.tag.as_str(), image.digest.as_str()], expected, "{target}");
            assert_eq!(change.kind, image.action);
        }
    }

    #[test]
    fn takes_every_event_of_an_envelope() {
        let events: Vec<_> = (0..3).map(|n| event(&n.to_string(), "delete", r#"{"repository":"a"}"#)).collect();
        assert_eq!(deliver(&events).ids("unused"), ["0", "1", "2"]);
        let nameless = [event("", "delete", r#"{"repository":"a"}"#), event("x", "delete", r#"{"repository":"a"}"#)];
        assert_eq!(deliver(&nameless).ids("r"), ["r/0", "x"]);
        assert_eq!(deliver(&[]).ids("r"), ["r"]);
        let flood: Vec<_> = (0..65).map(|n| event(&n.to_string(), "delete", "{}")).collect();
        assert_eq!(deliver(&flood).ids("r"), ["r"]);
    }
}
