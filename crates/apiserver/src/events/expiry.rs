//! Events live for an hour after they were last written, as in Kubernetes; else a busy cluster would fill its store with them.
//!
//! In: the Events in the store. Out: deletions, through the same resource that clients use. Level-triggered: each round reads what
//! is there, so a missed round or a restart changes nothing but the time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use roadstead_kubewire::{Catalog, Context, DeleteOptions, Key, User};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    objects::{Objects, text},
    store::Store,
};

/// How long an Event lives after its last change.
const LIFE: SignedDuration = SignedDuration::from_hours(1);
/// Between two rounds.
const PAUSE: Duration = Duration::from_secs(60);
/// Events that one round deletes at most; after a full one the next follows soon.
const ROUND: usize = 1000;
const SOON: Duration = Duration::from_millis(200);

/// An Event whose time is over.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expired {
    key: Key,
    uid: String,
    version: String,
}

/// Removes expired Events of `store`, through the resource of `catalog`, until `shutdown`.
pub async fn run(store: Store, catalog: Catalog, shutdown: CancellationToken) {
    let user = User { name: "system:serviceaccount:kube-system:event-expiry".into(), ..User::system() };
    let cx = Context::new(user, "event-expiry");
    loop {
        let expired = plan(Objects::list(&store, "", "events", None).iter().map(AsRef::as_ref), Timestamp::now());
        let full = expired.len() == ROUND;
        if let Some(events) = catalog.snapshot().find("", "v1", "events") {
            for Expired { key, uid, version } in expired {
                // Written again in the meantime: it lives on.
                let options =
                    DeleteOptions { uid: Some(uid), resource_version: Some(version), ..DeleteOptions::default() };
                match events.delete(&cx, &key, &options).await {
                    Err(error) if !matches!(error.code, 404 | 409) => {
                        tracing::warn!(event = key.name, %error, "an expired Event could not be removed");
                        break;
                    }
                    _ => {}
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(if full { SOON } else { PAUSE }) => {}
        }
    }
}

/// The Events whose time is over at `now`, at most [`ROUND`] of them.
fn plan<'a>(events: impl Iterator<Item = &'a Value>, now: Timestamp) -> Vec<Expired> {
    let over = events.filter(|event| last_written(event).is_some_and(|written| now.duration_since(written) >= LIFE));
    over.take(ROUND)
        .map(|event| Expired {
            key: Key::new(text(event, "/metadata/namespace"), text(event, "/metadata/name")),
            uid: text(event, "/metadata/uid").into(),
            version: text(event, "/metadata/resourceVersion").into(),
        })
        .collect()
}

/// When it was created or, as its managers tell, last changed.
fn last_written(event: &Value) -> Option<Timestamp> {
    let managers = event.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let times = managers.map(|entry| text(entry, "/time")).chain([text(event, "/metadata/creationTimestamp")]);
    times.filter_map(|time| time.parse().ok()).max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(name: &str, created: &str, changed: &str) -> Value {
        json!({"metadata": {
            "name": name, "namespace": "default", "uid": "u", "resourceVersion": "7", "creationTimestamp": created,
            "managedFields": [{"time": changed}, {}],
        }})
    }

    #[test]
    fn an_event_lives_for_an_hour_after_its_last_change() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        for (created, changed, over) in [
            ("2026-01-01T11:00:00Z", "2026-01-01T11:00:00Z", true),
            ("2026-01-01T11:00:01Z", "2026-01-01T11:00:01Z", false),
            ("2026-01-01T09:00:00Z", "2026-01-01T11:30:00Z", false),
            ("2026-01-01T13:00:00Z", "", false),
            ("", "", false),
        ] {
            let found = plan([event("a", created, changed)].iter(), now);
            assert_eq!(!found.is_empty(), over, "{created} {changed}");
        }
    }

    #[test]
    fn a_round_is_bounded() {
        let events: Vec<Value> = (0..ROUND + 5).map(|i| event(&i.to_string(), "2020-01-01T00:00:00Z", "")).collect();
        assert_eq!(plan(events.iter(), Timestamp::now()).len(), ROUND);
    }
}
