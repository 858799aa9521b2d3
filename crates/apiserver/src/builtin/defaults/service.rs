//! Defaults of a Service. Addresses are not among them: who assigns those is another matter.

use serde_json::{Map, Value, json};

use super::{fill, items, object};

/// Service.
pub(in crate::builtin) fn service(service: &mut Value) {
    // There always is one, even where an apply has taken away all that was in it.
    let Some(spec) = object(service, "spec") else { return };
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
        let number = port.get("port").cloned().unwrap_or(json!(0));
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
/// fields that follow from that; none is assigned here. What came with a type that the Service no longer has goes.
pub(in crate::builtin) fn addresses(service: &mut Value, old: Option<&Value>) {
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let before = old.and_then(|old| old["spec"].as_object());
    let external = |spec: &Map<String, Value>| spec.get("type").is_some_and(|kind| kind == "ExternalName");
    if let Some(before) = before {
        if !external(spec) && !external(before) {
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let absent = spec.get(field).is_none_or(|value| value.is_null() || value == "" || *value == json!([]));
                if let (true, Some(kept)) = (absent, before.get(field)) {
                    spec.insert(field.into(), kept.clone());
                }
            }
        }
        follow(spec, before);
        retype(spec, before);
    }
    if external(spec) {
        // It has nothing to route to.
        spec.shift_remove("internalTrafficPolicy");
        return;
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

/// Makes `clusterIPs` follow when only `clusterIP` was changed, as older clients do.
fn follow(spec: &mut Map<String, Value>, before: &Map<String, Value>) {
    if spec.get("clusterIP") == before.get("clusterIP") || spec.get("clusterIPs") != before.get("clusterIPs") {
        return;
    }
    match spec.get("clusterIP").and_then(Value::as_str).filter(|address| !address.is_empty()) {
        Some(address) => spec.insert("clusterIPs".into(), json!([address])),
        None => spec.shift_remove("clusterIPs"),
    };
}

/// Takes off what came with the type that a Service had before: such fields as the server may have filled in itself, where the
/// client did not change them too.
fn retype(spec: &mut Map<String, Value>, before: &Map<String, Value>) {
    let kind = |spec: &Map<String, Value>| spec.get("type").and_then(Value::as_str).unwrap_or_default().to_string();
    let (was, is) = (kind(before), kind(spec));
    let leaves = |kinds: &[&str]| kinds.contains(&was.as_str()) && !kinds.contains(&is.as_str());
    let mut goes = |left: bool, fields: &[&str]| {
        if left && fields.iter().all(|field| spec.get(*field) == before.get(*field)) {
            fields.iter().for_each(|field| drop(spec.shift_remove(*field)));
        }
    };
    // Every other type has addresses, also one that there is not.
    let external = was != "ExternalName" && is == "ExternalName";
    goes(external, &["clusterIP", "clusterIPs"]);
    goes(external, &["ipFamilies"]);
    goes(external, &["ipFamilyPolicy"]);
    goes(leaves(&["NodePort", "LoadBalancer"]), &["externalTrafficPolicy"]);
    goes(leaves(&["LoadBalancer"]), &["allocateLoadBalancerNodePorts"]);
    goes(leaves(&["LoadBalancer"]), &["loadBalancerClass"]);
}
