//! The paths of a resource in its OpenAPI document: which operations there are, with what parameters and bodies.

use serde_json::{Map, Value, json};

use super::{SCHEMAS, list_schema};
use crate::resource::{ResourceInfo, Verb};

/// The extension that names a kind.
pub(super) const KIND: &str = "x-kubernetes-group-version-kind";
const ACTION: &str = "x-kubernetes-action";

const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("pretty", "string"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const GET: &[(&str, &str)] = &[("pretty", "string")];
const WRITE: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("pretty", "string")];
const PATCH: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
    ("force", "boolean"),
    ("pretty", "string"),
];
const DELETE: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("pretty", "string"),
    ("propagationPolicy", "string"),
];

/// A resource's group, version and kind.
pub(super) fn kind(info: &ResourceInfo) -> Value {
    json!({"group": info.group, "version": info.version, "kind": info.kind})
}

/// All paths of a resource.
pub(super) fn of(info: &ResourceInfo) -> Vec<(String, Value)> {
    let root = format!("/{}", super::document_name(&info.group, &info.version));
    let collection = if info.namespaced {
        format!("{root}/namespaces/{{namespace}}/{}", info.plural)
    } else {
        format!("{root}/{}", info.plural)
    };
    let item = format!("{collection}/{{name}}");
    let own = reference(info, &info.schema_name);
    let list = reference(info, &list_schema(info));
    let mut paths = Vec::new();
    if info.namespaced {
        let everywhere = operations(info, &info.verbs, &own, &list, &[Verb::List]);
        paths.push((format!("{root}/{}", info.plural), with_parameters(everywhere, &[])));
    }
    let places: &[&str] = if info.namespaced { &["namespace"] } else { &[] };
    let here = operations(info, &info.verbs, &own, &list, &[Verb::List, Verb::Create, Verb::DeleteCollection]);
    paths.push((collection, with_parameters(here, places)));
    let places: &[&str] = if info.namespaced { &["name", "namespace"] } else { &["name"] };
    let each = [Verb::Get, Verb::Update, Verb::Patch, Verb::Delete];
    paths.push((item.clone(), with_parameters(operations(info, &info.verbs, &own, &list, &each), places)));
    for sub in &info.subresources {
        let answer = if sub.kind == info.kind { own.clone() } else { json!({"type": "object"}) };
        let all = [Verb::Get, Verb::Update, Verb::Patch, Verb::Delete, Verb::Create];
        let mut operations = operations(info, &sub.verbs, &answer, &list, &all);
        let (group, version) =
            sub.group_version.as_ref().map_or((&info.group, &info.version), |(group, version)| (group, version));
        for operation in operations.values_mut() {
            operation[KIND] = json!({"group": group, "version": version, "kind": sub.kind});
        }
        paths.push((format!("{item}/{}", sub.name), with_parameters(operations, places)));
    }
    paths
}

/// A reference to a schema, or any object where there is none of that name.
fn reference(info: &ResourceInfo, schema: &str) -> Value {
    if info.definitions.contains_key(schema) {
        json!({"$ref": format!("{SCHEMAS}{schema}")})
    } else {
        json!({"type": "object"})
    }
}

/// The operations among `wanted` that `verbs` has, by HTTP method.
fn operations(info: &ResourceInfo, verbs: &[Verb], own: &Value, list: &Value, wanted: &[Verb]) -> Map<String, Value> {
    let patches = ["json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"];
    let patches: Vec<String> = patches
        .into_iter()
        .filter(|patch| info.strategic_merge || !patch.starts_with("strategic"))
        .map(|patch| format!("application/{patch}"))
        .collect();
    let patches: Vec<&str> = patches.iter().map(String::as_str).collect();
    let any = json!({"type": "object"});
    let mut operations = Map::new();
    for verb in wanted.iter().filter(|verb| verbs.contains(verb)) {
        let (method, action, parameters, body, answer) = match verb {
            Verb::List | Verb::Watch => ("get", "list", LIST, None, list),
            Verb::Get => ("get", "get", GET, None, own),
            Verb::Create => ("post", "post", WRITE, Some(content(&["application/json", "application/yaml"], own)), own),
            Verb::Update => ("put", "put", WRITE, Some(content(&["application/json", "application/yaml"], own)), own),
            Verb::Patch => ("patch", "patch", PATCH, Some(content(&patches, &any)), own),
            Verb::Delete => ("delete", "delete", DELETE, Some(content(&["application/json"], &any)), &any),
            Verb::DeleteCollection => {
                ("delete", "deletecollection", DELETE, Some(content(&["application/json"], &any)), &any)
            }
        };
        let parameters: Vec<Value> = parameters
            .iter()
            .map(|(name, kind)| json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}}))
            .collect();
        let mut operation = json!({
            "parameters": parameters,
            "responses": {"200": {"description": "OK", "content": content(&["application/json"], answer)}},
            ACTION: action,
            KIND: kind(info),
        });
        if let Some(body) = body {
            operation["requestBody"] = json!({"content": body});
        }
        operations.insert(method.into(), operation);
    }
    operations
}

fn content(media: &[&str], schema: &Value) -> Value {
    media.iter().map(|media| ((*media).to_string(), json!({"schema": schema}))).collect::<Map<_, _>>().into()
}

/// A path item of these operations, with the parameters that are part of the path.
fn with_parameters(operations: Map<String, Value>, places: &[&str]) -> Value {
    let mut item = operations;
    let places: Vec<Value> = places
        .iter()
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}}))
        .collect();
    if !places.is_empty() {
        item.insert("parameters".into(), places.into());
    }
    item.into()
}
