//! One version of a CRD as a kind: a pure step.
//!
//! In: the CRD as JSON. Out: what the registry needs to serve it: names and verbs, compiled schema, columns, subresources.

use std::{cmp::Reverse, sync::Arc};

use roadstead_kubewire::{ApiError, ApiResult, Column, Context, ResourceInfo, Subresource, Verb};
use serde_json::{Map, Value, json};

use crate::{
    builtin,
    objects::{text, texts},
    registry::{Hooks, Kind, KindSchema, meta, names::NameRule, resource_name, scale},
    schema::{OBJECT_META, Schema, SchemaError},
};

/// The served versions of a CRD, the preferred one first, as kinds. `closing`: nothing new may be created any more.
///
/// # Errors
/// For a schema that cannot be compiled.
pub fn kinds(crd: &Value, closing: bool) -> Result<Vec<Kind>, SchemaError> {
    let mut versions: Vec<&Value> =
        crd["spec"]["versions"].as_array().into_iter().flatten().filter(|version| version["served"] == true).collect();
    versions.sort_by_key(|version| Reverse(priority(text(version, "/name"))));
    versions.into_iter().map(|version| kind(crd, version, closing)).collect()
}

/// How Kubernetes orders versions: `v2`, `v1`, `v1beta1`, `v1alpha1`, then all other names backwards.
fn priority(name: &str) -> (u8, u64, u64, Reverse<String>) {
    let parse = || {
        let rest = name.strip_prefix('v')?;
        let (major, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let major = major.parse().ok()?;
        let (stage, minor) = match rest {
            "" => (3, "0"),
            _ => rest.strip_prefix("beta").map(|n| (2, n)).or_else(|| rest.strip_prefix("alpha").map(|n| (1, n)))?,
        };
        Some((stage, major, minor.parse().ok()?))
    };
    match parse() {
        Some((stage, major, minor)) => (stage, major, minor, Reverse(String::new())),
        None => (0, 0, 0, Reverse(name.into())),
    }
}

fn kind(crd: &Value, version: &Value, closing: bool) -> Result<Kind, SchemaError> {
    let (spec, names) = (&crd["spec"], &crd["spec"]["names"]);
    let owned = |list: &Value, pointer: &str| texts(list, pointer).map(str::to_string).collect::<Vec<_>>();
    let (group, plural, kind) = (text(spec, "/group"), text(names, "/plural"), text(names, "/kind"));
    let name = text(version, "/name");
    let schema = version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_else(|| json!({"type": "object"}));
    let schema_name = schema_name(group, name, kind);
    let info = ResourceInfo {
        group: group.into(),
        version: name.into(),
        kind: kind.into(),
        list_kind: text(names, "/listKind").into(),
        plural: plural.into(),
        singular: text(names, "/singular").into(),
        short_names: owned(names, "/shortNames"),
        categories: owned(names, "/categories"),
        namespaced: text(spec, "/scope") == "Namespaced",
        verbs: vec![
            Verb::Delete,
            Verb::DeleteCollection,
            Verb::Get,
            Verb::List,
            Verb::Patch,
            Verb::Create,
            Verb::Update,
            Verb::Watch,
        ],
        subresources: subresources(version, kind),
        columns: version["additionalPrinterColumns"].as_array().into_iter().flatten().map(column).collect(),
        selectable_fields: version["selectableFields"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|field| text(field, "/jsonPath").to_string())
            .collect(),
        definitions: Arc::new(definitions(&schema_name, (group, name, kind), &schema)),
        schema_name,
        strategic_merge: false,
    };
    Ok(Kind {
        schema: KindSchema::Custom(Schema::compile(&schema, &Map::new())?),
        resource: resource_name(group, plural),
        since: meta::text(crd, "resourceVersion").parse().unwrap_or(0),
        names: NameRule::Subdomain,
        counts_generation: true,
        blind_update: false,
        update_creates: false,
        returns_deleted: false,
        scale: version.pointer("/subresources/scale").map(scale_paths),
        hooks: Box::new(Custom { closing }),
        info,
    })
}

fn subresources(version: &Value, kind: &str) -> Vec<Subresource> {
    let has = |name: &str| version["subresources"].get(name).is_some_and(|sub| !sub.is_null());
    let status = Subresource {
        name: "status".into(),
        kind: kind.into(),
        group_version: None,
        verbs: vec![Verb::Get, Verb::Patch, Verb::Update],
    };
    let status = has("status").then_some(status);
    status.into_iter().chain(has("scale").then(scale::subresource)).collect()
}

fn scale_paths(sub: &Value) -> scale::Paths {
    let pointer = |field: &str| sub[field].as_str().map(|path| path.replace('.', "/"));
    scale::Paths {
        wanted: pointer("specReplicasPath").unwrap_or_default(),
        present: pointer("statusReplicasPath").unwrap_or_default(),
        selector: pointer("labelSelectorPath"),
    }
}

fn column(column: &Value) -> Column {
    Column {
        name: text(column, "/name").into(),
        kind: text(column, "/type").into(),
        format: text(column, "/format").into(),
        description: text(column, "/description").into(),
        priority: column["priority"].as_i64().and_then(|priority| i32::try_from(priority).ok()).unwrap_or(0),
        json_path: text(column, "/jsonPath").into(),
    }
}

/// E.g. `dev.roadstead.v1alpha1.WebhookEndpoint`: the group backwards, as kube-apiserver names the schemas of CRDs.
fn schema_name(group: &str, version: &str, kind: &str) -> String {
    let group: Vec<&str> = group.split('.').rev().collect();
    format!("{}.{version}.{kind}", group.join("."))
}

/// The schema as OpenAPI shows it, with what every object has, and all that it refers to.
fn definitions(name: &str, (group, version, kind): (&str, &str, &str), schema: &Value) -> Map<String, Value> {
    let mut shown = schema.clone();
    let reference = |name: &str| format!("#/components/schemas/{name}");
    let properties = [
        ("apiVersion", json!({"type": "string", "description": "Version of this representation of the object."})),
        ("kind", json!({"type": "string", "description": "Kind of the object."})),
        (
            "metadata",
            json!({"allOf": [{"$ref": reference(OBJECT_META)}], "description": "Standard object's metadata.", "default": {}}),
        ),
    ];
    for (property, shape) in properties {
        shown["properties"][property] = shape;
    }
    shown["x-kubernetes-group-version-kind"] = json!([{"group": group, "version": version, "kind": kind}]);
    let known = builtin::definitions();
    let mut all = Map::from_iter([(name.to_string(), shown)]);
    let mut wanted = vec![OBJECT_META.to_string()];
    while let Some(name) = wanted.pop() {
        if let Some(schema) = known.get(&name).filter(|_| !all.contains_key(&name)) {
            references(schema, &mut wanted);
            all.insert(name, schema.clone());
        }
    }
    all
}

fn references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            let name = members.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
            found.extend(name.map(str::to_string));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// What custom kinds have in common beside their schema.
struct Custom {
    closing: bool,
}

impl Hooks for Custom {
    fn admit(&self, _cx: &Context, _new: &mut Value, old: Option<&Value>, _sub: Option<&str>) -> ApiResult<()> {
        if self.closing && old.is_none() {
            let why = "create not allowed while custom resource definition is terminating";
            return Err(ApiError::method_not_allowed(why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_kubernetes_does() {
        let mut names =
            ["foo10", "v1alpha1", "v10", "v2", "foo1", "v11beta2", "v3beta1", "v12alpha1", "v11alpha2", "v1"];
        names.sort_by_key(|name| Reverse(priority(name)));
        assert_eq!(
            names,
            ["v10", "v2", "v1", "v11beta2", "v3beta1", "v12alpha1", "v11alpha2", "v1alpha1", "foo1", "foo10"]
        );
    }

    #[test]
    fn our_own_definitions_compile() {
        for crd in roadstead_api::crds() {
            let mut crd = serde_json::to_value(crd).unwrap();
            super::super::hooks::complete(&mut crd);
            let kinds = kinds(&crd, false).unwrap();
            assert_eq!(kinds.len(), 1);
            let info = &kinds[0].info;
            assert!(info.definitions.contains_key(&info.schema_name) && info.definitions.contains_key(OBJECT_META));
            assert!(kinds[0].has_status(), "{}", info.kind);
            assert_eq!(info.list_kind, format!("{}List", info.kind));
        }
    }
}
