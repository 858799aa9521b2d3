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
    if spec["sessionAffinity"] == "None"
        && let Some(spec) = spec.as_object_mut()
    {
        spec.shift_remove("sessionAffinityConfig");
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
    if let Some(status) = object(service, "status") {
        fill(status, "loadBalancer", json!({}));
    }
}

/// The address fields, after all else is decided. Addresses are carried over from the `old` Service, and a headless one has the
/// fields that follow from that; none is assigned here.
pub(in crate::builtin) fn addresses(service: &mut Value, old: Option<&Value>) {
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let external = |spec: &Value| spec["type"] == "ExternalName";
    let before = old.map(|old| &old["spec"]).filter(|before| !external(before));
    if spec.get("type").is_some_and(|kind| kind == "ExternalName") {
        return;
    }
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let absent = spec.get(field).is_none_or(|value| value.is_null() || value == "" || *value == json!([]));
        if let (true, Some(kept)) = (absent, before.and_then(|before| before.get(field))) {
            spec.insert(field.into(), kept.clone());
        }
    }
    let address = spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default().to_string();
    if !address.is_empty() {
        spec.entry("clusterIPs").or_insert_with(|| json!([address]));
    }
    if address == "None" {
        let selected = spec.get("selector").and_then(Value::as_object).is_some_and(|selector| !selector.is_empty());
        // Without a selector somebody else fills in the endpoints, of whatever family.
        let (families, policy) =
            if selected { (json!(["IPv4"]), "SingleStack") } else { (json!(["IPv4", "IPv6"]), "RequireDualStack") };
        spec.entry("ipFamilies").or_insert(families);
        spec.entry("ipFamilyPolicy").or_insert_with(|| policy.into());
    }
}
