//! Patches of all four formats, by several managers, of objects and of their status; what becomes of `managedFields` is
//! compared with all the rest.

use serde_json::{Value, json};

use super::{Subject, manager};
use crate::{
    kinds::{Kind, WIDGET, container, kind, labels},
    operation::Operation,
    random::Random,
};

/// The next operations.
pub fn make(random: &mut Random) -> Vec<Operation> {
    let kind: &'static Kind = match random.below(10) {
        0..4 => kind("widgets"),
        4..7 => kind("deployments"),
        7 => kind("configmaps"),
        8 => kind("services"),
        _ => Kind::any(random),
    };
    let subject = Subject::of(kind, random);
    let operation = match random.below(20) {
        0..10 => apply(subject, random),
        10..13 => merge(subject, random, "merge-patch+json"),
        13..16 => merge(subject, random, "strategic-merge-patch+json"),
        16..18 => json_patch(subject, random),
        _ if subject.kind.status => write_status(subject, random),
        _ => Operation::get(subject.path()),
    };
    vec![operation]
}

/// A server-side apply: of a whole object, of a part, or of nothing.
fn apply(subject: Subject, random: &mut Random) -> Operation {
    let mut object = match random.below(4) {
        0 => subject.object(random),
        1 => subject.bare(),
        _ => {
            let mut object = subject.bare();
            merge_into(&mut object, &part(subject, random));
            object
        }
    };
    if random.chance(5) {
        object["metadata"]["resourceVersion"] = format!("${{rv:{}}}", subject.key()).into();
    }
    let force = random.weighted(&[(5, ""), (4, "force=true"), (1, "force=false")]);
    let manager =
        random.weighted(&[(4, "fieldManager=one"), (4, "fieldManager=two"), (1, "fieldManager=three"), (1, "")]);
    Operation::patch(subject.path(), "apply-patch+yaml", object).with(manager).with(force)
}

/// A merge patch in one of the two formats: a part, or the removal of one.
fn merge(subject: Subject, random: &mut Random, format: &str) -> Operation {
    let mut body = match random.below(5) {
        0 => removal(subject, random),
        1 => json!({"metadata": {"labels": {"app": null, "new": "yes"}, "annotations": {"example.com/note": "three"}}}),
        _ => part(subject, random),
    };
    if format.starts_with("strategic") && subject.kind.plural == "deployments" && random.chance(40) {
        body = strategic(random);
    }
    if random.chance(8) {
        let version = *random.pick(&["rv", "old"]);
        body["metadata"]["resourceVersion"] = format!("${{{version}:{}}}", subject.key()).into();
    }
    Operation::patch(subject.path(), format, body).with(manager(random))
}

/// What only a strategic merge patch can say.
fn strategic(random: &mut Random) -> Value {
    let template = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    match random.below(7) {
        0 => template(json!({"containers": [{"name": "side", "$patch": "delete"}]})),
        1 => template(json!({"containers": [container(random, "extra")]})),
        2 => template(json!({"containers": [{"name": "web", "env": [{"name": "A", "$patch": "delete"}]}]})),
        3 => template(json!({"containers": [container(random, "web"), {"$patch": "replace"}]})),
        4 => template(json!({"$setElementOrder/containers": [{"name": "side"}, {"name": "web"}],
            "containers": [{"name": "web", "image": "web:9"}]})),
        5 => template(json!({"volumes": [{"name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}}]})),
        _ => json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
    }
}

fn json_patch(subject: Subject, random: &mut Random) -> Operation {
    let label = |op: &str, value: &str| json!({"op": op, "path": "/metadata/labels/app", "value": value});
    let steps = match random.below(8) {
        0 => json!([label("add", "web")]),
        1 => json!([label("replace", "db")]),
        2 => json!([label("test", "web"), label("replace", "db")]),
        3 => json!([{"op": "remove", "path": "/metadata/annotations"}]),
        4 => json!([{"op": "add", "path": "/metadata/labels", "value": labels(random)}]),
        5 => json!([{"op": "copy", "from": "/metadata/name", "path": "/metadata/annotations/copied"}]),
        6 => json!([{"op": "add", "path": "/spec/ports/-", "value": {"name": "z", "port": 99}}]),
        _ => json!([{"op": "replace", "path": "/spec/replicas", "value": random.below(4)}]),
    };
    Operation::patch(subject.path(), "json-patch+json", steps).with(manager(random))
}

/// A write to the status, in one of the ways that there are; what it says beside the status must be passed over.
fn write_status(subject: Subject, random: &mut Random) -> Operation {
    let mut object = subject.bare();
    object["status"] = status(subject, random);
    // A Service that its status creates is not given what it needs by a real server, which makes up for it at the next write.
    if random.chance(20) && subject.kind.plural != "services" {
        merge_into(&mut object, &part(subject, random));
    }
    let path = subject.path() + "/status";
    match random.below(3) {
        0 => {
            let force = random.weighted(&[(1, ""), (1, "force=true")]);
            let manager = random.weighted(&[(1, "fieldManager=one"), (1, "fieldManager=two")]);
            Operation::patch(path, "apply-patch+yaml", object).with(manager).with(force)
        }
        1 => Operation::patch(path, "merge-patch+json", json!({"status": object["status"]})).with(manager(random)),
        _ => {
            let mut object = subject.object(random);
            object["status"] = status(subject, random);
            Operation::update(path, object).with(manager(random))
        }
    }
}

/// A status of the subject's kind.
pub(crate) fn status(subject: Subject, random: &mut Random) -> Value {
    let condition = |random: &mut Random, kind: &str| json!({"type": kind, "status": *random.pick(&["True", "False"]), "reason": "Because"});
    match subject.kind.plural {
        "deployments" => {
            let replicas = random.below(3);
            // A real server shows times that are not given as null.
            let mut condition = condition(random, "Progressing");
            condition["lastUpdateTime"] = json!("2026-01-01T00:00:00Z");
            condition["lastTransitionTime"] = json!("2026-01-01T00:00:00Z");
            json!({"replicas": replicas, "readyReplicas": 0, "conditions": [condition]})
        }
        "services" => json!({"conditions": [{"type": "Ready", "status": "True", "reason": "Because", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
        _ if subject.kind.kind == WIDGET.kind => {
            let mut status = json!({"phase": *random.pick(&["Up", "Down"])});
            if random.chance(60) {
                let kind = *random.pick(&["Ready", "Synced"]);
                status["conditions"] = json!([condition(random, kind)]);
            }
            status
        }
        _ => json!({}),
    }
}

/// A part of an object that may be applied or merged.
pub(crate) fn part(subject: Subject, random: &mut Random) -> Value {
    let common = match random.below(4) {
        0 => json!({"metadata": {"labels": labels(random)}}),
        1 => json!({"metadata": {"annotations": {"example.com/note": *random.pick(&["one", "two"])}}}),
        // A custom resource with an empty list is written anew by a real server at its next write, changed or not.
        2 if subject.kind.kind != WIDGET.kind => json!({"metadata": {"finalizers": []}}),
        _ => json!({}),
    };
    let mut part = match subject.kind.plural {
        "widgets" => widget(random),
        "deployments" => deployment(random),
        "services" => json!({"spec": {"ports": [{"port": *random.pick(&[80, 81]), "name": "http"}]}}),
        "configmaps" => json!({"data": {(*random.pick(&["a", "b"])): *random.pick(&["1", "2"])}}),
        "secrets" => json!({"stringData": {"a": *random.pick(&["1", "2"])}}),
        _ => json!({}),
    };
    merge_into(&mut part, &common);
    part
}

fn widget(random: &mut Random) -> Value {
    let spec = match random.below(10) {
        0 => json!({"size": random.below(20)}),
        1 => json!({"size": 1, "ports": [{"name": *random.pick(&["x", "y", "z"]), "port": random.below(3)}]}),
        2 => json!({"size": 1, "tags": [*random.pick(&["p", "q", "r"])]}),
        3 => json!({"size": 1, "tags": ["r", "p"]}),
        4 => json!({"notes": [*random.pick(&["one", "three"])]}),
        5 => json!({"size": 1, "free": {"any": {"thing": random.below(3)}, "more": []}}),
        6 => json!({"limits": {(*random.pick(&["cpu", "memory"])): "2"}}),
        7 => json!({"size": 1, "maybe": *random.pick(&[None, Some("text")])}),
        8 => json!({"size": 1, "mode": *random.pick(&["slow", "fast"]), "either": 7}),
        _ => json!({"size": 1, "ports": []}),
    };
    json!({"spec": spec})
}

fn deployment(random: &mut Random) -> Value {
    match random.below(5) {
        0 => json!({"spec": {"replicas": random.below(4)}}),
        1 => {
            json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": *random.pick(&["web:1", "web:2"])}]}}}})
        }
        2 => json!({"spec": {"template": {"metadata": {"annotations": {"again": *random.pick(&["1", "2"])}}}}}),
        3 => json!({"spec": {"template": {"spec": {"containers": [
            {"name": "web", "image": "web:1", "env": [{"name": *random.pick(&["A", "C"]), "value": "7"}],
             "ports": [{"containerPort": *random.pick(&[8080, 9090])}]}]}}}}),
        _ => json!({"spec": {"paused": random.chance(50)}}),
    }
}

/// A merge patch that takes something away.
fn removal(subject: Subject, random: &mut Random) -> Value {
    match subject.kind.plural {
        "widgets" => json!({"spec": {(*random.pick(&["ports", "tags", "mode", "free", "maybe", "size"])): null}}),
        "deployments" => json!({"spec": {(*random.pick(&["replicas", "strategy", "paused"])): null}}),
        "configmaps" | "secrets" => json!({"data": {(*random.pick(&["a", "b"])): null}}),
        _ => json!({"metadata": {"labels": null}}),
    }
}

/// Puts the fields of `more` into `object`, deep.
pub(crate) fn merge_into(object: &mut Value, more: &Value) {
    match (object, more) {
        (Value::Object(fields), Value::Object(more)) => {
            more.iter().for_each(|(key, value)| merge_into(fields.entry(key).or_insert(Value::Null), value));
        }
        (object, more) => *object = more.clone(),
    }
}
