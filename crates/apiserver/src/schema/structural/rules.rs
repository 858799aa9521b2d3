//! `x-kubernetes-validations`: that rules compile, fit the schema, and can be evaluated where they stand.

use roadstead_kubewire::error::Cause;
use serde_json::{Value, json};

use super::{
    super::{
        cel,
        field::{self, Path},
    },
    At, text,
};

const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Checks what can be said of the rules of one part without compiling them.
pub(super) fn check(schema: &Value, at: At<'_>, causes: &mut Vec<Cause>) {
    let path = at.path.child("x-kubernetes-validations");
    for (index, rule) in list(schema).iter().enumerate() {
        one(rule, schema, &path.index(index), causes);
    }
}

/// Compiles the rules of one part; to be asked where nothing else is wrong with it or below it.
pub(super) fn compile(schema: &Value, at: At<'_>, causes: &mut Vec<Cause>) {
    let rules = list(schema);
    let path = at.path.child("x-kubernetes-validations");
    let errors = cel::check(&Value::from(rules), schema, at.depth == 0);
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        for (_, name, why) in errors.iter().filter(|(of, ..)| *of == index) {
            causes.push(field::invalid(path.child(name), &held(rule), why));
        }
        let expression = text(rule, "rule").unwrap_or_default();
        if cel::mentions(expression, "oldSelf") {
            if let Some(outside) = at.uncorrelated {
                let why =
                    format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {outside}");
                causes.push(field::invalid(path.child("rule"), &expression.into(), &why));
            }
        } else if let Some(optional) = rule.get("optionalOldSelf").filter(|optional| !optional.is_null()) {
            let why = "may not be set if oldSelf is not used in rule";
            causes.push(field::invalid(path.child("optionalOldSelf"), optional, why));
        }
    }
}

fn list(schema: &Value) -> &[Value] {
    schema.get("x-kubernetes-validations").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A rule as kube-apiserver holds and prints it.
fn held(rule: &Value) -> Value {
    let text = |name: &str| text(rule, name).unwrap_or_default();
    json!({"Rule": text("rule"), "Message": text("message"), "MessageExpression": text("messageExpression"),
        "Reason": rule.get("reason"), "FieldPath": text("fieldPath"), "OptionalOldSelf": rule.get("optionalOldSelf")})
}

fn one(rule: &Value, schema: &Value, path: &Path, causes: &mut Vec<Cause>) {
    let expression = text(rule, "rule").unwrap_or_default().trim();
    let message = rule.get("message").and_then(Value::as_str).unwrap_or_default();
    let mut refuse =
        |name: &str, value: &str, why: &str| causes.push(field::invalid(path.child(name), &value.into(), why));
    if expression.is_empty() {
        causes.push(field::required(path.child("rule"), "rule is not specified"));
    } else if !message.is_empty() && message.trim().is_empty() {
        refuse("message", message, "must be non-empty if specified");
    } else if message.trim().contains('\n') {
        refuse("message", message, "must not contain line breaks");
    } else if expression.contains('\n') && message.is_empty() {
        causes.push(field::required(path.child("message"), "message must be specified if rule contains line breaks"));
    }
    if text(rule, "messageExpression").is_some_and(|expression| expression.trim().is_empty()) {
        let why = "messageExpression must be non-empty if specified";
        causes.push(field::required(path.child("messageExpression"), why));
    }
    if let Some(reason) = text(rule, "reason").filter(|reason| !REASONS.contains(reason)) {
        causes.push(field::not_supported(path.child("reason"), &reason.into(), &REASONS));
    }
    if let Some(below) = text(rule, "fieldPath")
        && !leads_somewhere(below, schema)
    {
        causes.push(field::invalid(path.child("fieldPath"), &below.into(), "must be a valid path"));
    }
}

/// Whether a path like `.spec.name` or `['a.b'].c` names a field of `schema`.
fn leads_somewhere(path: &str, schema: &Value) -> bool {
    let mut rest = path;
    let mut here = schema;
    while !rest.is_empty() {
        let (name, after) = if let Some(quoted) = rest.strip_prefix("['") {
            match quoted.split_once("']") {
                Some(split) => split,
                None => return false,
            }
        } else {
            let Some(plain) = rest.strip_prefix('.') else { return false };
            plain.split_at(plain.find(['.', '[']).unwrap_or(plain.len()))
        };
        let next = here.get("properties").and_then(|all| all.get(name)).or(here.get("additionalProperties"));
        match next.filter(|next| next.is_object() && !name.is_empty()) {
            Some(next) => here = next,
            None => return false,
        }
        rest = after;
    }
    !path.is_empty()
}
