//! What must be refused, and how: wrong types, unknown fields, bad names and metadata, other kinds than the path's, broken
//! bodies, changes of what may not change.

use serde_json::{Value, json};

use super::{Subject, manager};
use crate::{kinds::kind, operation::Operation, random::Random};

/// The next operations.
pub fn make(random: &mut Random) -> Vec<Operation> {
    let subject = Subject::any(random);
    let operation = match random.below(12) {
        0..3 => wrong_type(random),
        3..5 => metadata(subject, random),
        5..7 => unknown(subject, random),
        7 => identity(subject, random),
        8 => broken(subject, random),
        9..11 => value(random),
        _ => immutable(random),
    };
    let validation =
        *random.pick(&["", "", "fieldValidation=Strict", "fieldValidation=Warn", "fieldValidation=Ignore"]);
    let operation = operation.with(manager(random));
    vec![if operation.path.contains("fieldValidation") { operation } else { operation.with(validation) }]
}

/// Puts a value at a pointer, making the objects on the way.
fn put(object: &mut Value, pointer: &str, value: Value) {
    let mut place = object;
    for part in pointer.split('/').skip(1) {
        place = match part.parse::<usize>() {
            Ok(at) if place.is_array() => {
                let Some(item) = place.get_mut(at) else { return };
                item
            }
            _ => {
                if !place.is_object() {
                    *place = json!({});
                }
                &mut place[part]
            }
        };
    }
    *place = value;
}

/// A valid object with one field changed, created or, where it may be there, updated.
fn with(plural: &str, pointer: &str, value: Value, random: &mut Random) -> Operation {
    let subject = Subject::of(kind(plural), random);
    let mut object = subject.object(random);
    put(&mut object, pointer, value);
    if random.chance(25) {
        if let Some(status) = pointer.starts_with("/status").then(|| subject.path() + "/status") {
            return Operation::update(status, object);
        }
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.insert("resourceVersion".into(), format!("${{rv:{}}}", subject.key()).into());
        }
        return Operation::update(subject.path(), object);
    }
    if random.chance(15) {
        let part = object["spec"].clone();
        return Operation::patch(subject.path(), "merge-patch+json", json!({"spec": part}));
    }
    Operation::create(subject.collection(), object)
}

fn wrong_type(random: &mut Random) -> Operation {
    let (plural, pointer) = *random.pick(&[
        ("configmaps", "/data"),
        ("configmaps", "/data/a"),
        ("configmaps", "/immutable"),
        ("secrets", "/data/a"),
        ("secrets", "/type"),
        ("services", "/spec"),
        ("services", "/spec/ports"),
        ("services", "/spec/ports/0/port"),
        ("services", "/spec/selector"),
        ("serviceaccounts", "/automountServiceAccountToken"),
        ("deployments", "/spec/replicas"),
        ("deployments", "/spec/selector"),
        ("deployments", "/spec/template/spec/containers"),
        ("deployments", "/spec/template/spec/containers/0/image"),
        ("deployments", "/spec/template/spec/containers/0/env"),
        ("deployments", "/spec/strategy/rollingUpdate/maxSurge"),
        ("roles", "/rules"),
        ("rolebindings", "/subjects/0/name"),
        ("widgets", "/spec"),
        ("widgets", "/spec/size"),
        ("widgets", "/spec/mode"),
        ("widgets", "/spec/ports"),
        ("widgets", "/spec/ports/0"),
        ("widgets", "/spec/tags"),
        ("widgets", "/spec/either"),
        ("widgets", "/spec/maybe"),
        ("widgets", "/spec/limits"),
        ("widgets", "/metadata/labels"),
        ("configmaps", "/metadata/labels"),
        ("configmaps", "/metadata/annotations/x"),
        ("widgets", "/metadata/annotations/x"),
        ("widgets", "/metadata/finalizers"),
        ("configmaps", "/metadata"),
    ]);
    let value = random
        .pick(&[
            json!(7),
            json!("text"),
            json!(true),
            json!([]),
            json!({}),
            json!(1.5),
            json!([1]),
            json!({"x": 1}),
            Value::Null,
            json!(-1),
        ])
        .clone();
    let value = match (pointer, &value) {
        // Go takes a list of numbers for bytes.
        ("/data/a", Value::Array(_)) if plural == "secrets" => json!({}),
        // It would need an address.
        ("/spec", Value::Null | Value::Object(_)) if plural == "services" => json!(7),
        _ => value,
    };
    with(plural, pointer, value, random)
}

fn metadata(subject: Subject, random: &mut Random) -> Operation {
    let long = "x".repeat(64);
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u"});
    let without = |field: &str| {
        let mut owner = owner.clone();
        owner.as_object_mut().map(|fields| fields.remove(field));
        owner
    };
    let controller = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u", "controller": true});
    let event = json!({"apiVersion": "v1", "kind": "Event", "name": "a", "uid": "u"});
    let cases = [
        ("name", json!("")),
        ("name", json!("Upper")),
        ("name", json!("under_score")),
        ("name", json!("dotted.name")),
        ("name", json!("-a")),
        ("name", json!("a/b")),
        ("name", json!(long)),
        ("name", json!("1number")),
        ("generateName", json!("Bad_")),
        ("namespace", json!("elsewhere")),
        ("namespace", json!("${ns1}")),
        ("labels", json!({"bad key": "x"})),
        ("labels", json!({"ok": "bad value"})),
        ("labels", json!({"ok": long})),
        ("labels", json!({"a/b/c": "x"})),
        ("labels", json!({"Upper.example.com/x": "x"})),
        ("annotations", json!({"bad key": "x"})),
        ("annotations", json!({"": "x"})),
        ("finalizers", json!(["noslash"])),
        ("finalizers", json!(["example.com/fine"])),
        ("finalizers", json!(["bad one"])),
        ("finalizers", json!(["orphan", "foregroundDeletion"])),
        ("ownerReferences", json!([owner])),
        ("ownerReferences", json!([without("uid")])),
        ("ownerReferences", json!([without("name")])),
        ("ownerReferences", json!([without("apiVersion")])),
        ("ownerReferences", json!([controller, controller])),
        ("ownerReferences", json!([event])),
        ("ownerReferences", json!([owner, owner])),
        ("resourceVersion", json!("5")),
        ("resourceVersion", json!("text")),
        ("uid", json!("mine")),
        ("creationTimestamp", json!("2020-01-01T00:00:00Z")),
        ("creationTimestamp", json!("yesterday")),
        ("deletionTimestamp", json!("2020-01-01T00:00:00Z")),
        ("generation", json!(7)),
        ("managedFields", json!([])),
        ("managedFields", json!([{"manager": "x"}])),
        (
            "managedFields",
            json!([{"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}}]),
        ),
        ("selfLink", json!("/x")),
        ("unknown", json!("x")),
    ];
    let (field, mut value) = random.pick(&cases).clone();
    if let Some(version) = value.pointer_mut("/0/apiVersion").filter(|_| field == "managedFields") {
        // Of another group a real server would drop all.
        *version = json!(subject.kind.api_version);
    }
    let mut object = subject.object(random);
    object["metadata"][field] = value;
    let operation = match random.below(4) {
        0 => Operation::update(subject.path(), object),
        1 => {
            let metadata = json!({"metadata": {field: object["metadata"][field]}});
            Operation::patch(subject.path(), "merge-patch+json", metadata)
        }
        _ => Operation::create(subject.collection(), object),
    };
    // What has an owner that is not there is collected, at once or a little later.
    operation.with(if field == "ownerReferences" { "dryRun=All" } else { "" })
}

fn unknown(subject: Subject, random: &mut Random) -> Operation {
    let pointer =
        *random.pick(&["/more", "/metadata/more", "/spec/more", "/data/deep/er", "/spec/ports/0/more", "/status/more"]);
    let mut object = subject.object(random);
    let fits = !pointer.starts_with("/spec") || object.get("spec").is_some();
    put(&mut object, if fits { pointer } else { "/more" }, json!(1));
    let validation = *random.pick(&[
        "fieldValidation=Strict",
        "fieldValidation=Warn",
        "fieldValidation=Ignore",
        "fieldValidation=Odd",
        "",
    ]);
    let operation = match random.below(4) {
        0 => Operation::patch(subject.path(), "merge-patch+json", object),
        1 => Operation::patch(subject.path(), "apply-patch+yaml", object).with("force=true"),
        2 => Operation::update(subject.path(), object),
        _ => Operation::create(subject.collection(), object),
    };
    operation.with(validation)
}

/// Kind, version, name and namespace that are not the path's.
fn identity(subject: Subject, random: &mut Random) -> Operation {
    let mut object = subject.object(random);
    match random.below(7) {
        0 => object["kind"] = json!("Other"),
        1 => object["apiVersion"] = json!("v2"),
        2 => object["apiVersion"] = json!("other.example.com/v1"),
        3 => object["kind"] = json!(""),
        4 => object["metadata"]["namespace"] = json!("elsewhere"),
        5 => {
            object.as_object_mut().map(|fields| fields.remove("kind"));
        }
        _ => object["metadata"]["name"] = json!("other"),
    }
    match random.below(3) {
        0 => Operation::create(subject.collection(), object),
        1 => Operation::update(subject.path(), object),
        _ => Operation::patch(subject.path(), "merge-patch+json", object),
    }
}

/// Bodies that cannot be read, or not as a whole.
fn broken(subject: Subject, random: &mut Random) -> Operation {
    let object = subject.object(random).to_string();
    let create = Operation::new("POST", subject.collection());
    match random.below(9) {
        0 => create.text(&object[..object.len() - 1]),
        1 => create.text(""),
        2 => create.text("[]"),
        // A Service without a name and an address makes a real server try all addresses that it has, one after the other.
        3 => create.text(if subject.kind.plural == "services" { "[]" } else { "null" }),
        4 => create.text(object.replacen('{', "{\"metadata\":{\"name\":\"twice\"},", 1)).with("fieldValidation=Strict"),
        5 => create.text(object.replacen('{', "{\"metadata\":{\"name\":\"twice\"},", 1)).with("fieldValidation=Warn"),
        6 => Operation { content_type: Some("application/xml".into()), ..create.text(object) },
        7 => Operation::new("PATCH", subject.path()).text("{").with("fieldManager=one"),
        _ => {
            let kind = Some("application/json-patch+json".to_string());
            let steps = *random.pick(&["{}", "[{\"op\":\"odd\",\"path\":\"/x\"}]", "[{\"op\":\"add\"}]", "[1]", "[]"]);
            Operation { content_type: kind, ..Operation::new("PATCH", subject.path()).text(steps) }
        }
    }
}

/// Values of the right type that are not allowed.
fn value(random: &mut Random) -> Operation {
    let cases = [
        ("widgets", "/spec/size", json!(101)),
        ("widgets", "/spec/size", json!(-1)),
        ("widgets", "/spec/mode", json!("odd")),
        ("widgets", "/spec/replicas", json!(60)),
        ("widgets", "/spec/replicas", json!(5_000_000_000_u64)),
        ("widgets", "/spec/ports", json!([{"name": "x"}, {"name": "x"}])),
        ("widgets", "/spec/ports", json!([{"port": 1}])),
        ("widgets", "/spec/tags", json!(["a", "a"])),
        ("widgets", "/spec/notes", json!(["1", "2", "3", "4", "5"])),
        ("widgets", "/spec/word", json!("UPPER")),
        ("widgets", "/spec/word", json!("toolong")),
        ("widgets", "/spec/either", json!(1.5)),
        ("services", "/spec/ports", json!([])),
        ("services", "/spec/ports/0/port", json!(0)),
        ("services", "/spec/ports/0/port", json!(70_000)),
        ("services", "/spec/ports/0/protocol", json!("HTTP")),
        ("services", "/spec/ports/0/name", json!("Bad_Name")),
        ("services", "/spec/ports/0/targetPort", json!("way-too-long-port-name")),
        ("services", "/spec/type", json!("Odd")),
        ("services", "/spec/sessionAffinity", json!("Odd")),
        ("services", "/spec/clusterIP", json!("1.2.3")),
        ("deployments", "/spec/replicas", json!(-1)),
        ("deployments", "/spec/minReadySeconds", json!(-1)),
        ("deployments", "/spec/strategy", json!({"type": "Odd"})),
        ("deployments", "/spec/strategy", json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}})),
        ("deployments", "/spec/strategy", json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}})),
        ("deployments", "/spec/strategy", json!({"rollingUpdate": {"maxSurge": "many"}})),
        ("deployments", "/spec/selector", json!({"matchLabels": {"app": "other"}})),
        ("deployments", "/spec/selector", json!({})),
        ("deployments", "/spec/selector", json!({"matchExpressions": [{"key": "app", "operator": "In"}]})),
        ("deployments", "/spec/template/spec/containers", json!([])),
        ("deployments", "/spec/template/spec/containers", json!([{"name": "web"}])),
        ("deployments", "/spec/template/spec/containers", json!([{"image": "web"}])),
        (
            "deployments",
            "/spec/template/spec/containers",
            json!([{"name": "a", "image": "w"}, {"name": "a", "image": "w"}]),
        ),
        ("deployments", "/spec/template/spec/containers/0/name", json!("Bad_Name")),
        ("deployments", "/spec/template/spec/containers/0/env", json!([{"name": "a=b", "value": "1"}])),
        ("deployments", "/spec/template/spec/containers/0/ports", json!([{"containerPort": 0}])),
        ("deployments", "/spec/template/spec/containers/0/resources", json!({"limits": {"cpu": "many"}})),
        (
            "deployments",
            "/spec/template/spec/containers/0/resources",
            json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
        ),
        ("deployments", "/spec/template/spec/containers/0/volumeMounts", json!([{"name": "none", "mountPath": "/x"}])),
        ("deployments", "/spec/template/spec/containers/0/imagePullPolicy", json!("Odd")),
        ("deployments", "/spec/template/spec/restartPolicy", json!("Never")),
        ("deployments", "/spec/template/metadata/labels", json!({"bad key": "x"})),
        ("roles", "/rules", json!([{"verbs": ["get"]}])),
        ("roles", "/rules", json!([{"apiGroups": [""], "resources": ["x"]}])),
        ("rolebindings", "/roleRef", json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Odd", "name": "a"})),
        ("rolebindings", "/subjects", json!([{"kind": "Odd", "name": "a"}])),
        ("rolebindings", "/subjects", json!([{"kind": "ServiceAccount", "name": "a"}])),
        ("configmaps", "/data", json!({"bad key": "x"})),
        ("configmaps", "/data", json!({"..": "x"})),
        ("configmaps", "/binaryData", json!({"a": "not base64!"})),
        ("secrets", "/data", json!({"a": "not base64!"})),
        ("secrets", "/type", json!("kubernetes.io/tls")),
        ("secrets", "/type", json!("kubernetes.io/basic-auth")),
        ("secrets", "/type", json!("kubernetes.io/dockerconfigjson")),
    ];
    let (plural, pointer, value) = random.pick(&cases).clone();
    with(plural, pointer, value, random)
}

/// Changes of what may not change, where the object is there.
fn immutable(random: &mut Random) -> Operation {
    let cases = [
        ("deployments", json!({"spec": {"selector": {"matchLabels": {"app": "other"}}}})),
        ("secrets", json!({"type": "example.com/new"})),
        ("configmaps", json!({"immutable": true})),
        ("configmaps", json!({"data": {"a": "new"}})),
        ("rolebindings", json!({"roleRef": {"name": "new"}})),
        ("widgets", json!({"spec": {"fixed": "one"}})),
        ("widgets", json!({"spec": {"fixed": "two"}})),
        ("services", json!({"spec": {"clusterIP": "10.96.0.77"}})),
        ("widgets", json!({"metadata": {"name": "other"}})),
        ("widgets", json!({"metadata": {"uid": "other"}})),
        ("configmaps", json!({"metadata": {"creationTimestamp": null}})),
    ];
    let (plural, part) = random.pick(&cases).clone();
    let subject = Subject::of(kind(plural), random);
    Operation::patch(subject.path(), "merge-patch+json", part)
}
