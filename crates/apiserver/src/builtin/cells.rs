//! What `kubectl get` shows of the built-in kinds, where it is more than the value at a path.
//!
//! Each function gives one cell for each column of its kind, in the same order. Cells of `date` columns are times.

use serde_json::{Value, json};

/// The value at a pointer.
fn at<'a>(object: &'a Value, pointer: &str) -> &'a Value {
    object.pointer(pointer).unwrap_or(&Value::Null)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer).as_str().unwrap_or_default()
}

fn number(object: &Value, pointer: &str) -> i64 {
    at(object, pointer).as_i64().unwrap_or(0)
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    at(object, pointer).as_array().map(Vec::as_slice).unwrap_or_default()
}

fn size(object: &Value, pointer: &str) -> usize {
    at(object, pointer).as_object().map_or(0, |map| map.len())
}

fn created(object: &Value) -> Value {
    at(object, "/metadata/creationTimestamp").clone()
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// TYPE DATA AGE
pub(super) fn secret(secret: &Value) -> Vec<Value> {
    vec![text(secret, "/type").into(), size(secret, "/data").into(), created(secret)]
}

/// DATA AGE
pub(super) fn config_map(map: &Value) -> Vec<Value> {
    vec![(size(map, "/data") + size(map, "/binaryData")).into(), created(map)]
}

/// SECRETS AGE
pub(super) fn service_account(account: &Value) -> Vec<Value> {
    vec![list(account, "/secrets").len().into(), created(account)]
}

/// TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE, wide: SELECTOR
pub(super) fn service(service: &Value) -> Vec<Value> {
    let kind = or(text(service, "/spec/type"), "ClusterIP");
    let mut outside: Vec<&str> = list(service, "/spec/externalIPs").iter().filter_map(Value::as_str).collect();
    let balanced = list(service, "/status/loadBalancer/ingress").iter();
    outside.extend(balanced.map(|entry| or(text(entry, "/ip"), text(entry, "/hostname"))));
    let outside = match (kind, outside.is_empty()) {
        ("ExternalName", _) => text(service, "/spec/externalName").to_string(),
        ("LoadBalancer", true) => "<pending>".into(),
        (_, true) => "<none>".into(),
        (_, false) => outside.join(","),
    };
    let ports: Vec<String> = list(service, "/spec/ports").iter().map(port).collect();
    vec![
        kind.into(),
        or(text(service, "/spec/clusterIP"), "<none>").into(),
        outside.into(),
        or(&ports.join(","), "<none>").into(),
        created(service),
        labels(at(service, "/spec/selector")).into(),
    ]
}

fn port(port: &Value) -> String {
    let node = number(port, "/nodePort");
    let node = if node > 0 { format!(":{node}") } else { String::new() };
    format!("{}{node}/{}", number(port, "/port"), or(text(port, "/protocol"), "TCP"))
}

/// Labels as `a=1,b=2`, sorted.
fn labels(map: &Value) -> String {
    let mut pairs: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort_unstable();
    or(&pairs.join(","), "<none>").to_string()
}

/// A label selector as text: `app=web,tier in (a,b)`.
fn selector(selector: &Value) -> String {
    let mut parts: Vec<String> = Vec::new();
    if size(selector, "/matchLabels") > 0 {
        parts.push(labels(at(selector, "/matchLabels")));
    }
    for term in list(selector, "/matchExpressions") {
        let key = text(term, "/key");
        let values: Vec<&str> = list(term, "/values").iter().filter_map(Value::as_str).collect();
        parts.push(match text(term, "/operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_string(),
        });
    }
    or(&parts.join(","), "<none>").to_string()
}

/// Names and images of a template's containers.
fn containers(workload: &Value) -> [Value; 2] {
    let all = list(workload, "/spec/template/spec/containers");
    let joined = |field: &str| all.iter().map(|one| text(one, field)).collect::<Vec<_>>().join(",");
    [joined("/name").into(), joined("/image").into()]
}

/// READY UP-TO-DATE AVAILABLE AGE, wide: CONTAINERS IMAGES SELECTOR
pub(super) fn deployment(deployment: &Value) -> Vec<Value> {
    let ready = format!("{}/{}", number(deployment, "/status/readyReplicas"), number(deployment, "/spec/replicas"));
    let [names, images] = containers(deployment);
    vec![
        ready.into(),
        number(deployment, "/status/updatedReplicas").into(),
        number(deployment, "/status/availableReplicas").into(),
        created(deployment),
        names,
        images,
        selector(at(deployment, "/spec/selector")).into(),
    ]
}

/// READY AGE, wide: CONTAINERS IMAGES
pub(super) fn stateful_set(set: &Value) -> Vec<Value> {
    let ready = format!("{}/{}", number(set, "/status/readyReplicas"), number(set, "/spec/replicas"));
    let [names, images] = containers(set);
    vec![ready.into(), created(set), names, images]
}

/// DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE-SELECTOR AGE, wide: CONTAINERS IMAGES SELECTOR
pub(super) fn daemon_set(set: &Value) -> Vec<Value> {
    let [names, images] = containers(set);
    vec![
        number(set, "/status/desiredNumberScheduled").into(),
        number(set, "/status/currentNumberScheduled").into(),
        number(set, "/status/numberReady").into(),
        number(set, "/status/updatedNumberScheduled").into(),
        number(set, "/status/numberAvailable").into(),
        labels(at(set, "/spec/template/spec/nodeSelector")).into(),
        created(set),
        names,
        images,
        selector(at(set, "/spec/selector")).into(),
    ]
}

/// ROLE AGE, wide: USERS GROUPS SERVICEACCOUNTS
pub(super) fn role_binding(binding: &Value) -> Vec<Value> {
    let role = format!("{}/{}", text(binding, "/roleRef/kind"), text(binding, "/roleRef/name"));
    let subjects = |kind: &str| {
        let named = list(binding, "/subjects").iter().filter(|subject| text(subject, "/kind") == kind);
        let names: Vec<String> = named
            .map(|subject| match text(subject, "/namespace") {
                "" => text(subject, "/name").to_string(),
                namespace => format!("{namespace}/{}", text(subject, "/name")),
            })
            .collect();
        Value::from(names.join(", "))
    };
    vec![role.into(), created(binding), subjects("User"), subjects("Group"), subjects("ServiceAccount")]
}

/// LAST SEEN TYPE REASON OBJECT MESSAGE, wide: SUBOBJECT SOURCE FIRST SEEN COUNT
pub(super) fn event(event: &Value) -> Vec<Value> {
    let first_of = |pointers: &[&str]| {
        let found = pointers.iter().map(|pointer| at(event, pointer)).find(|value| !value.is_null());
        found.cloned().unwrap_or_default()
    };
    let object =
        format!("{}/{}", text(event, "/involvedObject/kind").to_lowercase(), text(event, "/involvedObject/name"));
    let component = or(text(event, "/reportingComponent"), text(event, "/source/component"));
    let host = text(event, "/source/host");
    let source = if host.is_empty() { component.to_string() } else { format!("{component}, {host}") };
    let count = first_of(&["/series/count", "/count"]);
    vec![
        first_of(&["/series/lastObservedTime", "/lastTimestamp", "/eventTime"]),
        text(event, "/type").into(),
        text(event, "/reason").into(),
        object.into(),
        text(event, "/message").trim().into(),
        text(event, "/involvedObject/fieldPath").into(),
        source.into(),
        first_of(&["/firstTimestamp", "/eventTime"]),
        if count.is_null() { json!(1) } else { count },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    type Cells = fn(&Value) -> Vec<Value>;

    const SINCE: &str = "2026-11-20T09:00:00Z";

    fn made(mut object: Value) -> Value {
        object["metadata"]["creationTimestamp"] = json!(SINCE);
        object
    }

    #[test]
    fn cells_are_what_kubectl_users_know() {
        let template = json!({"spec": {"nodeSelector": {"disk": "ssd"},
            "containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}});
        let workload = |status: Value| {
            made(json!({"spec": {"replicas": 3, "template": template, "selector": {"matchLabels": {"app": "x"},
                "matchExpressions": [{"key": "t", "operator": "In", "values": ["p", "q"]}]}}, "status": status}))
        };
        let cases: Vec<(Cells, Value, Value)> = vec![
            (secret, made(json!({"type": "Opaque", "data": {"a": "", "b": ""}})), json!(["Opaque", 2, SINCE])),
            (config_map, made(json!({"data": {"a": ""}, "binaryData": {"b": ""}})), json!([2, SINCE])),
            (service_account, made(json!({})), json!([0, SINCE])),
            (
                service,
                made(json!({"spec": {"clusterIP": "10.0.0.1", "type": "NodePort", "selector": {"app": "x"},
                    "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}})),
                json!(["NodePort", "10.0.0.1", "<none>", "80:30080/TCP,53/UDP", SINCE, "app=x"]),
            ),
            (
                service,
                made(json!({"spec": {"type": "LoadBalancer"}})),
                json!(["LoadBalancer", "<none>", "<pending>", "<none>", SINCE, "<none>"]),
            ),
            (
                deployment,
                workload(json!({"readyReplicas": 2, "updatedReplicas": 3})),
                json!(["2/3", 3, 0, SINCE, "a,b", "a:1,b:1", "app=x,t in (p,q)"]),
            ),
            (stateful_set, workload(json!({})), json!(["0/3", SINCE, "a,b", "a:1,b:1"])),
            (
                daemon_set,
                workload(json!({"desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberReady": 1})),
                json!([2, 2, 1, 0, 0, "disk=ssd", SINCE, "a,b", "a:1,b:1", "app=x,t in (p,q)"]),
            ),
            (
                role_binding,
                made(json!({"roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": [
                    {"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]})),
                json!(["ClusterRole/view", SINCE, "u", "", "n/s"]),
            ),
            (
                event,
                json!({"lastTimestamp": SINCE, "firstTimestamp": SINCE, "type": "Normal", "reason": "Sent", "count": 4,
                    "involvedObject": {"kind": "WebhookEndpoint", "name": "shop"}, "message": "hello\n",
                    "source": {"component": "hub", "host": "h"}}),
                json!([SINCE, "Normal", "Sent", "webhookendpoint/shop", "hello", "", "hub, h", SINCE, 4]),
            ),
        ];
        for (cells, object, expected) in cases {
            assert_eq!(Value::Array(cells(&object)), expected);
            // Whatever an object looks like, it has its cells.
            assert_eq!(cells(&json!(null)).len(), expected.as_array().unwrap().len());
        }
    }
}
