//! One part of a schema by itself: its type, what is not supported, its extensions, its default.

use roadstead_kubewire::error::Cause;
use serde_json::Value;

use super::{
    super::{
        cel, compile, defaults,
        field::{self, Path},
        prune, validate,
    },
    At, is, properties, text,
};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// OpenAPI keywords that CRDs cannot use.
const UNSUPPORTED: [&str; 6] = ["$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "id"];

/// Checks the part at `at`.
pub(super) fn check(schema: &Value, at: At<'_>, causes: &mut Vec<Cause>) {
    let path = at.path;
    let kind = text(schema, "type");
    let (int_or_string, preserve) =
        (is(schema, "x-kubernetes-int-or-string"), is(schema, "x-kubernetes-preserve-unknown-fields"));
    match kind {
        Some(kind) if !TYPES.contains(&kind) => {
            causes.push(field::not_supported(path.child("type"), &kind.into(), &TYPES));
        }
        Some(kind) if int_or_string => {
            let why = "must be empty if x-kubernetes-int-or-string is true";
            causes.push(field::invalid(path.child("type"), &kind.into(), why));
        }
        None if !int_or_string && !preserve => {
            causes.push(field::required(path.child("type"), &format!("must not be empty {}", at.place)));
        }
        _ => {}
    }
    for keyword in UNSUPPORTED.iter().filter(|keyword| schema.get(**keyword).is_some()) {
        causes.push(field::forbidden(path.child(keyword), &format!("{keyword} is not supported")));
    }
    if is(schema, "uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        causes.push(field::forbidden(path.child("uniqueItems"), why));
    }
    if schema.get("items").is_some_and(Value::is_array) {
        causes.push(field::forbidden(path.child("items"), "items must be a schema object and not an array"));
    } else if kind == Some("array") && schema.get("items").is_none() {
        causes.push(field::required(path.child("items"), "must be specified"));
    }
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        causes
            .push(field::forbidden(path.child("additionalProperties"), "additionalProperties cannot be set to false"));
    }
    if schema.get("additionalProperties").is_some() && properties(schema).next().is_some() {
        let why = "additionalProperties and properties are mutual exclusive";
        causes.push(field::forbidden(path.child("additionalProperties"), why));
    }
    if let Some(pattern) = text(schema, "pattern")
        && let Err(error) = regex::Regex::new(pattern)
    {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        causes.push(field::invalid(path.child("pattern"), &pattern.into(), &why));
    }
    extensions(schema, kind, path, causes);
    if let Some(default) = schema.get("default") {
        check_default(schema, default, &path.child("default"), causes);
    }
}

fn extensions(schema: &Value, kind: Option<&str>, path: &Path, causes: &mut Vec<Cause>) {
    let preserve = "x-kubernetes-preserve-unknown-fields";
    if schema.get(preserve) == Some(&Value::Bool(false)) {
        causes.push(field::invalid(path.child(preserve), &Value::Bool(false), "must be true or undefined"));
    }
    if is(schema, "x-kubernetes-embedded-resource") {
        if kind != Some("object") {
            let why = "must be object if x-kubernetes-embedded-resource is true";
            causes.push(field::invalid(path.child("type"), &kind.unwrap_or_default().into(), why));
        }
        if !is(schema, preserve) && properties(schema).next().is_none() {
            let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                       x-kubernetes-preserve-unknown-fields";
            causes.push(field::required(path.child("properties"), why));
        }
    }
    if let Some(map) = text(schema, "x-kubernetes-map-type") {
        let at = path.child("x-kubernetes-map-type");
        if !["atomic", "granular"].contains(&map) {
            causes.push(field::not_supported(at, &map.into(), &["atomic", "granular"]));
        } else if kind != Some("object") {
            let why = "must be object if x-kubernetes-map-type is specified";
            causes.push(field::invalid(path.child("type"), &kind.unwrap_or_default().into(), why));
        }
    }
}

/// A default must be what the schema admits, and know no unknown fields.
fn check_default(schema: &Value, default: &Value, path: &Path, causes: &mut Vec<Cause>) {
    let (mut sound, broken) = (schema.clone(), broken_rules(schema));
    if let Some(keywords) = sound.as_object_mut().filter(|_| !broken.is_empty()) {
        keywords.shift_remove("x-kubernetes-validations");
    }
    // What is wrong with the schema itself is told elsewhere.
    let Ok(nodes) = compile::fragment(&sound) else { return };
    let mut value = default.clone();
    let mut unknown = Vec::new();
    prune::prune(&nodes, 0, &mut value, &Path::root(), prune::Keep::Nothing, &mut unknown);
    for name in unknown {
        causes.push(field::invalid(path, default, &format!("unknown field {name:?}")));
    }
    defaults::apply(&nodes, 0, &mut value);
    let wrong = validate::validate(&nodes, &value, None, &[], Vec::new()).into_iter();
    let before = causes.len();
    // That its rules have to wait goes without saying.
    let wrong = wrong.filter(|cause| !cause.message.ends_with(validate::UNCHECKED));
    causes.extend(wrong.map(|cause| match cause.field.as_str() {
        // kube-apiserver leaves a gap for the name of the whole.
        "<nil>" => {
            let message = cause.message.replace("\": must be", "\":  in body must be");
            Cause { field: path.as_str().into(), message, ..cause }
        }
        below => Cause { field: format!("{path}.{below}"), ..cause },
    }));
    if causes.len() == before {
        let kind = Value::from(validate::type_name(&value));
        let told = broken.iter().filter(|why| !why.is_empty());
        causes.extend(told.map(|why| field::invalid(path, &kind, &format!("rule compile error: {why}"))));
    }
}

/// Why rules of this part do not compile; nothing where there is none, which is told elsewhere.
fn broken_rules(schema: &Value) -> Vec<String> {
    let rules = schema.get("x-kubernetes-validations").unwrap_or(&Value::Null);
    let said = |at: usize| rules[at]["rule"].as_str().is_some_and(|rule| !rule.trim().is_empty());
    let broken = cel::check(rules, schema, false).into_iter().filter(|(_, name, _)| *name == "rule");
    broken.map(|(at, _, why)| if said(at) { why } else { String::new() }).collect()
}
