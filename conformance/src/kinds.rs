//! The kinds of object that operations are about, and how to make valid ones of them.
//!
//! Names are few on purpose: so operations often meet what earlier ones left.

use serde_json::{Value, json};

use crate::random::Random;

/// Namespaces of a sequence, as placeholders.
pub const NAMESPACES: [&str; 2] = ["ns0", "ns1"];
/// Names of objects.
pub const NAMES: [&str; 3] = ["a", "b", "c"];
/// The ConfigMap with the certificate of its authority that every cluster puts into each namespace.
pub const AUTHORITY: &str = "kube-root-ca.crt";

/// One kind of object.
#[derive(Debug)]
pub struct Kind {
    /// Group and version as the body has it.
    pub api_version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// Its plural name.
    pub plural: &'static str,
    /// Whether it has a status subresource.
    pub status: bool,
    /// Whether it has a scale subresource.
    pub scale: bool,
    /// Whether it takes strategic merge patches.
    pub strategic: bool,
    /// Everything of a valid object beside its type and metadata.
    pub fill: fn(&mut Random) -> Value,
}

const PLAIN: Kind =
    Kind { api_version: "v1", kind: "", plural: "", status: false, scale: false, strategic: true, fill: |_| json!({}) };

/// All kinds.
pub const KINDS: [Kind; 8] = [
    Kind { kind: "ConfigMap", plural: "configmaps", fill: config_map, ..PLAIN },
    Kind { kind: "Secret", plural: "secrets", fill: secret, ..PLAIN },
    Kind { kind: "Service", plural: "services", status: true, fill: service, ..PLAIN },
    Kind { kind: "ServiceAccount", plural: "serviceaccounts", fill: service_account, ..PLAIN },
    Kind {
        api_version: "apps/v1",
        kind: "Deployment",
        plural: "deployments",
        status: true,
        scale: true,
        fill: deployment,
        ..PLAIN
    },
    Kind { api_version: RBAC, kind: "Role", plural: "roles", fill: role, ..PLAIN },
    Kind { api_version: RBAC, kind: "RoleBinding", plural: "rolebindings", fill: role_binding, ..PLAIN },
    WIDGET,
];
const RBAC: &str = "rbac.authorization.k8s.io/v1";
/// The custom kind that every run defines.
pub const WIDGET: Kind = Kind {
    api_version: "${group}/v1",
    kind: "Widget",
    plural: "widgets",
    status: true,
    scale: true,
    strategic: false,
    fill: widget,
};

/// The kind with this plural name.
pub fn kind(plural: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.plural == plural).unwrap_or(&KINDS[0])
}

impl Kind {
    /// Any kind.
    pub fn any(random: &mut Random) -> &'static Self {
        // Custom resources and what people write most come up most often.
        let at = random.weighted(&[(4, 0), (2, 1), (2, 2), (1, 3), (4, 4), (1, 5), (1, 6), (6, 7)]);
        &KINDS[at]
    }

    /// Path of the collection in a namespace, which is a placeholder's word.
    pub fn collection(&self, namespace: &str) -> String {
        let root = if self.api_version == "v1" { "/api/v1".into() } else { format!("/apis/{}", self.api_version) };
        format!("{root}/namespaces/${{{namespace}}}/{}", self.plural)
    }

    /// Path of an object.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.collection(namespace))
    }

    /// How [`crate::memory`] calls an object.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        format!("{}/{namespace}/{name}", self.plural)
    }

    /// A valid object.
    pub fn object(&self, random: &mut Random, name: &str) -> Value {
        let mut object = json!({"apiVersion": self.api_version, "kind": self.kind, "metadata": {"name": name}});
        if random.chance(40) {
            object["metadata"]["labels"] = labels(random);
        }
        if random.chance(20) {
            object["metadata"]["annotations"] = json!({"example.com/note": *random.pick(&["one", "two", ""])});
        }
        if let Value::Object(fields) = (self.fill)(random) {
            fields.into_iter().for_each(|(key, value)| object[key] = value);
        }
        object
    }
}

/// Labels that selectors of other operations look for.
pub fn labels(random: &mut Random) -> Value {
    let mut labels = json!({"app": *random.pick(&["web", "db"])});
    if random.chance(50) {
        labels["tier"] = json!(*random.pick(&["front", "back"]));
    }
    labels
}

fn data(random: &mut Random, values: &[&str]) -> Value {
    let keys = ["a", "b", "c.txt"];
    let count = random.below(4);
    keys[..count].iter().map(|key| (key.to_string(), json!(*random.pick(values)))).collect()
}

fn config_map(random: &mut Random) -> Value {
    let mut map = json!({"data": data(random, &["1", "2", ""])});
    if random.chance(10) {
        map["binaryData"] = json!({"bin": "AAEC"});
    }
    if random.chance(5) {
        map["immutable"] = json!(random.chance(50));
    }
    map
}

fn secret(random: &mut Random) -> Value {
    let mut secret = json!({"data": data(random, &["MQ==", "Mg==", ""])});
    match random.below(4) {
        0 => secret["type"] = json!("Opaque"),
        1 => secret["type"] = json!("example.com/own"),
        2 => secret["stringData"] = json!({"s": *random.pick(&["x", ""])}),
        _ => {}
    }
    secret
}

fn service(random: &mut Random) -> Value {
    if random.chance(15) {
        return json!({"spec": {"type": "ExternalName", "externalName": "db.example.com"}});
    }
    let mut ports = vec![json!({"name": "http", "port": 80})];
    if random.chance(40) {
        ports[0]["targetPort"] = random.pick(&[json!(8080), json!("web")]).clone();
    }
    if random.chance(40) {
        ports.push(json!({"name": "dns", "port": 53, "protocol": "UDP"}));
    }
    let mut spec = json!({"clusterIP": "None", "selector": {"app": "web"}, "ports": ports});
    if random.chance(20) {
        spec["sessionAffinity"] = json!("ClientIP");
    }
    json!({"spec": spec})
}

fn service_account(random: &mut Random) -> Value {
    match random.below(3) {
        0 => json!({"automountServiceAccountToken": random.chance(50)}),
        1 => json!({"imagePullSecrets": [{"name": "pull"}]}),
        _ => json!({}),
    }
}

/// A container for a Pod's template.
pub fn container(random: &mut Random, name: &str) -> Value {
    let mut container =
        json!({"name": name, "image": *random.pick(&["web:1", "web:2", "web", "r.example.com/w@sha256:0"])});
    if random.chance(30) {
        // The same ones in several containers too, which is warned of.
        let port = *random.pick(&[8080, 8080, 9090]);
        container["ports"] = json!([{"containerPort": port, "name": *random.pick(&[name, "http"])}]);
    }
    if random.chance(30) {
        container["env"] = json!([{"name": "A", "value": *random.pick(&["1", ""])}, {"name": "B", "value": "2"}]);
    }
    if random.chance(20) {
        let cpu = random.pick(&[json!("100m"), json!("0.1"), json!(1), json!("1500m")]).clone();
        container["resources"] = json!({"limits": {"cpu": cpu, "memory": "64Mi"}});
    }
    if random.chance(15) {
        container["readinessProbe"] = json!({"httpGet": {"path": "/", "port": 8080}});
    }
    container
}

fn deployment(random: &mut Random) -> Value {
    let mut containers = vec![container(random, "web")];
    if random.chance(25) {
        containers.push(container(random, "side"));
    }
    let mut spec = json!({"selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}});
    if random.chance(50) {
        spec["replicas"] = json!(random.below(4));
    }
    if random.chance(20) {
        spec["strategy"] = random
            .pick(&[json!({"type": "Recreate"}), json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}})])
            .clone();
    }
    if random.chance(20) {
        spec["template"]["spec"]["volumes"] =
            json!([{"name": "v", "configMap": {"name": "a"}}, {"name": "w", "emptyDir": {}}]);
    }
    json!({"spec": spec})
}

fn role(random: &mut Random) -> Value {
    let mut rules = vec![json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]})];
    if random.chance(50) {
        rules.push(json!({"apiGroups": ["apps"], "resources": ["*"], "resourceNames": ["a"], "verbs": ["*"]}));
    }
    json!({"rules": rules})
}

fn role_binding(random: &mut Random) -> Value {
    let mut subjects = vec![json!({"kind": "ServiceAccount", "name": "a", "namespace": "${ns0}"})];
    if random.chance(50) {
        subjects.push(json!({"kind": "User", "name": "someone"}));
    }
    let name = *random.pick(&["a", "b"]);
    json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}, "subjects": subjects})
}

fn widget(random: &mut Random) -> Value {
    let mut spec = json!({"size": random.below(20)});
    let mut maybe = |percent: usize, field: &str, value: Value| {
        if random.chance(percent) {
            spec[field] = value;
        }
    };
    maybe(30, "mode", json!("fast"));
    maybe(30, "replicas", json!(2));
    maybe(40, "ports", json!([{"name": "x", "port": 1}, {"name": "y", "port": 2}]));
    maybe(40, "tags", json!(["p", "q"]));
    maybe(30, "notes", json!(["one", "two"]));
    maybe(30, "free", json!({"any": {"thing": [1, "two", null]}}));
    maybe(20, "limits", json!({"cpu": "1"}));
    maybe(20, "either", json!("50%"));
    maybe(20, "either", json!(5));
    maybe(20, "maybe", Value::Null);
    json!({"spec": spec})
}

/// The definition of [`WIDGET`].
pub fn definition() -> Value {
    let integer = json!({"type": "integer"});
    let string = json!({"type": "string"});
    let spec = json!({"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer", "minimum": 0, "maximum": 100},
        "mode": {"type": "string", "enum": ["slow", "fast"], "default": "slow"},
        "replicas": {"type": "integer", "format": "int32", "minimum": 0},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {
                "name": string, "port": integer, "protocol": {"type": "string", "default": "TCP"}}}},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": string},
        "notes": {"type": "array", "items": string, "maxItems": 4},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "limits": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": string},
        "either": {"x-kubernetes-int-or-string": true},
        "maybe": {"type": "string", "nullable": true},
        "word": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
        "fixed": {"type": "string", "x-kubernetes-validations": [
            {"rule": "self == oldSelf", "message": "fixed cannot change"}]}},
        "x-kubernetes-validations": [
            {"rule": "!has(self.replicas) || self.replicas <= self.size + 10", "message": "too many replicas for the size"}]});
    let status = json!({"type": "object", "properties": {
        "phase": string, "replicas": integer, "selector": string,
        "conditions": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
            "items": {"type": "object", "required": ["type", "status"], "properties": {
                "type": string, "status": string, "reason": string}}}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.${group}"},
        "spec": {"group": "${group}", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wdg"]},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
                "selectableFields": [{"jsonPath": ".spec.mode"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}}}]}})
}
