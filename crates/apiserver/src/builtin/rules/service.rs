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
    } else if !address.is_empty() && list(new, "/spec/clusterIPs").is_empty() {
        causes.push(field::required(spec.child("clusterIPs"), ""));
    } else if !address.is_empty() && !headless && address.parse::<std::net::IpAddr>().is_err() {
        let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        causes.push(field::invalid(spec.child("clusterIP"), &json!(address), why));
    }
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
        } else if let Some(why) = pod::bad_label(name) {
            causes.push(field::invalid(path.child("name"), &json!(name), &why));
        } else if !names.insert(name) {
            causes.push(field::duplicate(path.child("name"), &json!(name)));
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
