//! Service: ports, addresses, and what may not change.

use std::collections::HashSet;

use roadstead_kubewire::error::Cause;
use serde_json::{Value, json};

use super::{list, one_of, pod, text};
use crate::schema::field::{self, Path};

/// Service.
pub(in crate::builtin) fn service(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = Path::new("spec");
    let kind = text(new, "/spec/type");
    let address = text(new, "/spec/clusterIP");
    let headless = address == "None";
    let all = list(new, "/spec/ports");
    if all.is_empty() && !headless && kind != "ExternalName" {
        causes.push(field::required(spec.child("ports"), ""));
    }
    ports(all, &spec.child("ports"), &mut causes);
    if kind == "ExternalName" {
        if text(new, "/spec/externalName").is_empty() {
            causes.push(field::required(spec.child("externalName"), ""));
        }
        if !address.is_empty() {
            causes.push(field::forbidden(spec.child("clusterIPs"), "may not be set for ExternalName services"));
        }
    }
    causes.extend(addresses(new));
    let affinity = &new["spec"]["sessionAffinity"];
    one_of(affinity, spec.child("sessionAffinity"), &["ClientIP", "None"], &mut causes);
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    one_of(&new["spec"]["type"], spec.child("type"), &kinds, &mut causes);
    if let Some(selector) = new.pointer("/spec/selector").and_then(Value::as_object) {
        pod::labels(selector, &spec.child("selector"), &mut causes);
    }
    let before = old.map(|old| text(old, "/spec/clusterIP")).unwrap_or_default();
    let stays = old.is_some_and(|old| text(old, "/spec/type") != "ExternalName") && kind != "ExternalName";
    // A Service without any address is one whose address is not assigned here; it does not become headless.
    if stays && before != address && (!before.is_empty() || headless) {
        let path = spec.child("clusterIPs").index(0);
        // What may not change is told first.
        causes.insert(0, field::invalid(path, &new["spec"]["clusterIPs"], "may not change once set"));
    }
    causes
}

/// What is wrong with the addresses of a Service and with what goes with them. With these wrong nothing else is looked at.
pub(in crate::builtin) fn addresses(service: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if text(service, "/spec/type") == "ExternalName" {
        return causes;
    }
    let (spec, path) = (&service["spec"], Path::new("spec.clusterIPs"));
    let (address, all) = (text(service, "/spec/clusterIP"), list(service, "/spec/clusterIPs"));
    match all.first() {
        None if !address.is_empty() => causes.push(field::required(&path, "")),
        Some(_) if address.is_empty() => {
            causes.push(field::invalid(&path, &all.into(), "must be empty when `clusterIP` is not specified"));
        }
        Some(first) if *first != address => {
            causes.push(field::invalid(&path, &all.into(), "first value must match `clusterIP`"));
        }
        _ => {}
    }
    for (at, one) in all.iter().enumerate().filter(|(at, one)| *at > 0 || **one != "None") {
        if one.as_str().is_none_or(|one| one.parse::<std::net::IpAddr>().is_err()) {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            causes.push(field::invalid(path.index(at), one, why));
        }
    }
    // One without a selector may be of two families anywhere; as soon as it selects something it may not.
    let selects = spec["selector"].as_object().is_some_and(|selector| !selector.is_empty());
    if !causes.is_empty() || !selects && address == "None" {
        return causes;
    }
    if spec["ipFamilyPolicy"] == "RequireDualStack" {
        let why = "this cluster is not configured for dual-stack services";
        causes.push(field::invalid("spec.ipFamilyPolicy", &spec["ipFamilyPolicy"], why));
    }
    for (at, family) in list(service, "/spec/ipFamilies").iter().enumerate().filter(|(_, family)| **family != "IPv4") {
        let path = Path::new("spec.ipFamilies").index(at);
        causes.push(field::invalid(path, family, "not configured on this cluster"));
    }
    causes
}

fn ports(ports: &[Value], path: &Path, causes: &mut Vec<Cause>) {
    let mut names = HashSet::new();
    let mut numbers = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "/name");
        if name.is_empty() {
            if ports.len() > 1 {
                causes.push(field::required(path.child("name"), ""));
            }
        } else {
            let wrong = pod::bad_label(name);
            causes.extend(wrong.iter().map(|why| field::invalid(path.child("name"), &json!(name), why)));
            if !names.insert(name) {
                causes.push(field::duplicate(path.child("name"), &json!(name)));
            }
        }
        pod::port_number(&port["port"], path.child("port"), causes);
        if port["targetPort"].is_number() {
            pod::port_number(&port["targetPort"], path.child("targetPort"), causes);
        } else if let Some(target) = port["targetPort"].as_str() {
            pod::port_name(target, path.child("targetPort"), causes);
        }
        one_of(&port["protocol"], path.child("protocol"), &["SCTP", "TCP", "UDP"], causes);
        if !numbers.insert((port["protocol"].to_string(), port["port"].to_string())) {
            causes.push(field::duplicate(path, &json!({"port": port["port"], "protocol": port["protocol"]})));
        }
    }
}
