//! What a schema does to an object: decode, prune, default, validate; and that it survives whatever it is given.

use std::sync::LazyLock;

use proptest::prelude::*;
use roadstead_kubewire::options::Media;
use serde_json::json;

use super::*;

fn compile(root: Value) -> Arc<Schema> {
    Schema::compile(&root, &Map::new()).unwrap()
}

/// A kind whose `spec` has these properties.
fn with_spec(properties: Value) -> Arc<Schema> {
    compile(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}))
}

fn payload(text: &str) -> Payload {
    Payload { bytes: text.to_string().into(), media: Media::Json }
}

fn secret() -> Arc<Schema> {
    crate::builtin::schema("io.k8s.api.core.v1.Secret").unwrap()
}

#[test]
fn every_published_definition_compiles() {
    let definitions = crate::builtin::definitions();
    assert!(definitions.len() > 200);
    for name in definitions.keys() {
        crate::builtin::schema(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn schemas_that_cannot_be_compiled_are_refused() {
    let compile = |root: Value| Schema::compile(&root, &Map::new()).unwrap_err();
    assert_eq!(
        compile(json!({"type": "object", "properties": {"a": {"$ref": "#/components/schemas/x.Y"}}})),
        SchemaError::UnknownReference("x.Y".into())
    );
    assert!(matches!(compile(json!({"properties": {"a": {"pattern": "["}}})), SchemaError::Pattern(_)));
    let deep = (0..150).fold(json!({"type": "string"}), |inner, _| json!({"type": "array", "items": inner}));
    assert!(matches!(compile(deep), SchemaError::TooDeep(_)));
}

#[test]
fn fields_are_validated_as_asked() {
    let body = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","creationTimestamp":null,"labels":{},"x":1},
        "data":{"k":"dg=="},"dta":{},"data":{"k":"dg=="}}"#;
    let told = ["duplicate field \"data\"", "unknown field \"metadata.x\"", "unknown field \"dta\""];
    let (value, warnings) = secret().decode(&payload(body), FieldValidation::Warn).unwrap();
    assert_eq!(value, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"k": "dg=="}}));
    assert_eq!(warnings, told);
    assert_eq!(secret().decode(&payload(body), FieldValidation::Ignore).unwrap(), (value.clone(), Vec::new()));
    let error = secret().decode(&payload(body), FieldValidation::Strict).unwrap_err();
    assert_eq!((error.code, error.message), (400, format!("strict decoding error: {}", told.join(", "))));
    assert_eq!(secret().validate(&value, None), []);
    // `null` is what Go has before it decodes anything.
    assert_eq!(secret().decode(&payload("null"), FieldValidation::Warn).unwrap().0, json!({}));
    for nothing in ["[]", "1", "\"x\""] {
        assert_eq!(secret().decode(&payload(nothing), FieldValidation::Warn).unwrap_err().code, 400);
    }
}

#[test]
fn pruning_keeps_what_the_schema_knows_or_leaves_open() {
    let schema = with_spec(json!({
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
        "free": {"type": "object", "additionalProperties": true},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"typed": {"type": "object", "properties": {}}}},
        "empty": {"type": "object"},
        "nullable": {"type": "string", "nullable": true},
        "plain": {"type": "string"},
        "raw": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}
    }));
    let mut value = json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a", "labels": {"l": "v"}, "nope": 1},
        "spec": {"list": [{"a": 1, "b": 2}, {"a": 3.0}], "map": {"k": {"a": "x", "b": 1}}, "free": {"x": {"y": [1]}},
            "open": {"x": {"y": 1}, "typed": {"z": 1}}, "empty": {"x": 1}, "nullable": null, "plain": null,
            "raw": {"apiVersion": "v1", "kind": "K", "metadata": {"name": "b", "odd": 1}, "any": {"thing": 1}}},
        "more": 1});
    let mut told = schema.prune(&mut value);
    told.sort();
    assert_eq!(
        value,
        json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a", "labels": {"l": "v"}},
            "spec": {"list": [{"a": 1}, {"a": 3}], "map": {"k": {"a": "x"}}, "free": {"x": {"y": [1]}},
                "open": {"x": {"y": 1}, "typed": {}}, "empty": {}, "nullable": null,
                "raw": {"apiVersion": "v1", "kind": "K", "metadata": {"name": "b"}, "any": {"thing": 1}}}})
    );
    assert_eq!(
        told,
        [
            "metadata.nope",
            "more",
            "spec.empty.x",
            "spec.list[0].b",
            "spec.map.k.b",
            "spec.open.typed.z",
            "spec.raw.metadata.odd"
        ]
    );
    assert!(schema.prune(&mut value).is_empty(), "idempotent");
}

#[test]
fn built_in_kinds_come_out_as_they_are_stored() {
    let schema = crate::builtin::schema("io.k8s.api.apps.v1.Deployment").unwrap();
    let mut value = json!({"metadata": {"creationTimestamp": null, "labels": {}, "annotations": {"a": "1"}}, "spec":
        {"replicas": null, "selector": {}, "template": {"spec": {"volumes": [], "containers": [{"name": "a", "env": [],
            "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}]}}}});
    assert_eq!(schema.prune(&mut value), [""; 0]);
    assert_eq!(
        value,
        json!({"metadata": {"annotations": {"a": "1"}}, "spec": {"selector": {}, "template": {"spec": {"containers":
            [{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]}}}})
    );
}

#[test]
fn defaults_fill_what_is_absent() {
    let schema = with_spec(json!({
        "replicas": {"type": "integer", "default": 1},
        "mode": {"type": "string", "default": "auto", "nullable": true},
        "nested": {"type": "object", "default": {}, "properties": {"a": {"type": "string", "default": "x"}}},
        "absent": {"type": "object", "properties": {"a": {"type": "string", "default": "x"}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"d": {"type": "integer", "default": 7}}}}
    }));
    let mut value = json!({"spec": {"replicas": null, "mode": null, "list": [{}, {"p": "UDP"}], "map": {"k": {}}}});
    schema.default(&mut value);
    let expected = json!({"spec": {"replicas": 1, "mode": null, "list": [{"p": "TCP"}, {"p": "UDP"}],
        "map": {"k": {"d": 7}}, "nested": {"a": "x"}}});
    assert_eq!(value, expected);
    schema.default(&mut value);
    assert_eq!(value, expected, "idempotent");
}

/// `field: message` of what is wrong with `spec`.
fn told(schema: &Schema, new: Value, old: Option<Value>) -> Vec<String> {
    let whole = |spec: Value| json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a"}, "spec": spec});
    let causes = schema.validate(&whole(new), old.map(whole).as_ref());
    causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

#[test]
fn values_are_checked_in_kubernetes_words() {
    for (property, bad, expected) in [
        (
            json!({"type": "integer"}),
            json!("x"),
            "Invalid value: \"string\": spec.f in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "integer"}),
            json!(1.5),
            "Invalid value: \"number\": spec.f in body must be of type integer: \"number\"",
        ),
        (
            json!({"type": "string"}),
            json!(1),
            "Invalid value: \"integer\": spec.f in body must be of type string: \"integer\"",
        ),
        (
            json!({"type": "object"}),
            json!([]),
            "Invalid value: \"array\": spec.f in body must be of type object: \"array\"",
        ),
        (
            json!({"type": "string"}),
            json!(null),
            "Invalid value: \"null\": spec.f in body must be of type string: \"null\"",
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            "Invalid value: \"boolean\": spec.f in body must be of type integer,string: \"boolean\"",
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            "Unsupported value: \"c\": supported values: \"a\", \"b\"",
        ),
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            "Invalid value: 0: spec.f in body should be greater than or equal to 1",
        ),
        (
            json!({"type": "integer", "minimum": 1, "exclusiveMinimum": true}),
            json!(1),
            "Invalid value: 1: spec.f in body should be greater than 1",
        ),
        (
            json!({"type": "number", "maximum": 0.5}),
            json!(1),
            "Invalid value: 1: spec.f in body should be less than or equal to 0.5",
        ),
        (
            json!({"type": "integer", "multipleOf": 2}),
            json!(3),
            "Invalid value: 3: spec.f in body should be a multiple of 2",
        ),
        (
            json!({"type": "string", "minLength": 2}),
            json!("ü"),
            "Invalid value: \"ü\": spec.f in body should be at least 2 chars long",
        ),
        (json!({"type": "string", "maxLength": 2}), json!("abc"), "Too long: may not be more than 2 bytes"),
        (
            json!({"type": "string", "pattern": "^[a-z]+$"}),
            json!("A"),
            "Invalid value: \"A\": spec.f in body should match '^[a-z]+$'",
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("now"),
            "Invalid value: \"now\": spec.f in body must be of type date-time: \"now\"",
        ),
        (json!({"type": "array", "items": {}, "maxItems": 1}), json!([1, 2]), "Too many: 2: must have at most 1 item"),
        (
            json!({"type": "array", "items": {}, "minItems": 1}),
            json!([]),
            "Invalid value: []: spec.f in body should have at least 1 items",
        ),
        (
            json!({"type": "object", "additionalProperties": true, "maxProperties": 1}),
            json!({"a": 1, "b": 2}),
            "Too many: 2: must have at most 1 item",
        ),
        (
            json!({"type": "integer", "anyOf": [{"minimum": 5}, {"maximum": 2}]}),
            json!(3),
            "Invalid value: \"\": \"spec.f\" must validate at least one schema (anyOf)",
        ),
        (
            json!({"type": "integer", "oneOf": [{"minimum": 1}, {"maximum": 5}]}),
            json!(3),
            "Invalid value: \"\": \"spec.f\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ),
        (
            json!({"type": "integer", "not": {"minimum": 1}}),
            json!(3),
            "Invalid value: \"\": \"spec.f\" must not validate the schema (not)",
        ),
        (
            json!({"type": "integer", "allOf": [{"maximum": 2}]}),
            json!(3),
            "Invalid value: 3: spec.f in body should be less than or equal to 2",
        ),
    ] {
        let schema = with_spec(json!({"f": property}));
        assert_eq!(told(&schema, json!({"f": bad}), None), [format!("spec.f: {expected}")], "{property}");
    }
}

#[test]
fn good_values_pass() {
    for (property, good) in [
        (json!({"type": "integer"}), json!(3.0)),
        (json!({"type": "number"}), json!(3)),
        (json!({"type": "string", "nullable": true}), json!(null)),
        (json!({"x-kubernetes-int-or-string": true}), json!("80%")),
        (json!({"type": "string", "maxLength": 1}), json!("ü")),
        (json!({"type": "integer", "oneOf": [{"minimum": 1}, {"maximum": -1}]}), json!(3)),
        (json!({"type": "string", "format": "unknown"}), json!("x")),
        (json!({"x-kubernetes-preserve-unknown-fields": true}), json!({"any": ["thing"]})),
    ] {
        let schema = with_spec(json!({"f": property}));
        assert_eq!(told(&schema, json!({"f": good}), None), [""; 0], "{property}");
    }
}

#[test]
fn required_fields_and_unique_items_are_told_by_path() {
    let item = json!({"type": "object", "required": ["name", "port"], "properties": {"name": {"type": "string"},
        "port": {"type": "integer"}}});
    let schema = with_spec(json!({
        "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": item},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}
    }));
    assert_eq!(
        told(&schema, json!({"items": [{"name": "a", "port": 1}, {"name": "a"}], "set": ["x", "y", "x"]}), None),
        [
            "spec.items[1].port: Required value",
            "spec.items[1]: Duplicate value: {\"name\":\"a\"}",
            "spec.set[2]: Duplicate value: \"x\""
        ]
    );
}

#[test]
fn numbers_of_built_in_kinds_fit_their_go_types() {
    let deployment = |replicas: i64| json!({"spec": {"selector": {}, "template": {}, "replicas": replicas}});
    assert_eq!(DEPLOYMENT.validate(&deployment(i32::MAX.into()), None), []);
    let causes = DEPLOYMENT.validate(&deployment(3_000_000_000), None);
    assert_eq!(causes[0].message, "Invalid value: 3000000000: spec.replicas in body must be of type int32");
}

#[test]
fn what_did_not_change_is_not_judged_again() {
    let schema = with_spec(json!({"a": {"type": "integer", "maximum": 1}, "b": {"type": "integer", "maximum": 1},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "n": {"type": "integer", "maximum": 1}}}}}));
    let old = json!({"a": 5, "b": 0, "list": [{"k": "x", "n": 5}]});
    let new = json!({"a": 5, "b": 7, "list": [{"k": "y", "n": 6}, {"k": "x", "n": 5}]});
    let fields: Vec<String> = told(&schema, new, Some(old)).iter().map(|t| t[..t.find(':').unwrap()].into()).collect();
    assert_eq!(fields, ["spec.b", "spec.list[0].n"]);
}

#[test]
fn metadata_is_typed_and_may_be_constrained() {
    let schema = compile(json!({"type": "object", "properties": {"metadata": {"type": "object", "properties":
        {"name": {"type": "string", "maxLength": 3}}}}}));
    let causes = schema.validate(&json!({"metadata": {"name": "long", "labels": {"a": 1}}}), None);
    let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
    assert_eq!(fields, ["metadata.name", "metadata.labels.a"]);
    let embedded = with_spec(json!({"t": {"type": "object", "x-kubernetes-embedded-resource": true,
        "x-kubernetes-preserve-unknown-fields": true}}));
    assert_eq!(
        told(&embedded, json!({"t": {"metadata": {}}}), None),
        ["spec.t.apiVersion: Required value", "spec.t.kind: Required value"]
    );
}

#[test]
fn a_crd_is_validated_by_its_own_recursive_schema() {
    let name = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition";
    let schema = crate::builtin::schema(name).unwrap();
    let property = json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string", "default": "x",
        "enum": ["x", null]}}, "b": {"additionalProperties": {"type": "string"}}}, "tipo": 1});
    let mut crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "x"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "xs", "kind": "X"}, "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"properties": {"spec": property}}}}]}});
    assert_eq!(schema.prune(&mut crd), ["spec.versions[0].schema.openAPIV3Schema.properties.spec.tipo"]);
    assert_eq!(schema.validate(&crd, None), []);
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["maxLength"] = json!("long");
    let causes = schema.validate(&crd, None);
    assert_eq!(causes[0].field, "spec.versions[0].schema.openAPIV3Schema.properties.spec.maxLength");
}

#[test]
fn the_deepest_bodies_fit_on_a_small_stack() {
    let body = |levels: usize| {
        let inner = format!("{}1{}", "{\"a\":[".repeat(levels), "]}".repeat(levels));
        format!(
            "{{\"apiVersion\":\"x/v1\",\"kind\":\"X\",\"metadata\":{{\"name\":\"a\"}},\"spec\":{{\"open\":{inner}}}}}"
        )
    };
    let through = move || {
        let schema = with_spec(json!({"open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}));
        assert!(schema.decode(&payload(&body(60)), FieldValidation::Warn).is_err());
        let (mut value, warnings) = schema.decode(&payload(&body(58)), FieldValidation::Warn).unwrap();
        assert_eq!(warnings, [""; 0]);
        schema.default(&mut value);
        assert_eq!(schema.validate(&value, None), []);
        let request = crate::apply::Request {
            manager: "m".into(),
            force: false,
            subresource: String::new(),
            api_version: "x/v1".into(),
            resets: &[],
            blank: Value::Null,
            now: "2026-11-20T09:00:00Z".parse().unwrap(),
        };
        let applied = crate::apply::apply(Some(&value), &value, &request, &schema).unwrap();
        let text = applied.to_string();
        assert!(text.contains("fieldsV1"));
        let properties = |inner, _| json!({"type": "object", "properties": {"a": inner}});
        let root = (0..50).fold(json!({"type": "string", "default": "x"}), properties);
        assert_eq!(structural(&root), []);
        compile(root).validate(&json!({}), None);
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(through).unwrap().join().unwrap();
}

/// Any JSON over a small vocabulary.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let word = prop_oneof![
            Just("type".to_string()),
            Just("properties".to_string()),
            Just("items".to_string()),
            Just("spec".to_string()),
            Just("metadata".to_string()),
            Just("x-kubernetes-list-type".to_string()),
            Just("x-kubernetes-validations".to_string()),
            Just("rule".to_string()),
            Just("data".to_string()),
            Just("default".to_string()),
            Just("required".to_string()),
            Just("anyOf".to_string()),
            "[a-z]{1,3}"
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::btree_map(word, inner, 0..5).prop_map(|map| json!(map)),
        ]
    })
}

static DEPLOYMENT: LazyLock<Arc<Schema>> =
    LazyLock::new(|| crate::builtin::schema("io.k8s.api.apps.v1.Deployment").unwrap());

proptest! {
    #[test]
    fn hostile_bodies_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), yaml in any::<bool>()) {
        let media = if yaml { Media::Yaml } else { Media::Json };
        let _ = secret().decode(&Payload { bytes: bytes.into(), media }, FieldValidation::Strict);
    }

    #[test]
    fn hostile_objects_never_panic(mut value in anything(), old in anything()) {
        for schema in [&DEPLOYMENT, &secret()] {
            schema.prune(&mut value);
            schema.default(&mut value);
            schema.validate(&value, Some(&old));
        }
    }

    #[test]
    fn hostile_schemas_never_panic(root in anything(), value in anything()) {
        structural(&root);
        if let Ok(schema) = Schema::compile(&root, &Map::new()) {
            let mut value = value;
            schema.prune(&mut value);
            schema.default(&mut value);
            schema.validate(&value, None);
        }
    }

    #[test]
    fn pruning_and_defaulting_settle(mut value in anything()) {
        let schema = &*DEPLOYMENT;
        schema.prune(&mut value);
        schema.default(&mut value);
        let once = value.clone();
        prop_assert!(schema.prune(&mut value).is_empty());
        schema.default(&mut value);
        prop_assert_eq!(once, value);
    }
}
