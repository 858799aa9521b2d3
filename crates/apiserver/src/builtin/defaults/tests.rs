//! What each kind is completed with, and that completing twice changes nothing.

use super::*;
use serde_json::json;

/// Applies twice and returns the first result: whatever is tested is also idempotent.
fn complete(mut value: Value, default: fn(&mut Value)) -> Value {
    default(&mut value);
    let once = value.clone();
    default(&mut value);
    assert_eq!(once, value, "idempotent");
    once
}

#[test]
fn a_secret_folds_its_texts_into_data() {
    let secret_of = |value| complete(value, secret);
    assert_eq!(
        secret_of(json!({"data": {"a": "MQ==", "b": "MQ=="}, "stringData": {"b": "two"}})),
        json!({"data": {"a": "MQ==", "b": "dHdv"}, "type": "Opaque"})
    );
    assert_eq!(secret_of(json!({"type": "x", "stringData": {}})), json!({"type": "x"}));
    assert_eq!(secret_of(json!({"stringData": {"a": ""}})), json!({"type": "Opaque", "data": {"a": ""}}));
}

#[test]
fn images_are_pulled_by_their_tag() {
    for (image, policy) in [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("registry.example.com:5000/team/nginx", "Always"),
        ("registry.example.com:5000/team/nginx:1", "IfNotPresent"),
        ("nginx@sha256:0123", "IfNotPresent"),
        ("nginx:latest@sha256:0123", "IfNotPresent"),
    ] {
        let made = complete(with_container(json!({"name": "a", "image": image})), deployment);
        assert_eq!(made["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"], policy, "{image}");
    }
}

fn with_container(container: Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [container]}}}})
}

#[test]
fn a_deployment_is_completed() {
    let given = with_container(json!({"name": "a", "image": "a:1", "ports": [{"containerPort": 80}],
        "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 5},
        "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}));
    let made = complete(given, deployment);
    assert_eq!(
        made,
        json!({"spec": {
            "template": {"spec": {
                "containers": [{"name": "a", "image": "a:1", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "readinessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "periodSeconds": 5,
                        "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3},
                    "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name", "apiVersion": "v1"}}}],
                    "resources": {}, "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent"}],
                "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                "securityContext": {}, "schedulerName": "default-scheduler"}},
            "revisionHistoryLimit": 10, "replicas": 1, "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}},
            "status": {}})
    );
}

#[test]
fn strategies_get_their_own_parameters() {
    let recreate = complete(json!({"spec": {"strategy": {"type": "Recreate"}}}), deployment);
    assert_eq!(recreate["spec"]["strategy"], json!({"type": "Recreate"}));
    let some = complete(json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 2}}, "replicas": 0}}), deployment);
    assert_eq!(some["spec"]["strategy"]["rollingUpdate"], json!({"maxSurge": 2, "maxUnavailable": "25%"}));
    assert_eq!(some["spec"]["replicas"], 0);
    let daemons = complete(json!({"spec": {}}), daemon_set);
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}});
    assert_eq!(daemons["spec"]["updateStrategy"], rolling);
    let states = complete(json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "d"}}]}}), stateful_set);
    assert_eq!(states["spec"]["updateStrategy"]["rollingUpdate"], json!({"partition": 0}));
    assert_eq!(states["spec"]["volumeClaimTemplates"][0]["spec"]["volumeMode"], "Filesystem");
}

#[test]
fn volumes_get_a_source_and_modes() {
    let volumes = json!([{"name": "a"}, {"name": "b", "secret": {"secretName": "s"}},
        {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]);
    let made = complete(json!({"spec": {"template": {"spec": {"containers": [], "volumes": volumes}}}}), deployment);
    assert_eq!(
        made["spec"]["template"]["spec"]["volumes"],
        json!([{"name": "a", "emptyDir": {}}, {"name": "b", "secret": {"secretName": "s", "defaultMode": 420}},
            {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}],
                "defaultMode": 420}}])
    );
}

#[test]
fn a_service_targets_its_own_ports() {
    let ports =
        json!([{"port": 80}, {"port": 443, "targetPort": "tls"}, {"port": 53, "protocol": "UDP", "targetPort": 0}]);
    let made = complete(json!({"spec": {"ports": ports}}), service);
    assert_eq!(
        made["spec"],
        json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80},
            {"port": 443, "targetPort": "tls", "protocol": "TCP"}, {"port": 53, "protocol": "UDP", "targetPort": 53}],
            "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"})
    );
    let balanced = complete(json!({"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP"}}), service);
    assert_eq!(balanced["spec"]["sessionAffinityConfig"], json!({"clientIP": {"timeoutSeconds": 10800}}));
    assert_eq!(balanced["spec"]["externalTrafficPolicy"], "Cluster");
    let external = complete(json!({"spec": {"type": "ExternalName"}}), service);
    assert_eq!(external["spec"].get("internalTrafficPolicy"), None);
}

#[test]
fn nothing_that_is_misshapen_panics() {
    for value in
        [json!(null), json!([]), json!({"spec": []}), json!({"spec": {"template": 1, "strategy": "x", "ports": {}}})]
    {
        for default in [deployment, stateful_set, daemon_set, service, secret] {
            default(&mut value.clone());
        }
    }
}
