//! `x-kubernetes-validations`: that rules compile, fit the schema, and can be evaluated where they stand.

use roadstead_kubewire::error::Cause;
use serde_json::Value;

use super::{
    super::{
        cel,
        field::{self, Path},
    },
    At, text,
};

const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Checks the rules of one part.
pub(super) fn check(schema: &Value, at: At<'_>, causes: &mut Vec<Cause>) {
    let Some(list) = schema.get("x-kubernetes-validations") else { return };
    let all = at.path.child("x-kubernetes-validations");
    for (index, name, expression, why) in cel::check(list, schema, at.depth == 0) {
        causes.push(field::invalid(all.index(index).child(name), &expression.into(), &why));
    }
    for (index, rule) in list.as_array().into_iter().flatten().enumerate() {
        one(rule, schema, at, &all.index(index), causes);
    }
}

fn one(rule: &Value, schema: &Value, at: At<'_>, path: &Path, causes: &mut Vec<Cause>) {
    let expression = text(rule, "rule").unwrap_or_default();
    if !at.correlated && cel::mentions(expression, "oldSelf") {
        let why = "oldSelf cannot be used on the uncorrelatable portion of the schema";
        causes.push(field::invalid(path.child("rule"), &expression.into(), why));
    }
    if let Some(reason) = text(rule, "reason").filter(|reason| !REASONS.contains(reason)) {
        causes.push(field::not_supported(path.child("reason"), &reason.into(), &REASONS));
    }
    match rule.get("message").and_then(Value::as_str) {
        Some(message) if message.trim().is_empty() => {
            causes.push(field::invalid(
                path.child("message"),
                &message.into(),
                "message must be non-empty if specified",
            ));
        }
        Some(message) if message.contains('\n') => {
            causes.push(field::invalid(path.child("message"), &message.into(), "message must not contain line breaks"));
        }
        None if expression.trim().contains('\n') && text(rule, "messageExpression").is_none() => {
            let why = "message must be specified if rule contains line breaks";
            causes.push(field::required(path.child("message"), why));
        }
        _ => {}
    }
    if let Some(below) = text(rule, "fieldPath")
        && !leads_somewhere(below, schema)
    {
        let why = format!("does not refer to a valid field: {below}");
        causes.push(field::invalid(path.child("fieldPath"), &below.into(), &why));
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
