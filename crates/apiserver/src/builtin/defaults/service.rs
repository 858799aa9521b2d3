//! Defaults of a Service. Addresses are not among them: who assigns those is another matter.

use serde_json::{Value, json};

use super::{fill, items, object};

/// Service.
pub(in crate::builtin) fn service(service: &mut Value) {
    let Some(spec) = service.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    fill(spec, "type", "ClusterIP");
    fill(spec, "sessionAffinity", "None");
    if spec["sessionAffinity"] == "ClientIP"
        && let Some(affinity) = object(spec, "sessionAffinityConfig").and_then(|config| object(config, "clientIP"))
    {
        fill(affinity, "timeoutSeconds", 10_800);
    }
    for port in items(spec, "ports") {
        fill(port, "protocol", "TCP");
        // Zero is how clients leave it out.
        if port.get("targetPort").is_some_and(|target| *target == 0) {
            port["targetPort"] = Value::Null;
        }
        let number = port.get("port").cloned().unwrap_or_default();
        fill(port, "targetPort", number);
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_string();
    if kind != "ExternalName" {
        fill(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "NodePort" || kind == "LoadBalancer" {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
    fill(service, "status", json!({"loadBalancer": {}}));
}
