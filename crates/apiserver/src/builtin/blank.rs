//! The fields that an object of a built-in kind has before anybody has written one.
//!
//! kube-apiserver decodes into Go values, whose nested structures are there even when nothing was sent. So nobody owns such a
//! structure in `managedFields`, only what is in it. Source: the fields without `omitempty` in k8s.io/api.

use serde_json::{Value, json};

fn template() -> Value {
    json!({"metadata": {}, "spec": {"containers": null}})
}

/// Deployment.
pub(super) fn deployment() -> Value {
    json!({"spec": {"selector": null, "strategy": {}, "template": template()}, "status": {}})
}

/// StatefulSet.
pub(super) fn stateful_set() -> Value {
    let status = json!({"replicas": 0, "availableReplicas": 0});
    json!({"spec": {"selector": null, "template": template(), "updateStrategy": {}}, "status": status})
}

/// DaemonSet.
pub(super) fn daemon_set() -> Value {
    let status =
        json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0});
    json!({"spec": {"selector": null, "template": template(), "updateStrategy": {}}, "status": status})
}

/// Service.
pub(super) fn service() -> Value {
    json!({"spec": {}, "status": {"loadBalancer": {}}})
}

/// Role and ClusterRole.
pub(super) fn role() -> Value {
    json!({"rules": null})
}

/// Kinds with nothing but a `spec` that is always there.
pub(super) fn spec() -> Value {
    json!({"spec": {}})
}

/// CustomResourceDefinition.
pub(super) fn definition() -> Value {
    let names = json!({"plural": "", "kind": ""});
    json!({"spec": {"group": "", "names": names, "scope": "", "versions": null}})
}
