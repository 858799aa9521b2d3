//! Which endpoints a trigger may see where the hub draws no line itself.
//!
//! A subscriber's kubeconfig shows its subscriber what it was granted, and the hub enforces that. An agent inside of the
//! hub's own process sees all; there each trigger gets what a subscriber of its namespace would: the endpoints of that
//! namespace, and those whose `spec.allowSubscribersFrom` lists it.

use std::time::Duration;

use roadstead_api::trigger::HubEndpoint;
use serde_json::Value;

use super::{Hub, HubError};

/// In whose name an agent reads from a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The trigger's namespace.
    pub namespace: String,
    /// While a watch is open, it is asked again this often whether the endpoint may be seen.
    pub recheck: Duration,
}

impl Hub {
    /// Whether `asker` may see the endpoint now; `None` asks for whatever the hub shows. Answers the sequence of the
    /// endpoint's last event, as the hub last wrote it down.
    ///
    /// Errors: `Unavailable` where it is not allowed or missing, without saying which; without an asker, or where the
    /// hub knows the agent as a subscriber, 404 where the endpoint does not exist or is not granted.
    pub async fn admit(&self, endpoint: &HubEndpoint, asker: Option<&Asker>) -> Result<u64, HubError> {
        let Some(asker) = asker.filter(|_| self.identity().is_none()) else {
            return Ok(sequence(&self.endpoint(endpoint).await?));
        };
        let unavailable = || HubError::Unavailable {
            endpoint: format!("{}/{}", endpoint.namespace, endpoint.name),
            namespace: asker.namespace.clone(),
        };
        match self.endpoint(endpoint).await {
            Ok(found) if may_see(&asker.namespace, endpoint, &found) => Ok(sequence(&found)),
            Ok(_) | Err(HubError::NotFound(_)) => Err(unavailable()),
            Err(error) => Err(error),
        }
    }
}

fn sequence(endpoint: &Value) -> u64 {
    endpoint["status"]["sequence"].as_u64().unwrap_or_default()
}

/// The rule.
fn may_see(namespace: &str, endpoint: &HubEndpoint, found: &Value) -> bool {
    let mut listed = found["spec"]["allowSubscribersFrom"].as_array().into_iter().flatten();
    endpoint.namespace == namespace || listed.any(|from| from["namespace"] == namespace)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_endpoint_is_seen_by_its_own_namespace_and_by_those_that_it_lists() {
        let endpoint = HubEndpoint { hub: "main".into(), namespace: "b".into(), name: "shop".into() };
        let listing = |namespaces: &[&str]| {
            let listed: Vec<Value> = namespaces.iter().map(|name| json!({"namespace": name})).collect();
            json!({"spec": {"allowSubscribersFrom": listed}})
        };
        for (namespace, listed, expected) in [
            ("b", &[][..], true),
            ("a", &[], false),
            ("a", &["c"], false),
            ("a", &["c", "a"], true),
            ("", &["c"], false),
            ("a", &["*"], false),
        ] {
            assert_eq!(may_see(namespace, &endpoint, &listing(listed)), expected, "{namespace:?} {listed:?}");
        }
        assert!(!may_see("a", &endpoint, &json!({"spec": {}})));
    }
}
