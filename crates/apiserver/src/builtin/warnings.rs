//! What kube-apiserver warns of, though nothing is wrong with it: kubectl prints these, and people learn from them.
//!
//! In: a new object (and the present one, where this is an update). Out: sentences in kube-apiserver's words. Those are here that
//! people meet.

use serde_json::Value;

use super::rules::{bad_label, list, text};

/// Service: what has no effect.
pub(super) fn service(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let spec = &new["spec"];
    let mut warnings = Vec::new();
    if text(new, "/spec/type") == "ClusterIP" && text(new, "/spec/clusterIP") == "None" {
        if !text(new, "/spec/loadBalancerIP").is_empty() {
            warnings.push("spec.loadBalancerIP is ignored for headless services".into());
        }
        if !list(new, "/spec/externalIPs").is_empty() {
            warnings.push("spec.externalIPs is ignored for headless services".into());
        }
        if spec["sessionAffinity"] != "None" {
            warnings.push("spec.SessionAffinity is ignored for headless services".into());
        }
    }
    if spec["type"] == "ExternalName" {
        if !list(new, "/spec/externalIPs").is_empty() {
            warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
        }
    } else if !text(new, "/spec/externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    warnings
}

/// Deployment: a name that does not fit into those of its Pods, and what is told of every workload.
pub(super) fn deployment(new: &Value, old: Option<&Value>) -> Vec<String> {
    let wrong = bad_label(text(new, "/metadata/name"));
    let named = (old.is_none() && !wrong.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is \
             recommended: [{}]",
            wrong.join(" ")
        )
    });
    named.into_iter().chain(workload(new, old)).collect()
}

/// What has a pod template: ports that several containers have. An update that changes nothing that is wanted warns of nothing.
pub(super) fn workload(new: &Value, old: Option<&Value>) -> Vec<String> {
    let generation = |object: &Value| object["metadata"]["generation"].clone();
    if old.is_some_and(|old| generation(old) == generation(new)) {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    let ports = ports(&new["spec"]["template"]["spec"]);
    for (at, (path, port)) in ports.iter().enumerate() {
        let same = |other: &Value, field: &str| port.get(field) == other.get(field);
        let number = |other: &Value| same(other, "containerPort") && same(other, "protocol");
        for (known, other) in ports[..at].iter().filter(|(_, other)| number(other)) {
            let free = [port, other].iter().any(|port| port.get("hostPort").is_none());
            let anywhere = [port, other].iter().filter(|port| port.get("hostIP").is_none()).count();
            let how = match () {
                () if same(other, "hostIP") && same(other, "hostPort") => "duplicate",
                () if free => "overlapping",
                () if same(other, "hostPort") && anywhere == 1 => "dangerously ambiguous",
                () => continue,
            };
            warnings.push(format!("{path}: {how} port definition with {known}"));
        }
    }
    for (at, (path, port)) in ports.iter().enumerate() {
        let name = text(port, "/name");
        let first = ports[..at].iter().find(|(_, other)| !name.is_empty() && text(other, "/name") == name);
        if let Some((known, _)) = first {
            warnings.push(format!(
                "{path}: duplicate port name {name:?} with {known}, services and probes that select ports by name will use {known}"
            ));
        }
    }
    warnings
}

/// All ports of a Pod's containers, with their paths.
fn ports(pod: &Value) -> Vec<(String, &Value)> {
    let mut ports = Vec::new();
    for kind in ["initContainers", "containers"] {
        for (at, container) in pod[kind].as_array().into_iter().flatten().enumerate() {
            for (index, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
                ports.push((format!("spec.template.spec.{kind}[{at}].ports[{index}]"), port));
            }
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn headless_services_are_told_what_they_ignore() {
        let service = |spec: Value| super::service(&json!({"spec": spec}), None);
        let headless = json!({"type": "ClusterIP", "clusterIP": "None", "sessionAffinity": "ClientIP"});
        assert_eq!(service(headless), ["spec.SessionAffinity is ignored for headless services"]);
        assert!(service(json!({"type": "ExternalName", "externalName": "a.b", "sessionAffinity": "None"})).is_empty());
    }

    #[test]
    fn a_port_that_two_containers_have_is_told_unless_nothing_changed() {
        let port = |name: &str| json!([{"name": name, "containerPort": 80, "protocol": "TCP"}]);
        let containers = json!([{"ports": port("a")}, {"ports": port("a")}, {"ports": port("b")}]);
        let object = json!({"metadata": {"generation": 1}, "spec": {"template": {"spec": {"containers": containers}}}});
        let path = |at: usize| format!("spec.template.spec.containers[{at}].ports[0]");
        let told = [
            format!("{}: duplicate port definition with {}", path(1), path(0)),
            format!("{}: duplicate port definition with {}", path(2), path(0)),
            format!("{}: duplicate port definition with {}", path(2), path(1)),
            format!(
                "{}: duplicate port name \"a\" with {}, services and probes that select ports by name will use {}",
                path(1),
                path(0),
                path(0)
            ),
        ];
        assert_eq!(workload(&object, None), told);
        assert!(workload(&object, Some(&object)).is_empty());
    }
}
