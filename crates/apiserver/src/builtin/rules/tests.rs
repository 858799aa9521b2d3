//! What each kind refuses beyond its schema, and in which words.

use super::*;
use serde_json::json;

/// `field: message` of each cause.
fn told(causes: Vec<Cause>) -> Vec<String> {
    causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

/// Sets what a pointer names; objects on the way are there.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[name] = value;
    object
}

fn good() -> Value {
    json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"replicas": 1,
        "selector": {"matchLabels": {"app": "x"}},
        "template": {"metadata": {"labels": {"app": "x", "tier": "web"}}, "spec": {"restartPolicy": "Always",
            "volumes": [{"name": "data"}],
            "containers": [{"name": "web", "image": "a:1", "ports": [{"containerPort": 80, "name": "http", "protocol": "TCP"}],
                "env": [{"name": "A", "value": "1"}], "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}}}})
}

#[test]
fn good_workloads_pass() {
    for rule in [deployment, stateful_set, daemon_set] {
        assert_eq!(told(rule(&good(), None)), [""; 0]);
        assert_eq!(told(rule(&good(), Some(&good()))), [""; 0]);
    }
}

#[test]
fn bad_workloads_are_told_where() {
    let container = "/spec/template/spec/containers/0";
    let at = |below: &str| format!("{container}{below}");
    let cases = [
        (
            "/spec/replicas".to_string(),
            json!(-1),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        ("/spec/selector".into(), Value::Null, "spec.selector: Required value"),
        (
            "/spec/selector".into(),
            json!({}),
            "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
        ),
        (
            "/spec/selector/matchLabels".into(),
            json!({"app": "y"}),
            "spec.template.metadata.labels: Invalid value: {\"app\":\"x\",\"tier\":\"web\"}: `selector` does not match template `labels`",
        ),
        (
            "/spec/selector/matchExpressions".into(),
            json!([{"key": "tier", "operator": "In"}]),
            "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ),
        ("/spec/template/spec/containers".into(), json!([]), "spec.template.spec.containers: Required value"),
        (at("/image"), json!(""), "spec.template.spec.containers[0].image: Required value"),
        (
            at("/imagePullPolicy"),
            json!("Sometimes"),
            "spec.template.spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
        (
            at("/ports/0/containerPort"),
            json!(70000),
            "spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            at("/volumeMounts/0/name"),
            json!("x"),
            "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"x\"",
        ),
        (
            "/spec/template/spec/restartPolicy".into(),
            json!("Never"),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        (
            "/spec/template/spec/initContainers".into(),
            json!([{"name": "web", "image": "a:1"}]),
            "spec.template.spec.initContainers[0].name: Duplicate value: \"web\"",
        ),
    ];
    for (pointer, value, expected) in cases {
        let causes = told(deployment(&with(good(), &pointer, value), None));
        assert!(causes.iter().any(|cause| cause == expected), "{pointer}: {causes:#?} lacks {expected}");
    }
}

#[test]
fn selectors_match_as_kubernetes_selects() {
    let labels = json!({"app": "x", "tier": "web"});
    for (operator, key, values, selected) in [
        ("In", "tier", json!(["web", "db"]), true),
        ("In", "tier", json!(["db"]), false),
        ("NotIn", "tier", json!(["db"]), true),
        ("NotIn", "absent", json!(["db"]), true),
        ("Exists", "tier", json!(null), true),
        ("Exists", "absent", json!(null), false),
        ("DoesNotExist", "absent", json!(null), true),
        ("DoesNotExist", "tier", json!(null), false),
    ] {
        let selector = json!({"matchLabels": {"app": "x"},
            "matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        assert_eq!(pod::selects(&selector, &labels), selected, "{operator} {key}");
    }
}

#[test]
fn what_is_fixed_stays_fixed() {
    let other = with(
        with(good(), "/spec/selector/matchLabels", json!({"tier": "web"})),
        "/spec/template/metadata/labels",
        json!({"tier": "web"}),
    );
    let expected = "spec.selector: Invalid value: {\"matchLabels\":{\"tier\":\"web\"}}: field is immutable";
    assert_eq!(told(deployment(&other, Some(&good()))), [expected]);
    assert_eq!(told(daemon_set(&other, Some(&good()))), [expected]);
    let causes = told(stateful_set(&other, Some(&good())));
    assert!(causes[0].starts_with("spec: Forbidden: updates to statefulset spec for fields other than 'replicas'"));
    let scaled = with(good(), "/spec/replicas", json!(5));
    assert_eq!(told(stateful_set(&scaled, Some(&good()))), [""; 0]);
}

#[test]
fn strategies_do_not_contradict_themselves() {
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}});
    assert_eq!(
        told(deployment(&with(good(), "/spec/strategy", rolling), None)),
        ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"]
    );
    let recreate = json!({"type": "Recreate", "rollingUpdate": {}});
    assert_eq!(
        told(deployment(&with(good(), "/spec/strategy", recreate), None)),
        ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"]
    );
}

#[test]
fn secrets_have_file_names_and_what_their_type_needs() {
    let secret_of = |kind: &str, data: Value| json!({"metadata": {}, "type": kind, "data": data});
    let valid = |kind, data| told(secret(&secret_of(kind, data), None));
    assert_eq!(valid("Opaque", json!({"tls.key": "", "A_b-1": ""})), [""; 0]);
    assert_eq!(valid("kubernetes.io/tls", json!({"tls.crt": ""})), ["data[tls.key]: Required value"]);
    assert_eq!(
        valid("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "bm9wZQ=="})),
        ["data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": it is not JSON"]
    );
    assert_eq!(valid("kubernetes.io/basic-auth", json!({})).len(), 2);
    assert_eq!(
        valid("kubernetes.io/service-account-token", json!({})),
        ["metadata.annotations[kubernetes.io/service-account.name]: Required value"]
    );
    assert!(
        valid("Opaque", json!({"a b": ""}))[0].starts_with("data[a b]: Invalid value: \"a b\": a valid config key")
    );
    assert_eq!(valid("Opaque", json!({"..x": ""})), ["data[..x]: Invalid value: \"..x\": must not start with '..'"]);
    let large = "A".repeat(1_500_000);
    assert_eq!(valid("Opaque", json!({"a": large})), ["data: Too long: may not be more than 1048576 bytes"]);
}

#[test]
fn immutable_data_stays() {
    let old = json!({"type": "Opaque", "immutable": true, "data": {"a": "MQ=="}});
    let sealed = "field is immutable when `immutable` is set";
    for (field, value) in [("data", json!({})), ("immutable", json!(false))] {
        let causes = told(secret(&with(old.clone(), &format!("/{field}"), value), Some(&old)));
        assert_eq!(causes, [format!("{field}: Forbidden: {sealed}")]);
    }
    assert_eq!(
        told(secret(&with(old.clone(), "/type", json!("x")), Some(&old))),
        ["type: Invalid value: \"x\": field is immutable"]
    );
    let map = json!({"immutable": true, "data": {"a": "1"}});
    assert_eq!(
        told(config_map(&with(map.clone(), "/data", json!({"a": "2"})), Some(&map))),
        [format!("data: Forbidden: {sealed}")]
    );
    assert_eq!(told(config_map(&with(map.clone(), "/metadata", json!({"labels": {}})), Some(&map))), [""; 0]);
    assert_eq!(
        told(config_map(&json!({"data": {"a": ""}, "binaryData": {"a": ""}}), None)),
        ["data[a]: Invalid value: \"a\": duplicate of key present in binaryData"]
    );
}

#[test]
fn services_have_usable_ports() {
    let of = |spec: Value| json!({"spec": spec});
    let valid = |spec| told(service(&of(spec), None));
    let port = json!({"port": 80, "protocol": "TCP", "targetPort": 80});
    assert_eq!(valid(json!({"type": "ClusterIP", "ports": [port]})), [""; 0]);
    assert_eq!(valid(json!({"type": "ClusterIP"})), ["spec.ports: Required value"]);
    assert_eq!(valid(json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]})), [""; 0]);
    assert_eq!(valid(json!({"type": "ClusterIP", "clusterIP": "None"})), ["spec.clusterIPs: Required value"]);
    assert_eq!(valid(json!({"type": "ExternalName"})), ["spec.externalName: Required value"]);
    let twice = valid(json!({"type": "ClusterIP", "ports": [port, port]}));
    assert!(twice.contains(&"spec.ports[0].name: Required value".to_string()), "{twice:?}");
    assert!(twice.iter().any(|cause| cause.starts_with("spec.ports[1]: Duplicate value")), "{twice:?}");
    assert_eq!(
        valid(json!({"type": "ClusterIP", "ports": [{"port": 80, "targetPort": "too-long-for-a-port"}]})),
        ["spec.ports[0].targetPort: Invalid value: \"too-long-for-a-port\": must be no more than 15 characters"]
    );
    let old = of(json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "ports": [port]}));
    let old = with(old, "/spec/clusterIPs", json!(["10.0.0.1"]));
    let moved = with(old.clone(), "/spec/clusterIP", json!("10.0.0.2"));
    let moved = with(moved, "/spec/clusterIPs", json!(["10.0.0.2"]));
    assert_eq!(
        told(service(&moved, Some(&old))),
        ["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"]
    );
}

#[test]
fn leases_and_events_make_sense() {
    assert_eq!(
        told(lease(&json!({"spec": {"leaseDurationSeconds": 0}}), None)),
        ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"]
    );
    let of = |about: &str, own: &str| json!({"involvedObject": {"namespace": about}, "metadata": {"namespace": own}});
    assert_eq!(told(event(&of("a", "a"), None)), [""; 0]);
    assert_eq!(told(event(&of("", "default"), None)), [""; 0]);
    assert_eq!(
        told(event(&of("a", "b"), None)),
        ["involvedObject.namespace: Invalid value: \"a\": does not match event.namespace"]
    );
}

#[test]
fn nothing_that_is_misshapen_panics() {
    for value in
        [json!(null), json!([]), json!({"spec": []}), json!({"spec": {"template": {"spec": {"containers": 1}}}})]
    {
        for rule in [deployment, stateful_set, daemon_set, service, secret, config_map, lease, event] {
            rule(&value, Some(&value));
        }
    }
}
