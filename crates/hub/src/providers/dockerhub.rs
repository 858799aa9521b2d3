//! Docker Hub: a push of a tag, without signature and without digest, so always a hint. Type `push`. Source: docs.docker.com,
//! "Docker Hub webhooks". `callback_url` is never called: it would let any sender make the hub ask any address.
//!
//! The payload has no id; one is made from its time (in seconds), pusher, repository, tag and `callback_url`, which names the
//! delivery: two pushes within one second stay two events.

use roadstead_api::event::ImageChange;
use serde::Deserialize;

use super::json::{self, Object, Text};
use super::{Change, Reading, synthetic_id};
use crate::incoming::Incoming;

const KIND: &str = "push";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    callback_url: Text,
    push_data: Object<PushData>,
    repository: Object<Repository>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct PushData {
    pushed_at: Text,
    pusher: Text,
    tag: Text,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Repository {
    repo_name: Text,
}

pub(super) fn read(incoming: &Incoming<'_>) -> Reading {
    let body = match json::root::<Body>(incoming.body) {
        Err(why) => return Reading::unreadable(None, KIND, why),
        Ok(body) => body,
    };
    let push = body.push_data.get();
    let repository = body.repository.get().repo_name.0;
    let parts = [&*push.pushed_at, &*push.pusher, &*repository, &*push.tag, &*body.callback_url];
    let id = (!push.pushed_at.is_empty()).then(|| synthetic_id(&parts));
    let image = (!repository.is_empty()).then(|| ImageChange {
        registry: "docker.io".to_owned(),
        repository,
        tag: push.tag.0,
        digest: String::new(),
        action: "push".to_owned(),
        actor: push.pusher.0,
    });
    Reading::one(Change { id, kind: KIND.to_owned(), hint: image.is_some(), image, git: None })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Delivery;
    use super::*;

    fn deliver(pushed_at: u64, callback: &str) -> Change {
        let body = format!(
            r#"{{"callback_url":"https://registry.hub.docker.com/u/svendowideit/testhook/hook/{callback}/",
            "push_data":{{"pushed_at":{pushed_at},"pusher":"trustedbuilder","tag":"latest"}},
            "repository":{{"name":"testhook","namespace":"svendowideit","owner":"svendowideit","repo_name":"svendowideit/testhook",
            "repo_url":"https://registry.hub.docker.com/u/svendowideit/testhook/","star_count":0,"status":"Active"}}}}"#
        );
        Delivery::new(body).read(read).changes.remove(0)
    }

    #[test]
    fn reads_the_documented_push_as_a_hint() {
        let change = deliver(1_417_566_161, "2141b5bi");
        assert!(change.hint);
        let image = change.image.unwrap();
        assert_eq!(
            [image.registry, image.repository, image.tag, image.digest, image.action, image.actor],
            ["docker.io", "svendowideit/testhook", "latest", "", "push", "trustedbuilder"]
        );
    }

    #[test]
    fn ids_differ_with_time_and_delivery() {
        let id = |pushed_at, callback| deliver(pushed_at, callback).id;
        assert_eq!(id(1, "a"), id(1, "a"));
        assert_ne!(id(1, "a"), id(2, "a"));
        assert_ne!(id(1, "a"), id(1, "b"));
    }
}
