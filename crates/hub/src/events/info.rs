//! What discovery, `kubectl explain` and `kubectl get` know about `WebhookEvent`.

use std::sync::Arc;

use roadstead_api::{
    WebhookEvent, WebhookEventSpec,
    names::{LOG_GROUP, VERSION},
};
use roadstead_kubewire::{Column, ResourceInfo, Subresource, Verb};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::select::SELECTABLE;

/// Name of the schema in the OpenAPI document.
const SCHEMA: &str = "dev.roadstead.log.v1alpha1.WebhookEvent";

/// The subresource with the raw body.
pub(super) const BODY: &str = "body";

pub(super) fn resource_info() -> ResourceInfo {
    ResourceInfo {
        group: LOG_GROUP.into(),
        version: VERSION.into(),
        kind: "WebhookEvent".into(),
        list_kind: "WebhookEventList".into(),
        plural: "webhookevents".into(),
        singular: "webhookevent".into(),
        short_names: vec!["hev".into()],
        categories: vec!["roadstead".into()],
        namespaced: true,
        verbs: vec![Verb::Get, Verb::List, Verb::Watch],
        subresources: vec![Subresource {
            name: BODY.into(),
            kind: "WebhookEvent".into(),
            group_version: None,
            verbs: vec![Verb::Get],
        }],
        columns: columns(),
        selectable_fields: SELECTABLE.map(String::from).into(),
        schema_name: SCHEMA.into(),
        definitions: Arc::new(definitions()),
        strategic_merge: false,
    }
}

fn columns() -> Vec<Column> {
    let column = |name: &str, kind: &str, path: &str, priority, description: &str| Column {
        name: name.into(),
        kind: kind.into(),
        format: String::new(),
        description: description.into(),
        priority,
        json_path: path.into(),
    };
    vec![
        column("Endpoint", "string", ".spec.endpoint", 0, "Endpoint that received it"),
        column("Sequence", "integer", ".spec.sequence", 0, "Number within the endpoint"),
        column("Type", "string", ".spec.type", 0, "The provider's event type"),
        column("Subject", "string", ".spec.git.repository", 0, "Repository and ref, or image"),
        column("Verified", "boolean", ".spec.verified", 0, "Whether the sender was proven"),
        column("Reconciled", "boolean", ".spec.reconciled", 1, "Whether a comparison with the registry found it"),
        column("Age", "date", ".metadata.creationTimestamp", 0, "Time since it was received"),
        column("Id", "string", ".spec.id", 1, "The provider's delivery id"),
    ]
}

/// Cells for [`columns`]: the subject is put together from several fields. The age is given as the time that the table counts from.
pub(super) fn cells(object: &Value) -> Vec<Value> {
    let spec = &object["spec"];
    let part = WebhookEventSpec {
        git: serde_json::from_value(spec["git"].clone()).ok(),
        image: serde_json::from_value(spec["image"].clone()).ok(),
        ..WebhookEventSpec::default()
    };
    vec![
        spec["endpoint"].clone(),
        spec["sequence"].clone(),
        spec["type"].clone(),
        part.subject().into(),
        spec["verified"].clone(),
        spec["reconciled"].as_bool().unwrap_or_default().into(),
        object["metadata"]["creationTimestamp"].clone(),
        spec["id"].clone(),
    ]
}

/// The schema of the kind, with everything inline, and of its list.
fn definitions() -> Map<String, Value> {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let mut schema = Value::from(settings.into_generator().into_root_schema_for::<WebhookEvent>());
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$schema");
        schema.remove("title");
        schema.insert("type".into(), "object".into());
    }
    Map::from_iter([(SCHEMA.to_string(), schema)])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_of_the_schema_is_described_and_nothing_is_referred_to() {
        fn walk(path: &str, schema: &Value) {
            assert!(schema.get("$ref").is_none(), "{path}");
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}.{name}");
                assert!(property["description"].is_string(), "{path} has no description");
                walk(&path, property);
                walk(&path, &property["items"]);
            }
        }
        let schema = &definitions()[SCHEMA];
        assert_eq!(schema["properties"]["spec"]["properties"]["git"]["properties"]["ref"]["type"], "string");
        walk("", schema);
    }

    #[test]
    fn the_subject_is_repository_and_ref_or_image() {
        let event = |spec: Value| json!({"metadata": {"creationTimestamp": "2026-11-20T09:00:00Z"}, "spec": spec});
        let git = cells(&event(json!({"endpoint": "shop", "sequence": 3, "type": "push", "verified": true, "id": "x",
            "git": {"repository": "octo/shop", "ref": "refs/heads/main"}})));
        let expected =
            json!(["shop", 3, "push", "octo/shop refs/heads/main", true, false, "2026-11-20T09:00:00Z", "x"]);
        assert_eq!(Value::from(git), expected);
        assert_eq!(cells(&event(json!({"image": {"repository": "a/b", "tag": "v1"}})))[3], "a/b:v1");
        assert_eq!(columns().len(), cells(&event(json!({}))).len());
    }
}
