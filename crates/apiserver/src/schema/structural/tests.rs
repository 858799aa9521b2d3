//! What makes a CRD's schema structural, and in which words it is refused if it is not.

use super::*;
use serde_json::json;

/// `field: message` of what is wrong with a schema whose `spec` is `spec`.
fn told(spec: Value) -> Vec<String> {
    whole(json!({"type": "object", "properties": {"spec": spec}}))
}

fn whole(root: Value) -> Vec<String> {
    structural(&root).into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

#[test]
fn good_schemas_pass() {
    for spec in [
        json!({"type": "object", "properties": {"a": {"type": "string", "enum": ["x", "y"], "default": "x"}}}),
        json!({"x-kubernetes-int-or-string": true}),
        json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
        json!({"x-kubernetes-preserve-unknown-fields": true}),
        json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
        json!({"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"}),
        json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}},
                "x-kubernetes-validations": [{"rule": "self.name == oldSelf.name"}]}}),
        json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
        json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "oneOf": [{"required": ["a"]}, {"required": ["b"], "properties": {"b": {"minimum": 1}}}]}),
    ] {
        assert_eq!(told(spec.clone()), [""; 0], "{spec}");
    }
    assert_eq!(
        whole(json!({"type": "object", "properties": {"metadata": {"type": "object", "properties":
            {"name": {"type": "string", "maxLength": 63}}}}})),
        [""; 0]
    );
}

#[test]
fn bad_schemas_are_told_where() {
    let list = |more: Value| {
        let mut list =
            json!({"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}});
        list.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        list
    };
    for (spec, expected) in [
        (json!({}), "properties[spec].type: Required value: must not be empty for specified object fields"),
        (
            json!({"type": "text"}),
            "properties[spec].type: Unsupported value: \"text\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ),
        (json!({"type": "array"}), "properties[spec].items: Required value: must be specified"),
        (
            json!({"type": "array", "items": {}}),
            "properties[spec].items.type: Required value: must not be empty for specified array items",
        ),
        (json!({"type": "object", "$ref": "#/x"}), "properties[spec].$ref: Forbidden: $ref is not supported"),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            "properties[spec].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            json!({"type": "string", "x-kubernetes-int-or-string": true}),
            "properties[spec].type: Invalid value: \"string\": must be empty if x-kubernetes-int-or-string is true",
        ),
        (
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false}),
            "properties[spec].x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
        ),
        (
            json!({"type": "string", "pattern": "["}),
            "properties[spec].pattern: Invalid value: \"[\": must be a valid regular expression, but isn't",
        ),
        (
            json!({"type": "integer", "default": "x"}),
            "properties[spec].default: Invalid value: \"string\":  in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "object", "default": {"b": 1}, "properties": {"a": {"type": "string"}}}),
            "properties[spec].default: Invalid value: {\"b\":1}: unknown field \"b\"",
        ),
        (
            list(json!({"x-kubernetes-list-type": "map"})),
            "properties[spec].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (
            list(json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"]})),
            "properties[spec].x-kubernetes-list-map-keys[0]: Invalid value: \"id\": entries must all be names of item properties",
        ),
        (
            list(json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]})),
            "properties[spec].items.properties[name].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        (
            list(json!({"x-kubernetes-list-type": "set"})),
            "properties[spec].items.x-kubernetes-map-type: Invalid value: \"\": must be atomic as item of a list",
        ),
        (
            json!({"type": "string", "x-kubernetes-list-type": "set"}),
            "properties[spec].type: Invalid value: \"string\": must be array if x-kubernetes-list-type is specified",
        ),
        (
            json!({"type": "object", "anyOf": [{"properties": {"a": {"minimum": 1}}}]}),
            "properties[spec].properties[a]: Required value: because it is defined in properties[spec].anyOf[0].properties[a]",
        ),
        (
            json!({"type": "object", "not": {"type": "string"}}),
            "properties[spec].not.type: Forbidden: must be empty to be structural",
        ),
    ] {
        let causes = told(spec.clone());
        assert!(causes.iter().any(|cause| cause.starts_with(expected)), "{spec}: {causes:#?} lacks {expected}");
    }
    assert_eq!(whole(json!({"properties": {}})), ["type: Required value: must not be empty at the root"]);
    assert_eq!(
        whole(json!({"type": "object", "properties": {"metadata": {"type": "object", "properties":
            {"labels": {"type": "object"}}}}})),
        [
            "properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is \
          implicitly specified"
        ]
    );
}

#[test]
fn rules_must_fit() {
    let schema = |rule: Value| {
        json!({"type": "object", "x-kubernetes-validations": [rule], "properties": {"a": {"type": "string"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "integer"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"c": {"type": "string"}}}}}})
    };
    for rule in [
        json!({"rule": "self.a != '' && self.list.all(i, i.b > 0) && self.map.all(k, self.map[k].c != '')"}),
        json!({"rule": "has(self.a)", "message": "m", "reason": "FieldValueRequired", "fieldPath": ".a"}),
        json!({"rule": "self.a ==\n'x'", "message": "m", "messageExpression": "'a is ' + self.a"}),
        json!({"rule": "size(self.list) > 0", "fieldPath": "['map'].x.c"}),
    ] {
        assert_eq!(told(schema(rule.clone())), [""; 0], "{rule}");
    }
    let path = "properties[spec].x-kubernetes-validations[0]";
    for (rule, expected) in [
        (json!({"rule": "self.typo == ''"}), "compilation failed: undefined field 'typo'"),
        (json!({"rule": "self.list.all(i, i.x > 0)"}), "undefined field 'x'"),
        (json!({"rule": "self.map['x'].d == ''"}), "undefined field 'd'"),
        (json!({"rule": "self.a.b == ''"}), "type 'string' does not support field selection"),
        (json!({"rule": "self.a =="}), "compilation failed"),
        (json!({"rule": "self.a"}), "cel expression must evaluate to a bool"),
        (json!({"rule": "self.a > 5"}), "no matching overload for '_>_' applied to '(string, int)'"),
        (
            json!({"rule": "self.list.all(i, i.b + 'x' == '')"}),
            "no matching overload for '_+_' applied to '(int, string)'",
        ),
        (json!({"rule": "!self.a"}), "no matching overload for '!_'"),
        (json!({"rule": "self.a.size() == 'x'"}), "no matching overload for '_==_' applied to '(int, string)'"),
        (json!({"rule": "true", "messageExpression": "5"}), "messageExpression must evaluate to a string"),
        (json!({"rule": "true", "optionalOldSelf": true}), "optionalOldSelf: Invalid value: true: may not be set"),
        (json!({"rule": ""}), "rule is not specified"),
        (json!({"rule": "object.a == ''"}), "undeclared reference to 'object'"),
        (json!({"rule": "self.a.frobnicate()"}), "undeclared reference to 'frobnicate'"),
        (json!({"rule": "true", "messageExpression": "self.typo"}), "messageExpression: Invalid value"),
        (json!({"rule": "true", "reason": "Because"}), "reason: Unsupported value: \"Because\""),
        (json!({"rule": "true", "fieldPath": ".nope"}), "fieldPath: Invalid value: \".nope\": must be a valid path"),
        (
            json!({"rule": "self.a ==\n'x'"}),
            "message: Required value: message must be specified if rule contains line breaks",
        ),
        (json!({"rule": "true", "message": "a\nb"}), "message: Invalid value: \"a\\nb\": must not contain line breaks"),
    ] {
        let causes = told(schema(rule.clone()));
        let found = causes.iter().any(|cause| cause.starts_with(path) && cause.contains(expected));
        assert!(found, "{rule}: {causes:#?} lacks {expected}");
    }
    let uncorrelated = json!({"type": "array", "items": {"type": "string",
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}});
    assert_eq!(
        told(uncorrelated),
        [
            "properties[spec].items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be \
          used on the uncorrelatable portion of the schema within properties[spec]"
        ]
    );
    let root =
        |rule: &str| whole(json!({"type": "object", "x-kubernetes-validations": [{"rule": rule}]})).into_iter().next();
    assert_eq!(root("self.metadata.name.startsWith('a') && self.kind != ''"), None);
    assert!(root("self.metadata.labels.size() > 0").unwrap().contains("undefined field 'labels'"));
}

#[test]
fn misshapen_schemas_never_panic() {
    let mut deep = json!({"type": "string"});
    for _ in 0..200 {
        deep = json!({"type": "object", "properties": {"a": deep}, "anyOf": [deep]});
        if deep.to_string().len() > 1_000_000 {
            break;
        }
    }
    for root in [json!(null), json!([]), json!({"properties": 1, "items": 2, "allOf": {}}), deep] {
        structural(&root);
    }
}
