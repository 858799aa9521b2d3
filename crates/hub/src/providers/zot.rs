//! Zot: CloudEvents in binary mode (structured is read too). Type in `Ce-Type`, e.g. `zotregistry.image.updated`; id in `Ce-Id`.
//! The payload does not name the registry's host. Source: zotregistry.dev, "Event generation", and its package `events`.

use roadstead_api::event::ImageChange;
use serde::Deserialize;

use super::cloudevents::STRUCTURED;
use super::json::{self, Object, Text};
use super::{Change, Reading, id, kind, reference};
use crate::incoming::Incoming;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    id: Text,
    r#type: Text,
    data: Object<Data>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Data {
    name: Text,
    reference: Text,
    digest: Text,
    actor: Object<Actor>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Actor {
    name: Text,
}

pub(super) fn read(incoming: &Incoming<'_>) -> Reading {
    let (mut event_id, mut event) = (incoming.header("ce-id").and_then(id), incoming.header("ce-type").map(kind));
    let data = if incoming.is(STRUCTURED) {
        json::root::<Envelope>(incoming.body).map(|envelope| {
            event_id = id(&envelope.id);
            event = Some(kind(&envelope.r#type));
            envelope.data.get()
        })
    } else {
        json::root::<Data>(incoming.body)
    };
    let event = event.unwrap_or_else(|| kind(""));
    match data {
        Err(why) => Reading::unreadable(event_id, &event, why),
        Ok(data) => Reading::one(Change { id: event_id, image: image(&event, data), kind: event, ..Change::default() }),
    }
}

fn image(event: &str, data: Data) -> Option<ImageChange> {
    let (tag, digest_as_reference) = reference(data.reference.0);
    (!data.name.is_empty()).then(|| ImageChange {
        registry: String::new(),
        repository: data.name.0,
        tag,
        digest: if data.digest.is_empty() { digest_as_reference } else { data.digest.0 },
        action: match event {
            "zotregistry.image.updated" => "push".to_owned(),
            "zotregistry.image.deleted" => "delete".to_owned(),
            other => other.strip_prefix("zotregistry.").unwrap_or(other).to_owned(),
        },
        actor: data.actor.get().name.0,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Delivery;
    use super::*;

    const DATA: &str = r#"{"name":"repo/app","reference":"v1","digest":"sha256:d",
        "mediaType":"application/vnd.oci.image.manifest.v1+json","manifest":"{}","actor":{"name":"alice"},
        "request":{"addr":"10.0.0.1:1234","method":"PUT","useragent":"skopeo/1.15"}}"#;

    #[test]
    fn reads_binary_and_structured_events() {
        let binary = Delivery::new(DATA)
            .header("Ce-Id", "9e0e")
            .header("Ce-Source", "zotregistry.dev")
            .header("Ce-Type", "zotregistry.image.updated")
            .header("Content-Type", "application/json")
            .read(read);
        let structured = Delivery::new(format!(
            r#"{{"specversion":"1.0","id":"9e0e","source":"zotregistry.dev","type":"zotregistry.image.updated","data":{DATA}}}"#
        ))
        .header("Content-Type", "application/cloudevents+json; charset=utf-8")
        .read(read);
        assert_eq!(binary, structured);
        let change = &binary.changes[0];
        assert_eq!((change.id.as_deref(), change.kind.as_str()), (Some("9e0e"), "zotregistry.image.updated"));
        let image = change.image.clone().unwrap();
        assert_eq!(
            [image.repository, image.tag, image.digest, image.action, image.actor],
            ["repo/app", "v1", "sha256:d", "push", "alice"]
        );
    }

    #[test]
    fn reads_other_events() {
        for (event, body, expected) in [
            ("zotregistry.image.deleted", r#"{"name":"a","reference":"sha256:x"}"#, ["delete", "", "sha256:x"]),
            ("zotregistry.repository.created", r#"{"name":"a"}"#, ["repository.created", "", ""]),
            ("zotregistry.image.scanned", r#"{"name":"a","reference":"v1","summary":{}}"#, ["image.scanned", "v1", ""]),
        ] {
            let image = Delivery::new(body).header("ce-type", event).read(read).changes.remove(0).image.unwrap();
            assert_eq!([image.action.as_str(), image.tag.as_str(), image.digest.as_str()], expected, "{event}");
        }
    }
}
