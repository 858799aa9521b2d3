//! Rules as CRD authors write them: what holds, what fails, what is said, what is refused, what it may cost.

use super::*;
use crate::schema::Schema;

/// A kind whose `spec` is `schema`.
fn compile(schema: Value) -> std::sync::Arc<Schema> {
    let root = json!({"type": "object", "properties": {"spec": schema}});
    Schema::compile(&root, &serde_json::Map::new()).unwrap()
}

/// `field: message` of what is wrong with `spec`.
fn told(schema: &Schema, new: Value, old: Option<Value>) -> Vec<String> {
    let whole = |spec: Value| json!({"spec": spec});
    let causes = schema.validate(&whole(new), old.map(whole).as_ref());
    causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

fn with_rules(rules: Value) -> Value {
    json!({"type": "object", "x-kubernetes-validations": rules, "properties": {
        "replicas": {"type": "integer"}, "max": {"type": "integer"}, "ratio": {"type": "number"},
        "name": {"type": "string"}, "if": {"type": "string"}, "a-b": {"type": "string"}, "a__b": {"type": "string"},
        "at": {"type": "string", "format": "date-time"}, "wait": {"type": "string", "format": "duration"},
        "port": {"x-kubernetes-int-or-string": true},
        "tags": {"type": "array", "items": {"type": "string"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
}

/// Whether `rule` holds for `spec`; the error otherwise.
fn holds(rule: &str, spec: Value) -> Result<(), String> {
    let causes = told(&compile(with_rules(json!([{"rule": rule, "message": "no"}]))), spec, None);
    causes.into_iter().next().map_or(Ok(()), Err)
}

#[test]
fn rules_see_what_the_schema_types() {
    for (rule, spec) in [
        ("self.replicas <= self.max", json!({"replicas": 1, "max": 2})),
        ("self.ratio > 0.5", json!({"ratio": 1})),
        ("!has(self.name) || self.name.startsWith('a')", json!({})),
        ("self.name.matches('^[a-z]+$')", json!({"name": "abc"})),
        (
            "self.__if__ == 'x' && self.a__dash__b == 'y' && self.a__underscores__b == 'z'",
            json!({"if": "x", "a-b": "y", "a__b": "z"}),
        ),
        ("self.at < timestamp('2027-01-01T00:00:00Z')", json!({"at": "2026-11-20T09:00:00Z"})),
        ("self.wait <= duration('1h')", json!({"wait": "30m"})),
        ("type(self.port) == int ? self.port > 0 : self.port != ''", json!({"port": 80})),
        ("self.tags.all(t, t.size() < 4) && self.tags.exists_one(t, t == 'a')", json!({"tags": ["a", "b"]})),
        ("self.labels.all(k, self.labels[k] != '') && 'app' in self.labels", json!({"labels": {"app": "x"}})),
        ("self.tags.map(t, t + '!') == ['a!']", json!({"tags": ["a"]})),
        ("size(self.tags.filter(t, t.contains('a'))) == 1", json!({"tags": ["ab", "c"]})),
        ("self.open == {}", json!({"open": {"unseen": 1}})),
        ("isURL(self.name) && url(self.name).getHostname() == 'example.com'", json!({"name": "https://example.com/x"})),
        ("quantity(self.name).isLessThan(quantity('2Gi'))", json!({"name": "1Gi"})),
        ("self.tags.isSorted() && sets.contains(self.tags, ['a'])", json!({"tags": ["a", "b"]})),
    ] {
        assert_eq!(holds(rule, spec), Ok(()), "{rule}");
    }
}

#[test]
fn what_does_not_hold_is_told() {
    let base = json!({"replicas": 3, "max": 2});
    for (rule, expected) in [
        (
            json!({"rule": "self.replicas <= self.max"}),
            "spec: Invalid value: \"object\": failed rule: self.replicas <= self.max",
        ),
        (
            json!({"rule": "self.replicas <= self.max", "message": "too many"}),
            "spec: Invalid value: \"object\": too many",
        ),
        (
            json!({"rule": "self.replicas <= self.max", "message": "too many", "messageExpression":
                "'at most ' + string(self.max) + ' but ' + string(self.replicas)"}),
            "spec: Invalid value: \"object\": at most 2 but 3",
        ),
        // A message that fails, is empty or has lines falls back to the constant one.
        (
            json!({"rule": "false", "message": "no", "messageExpression": "self.name"}),
            "spec: Invalid value: \"object\": no",
        ),
        (json!({"rule": "false", "message": "no", "messageExpression": "' '"}), "spec: Invalid value: \"object\": no"),
        (
            json!({"rule": "false", "message": "no", "messageExpression": "'a\\nb'"}),
            "spec: Invalid value: \"object\": no",
        ),
        (
            json!({"rule": "false", "message": "no", "reason": "FieldValueForbidden", "fieldPath": ".replicas"}),
            "spec.replicas: Forbidden: no",
        ),
        (json!({"rule": "false", "message": "no", "reason": "FieldValueRequired"}), "spec: Required value: no"),
        (
            json!({"rule": "false", "message": "no", "reason": "FieldValueDuplicate"}),
            "spec: Duplicate value: \"object\"",
        ),
        // What cannot be evaluated fails.
        (
            json!({"rule": "self.name == 'x'"}),
            "spec: Invalid value: \"object\": no such key: name evaluating rule: self.name == 'x'",
        ),
        (
            json!({"rule": "self.replicas / 0 == 1"}),
            "spec: Invalid value: \"object\": division by zero evaluating rule: self.replicas / 0 == 1",
        ),
        (
            json!({"rule": "self.replicas + 1"}),
            "spec: Invalid value: \"object\": rule does not answer true or false: self.replicas + 1",
        ),
        (
            json!({"rule": "self.replicas =="}),
            "spec: Invalid value: \"object\": rule does not compile: self.replicas ==",
        ),
        (
            json!({"rule": "timestamp('9999-12-31T23:59:59Z') + duration('9999h') > timestamp('2026-01-01T00:00:00Z')"}),
            "spec: Invalid value: \"object\": ",
        ),
    ] {
        let causes = told(&compile(with_rules(json!([rule]))), base.clone(), None);
        assert_eq!(causes.len(), 1, "{rule}: {causes:?}");
        assert!(causes[0].starts_with(expected), "{rule}: {causes:?}");
    }
}

#[test]
fn errors_do_not_quote_values() {
    let schema = compile(with_rules(json!([{"rule": "int(self.name) > 0"}, {"rule": "self.name + 1 == ''"}])));
    for cause in told(&schema, json!({"name": "hunter2"}), None) {
        assert!(!cause.contains("hunter2"), "{cause}");
    }
}

#[test]
fn transition_rules_need_an_old_value() {
    let schema = compile(with_rules(json!([{"rule": "self.name == oldSelf.name", "message": "fixed"}])));
    assert_eq!(told(&schema, json!({"name": "a"}), None), [""; 0]);
    assert_eq!(told(&schema, json!({"name": "a", "max": 1}), Some(json!({"name": "a"}))), [""; 0]);
    assert_eq!(
        told(&schema, json!({"name": "b"}), Some(json!({"name": "a"}))),
        ["spec: Invalid value: \"object\": fixed"]
    );
    let optional = compile(with_rules(json!([{"optionalOldSelf": true, "message": "starts at 1, then grows",
        "rule": "oldSelf.hasValue() ? self.replicas >= oldSelf.value().replicas : self.replicas == 1"}])));
    assert_eq!(told(&optional, json!({"replicas": 1}), None), [""; 0]);
    assert_eq!(told(&optional, json!({"replicas": 2}), None).len(), 1);
    assert_eq!(told(&optional, json!({"replicas": 3}), Some(json!({"replicas": 2}))), [""; 0]);
    assert_eq!(told(&optional, json!({"replicas": 1}), Some(json!({"replicas": 2}))).len(), 1);
}

#[test]
fn what_did_not_change_is_not_judged_again() {
    let schema = compile(with_rules(json!([{"rule": "self.replicas < 3", "message": "no"}])));
    let bad = json!({"replicas": 5});
    assert_eq!(told(&schema, bad.clone(), Some(bad.clone())), [""; 0]);
    assert_eq!(told(&schema, json!({"replicas": 6}), Some(bad)).len(), 1);
}

#[test]
fn items_of_keyed_lists_meet_their_old_selves() {
    let schema = compile(
        json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "n": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.n >= oldSelf.n", "message": "shrinks"}]}}),
    );
    let old = json!([{"name": "a", "n": 1}, {"name": "b", "n": 5}]);
    let swapped = json!([{"name": "b", "n": 5}, {"name": "a", "n": 2}, {"name": "c", "n": 0}]);
    assert_eq!(told(&schema, swapped, Some(old.clone())), [""; 0]);
    let shrunk = json!([{"name": "b", "n": 4}, {"name": "a", "n": 1}]);
    assert_eq!(told(&schema, shrunk, Some(old)), ["spec[0]: Invalid value: \"object\": shrinks"]);
}

#[test]
fn evaluation_is_bounded() {
    let many: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
    let long = "x".repeat(200_000);
    for (rule, spec) in [
        ("self.tags.all(a, self.tags.all(b, self.tags.all(c, a != '' && b != '' && c != '')))", json!({"tags": many})),
        ("self.tags.map(a, self.tags.map(b, self.tags.map(c, a + b + c))).size() == 0", json!({"tags": many})),
        ("self.tags.map(t, self.name + t).size() > 0", json!({"tags": many, "name": long})),
        ("self.name.replace('x', self.name).replace('x', self.name) != ''", json!({"name": long})),
        ("self.name.replace('', self.name) != ''", json!({"name": long})),
        ("self.tags.join(self.name) != ''", json!({"tags": many, "name": long})),
        ("lists.range(self.replicas).size() > 0", json!({"replicas": i64::MAX})),
        ("sets.contains(self.tags.map(t, t), self.tags)", json!({"tags": many})),
        ("self.tags.all(t, 'a'.matches('^a(' + t + ')?'))", json!({"tags": many})),
    ] {
        let told = holds(rule, spec).expect_err(rule);
        assert!(told.contains("call cost exceeds limit"), "{rule}: {told}");
    }
    // What people write is far from the bounds.
    let hundred: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    for rule in [
        "self.tags.all(a, self.tags.exists_one(b, a == b))",
        "self.tags.all(t, t.matches('^[0-9]+$') && t.size() < 10) && !'a'.matches('b')",
        "self.tags.map(t, t + self.name).filter(t, t.startsWith('1')).size() > 0",
        "lists.range(10).sum() == 45 && self.name.replace('x', 'yy').size() == 6",
    ] {
        assert_eq!(holds(rule, json!({"tags": hundred, "name": "xxx"})), Ok(()), "{rule}");
    }
}

#[test]
fn the_budget_of_an_object_is_shared_by_its_rules() {
    let rule = json!({"rule": "self.tags.all(a, self.tags.all(b, a != '' && b != ''))"});
    let schema = compile(with_rules(Value::Array(vec![rule; 30])));
    let tags: Vec<String> = (0..150).map(|n| n.to_string()).collect();
    let causes = told(&schema, json!({"tags": tags}), None);
    assert!(!causes.is_empty() && causes.len() < 30, "some rules were evaluated, and then no more: {}", causes.len());
    assert!(causes.iter().all(|cause| cause.contains("call cost exceeds limit")));
}

/// Expressions that would exhaust the stack of a thread if they were parsed or evaluated as they are.
#[test]
fn hostile_expressions_are_refused_on_a_small_stack() {
    let around = |open: &str, inside: &str, close: &str, times: usize| {
        format!("{}{inside}{}", open.repeat(times), close.repeat(times))
    };
    let expressions = vec![
        "1 + ".repeat(5_000) + "1 == 2",
        "1 + ".repeat(1_400) + "1 == 2",
        "!".repeat(390) + "true",
        "-".repeat(5_000) + "1 == 1",
        around("(", "1", ")", 5_000),
        around("[", "", "]", 390),
        around("{1:", "1", "}", 390),
        around("[1].map(x, ", "x", ")", 300),
        "true && ".repeat(1_000) + "true",
        "true ? ".repeat(390) + "true" + &" : false".repeat(390),
        format!("self{}", ".a".repeat(390)),
        format!("self{}", "[0]".repeat(390)),
        "\"".repeat(3_000),
        "'\\".repeat(50),
        "a.b.c(".repeat(130),
        "x".repeat(MAX_EXPRESSION + 1),
        "Message{field: 1}".into(),
        "\u{0}\u{1}💥".into(),
    ];
    let small = std::thread::Builder::new().stack_size(2 << 20);
    let refused = small.spawn(move || expressions.into_iter().filter(|text| holds(text, json!({})).is_err()).count());
    assert_eq!(refused.unwrap().join().unwrap(), 18);
}
