//! What discovery, `kubectl explain` and `kubectl get` know about `WebhookDelivery`.

use std::sync::Arc;

use roadstead_api::{
    WebhookDelivery, WebhookEventSpec,
    names::{LOG_GROUP, VERSION},
};
use roadstead_kubewire::{Column, ResourceInfo, Verb};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::select::SELECTABLE;

/// Name of the schema in the OpenAPI document.
const SCHEMA: &str = "dev.roadstead.log.v1alpha1.WebhookDelivery";

pub(super) fn resource_info() -> ResourceInfo {
    ResourceInfo {
        group: LOG_GROUP.into(),
        version: VERSION.into(),
        kind: "WebhookDelivery".into(),
        list_kind: "WebhookDeliveryList".into(),
        plural: "webhookdeliveries".into(),
        singular: "webhookdelivery".into(),
        short_names: vec!["wd".into()],
        categories: vec!["roadstead".into()],
        namespaced: true,
        verbs: vec![Verb::Get, Verb::List, Verb::Watch],
        subresources: Vec::new(),
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
        column("Webhook", "string", ".spec.webhook", 0, "Who is told"),
        column("Type", "string", ".spec.type", 0, "push, delete or test"),
        column("Subject", "string", ".spec.image.repository", 0, "The image"),
        column("State", "string", ".status.state", 0, "Pending, Delivered, DeadLetter or Cancelled"),
        column("Attempts", "integer", ".status.attempt", 0, "Attempts made"),
        column("Last", "string", ".status.attempts[-1].status", 0, "What the last attempt was answered"),
        column("Age", "date", ".metadata.creationTimestamp", 0, "Time since it was accepted"),
        column("Next", "date", ".status.nextAttempt", 1, "When it is tried next"),
        column("Event", "string", ".spec.event", 1, "Id of the event"),
    ]
}

/// Cells for [`columns`]: subject and last answer are put together from several fields.
pub(super) fn cells(object: &Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let event =
        WebhookEventSpec { image: serde_json::from_value(spec["image"].clone()).ok(), ..WebhookEventSpec::default() };
    vec![
        spec["webhook"].clone(),
        spec["type"].clone(),
        event.subject().into(),
        status["state"].clone(),
        status["attempt"].clone(),
        last(status).into(),
        object["metadata"]["creationTimestamp"].clone(),
        status["nextAttempt"].clone(),
        spec["event"].clone(),
    ]
}

/// The status of the last answer, or why there was none.
fn last(status: &Value) -> String {
    let attempts = status["attempts"].as_array();
    let Some(attempt) = attempts.and_then(|attempts| attempts.last()) else { return String::new() };
    match (attempt["status"].as_u64(), attempt["error"].as_str()) {
        (Some(status), _) => status.to_string(),
        (None, Some(error)) => error.to_string(),
        (None, None) => String::new(),
    }
}

/// The schema of the kind, with everything inline.
fn definitions() -> Map<String, Value> {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let mut schema = Value::from(settings.into_generator().into_root_schema_for::<WebhookDelivery>());
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
    fn cells_tell_the_image_and_the_last_answer() {
        let object = json!({
            "metadata": {"creationTimestamp": "2026-11-20T09:00:00Z"},
            "spec": {"webhook": "client", "type": "push", "event": "e1", "image": {"repository": "a/b", "tag": "v1"}},
            "status": {"state": "Pending", "attempt": 2, "attempts": [{"status": 503}, {"error": "timed out"}]},
        });
        let expected =
            json!(["client", "push", "a/b:v1", "Pending", 2, "timed out", "2026-11-20T09:00:00Z", null, "e1"]);
        assert_eq!(Value::from(cells(&object)), expected);
        assert_eq!(columns().len(), cells(&json!({})).len());
        assert_eq!(last(&json!({"attempts": [{"status": 204}]})), "204");
    }

    #[test]
    fn the_schema_describes_its_fields_and_refers_to_nothing() {
        let schema = &definitions()[SCHEMA];
        assert!(!schema.to_string().contains("$ref"));
        assert!(schema["properties"]["status"]["properties"]["attempts"]["description"].is_string());
    }
}
