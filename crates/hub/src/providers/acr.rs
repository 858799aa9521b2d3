//! Azure Container Registry: one event of Distribution's form for each delivery, with an id of its own; `action` is `push`,
//! `delete`, `quarantine`, `chart_push`, `chart_delete` or `ping`. Source: learn.microsoft.com, "Azure Container Registry webhook
//! reference".

use super::distribution::{Event, change};
use super::json;
use super::{Change, Reading};
use crate::incoming::Incoming;

/// Type of a delivery that cannot be read.
const KIND: &str = "event";

pub(super) fn read(incoming: &Incoming<'_>) -> Reading {
    match json::root::<Event>(incoming.body) {
        Err(why) => Reading::unreadable(None, KIND, why),
        Ok(event) if &*event.action == "ping" => {
            Reading { ping: true, ..Reading::one(Change { image: None, ..change(event) }) }
        }
        Ok(event) => Reading::one(change(event)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Delivery;
    use super::*;

    #[test]
    fn reads_the_documented_push_and_delete() {
        let push = r#"{"id":"cb8c3971-9adc-488b-xxxx-43cbb4974ff5","timestamp":"2017-11-17T16:52:01.343145347Z","action":"push",
            "target":{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","size":524,"digest":"sha256:xxxxd5c8",
            "length":524,"repository":"hello-world","tag":"v1"},
            "request":{"id":"3cbb6949","host":"myregistry.azurecr.io","method":"PUT","useragent":"docker/17.09.0-ce"}}"#;
        let change = Delivery::new(push).read(read).changes.remove(0);
        assert_eq!(change.id.as_deref(), Some("cb8c3971-9adc-488b-xxxx-43cbb4974ff5"));
        let image = change.image.unwrap();
        assert_eq!(
            [image.registry, image.repository, image.tag, image.digest, image.action],
            ["myregistry.azurecr.io", "hello-world", "v1", "sha256:xxxxd5c8", "push"]
        );
        let delete = r#"{"id":"afc359ce","action":"delete","target":{"mediaType":"application/vnd.docker.distribution.manifest.v2+json",
            "digest":"sha256:xxxxd5c8","repository":"hello-world"},"request":{"host":"myregistry.azurecr.io","method":"DELETE"}}"#;
        let image = Delivery::new(delete).read(read).changes.remove(0).image.unwrap();
        assert_eq!([image.tag, image.digest, image.action], ["", "sha256:xxxxd5c8", "delete"]);
    }

    #[test]
    fn a_ping_is_a_ping() {
        let reading = Delivery::new(r#"{"id":"p","timestamp":"t","action":"ping"}"#).read(read);
        assert!(reading.ping);
        assert_eq!((reading.changes[0].kind.as_str(), reading.changes[0].id.as_deref()), ("ping", Some("p")));
    }
}
