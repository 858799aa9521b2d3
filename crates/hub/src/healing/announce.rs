//! A difference as the event that tells of it. Pure.

use bytes::Bytes;
use jiff::Timestamp;
use roadstead_api::{endpoint::Provider, event::Header};
use roadstead_outbound::tags::Difference;
use serde_json::json;

use crate::{log::Draft, providers};

/// Longest id that is kept as it is; what is longer is hashed, as are the ids of providers.
const MAX_ID: usize = 256;

/// The event for a difference in `repository` of the registry at `host`. `touched` is that of what was known. The request is made up: what a
/// CNCF registry would have posted.
pub(super) fn draft(
    provider: Provider,
    host: &str,
    repository: &str,
    difference: &Difference,
    touched: u64,
    now: Timestamp,
) -> Draft {
    let image = difference.image(host, repository);
    let id = difference.id(repository, touched);
    let id = if id.len() > MAX_ID { format!("reconciled/{}", providers::synthetic_id(&[&id])) } else { id };
    let target = match &difference.after {
        Some(digest) => json!({"repository": repository, "tag": difference.tag, "digest": digest}),
        None => json!({"repository": repository, "tag": difference.tag}),
    };
    let event = json!({
        "id": id, "timestamp": now.to_string(), "action": image.action, "target": target, "request": {"host": host},
    });
    let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
    Draft {
        id,
        dedupe: true,
        kind: providers::kind_of(provider, &image.action).into(),
        provider,
        received_at: now,
        verified: true,
        reconciled: true,
        git: None,
        image: Some(image),
        method: "POST".into(),
        headers: vec![
            header("content-type", "application/vnd.docker.distribution.events.v2+json"),
            header("user-agent", "roadstead-reconcile"),
        ],
        body: Bytes::from(json!({"events": [event]}).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;
    use crate::incoming::Incoming;

    fn difference(tag: &str, after: Option<&str>) -> Difference {
        Difference { tag: tag.into(), before: Some("sha256:a".into()), after: after.map(String::from) }
    }

    #[test]
    fn reads_like_what_a_registry_tells() {
        for (after, action, digest) in [(Some("sha256:b"), "push", "sha256:b"), (None, "delete", "")] {
            let difference = difference("v1", after);
            let draft = draft(Provider::Distribution, "r:5000", "team/shop", &difference, 42, Timestamp::UNIX_EPOCH);
            assert!(draft.verified && draft.reconciled && draft.dedupe);
            let incoming =
                Incoming { method: &Method::POST, headers: &HeaderMap::new(), query: None, body: &draft.body };
            let change = providers::read(Provider::Distribution, None, &incoming).changes.remove(0);
            assert_eq!((change.id, change.kind.as_str()), (Some(draft.id.clone()), action));
            let image = change.image.unwrap();
            assert_eq!(
                [&*image.registry, &*image.repository, &*image.tag, &*image.digest],
                ["r:5000", "team/shop", "v1", digest]
            );
            assert_eq!(draft.kind, action);
        }
    }

    #[test]
    fn ids_are_the_same_for_the_same_and_short() {
        let id = |tag: &str, touched| {
            let difference = difference(tag, Some("sha256:b"));
            draft(Provider::Harbor, "r", "a", &difference, touched, Timestamp::now()).id
        };
        assert_eq!(id("v1", 7), "reconciled/a:v1@sha256:b/7");
        assert_eq!(id("v1", 7), id("v1", 7));
        assert_ne!(id("v1", 7), id("v1", 8));
        let long = "x".repeat(300);
        assert!(id(&long, 7).len() < 100 && id(&long, 7) == id(&long, 7) && id(&long, 7) != id(&long, 8));
    }
}
