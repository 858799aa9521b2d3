//! Harbor, in its default format and as CloudEvents.
//!
//! Types are Harbor's: `PUSH_ARTIFACT`, `DELETE_ARTIFACT`, or `harbor.artifact.pushed`. The default format has no id, so one is made
//! from everything that tells one event from another, its time included; a CloudEvent has one. A deletion of several tags is
//! several resources, each an event. Source: goharbor.io, "Configure webhook notifications".

use roadstead_api::event::ImageChange;
use serde::Deserialize;

use super::json::{self, List, Object, Text};
use super::{Change, MAX_CHANGES, Reading, id, kind, reference, synthetic_id};
use crate::incoming::Incoming;

/// Type of a delivery that cannot be read.
const KIND: &str = "event";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    r#type: Text,
    operator: Text,
    occur_at: Text,
    event_data: Object<Data>,
    /// As a CloudEvent.
    id: Text,
    data: Object<Data>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Data {
    resources: List<Object<Resource>, MAX_CHANGES>,
    repository: Object<Repository>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Resource {
    digest: Text,
    tag: Text,
    resource_url: Text,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Repository {
    repo_full_name: Text,
}

pub(super) fn read(incoming: &Incoming<'_>) -> Reading {
    let body = match json::root::<Body>(incoming.body) {
        Err(why) => return Reading::unreadable(None, KIND, why),
        Ok(body) => body,
    };
    let kind = kind(&body.r#type);
    let data = body.event_data.0.or(body.data.0).unwrap_or_default();
    let repository = data.repository.get().repo_full_name.0;
    let resources: Vec<_> = data.resources.items.iter().map(Object::get).collect();
    let id = id(&body.id).or_else(|| {
        let mut parts = vec![&*kind, &*body.occur_at, &*body.operator, &*repository];
        parts.extend(resources.iter().flat_map(|resource| [&*resource.digest, &*resource.tag]));
        // Without a time two pushes of one tag would be one event.
        (!body.occur_at.is_empty()).then(|| synthetic_id(&parts))
    });
    if repository.is_empty() {
        return Reading::one(Change { id, kind, ..Change::default() });
    }
    let image = |resource: Resource| {
        let (tag, digest_as_tag) = reference(resource.tag.0);
        Change {
            kind: kind.clone(),
            image: Some(ImageChange {
                registry: resource.resource_url.split_once('/').map(|(host, _)| host.to_owned()).unwrap_or_default(),
                repository: repository.clone(),
                tag,
                digest: if resource.digest.is_empty() { digest_as_tag } else { resource.digest.0 },
                action: action(&kind),
                actor: body.operator.0.clone(),
            }),
            ..Change::default()
        }
    };
    let total = data.resources.total;
    let mut changes: Vec<_> = resources.into_iter().map(image).collect();
    if changes.is_empty() {
        changes.push(image(Resource::default()));
    }
    Reading::several(id, &kind, changes, total)
}

fn action(kind: &str) -> String {
    match kind {
        "PUSH_ARTIFACT" | "harbor.artifact.pushed" | "CREATE_TAG" | "harbor.tag.created" => "push".to_owned(),
        "DELETE_ARTIFACT" | "harbor.artifact.deleted" => "delete".to_owned(),
        "PULL_ARTIFACT" | "harbor.artifact.pulled" => "pull".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Delivery;
    use super::*;

    fn default(occur_at: u64, resources: &str) -> Reading {
        Delivery::new(format!(
            r#"{{"type":"PUSH_ARTIFACT","occur_at":{occur_at},"operator":"admin","event_data":{{"resources":[{resources}],
            "repository":{{"date_created":1586922308,"name":"debian","namespace":"test-webhook",
            "repo_full_name":"test-webhook/debian","repo_type":"private"}}}}}}"#
        ))
        .read(read)
    }

    const RESOURCE: &str =
        r#"{"digest":"sha256:8a9e9863","tag":"latest","resource_url":"hub.harbor.com/test-webhook/debian:latest"}"#;

    #[test]
    fn reads_the_default_format() {
        let change = default(1_586_922_308, RESOURCE).changes.remove(0);
        assert_eq!(change.kind, "PUSH_ARTIFACT");
        let image = change.image.unwrap();
        assert_eq!(
            [image.registry, image.repository, image.tag, image.digest, image.action, image.actor],
            ["hub.harbor.com", "test-webhook/debian", "latest", "sha256:8a9e9863", "push", "admin"]
        );
    }

    #[test]
    fn makes_an_id_that_a_retry_repeats_and_the_next_push_does_not() {
        let first = default(1_586_922_308, RESOURCE).ids("random");
        assert!(first[0].starts_with("sha256:"));
        assert_eq!(first, default(1_586_922_308, RESOURCE).ids("random"));
        assert_ne!(first, default(1_586_922_309, RESOURCE).ids("random"));
        let two = default(1_586_922_308, &[RESOURCE, RESOURCE].join(",")).ids("random");
        assert_eq!((two.len(), two[0].ends_with("/0"), two[1].ends_with("/1")), (2, true, true));
        let timeless = r#"{"type":"QUOTA_EXCEED","event_data":{"repository":{"repo_full_name":"a/b"}}}"#;
        assert_eq!(Delivery::new(timeless).read(read).ids("random"), ["random"]);
    }

    #[test]
    fn reads_a_cloud_event() {
        let body = r#"{"specversion":"1.0","requestid":"2eedfab8","id":"4b2f89a6","source":"/projects/1/webhook/policies/3",
            "type":"harbor.artifact.pulled","datacontenttype":"application/json","time":"2023-03-06T06:08:43Z",
            "data":{"resources":[{"digest":"sha256:dde8","tag":"sha256:dde8","resource_url":"harbor.dev/library/busybox@sha256:dde8"}],
            "repository":{"name":"busybox","namespace":"library","repo_full_name":"library/busybox"}},"operator":"robot$scanner"}"#;
        let change =
            Delivery::new(body).header("Content-Type", "application/cloudevents+json").read(read).changes.remove(0);
        assert_eq!((change.id.as_deref(), change.kind.as_str()), (Some("4b2f89a6"), "harbor.artifact.pulled"));
        let image = change.image.unwrap();
        assert_eq!(
            [image.registry, image.repository, image.tag, image.digest, image.action, image.actor],
            ["harbor.dev", "library/busybox", "", "sha256:dde8", "pull", "robot$scanner"]
        );
    }

    #[test]
    fn an_event_without_a_repository_is_no_image() {
        let body = r#"{"type":"QUOTA_WARNING","occur_at":1,"operator":"admin","event_data":{"custom_attributes":{}}}"#;
        let change = Delivery::new(body).read(read).changes.remove(0);
        assert_eq!((change.kind.as_str(), change.image), ("QUOTA_WARNING", None));
    }
}
