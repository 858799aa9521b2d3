//! What is wrong with a CustomResourceDefinition, in kube-apiserver's words and order.
//!
//! In: the definition and, for an update, the old one. Out: causes. What all versions have in common is told under
//! `spec.validation` and the like, as kube-apiserver holds it, whose own form of a definition has it there.

use roadstead_kubewire::error::Cause;
use serde_json::{Map, Value, json};

use crate::{
    objects::{text, texts},
    registry::{
        meta,
        names::{NameRule, subdomain},
    },
    schema::{
        Schema,
        field::{self, Path},
        structural,
    },
};

const COLUMN_TYPES: [&str; 5] = ["integer", "number", "string", "boolean", "date"];

/// All that is wrong with a CRD.
pub fn validate(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = Path::new("spec");
    let (plural, group) = (text(new, "/spec/names/plural"), text(new, "/spec/group"));
    let name = meta::text(new, "name");
    if name != format!("{plural}.{group}") {
        causes.push(field::invalid("metadata.name", &name.into(), "must be spec.names.plural+\".\"+spec.group"));
    }
    if group.is_empty() {
        causes.push(field::required("spec.group", ""));
    } else if !subdomain(group).is_empty() {
        causes.push(field::invalid("spec.group", &group.into(), &subdomain(group).join(",")));
    } else if !group.contains('.') {
        causes.push(field::invalid("spec.group", &group.into(), "should be a domain with at least one dot"));
    }
    match text(new, "/spec/scope") {
        "" => causes.push(field::required("spec.scope", "")),
        "Cluster" | "Namespaced" => {}
        other => causes.push(field::not_supported("spec.scope", &other.into(), &["Cluster", "Namespaced"])),
    }
    versions(new, &spec, &mut causes);
    names(&new["spec"]["names"], &spec.child("names"), &mut causes);
    shared(new, &spec, &mut causes);
    let strategy = text(new, "/spec/conversion/strategy");
    if strategy != "None" {
        causes.push(field::not_supported("spec.conversion.strategy", &strategy.into(), &["None"]));
    }
    if texts(new, "/status/storedVersions").next().is_none() {
        let stored = &new["status"]["storedVersions"];
        causes.push(field::invalid("status.storedVersions", stored, "must have at least one stored version"));
    }
    let known: Vec<&str> = all(new).iter().map(|version| text(version, "/name")).collect();
    for (at, stored) in texts(new, "/status/storedVersions").enumerate() {
        if !known.contains(&stored) {
            let path = Path::new("status.storedVersions").index(at);
            causes.push(field::invalid(path, &stored.into(), "missing from spec.versions; must be in spec.versions"));
        }
    }
    if new.pointer("/spec/preserveUnknownFields") == Some(&Value::Bool(true)) {
        let why =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        causes.push(field::invalid("spec.preserveUnknownFields", &true.into(), why));
    }
    for pointer in old.iter().flat_map(|_| ["/spec/group", "/spec/scope", "/spec/names/plural"]) {
        if old.is_some_and(|old| text(old, pointer) != text(new, pointer)) {
            let path = pointer.trim_start_matches('/').replace('/', ".");
            causes.push(field::invalid(path, &text(new, pointer).into(), "field is immutable"));
        }
    }
    causes
}

fn all(crd: &Value) -> &[Value] {
    crd.pointer("/spec/versions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// What all versions have at `pointer`, if it is the same.
fn common<'a>(crd: &'a Value, pointer: &str) -> Option<&'a Value> {
    let at = |version: &'a Value| version.pointer(pointer).filter(|value| !value.is_null());
    let (first, rest) = all(crd).split_first()?;
    let first = at(first)?;
    rest.iter().all(|version| at(version) == Some(first)).then_some(first)
}

fn versions(crd: &Value, spec: &Path, causes: &mut Vec<Cause>) {
    let versions = all(crd);
    let lacking = |version: &Value| version.pointer("/schema/openAPIV3Schema").is_none_or(Value::is_null);
    for (at, _) in versions.iter().enumerate().filter(|(_, version)| lacking(version)) {
        let path = spec.child("versions").index(at).child("schema").child("openAPIV3Schema");
        causes.push(field::required(path, ""));
    }
    let preserves = crd.pointer("/spec/preserveUnknownFields") == Some(&Value::Bool(true));
    if preserves && versions.iter().any(|version| has_default(&version["schema"]["openAPIV3Schema"])) {
        let why = "must be false in order to use defaults in the schema";
        causes.push(field::invalid(spec.child("preserveUnknownFields"), &true.into(), why));
    }
    for (at, version) in versions.iter().enumerate() {
        let path = spec.child("versions").index(at);
        if let Some(why) = label(text(version, "/name")) {
            causes.push(field::invalid(path.child("name"), &version["name"], &why));
            if at == 0 {
                // Which is the version of old, when there was only one.
                causes.push(field::invalid(spec.child("version"), &version["name"], &why));
            }
        }
        let own = |pointer: &str| version.pointer(pointer).filter(|_| common(crd, pointer).is_none());
        parts(version, &path, &path.child("schema"), own, causes);
    }
    let path = spec.child("versions");
    let mut names: Vec<&str> = versions.iter().map(|version| text(version, "/name")).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        causes.push(field::invalid(&path, &held(crd), "must contain unique version names"));
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        causes.push(field::invalid(&path, &held(crd), "must have exactly one version marked as storage version"));
    }
}

/// The versions as kube-apiserver holds and prints them.
fn held(crd: &Value) -> Value {
    let version = |version: &Value| {
        let own = |pointer: &str| match common(crd, pointer) {
            Some(_) => Value::Null,
            None => version.pointer(pointer).cloned().unwrap_or_default(),
        };
        json!({"Name": version["name"], "Served": version["served"] == true, "Storage": version["storage"] == true,
            "Deprecated": version["deprecated"] == true, "DeprecationWarning": version["deprecationWarning"],
            "Schema": own("/schema"), "Subresources": own("/subresources"),
            "AdditionalPrinterColumns": own("/additionalPrinterColumns"), "SelectableFields": own("/selectableFields")})
    };
    all(crd).iter().map(version).collect()
}

/// What all versions share.
fn shared(crd: &Value, spec: &Path, causes: &mut Vec<Cause>) {
    if let Some(first) = all(crd).first() {
        parts(first, spec, &spec.child("validation"), |pointer| common(crd, pointer), causes);
    }
}

/// The parts of a version, as far as `get` gives them.
fn parts<'a>(
    version: &'a Value,
    path: &Path,
    schema_path: &Path,
    get: impl Fn(&str) -> Option<&'a Value>,
    causes: &mut Vec<Cause>,
) {
    let schema = version.pointer("/schema/openAPIV3Schema");
    if let Some(schema) = get("/schema").and_then(|holder| holder.get("openAPIV3Schema")) {
        schema_of(schema, &schema_path.child("openAPIV3Schema"), causes);
    }
    if let Some(scale) = get("/subresources").and_then(|all| all.get("scale")).filter(|scale| !scale.is_null()) {
        scale_of(scale, &path.child("subresources"), causes);
    }
    for (at, column) in get("/additionalPrinterColumns").and_then(Value::as_array).into_iter().flatten().enumerate() {
        column_of(column, &path.child("additionalPrinterColumns").index(at), causes);
    }
    let selectable = get("/selectableFields").and_then(Value::as_array).filter(|all| !all.is_empty());
    if selectable.is_some() && schema.is_none_or(Value::is_null) {
        let why = match path.as_str() {
            "spec" => "may only be set when validations.schema is included",
            _ => "may only be set when `version.schema.openAPIV3Schema` is not included",
        };
        causes.push(field::invalid(path.child("selectableFields"), &"".into(), why));
        return;
    }
    for (at, selectable) in selectable.into_iter().flatten().enumerate() {
        let path = path.child("selectableFields").index(at).child("jsonPath");
        selectable_of(text(selectable, "/jsonPath"), schema.unwrap_or(&Value::Null), &path, causes);
    }
}

fn schema_of(schema: &Value, path: &Path, causes: &mut Vec<Cause>) {
    let before = causes.len();
    let inside = |cause: Cause| Cause { field: format!("{path}.{}", cause.field), ..cause };
    causes.extend(structural(schema).into_iter().map(inside));
    if before == causes.len()
        && let Err(error) = Schema::compile(schema, &Map::new())
    {
        causes.push(field::invalid(path, &"".into(), &error.to_string()));
    }
}

fn simple_path(path: &str, at: &Path, causes: &mut Vec<Cause>) -> bool {
    let good = path.starts_with('.');
    if !good {
        causes.push(field::invalid(at, &path.into(), "must be a simple json path starting with ."));
    }
    good
}

fn scale_of(scale: &Value, path: &Path, causes: &mut Vec<Cause>) {
    for (name, root) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let at = path.child("scale").child(name);
        match text(scale, &format!("/{name}")) {
            "" => causes.push(field::required(at, "")),
            given if simple_path(given, &at, causes) && !given.starts_with(&format!("{root}.")) => {
                causes.push(field::invalid(at, &given.into(), &format!("should be a json path under {root}")));
            }
            _ => {}
        }
    }
    let (at, given) = (path.child("scale").child("labelSelectorPath"), text(scale, "/labelSelectorPath"));
    if !given.is_empty()
        && simple_path(given, &at, causes)
        && !given.starts_with(".spec.")
        && !given.starts_with(".status.")
    {
        causes.push(field::invalid(at, &given.into(), "should be a json path under either .spec or .status"));
    }
}

fn column_of(column: &Value, path: &Path, causes: &mut Vec<Cause>) {
    if text(column, "/name").is_empty() {
        causes.push(field::required(path.child("name"), ""));
    }
    let mut sorted = COLUMN_TYPES;
    sorted.sort_unstable();
    let why = format!("must be one of {}", sorted.join(","));
    match text(column, "/type") {
        "" => causes.push(field::required(path.child("type"), &why)),
        kind if !COLUMN_TYPES.contains(&kind) => causes.push(field::invalid(path.child("type"), &kind.into(), &why)),
        _ => {}
    }
    match text(column, "/jsonPath") {
        "" => causes.push(field::required(path.child("JSONPath"), "")),
        given => {
            simple_path(given, &path.child("JSONPath"), causes);
        }
    }
}

/// A field that selectors may name: a scalar that the schema knows.
fn selectable_of(given: &str, schema: &Value, path: &Path, causes: &mut Vec<Cause>) {
    if given.is_empty() {
        causes.push(field::required(path, ""));
        return;
    }
    let mut here = schema;
    for name in given.trim_start_matches('.').split('.') {
        match here.get("properties").and_then(|all| all.get(name)) {
            Some(next) => here = next,
            None => {
                let why = "is an invalid path: does not refer to a valid field";
                causes.push(field::invalid(path, &given.into(), why));
                return;
            }
        }
    }
    if given.starts_with(".metadata") {
        causes.push(field::invalid(path, &given.into(), "must not point to fields in metadata"));
    }
    if !["string", "boolean", "integer"].contains(&text(here, "/type")) {
        let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats \
                   are allowed.";
        causes.push(field::invalid(path, &given.into(), why));
    }
}

/// What is wrong with a name that must be an RFC 1035 label, if anything.
fn label(name: &str) -> Option<String> {
    let wrong = NameRule::Label1035.check(name);
    (!wrong.is_empty()).then(|| wrong.join(","))
}

fn names(names: &Value, path: &Path, causes: &mut Vec<Cause>) {
    let given = |name: &str| text(names, &format!("/{name}"));
    for name in ["plural", "singular", "kind", "listKind"] {
        if given(name).is_empty() {
            causes.push(field::required(path.child(name), ""));
        }
    }
    let label = |value: &str| label(value).filter(|_| !value.is_empty());
    for name in ["plural", "singular"] {
        if let Some(why) = label(given(name)) {
            causes.push(field::invalid(path.child(name), &given(name).into(), &why));
        }
    }
    for name in ["kind", "listKind"] {
        if let Some(why) = label(&given(name).to_lowercase()) {
            let why = format!("may have mixed case, but should otherwise match: {why}");
            causes.push(field::invalid(path.child(name), &given(name).into(), &why));
        }
    }
    for name in ["shortNames", "categories"] {
        if name == "categories" && !given("kind").is_empty() && given("kind") == given("listKind") {
            let why = "kind and listKind may not be the same";
            causes.push(field::invalid(path.child("listKind"), &given("listKind").into(), why));
        }
        for (at, one) in texts(names, &format!("/{name}")).enumerate() {
            if let Some(why) = label(one) {
                causes.push(field::invalid(path.child(name).index(at), &one.into(), &why));
            }
        }
    }
}

/// Whether there is a default anywhere in a schema.
fn has_default(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            let below = |name: &str| fields.get(name).and_then(Value::as_object);
            fields.get("default").is_some_and(|default| !default.is_null())
                || below("properties").is_some_and(|all| all.values().any(has_default))
                || ["items", "additionalProperties"].iter().any(|name| fields.get(*name).is_some_and(has_default))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::hooks::tests::crd;

    #[test]
    fn each_fault_is_named() {
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let version =
            |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema});
        for (pointer, value, field) in [
            ("/metadata/name", json!("other.example.com"), "metadata.name"),
            ("/spec/scope", json!("Global"), "spec.scope"),
            ("/spec/conversion/strategy", json!("Webhook"), "spec.conversion.strategy"),
            ("/spec/names/listKind", json!("Thing"), "spec.names.listKind"),
            ("/spec/versions", json!([]), "spec.versions"),
            ("/spec/versions", json!([version("v1", false)]), "spec.versions"),
            ("/spec/versions", json!([version("v1", true), version("v1", false)]), "spec.versions"),
            ("/spec/versions", json!([version("v2", true)]), "status.storedVersions[0]"),
            ("/spec/versions/0/schema", json!({}), "spec.versions[0].schema.openAPIV3Schema"),
        ] {
            let mut broken = crd();
            *broken.pointer_mut(pointer).unwrap() = value;
            let causes = validate(&broken, None);
            assert!(causes.iter().any(|cause| cause.field == field), "{pointer}: {causes:?}");
        }
        let mut moved = crd();
        moved["spec"]["scope"] = json!("Cluster");
        assert_eq!(validate(&moved, Some(&crd()))[0].field, "spec.scope");
    }
}
