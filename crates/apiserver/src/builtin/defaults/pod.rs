//! Defaults of a pod template.

use serde_json::{Value, json};

use super::{fill, items, object};

/// Completes the template in `spec.template`.
pub(super) fn template(template: &mut Value) {
    let Some(spec) = template.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    fill(spec, "restartPolicy", "Always");
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "securityContext", json!({}));
    fill(spec, "schedulerName", "default-scheduler");
    // The old name of the field is kept in step.
    for (from, to) in [("serviceAccountName", "serviceAccount"), ("serviceAccount", "serviceAccountName")] {
        if let Some(name) = spec.get(from).filter(|name| !name.is_null()).cloned() {
            fill(spec, to, name);
        }
    }
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool) == Some(true);
    for list in ["initContainers", "containers"] {
        items(spec, list).for_each(|item| container(item, host_network));
    }
    items(spec, "volumes").for_each(volume);
}

fn container(container: &mut Value, host_network: bool) {
    let policy = if is_latest(container.get("image").and_then(Value::as_str).unwrap_or_default()) {
        "Always"
    } else {
        "IfNotPresent"
    };
    fill(container, "resources", json!({}));
    fill(container, "terminationMessagePath", "/dev/termination-log");
    fill(container, "terminationMessagePolicy", "File");
    fill(container, "imagePullPolicy", policy);
    for port in items(container, "ports") {
        fill(port, "protocol", "TCP");
        if let Some(number) = port.get("containerPort").cloned().filter(|_| host_network) {
            fill(port, "hostPort", number);
        }
    }
    for env in items(container, "env") {
        if let Some(reference) = env.pointer_mut("/valueFrom/fieldRef") {
            fill(reference, "apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(name).filter(|probe| probe.is_object()) {
            for (field, value) in
                [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
            {
                // A zero cannot be told from an absent number.
                if probe.get(field).is_none_or(|present| present.is_null() || present == 0) {
                    probe[field] = value.into();
                }
            }
            http(probe);
            if let Some(grpc) = probe.get_mut("grpc").filter(|grpc| grpc.is_object()) {
                fill(grpc, "service", "");
            }
        }
    }
    if let Some(lifecycle) = container.get_mut("lifecycle") {
        for name in ["postStart", "preStop"] {
            if let Some(handler) = lifecycle.get_mut(name) {
                http(handler);
            }
        }
    }
}

fn http(handler: &mut Value) {
    if let Some(get) = handler.get_mut("httpGet").filter(|get| get.is_object()) {
        fill(get, "path", "/");
        fill(get, "scheme", "HTTP");
    }
}

/// Whether an image reference names no tag, or `latest`; a digest pins it.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn volume(volume: &mut Value) {
    let has_source = volume.as_object().is_some_and(|fields| fields.iter().any(|(k, v)| k != "name" && !v.is_null()));
    if !has_source {
        fill(volume, "emptyDir", json!({}));
    }
    for name in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(name).filter(|source| source.is_object()) {
            fill(source, "defaultMode", 0o644);
        }
    }
    if let Some(path) = volume.get_mut("hostPath").filter(|path| path.is_object()) {
        fill(path, "type", "");
    }
    if let Some(downward) = volume.get_mut("downwardAPI") {
        field_references(downward);
    }
    if let Some(projected) = volume.get_mut("projected") {
        for source in items(projected, "sources") {
            if let Some(downward) = source.get_mut("downwardAPI") {
                field_references(downward);
            }
            if let Some(token) = source.get_mut("serviceAccountToken").filter(|token| token.is_object()) {
                fill(token, "expirationSeconds", 3600);
            }
        }
    }
    if let Some(claim) = volume.get_mut("ephemeral").and_then(|e| object(e, "volumeClaimTemplate")) {
        claim_spec(claim);
    }
}

fn field_references(downward: &mut Value) {
    for item in items(downward, "items") {
        if let Some(reference) = item.get_mut("fieldRef").filter(|reference| reference.is_object()) {
            fill(reference, "apiVersion", "v1");
        }
    }
}

/// Defaults of a PersistentVolumeClaim's spec.
pub(super) fn claim_spec(claim: &mut Value) {
    if let Some(spec) = object(claim, "spec") {
        fill(spec, "volumeMode", "Filesystem");
    }
}
