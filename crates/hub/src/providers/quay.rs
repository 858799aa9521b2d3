//! Quay and Quay.io: a push with the tags that it moved, without signature and without digests, so always hints. Each tag is an
//! event. Type `repo_push`, or `notification` for Quay's other notifications, whose bodies do not name their kind. No id: every
//! POST is news. Source: docs.redhat.com, "Use Red Hat Quay", "Repository notifications"; older versions send `updated_tags` as an
//! object from tag to image.

use roadstead_api::event::ImageChange;
use serde::Deserialize;

use super::json::{self, Names, Text};
use super::{Change, MAX_CHANGES, Reading};
use crate::incoming::Incoming;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    repository: Text,
    docker_url: Text,
    updated_tags: Names<MAX_CHANGES>,
}

pub(super) fn read(incoming: &Incoming<'_>) -> Reading {
    let body = match json::root::<Body>(incoming.body) {
        Err(why) => return Reading::unreadable(None, "notification", why),
        Ok(body) => body,
    };
    if body.updated_tags.total == 0 || body.repository.is_empty() {
        return Reading::one(Change { kind: "notification".to_owned(), ..Change::default() });
    }
    let registry = body.docker_url.split_once('/').map(|(host, _)| host.to_owned()).unwrap_or_default();
    let change = |tag| Change {
        kind: "repo_push".to_owned(),
        image: Some(ImageChange {
            registry: registry.clone(),
            repository: body.repository.0.clone(),
            tag,
            action: "push".to_owned(),
            ..ImageChange::default()
        }),
        hint: true,
        ..Change::default()
    };
    let changes = body.updated_tags.items.into_iter().map(change).collect();
    Reading::several(None, "repo_push", changes, body.updated_tags.total)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Delivery;
    use super::*;

    #[test]
    fn reads_every_tag_of_either_form() {
        for (tags, expected) in
            [(r#"["latest","v1"]"#, ["latest", "v1"]), (r#"{"latest":"deadbeef","v1":"cafe"}"#, ["latest", "v1"])]
        {
            let reading = Delivery::new(format!(
                r#"{{"name":"repository","repository":"dgangaia/test","namespace":"dgangaia","docker_url":"quay.io/dgangaia/test",
                "homepage":"https://quay.io/repository/dgangaia/repository","updated_tags":{tags}}}"#
            ))
            .read(read);
            assert_eq!(reading.ids("r"), ["r/0", "r/1"]);
            for (change, tag) in reading.changes.iter().zip(expected) {
                let image = change.image.clone().unwrap();
                assert_eq!([image.registry, image.repository, image.tag], ["quay.io", "dgangaia/test", tag]);
                assert!(change.hint && image.digest.is_empty());
                assert_eq!(change.kind, "repo_push");
            }
        }
    }

    #[test]
    fn other_notifications_are_kept_without_an_image() {
        for body in [r#"{"repository":"a/b","build_id":"x"}"#, r#"{"repository":"a/b","updated_tags":[]}"#, "{}"] {
            let change = Delivery::new(body).read(read).changes.remove(0);
            assert_eq!((change.kind.as_str(), change.image, change.hint), ("notification", None, false), "{body}");
        }
    }
}
