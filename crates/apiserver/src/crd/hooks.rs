//! A CRD before it is stored: what is filled in, and what is refused.

use std::sync::Arc;

use async_trait::async_trait;
use roadstead_kubewire::{ApiResult, Context, error::Cause};
use serde_json::{Map, Value, json};

use super::{CLEANUP, Crds};
use crate::{
    builtin,
    objects::{text, texts},
    registry::{
        Hooks,
        meta::{self, cause},
        names,
    },
    schema::{Schema, structural},
};

/// Behaviour of the kind CustomResourceDefinition.
pub struct Definitions {
    /// What the table of built-in kinds says.
    pub table: builtin::Kind,
    /// Who serves what is defined.
    pub crds: Arc<Crds>,
}

#[async_trait]
impl Hooks for Definitions {
    fn blank(&self) -> Value {
        (self.table.blank)()
    }

    fn default(&self, crd: &mut Value) {
        (self.table.default)(crd);
        complete(crd);
    }

    fn admit(&self, _cx: &Context, new: &mut Value, old: Option<&Value>, sub: Option<&str>) -> ApiResult<()> {
        if sub.is_none() {
            admit(new, old);
        }
        Ok(())
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = (self.table.validate)(new, old);
        causes.extend(validate(new, old));
        causes
    }

    fn cells(&self, object: &Value) -> Option<Vec<Value>> {
        self.table.cells.map(|cells| cells(object))
    }

    async fn written(&self, version: u64) {
        self.crds.settled(version).await;
    }
}

/// Fills in what may be left out.
pub fn complete(crd: &mut Value) {
    let kind = text(crd, "/spec/names/kind").to_string();
    let Some(spec) = crd.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
        for (field, value) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))] {
            if names.get(field).and_then(Value::as_str).unwrap_or_default().is_empty() {
                names.insert(field.into(), value.into());
            }
        }
    }
    spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
}

/// What the server adds: the finalizer, and which versions objects may be stored in.
fn admit(new: &mut Value, old: Option<&Value>) {
    let storage = versions(new).find(|version| version["storage"] == true).map(|version| version["name"].clone());
    if old.is_none() {
        let mut finalizers: Vec<String> = meta::finalizers(new).into_iter().map(str::to_string).collect();
        if !finalizers.iter().any(|name| name == CLEANUP) {
            finalizers.push(CLEANUP.into());
        }
        meta::set(new, "finalizers", Some(json!(finalizers)));
        new["status"] = json!({"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []});
    }
    if let (Some(storage), Some(stored)) =
        (storage, new.pointer_mut("/status/storedVersions").and_then(Value::as_array_mut))
        && !stored.contains(&storage)
    {
        stored.push(storage);
    }
}

fn versions(crd: &Value) -> impl Iterator<Item = &Value> {
    crd.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten()
}

/// All that is wrong with a CRD.
fn validate(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = names_of(new);
    let invalid = |field: &str, why: &str| cause("FieldValueInvalid", field, format!("Invalid value: {why}"));
    let strategy = text(new, "/spec/conversion/strategy");
    if strategy != "None" {
        causes.push(cause(
            "FieldValueNotSupported",
            "spec.conversion.strategy",
            format!("Unsupported value: {strategy:?}: supported values: \"None\""),
        ));
    }
    if new.pointer("/spec/preserveUnknownFields") == Some(&Value::Bool(true)) {
        causes
            .push(invalid("spec.preserveUnknownFields", "true: must be false in order to use defaults in the schema"));
    }
    let mut seen = Vec::new();
    for (at, version) in versions(new).enumerate() {
        let (path, name) = (format!("spec.versions[{at}]"), text(version, "/name"));
        if let Some(why) = names::NameRule::Label1035.check(name) {
            causes.push(invalid(&format!("{path}.name"), &format!("{name:?}: {why}")));
        }
        if seen.contains(&name) {
            causes.push(cause("FieldValueDuplicate", format!("{path}.name"), format!("Duplicate value: {name:?}")));
        }
        seen.push(name);
        causes.extend(schema(version, &path));
    }
    let count = |field: &str| versions(new).filter(|version| version[field] == true).count();
    if seen.is_empty() {
        causes.push(cause("FieldValueRequired", "spec.versions", "Required value: must have at least one version"));
    } else if count("storage") != 1 {
        causes.push(invalid("spec.versions", "must have exactly one version marked as storage version"));
    }
    for (at, stored) in texts(new, "/status/storedVersions").enumerate() {
        if !seen.contains(&stored) {
            let field = format!("status.storedVersions[{at}]");
            causes.push(invalid(&field, &format!("{stored:?}: must appear in spec.versions")));
        }
    }
    for pointer in old.iter().flat_map(|_| ["/spec/group", "/spec/scope", "/spec/names/plural"]) {
        if old.is_some_and(|old| text(old, pointer) != text(new, pointer)) {
            let field = pointer.trim_start_matches('/').replace('/', ".");
            causes.push(invalid(&field, &format!("{:?}: field is immutable", text(new, pointer))));
        }
    }
    causes
}

fn names_of(crd: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (plural, group) = (text(crd, "/spec/names/plural"), text(crd, "/spec/group"));
    let mut check = |field: &str, value: &str, why: Option<String>| {
        if let Some(why) = why {
            causes.push(cause("FieldValueInvalid", field, format!("Invalid value: {value:?}: {why}")));
        }
    };
    let label = |value: &str| names::NameRule::Label1035.check(value);
    let wanted = format!("{plural}.{group}");
    let name = meta::text(crd, "name");
    let mismatch = (name != wanted).then(|| format!("must be spec.names.plural+\".\"+spec.group ({wanted})"));
    check("metadata.name", name, mismatch);
    let dotted =
        names::subdomain(group).or_else(|| (!group.contains('.')).then(|| "must have at least one dot".into()));
    check("spec.group", group, dotted);
    check("spec.names.plural", plural, label(plural));
    check("spec.names.singular", text(crd, "/spec/names/singular"), label(text(crd, "/spec/names/singular")));
    for short in texts(crd, "/spec/names/shortNames") {
        check("spec.names.shortNames", short, label(short));
    }
    for field in ["kind", "listKind"] {
        let value = text(crd, &format!("/spec/names/{field}"));
        check(&format!("spec.names.{field}"), value, label(&value.to_lowercase()));
    }
    let (kind, list) = (text(crd, "/spec/names/kind"), text(crd, "/spec/names/listKind"));
    check("spec.names.listKind", list, (kind == list).then(|| "kind and listKind may not be the same".into()));
    let scope = text(crd, "/spec/scope");
    let known = ["Namespaced", "Cluster"].contains(&scope);
    check("spec.scope", scope, (!known).then(|| "supported values: \"Cluster\", \"Namespaced\"".into()));
    causes
}

fn schema(version: &Value, path: &str) -> Vec<Cause> {
    let field = format!("{path}.schema.openAPIV3Schema");
    let Some(schema) = version.pointer("/schema/openAPIV3Schema") else {
        return vec![cause("FieldValueRequired", field, "Required value: schemas are required")];
    };
    let inside = |cause: Cause| Cause { field: format!("{field}.{}", cause.field), ..cause };
    let mut causes: Vec<Cause> = structural(schema).into_iter().map(inside).collect();
    if let Err(error) = Schema::compile(schema, &Map::new()) {
        causes.push(cause("FieldValueInvalid", field, format!("Invalid value: {error}")));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::compile;

    fn crd() -> Value {
        let mut crd = json!({
            "metadata": {"name": "things.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
        complete(&mut crd);
        admit(&mut crd, None);
        crd
    }

    #[test]
    fn what_may_be_left_out_is_filled_in() {
        let crd = crd();
        assert_eq!(
            crd["spec"]["names"],
            json!({"plural": "things", "kind": "Thing", "singular": "thing", "listKind": "ThingList"})
        );
        assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
        assert_eq!(meta::finalizers(&crd), [CLEANUP]);
        assert_eq!(validate(&crd, Some(&crd)), []);
        assert!(compile::kinds(&crd, false).is_ok());
    }

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
            ("/spec/versions", json!([version("v1", true), version("v1", false)]), "spec.versions[1].name"),
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
