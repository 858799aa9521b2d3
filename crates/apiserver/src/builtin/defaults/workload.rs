//! Defaults of the kinds that have a pod template.

use serde_json::{Value, json};

use super::{fill, items, object, pod};

fn spec_of(workload: &mut Value) -> Option<&mut Value> {
    let spec = workload.get_mut("spec").filter(|spec| spec.is_object())?;
    if let Some(template) = spec.get_mut("template") {
        pod::template(template);
    }
    fill(spec, "revisionHistoryLimit", 10);
    Some(spec)
}

/// Deployment.
pub(in crate::builtin) fn deployment(deployment: &mut Value) {
    let Some(spec) = spec_of(deployment) else { return };
    fill(spec, "replicas", 1);
    fill(spec, "progressDeadlineSeconds", 600);
    if let Some(strategy) = rolling(spec, "strategy") {
        fill(strategy, "maxUnavailable", "25%");
        fill(strategy, "maxSurge", "25%");
    }
    fill(deployment, "status", json!({}));
}

/// StatefulSet.
pub(in crate::builtin) fn stateful_set(set: &mut Value) {
    let Some(spec) = spec_of(set) else { return };
    fill(spec, "replicas", 1);
    fill(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = rolling(spec, "updateStrategy") {
        fill(strategy, "partition", 0);
    }
    if let Some(policy) = object(spec, "persistentVolumeClaimRetentionPolicy") {
        fill(policy, "whenDeleted", "Retain");
        fill(policy, "whenScaled", "Retain");
    }
    for claim in items(spec, "volumeClaimTemplates") {
        fill(claim, "apiVersion", "v1");
        fill(claim, "kind", "PersistentVolumeClaim");
        pod::claim_spec(claim);
        fill(claim, "status", json!({"phase": "Pending"}));
    }
    fill(set, "status", json!({"replicas": 0, "availableReplicas": 0}));
}

/// DaemonSet.
pub(in crate::builtin) fn daemon_set(set: &mut Value) {
    let Some(spec) = spec_of(set) else { return };
    if let Some(strategy) = rolling(spec, "updateStrategy") {
        fill(strategy, "maxUnavailable", 1);
        fill(strategy, "maxSurge", 0);
    }
    let status =
        json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0});
    fill(set, "status", status);
}

/// The parameters of a rolling update, if the strategy is one.
fn rolling<'a>(spec: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    let strategy = object(spec, field)?;
    fill(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" { object(strategy, "rollingUpdate") } else { None }
}
