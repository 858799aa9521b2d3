//! CustomResourceDefinitions: what is refused, and what a served one does to its objects (defaulting, pruning, CEL,
//! ratcheting, columns, selectable fields, generation).
//!
//! Each sequence has a group of its own. After a definition is written, the first request for its objects is repeated until
//! both servers agree: a real one takes a moment to serve what is new. A default that is different in each definition shows
//! which one is served.

use serde_json::{Value, json};

use crate::{operation::Operation, random::Random};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GADGETS: &str = "/apis/${own}/v1/namespaces/${ns0}/gadgets";

/// The next operations.
pub fn make(random: &mut Random) -> Vec<Operation> {
    match random.below(12) {
        0 | 1 => serve(random),
        2 | 3 => vec![refused(random)],
        _ => vec![object(random)],
    }
}

/// Property schemas that are fine.
fn properties(random: &mut Random) -> Value {
    let rule = |rule: &str, more: Value| {
        let mut rule = json!({"rule": rule});
        more.as_object().into_iter().flatten().for_each(|(key, value)| rule[key] = value.clone());
        json!([rule])
    };
    // What the server fills in tells which definition it goes by.
    let mark = random.number().to_string();
    let mut properties =
        json!({"n": {"type": "integer"}, "s": {"type": "string"}, "mark": {"type": "string", "default": mark}});
    let cases = [
        ("n", json!({"type": "integer", "default": 3})),
        ("n", json!({"type": "integer", "minimum": 2})),
        (
            "n",
            json!({"type": "integer", "x-kubernetes-validations": rule("self >= oldSelf", json!({"message": "may not shrink"}))}),
        ),
        (
            "n",
            json!({"type": "integer", "x-kubernetes-validations":
            rule("!oldSelf.hasValue() || self > oldSelf.value()", json!({"optionalOldSelf": true, "reason": "FieldValueForbidden"}))}),
        ),
        (
            "n",
            json!({"type": "integer", "x-kubernetes-validations": rule("self < 10", json!({"messageExpression": "self > 20 ? 'far too big' : 'too big'"}))}),
        ),
        ("s", json!({"type": "string", "maxLength": 3})),
        ("s", json!({"type": "string", "nullable": true, "default": "d"})),
        ("s", json!({"type": "string", "format": "date-time"})),
        ("s", json!({"type": "string", "format": "duration"})),
        ("s", json!({"type": "string", "enum": ["a", "b"]})),
        ("list", json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"})),
        (
            "list",
            json!({"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}, "required": ["k"]},
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}),
        ),
        ("open", json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})),
        ("map", json!({"type": "object", "additionalProperties": {"type": "integer"}})),
        ("either", json!({"x-kubernetes-int-or-string": true})),
        (
            "embedded",
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
        ),
        ("deep", json!({"type": "object", "default": {}, "properties": {"d": {"type": "string", "default": "deep"}}})),
    ];
    for _ in 0..random.below(5) {
        let (name, schema) = random.pick(&cases).clone();
        properties[name] = schema;
    }
    properties
}

fn definition(random: &mut Random) -> Value {
    let mut spec = json!({"type": "object", "properties": properties(random)});
    if random.chance(30) {
        spec["x-kubernetes-validations"] =
            json!([{"rule": "!has(self.n) || self.n != 7", "message": "seven is out", "fieldPath": ".n"}]);
    }
    if random.chance(15) {
        spec["required"] = json!(["n"]);
    }
    let mut version = json!({"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec,
            "status": {"type": "object", "properties": {"phase": {"type": "string"}}}}}}});
    if random.chance(70) {
        version["subresources"] = json!({"status": {}});
    }
    if random.chance(30) {
        version["additionalPrinterColumns"] =
            json!([{"name": "N", "type": "integer", "jsonPath": ".spec.n", "priority": random.below(2)}]);
    }
    if random.chance(30) {
        version["selectableFields"] = json!([{"jsonPath": ".spec.s"}]);
    }
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gadgets.${own}"},
        "spec": {"group": "${own}", "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget"}, "versions": [version]}})
}

/// Creates the definition, or changes it, and waits until it counts.
fn serve(random: &mut Random) -> Vec<Operation> {
    let definition = definition(random);
    let update = json!({"spec": definition["spec"]});
    let name = format!("{DEFINITIONS}/gadgets.${{own}}");
    let probe = json!({"apiVersion": "${own}/v1", "kind": "Gadget", "metadata": {"name": "probe"}, "spec": {}});
    vec![
        Operation::create(DEFINITIONS, definition),
        // Its status is written by a controller.
        Operation::get(name.clone()).settled(),
        Operation::patch(name, "merge-patch+json", update),
        Operation::create(GADGETS, probe).with("dryRun=All").settled(),
    ]
}

/// A definition that must be refused.
fn refused(random: &mut Random) -> Operation {
    let mut definition = definition(random);
    let at = |pointer: &str| format!("/spec/versions/0/schema/openAPIV3Schema/properties/spec{pointer}");
    let rules = |rule: &str| json!([{"rule": rule}]);
    let cases = [
        (at("/properties/n"), json!({"type": "number of"})),
        (at("/properties/n"), json!({})),
        (at("/properties/n/default"), json!("text")),
        (at("/properties/s/pattern"), json!("(")),
        (at("/properties/s/x-kubernetes-validations"), rules("self >")),
        (at("/properties/s/x-kubernetes-validations"), rules("self > 5")),
        (at("/properties/s/x-kubernetes-validations"), rules("self")),
        (at("/properties/s/x-kubernetes-validations"), rules("self.nothing == 1")),
        (at("/properties/s/x-kubernetes-validations"), rules("")),
        (at("/properties/n/x-kubernetes-validations"), json!([{"rule": "true", "messageExpression": "string(self)"}])),
        (at("/x-kubernetes-validations"), rules("self.missing == 1")),
        (at("/x-kubernetes-validations"), json!([{"rule": "true", "messageExpression": "5"}])),
        (at("/x-kubernetes-validations"), json!([{"rule": "true", "fieldPath": ".nothing"}])),
        (at("/x-kubernetes-validations"), json!([{"rule": "true", "reason": "Odd"}])),
        (at("/x-kubernetes-validations"), json!([{"rule": "true", "message": "two\nlines"}])),
        (at("/properties/n/uniqueItems"), json!(true)),
        (at("/properties/n/x-kubernetes-list-type"), json!("set")),
        (
            at("/properties/deep"),
            json!({"type": "object", "properties": {"d": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
        ),
        (at("/properties/n/anyOf"), json!([{"type": "integer"}])),
        ("/spec/names/plural".into(), json!("other")),
        ("/spec/names/kind".into(), json!("gadget")),
        ("/spec/names/plural".into(), json!("Gadgets")),
        ("/spec/group".into(), json!("other.example.com")),
        ("/spec/group".into(), json!("nodots")),
        ("/spec/scope".into(), json!("Odd")),
        ("/spec/versions".into(), json!([])),
        ("/spec/versions/0/storage".into(), json!(false)),
        ("/spec/versions/0/name".into(), json!("V1")),
        ("/spec/versions/0/schema".into(), Value::Null),
        ("/spec/versions/0/selectableFields".into(), json!([{"jsonPath": ".spec.nothing"}])),
        (
            "/spec/versions/0/additionalPrinterColumns".into(),
            json!([{"name": "x", "type": "odd", "jsonPath": ".spec.n"}]),
        ),
        (
            "/spec/versions/0/additionalPrinterColumns".into(),
            json!([{"name": "x", "type": "string", "jsonPath": "spec"}]),
        ),
        ("/spec/versions/0/subresources".into(), json!({"scale": {"specReplicasPath": ".spec.n"}})),
        ("/spec/preserveUnknownFields".into(), json!(true)),
        ("/metadata/name".into(), json!("wrong")),
    ];
    let (pointer, value) = random.pick(&cases).clone();
    let (parent, field) = pointer.rsplit_once('/').unwrap_or(("", ""));
    match definition.pointer_mut(parent) {
        Some(Value::Array(items)) => items[0] = value,
        Some(parent) => parent[field] = value,
        None => {}
    }
    Operation::create(DEFINITIONS, definition).with("dryRun=All")
}

/// Objects of the kind, if it is served.
fn object(random: &mut Random) -> Operation {
    let name = *random.pick(&["a", "a", "b"]);
    let path = format!("{GADGETS}/{name}");
    let mut spec = json!({});
    for _ in 0..random.below(4) {
        let (field, value) = random
            .pick(&[
                ("n", json!(1)),
                ("n", json!(5)),
                ("n", json!(7)),
                ("n", json!(12)),
                ("n", Value::Null),
                ("s", json!("a")),
                ("s", json!("long one")),
                ("s", json!("2026-01-01T00:00:00Z")),
                ("s", json!("3s")),
                ("s", Value::Null),
                ("list", json!(["x", "y"])),
                ("list", json!(["x", "x"])),
                ("list", json!([{"k": "1", "v": 1}, {"k": "2"}])),
                ("open", json!({"x": {"y": 1}})),
                ("map", json!({"x": 1})),
                ("map", json!({"x": "one"})),
                ("either", json!("x")),
                ("either", json!(5)),
                (
                    "embedded",
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}}),
                ),
                ("embedded", json!({"data": {}})),
                ("deep", json!({})),
                ("deep", json!({"e": 1})),
                ("pruned", json!(1)),
            ])
            .clone();
        spec[field] = value;
    }
    let object = json!({"apiVersion": "${own}/v1", "kind": "Gadget", "metadata": {"name": name}, "spec": spec});
    match random.below(12) {
        0..4 => Operation::create(GADGETS, object),
        4..6 => {
            let mut object = object;
            object["metadata"]["resourceVersion"] = format!("${{rv:gadgets/ns0/{name}}}").into();
            Operation::update(path, object)
        }
        6..8 => Operation::patch(path, "merge-patch+json", json!({"spec": object["spec"]})),
        8 => Operation::patch(path, "apply-patch+yaml", object).with("fieldManager=one").with("force=true"),
        9 => Operation::patch(path + "/status", "merge-patch+json", json!({"status": {"phase": "Up"}})),
        10 => Operation::get(GADGETS).accepting("application/json;as=Table;v=v1;g=meta.k8s.io"),
        _ => Operation::get(GADGETS).with(random.word(&["fieldSelector=spec.s%3Da", "fieldSelector=spec.n%3D1", ""])),
    }
}
