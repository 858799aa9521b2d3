//! `events.k8s.io/v1`: the same Events under newer names of their fields.
//!
//! In: requests for that group. Out: the same requests to `v1`, and its answers, with the fields renamed. The two forms have the same
//! fields, one to one, so objects and patches are translated alike. Source: Kubernetes' conversion of Events.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use roadstead_kubewire::{
    ApiError, ApiResult, Context, DeleteOptions, EventKind, Key, List, ListOptions, Payload, Resource, ResourceInfo,
    WatchEvent, WatchOptions, WatchStream, WriteOptions, Written,
    error::Cause,
    options::{Media, PatchKind},
    selector::FieldSelector,
};
use serde_json::{Map, Value, json};

use crate::{
    objects::text,
    schema::{document, field},
};

const GROUP: &str = "events.k8s.io";
const API_VERSION: &str = "events.k8s.io/v1";

/// Names of fields: here, and in `v1`.
const NAMES: [(&str, &str); 7] = [
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// The Events of `v1` under their newer names.
pub struct Renamed {
    info: ResourceInfo,
    core: Arc<dyn Resource>,
}

impl Renamed {
    /// Over the resource of `v1` Events.
    pub fn new(core: Arc<dyn Resource>) -> Self {
        let mut info = core.info().clone();
        info.group = GROUP.into();
        info.schema_name = "io.k8s.api.events.v1.Event".into();
        for column in &mut info.columns {
            column.json_path = rename_path(&column.json_path, '.', forth);
        }
        for field in &mut info.selectable_fields {
            *field = rename_path(field, '.', forth);
        }
        Self { info, core }
    }

    fn written(written: Written) -> ApiResult<Written> {
        Ok(Written { json: shown(&written.json)?, code: written.code })
    }
}

/// The newer name of a field.
fn forth(name: &str) -> &str {
    NAMES.iter().find(|(_, old)| *old == name).map_or(name, |(new, _)| new)
}

/// The older name of a field.
fn back(name: &str) -> &str {
    NAMES.iter().find(|(new, _)| *new == name).map_or(name, |(_, old)| old)
}

/// Renames the first field of a path, e.g. `.regarding.name` or `/regarding/name`.
fn rename_path(path: &str, separator: char, name: fn(&str) -> &str) -> String {
    let bare = path.strip_prefix(separator).unwrap_or(path);
    let (first, rest) = bare.split_at(bare.find(separator).unwrap_or(bare.len()));
    let lead = if bare.len() < path.len() { separator.to_string() } else { String::new() };
    format!("{lead}{}{rest}", name(first))
}

/// Renames the fields of an object, or of a patch that looks like one.
fn rename(fields: Map<String, Value>, name: fn(&str) -> &str, api_version: &str) -> Map<String, Value> {
    let renamed = fields.into_iter().map(|(key, value)| match key.as_str() {
        "apiVersion" => (key, json!(api_version)),
        _ => (name(&key).to_string(), value),
    });
    renamed.collect()
}

/// A stored Event as it is shown here. Errors: 500 for what cannot be read.
fn shown(json: &[u8]) -> ApiResult<Bytes> {
    let object: Map<String, Value> =
        serde_json::from_slice(json).map_err(|_| ApiError::internal("a stored Event cannot be read"))?;
    if object.get("kind").is_some_and(|kind| kind == "Status") {
        return Ok(Bytes::copy_from_slice(json));
    }
    let mut object = rename(object, forth, API_VERSION);
    // What has no value here is left out there, and the other way round.
    for name in ["reportingController", "reportingInstance"] {
        if object.get(name).is_some_and(|value| value == "") {
            object.shift_remove(name);
        }
    }
    Ok(Value::Object(object).to_string().into())
}

/// A body that is an object (or a merge patch), for `v1`. Errors: 400.
fn stored(payload: &Payload) -> ApiResult<Value> {
    match document::parse(payload)?.value {
        Value::Object(fields) => {
            if let Some(given) = fields.get("apiVersion").filter(|given| *given != API_VERSION) {
                let given = given.as_str().unwrap_or_default();
                return Err(ApiError::bad_request(format!(
                    "the API version in the data ({given}) does not match the expected API version ({API_VERSION})"
                )));
            }
            Ok(Value::Object(rename(fields, back, "v1")))
        }
        Value::Array(steps) => Ok(steps.into_iter().map(step).collect()),
        other => Ok(other),
    }
}

/// One step of a JSON patch, for `v1`.
fn step(mut step: Value) -> Value {
    for place in ["path", "from"] {
        let renamed = step.get(place).and_then(Value::as_str).map(|path| rename_path(path, '/', back));
        if let Some(renamed) = renamed {
            step[place] = renamed.into();
        }
    }
    step
}

fn payload(value: &Value) -> Payload {
    Payload { bytes: value.to_string().into(), media: Media::Json }
}

fn fields(selector: &FieldSelector) -> FieldSelector {
    let terms = selector.0.iter();
    FieldSelector(terms.map(|(path, value, equal)| (rename_path(path, '.', back), value.clone(), *equal)).collect())
}

/// What this group asks of a new Event and `v1` does not.
fn strict(event: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if text(event, "/eventTime").is_empty() {
        causes.push(field::required("eventTime", ""));
    } else {
        for name in ["reportingComponent", "reportingInstance", "action", "reason"] {
            if text(event, &format!("/{name}")).is_empty() {
                causes.push(field::required(forth(name), ""));
            }
        }
    }
    let kind = text(event, "/type");
    if !matches!(kind, "Normal" | "Warning") {
        causes.push(field::invalid("type", &json!(""), &format!("has invalid value: {kind}")));
    }
    for name in ["firstTimestamp", "lastTimestamp", "count"] {
        if event.get(name).is_some_and(|value| !value.is_null() && *value != 0) {
            causes.push(field::invalid(name, &json!(""), "needs to be unset"));
        }
    }
    if !text(event, "/source/component").is_empty() || !text(event, "/source/host").is_empty() {
        causes.push(field::invalid("source", &json!(""), "needs to be unset"));
    }
    causes
}

#[async_trait]
impl Resource for Renamed {
    fn info(&self) -> &ResourceInfo {
        &self.info
    }

    async fn get(&self, cx: &Context, key: &Key) -> ApiResult<Bytes> {
        shown(&self.core.get(cx, key).await.map_err(named)?)
    }

    async fn list(&self, cx: &Context, namespace: Option<&str>, options: &ListOptions) -> ApiResult<List> {
        let options = ListOptions { fields: fields(&options.fields), ..options.clone() };
        let mut list = self.core.list(cx, namespace, &options).await?;
        list.items = list.items.iter().map(|item| shown(item)).collect::<ApiResult<_>>()?;
        Ok(list)
    }

    async fn watch(&self, cx: &Context, namespace: Option<&str>, options: &WatchOptions) -> ApiResult<WatchStream> {
        let options = WatchOptions { fields: fields(&options.fields), ..options.clone() };
        let events = self.core.watch(cx, namespace, &options).await?;
        Ok(events
            .map(|event| match event.kind {
                EventKind::Error => event,
                _ => shown(&event.object)
                    .map_or_else(|error| WatchEvent::error(&error), |object| WatchEvent::new(event.kind, &object)),
            })
            .boxed())
    }

    async fn create(
        &self,
        cx: &Context,
        namespace: Option<&str>,
        sent: Payload,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        let event = stored(&sent)?;
        let causes = strict(&event);
        if !causes.is_empty() {
            return Err(ApiError::invalid(GROUP, "Event", text(&event, "/metadata/name"), causes));
        }
        Self::written(self.core.create(cx, namespace, payload(&event), options).await.map_err(named)?)
    }

    async fn update(
        &self,
        cx: &Context,
        key: &Key,
        sub: Option<&str>,
        sent: Payload,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        Self::written(self.core.update(cx, key, sub, payload(&stored(&sent)?), options).await.map_err(named)?)
    }

    async fn patch(
        &self,
        cx: &Context,
        key: &Key,
        sub: Option<&str>,
        kind: PatchKind,
        sent: Payload,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        Self::written(self.core.patch(cx, key, sub, kind, payload(&stored(&sent)?), options).await.map_err(named)?)
    }

    async fn delete(&self, cx: &Context, key: &Key, options: &DeleteOptions) -> ApiResult<Written> {
        Self::written(self.core.delete(cx, key, options).await.map_err(named)?)
    }

    async fn delete_collection(
        &self,
        cx: &Context,
        namespace: Option<&str>,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> ApiResult<Written> {
        let list = ListOptions { fields: fields(&list.fields), ..list.clone() };
        self.core.delete_collection(cx, namespace, &list, options).await
    }

    fn table_cells(&self, object: &Value) -> Option<Vec<Value>> {
        let old = rename(object.as_object()?.clone(), back, "v1");
        self.core.table_cells(&Value::Object(old))
    }
}

/// An error about `events` is one about `events.events.k8s.io` here.
fn named(mut error: ApiError) -> ApiError {
    if let Some(details) = error.details.as_mut().filter(|details| details.kind == "events") {
        details.group = GROUP.into();
        error.message = error.message.replacen("events \"", "events.events.k8s.io \"", 1);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_go_there_and_back() {
        let old = json!({"kind": "Event", "apiVersion": "v1", "message": "m", "involvedObject": {"name": "x"},
            "source": {"component": "c"}, "count": 3, "reportingComponent": "r", "type": "Normal"});
        let new: Value = serde_json::from_slice(&shown(old.to_string().as_bytes()).unwrap()).unwrap();
        assert_eq!(
            new,
            json!({"kind": "Event", "apiVersion": "events.k8s.io/v1", "note": "m", "regarding": {"name": "x"},
                "deprecatedSource": {"component": "c"}, "deprecatedCount": 3, "reportingController": "r",
                "type": "Normal"})
        );
        assert_eq!(stored(&payload(&new)).unwrap(), old);
    }

    #[test]
    fn patches_and_selectors_are_translated() {
        let steps =
            json!([{"op": "move", "path": "/regarding/name", "from": "/note"}, {"op": "test", "path": "/type"}]);
        let wanted = json!([{"op": "move", "path": "/involvedObject/name", "from": "/message"},
            {"op": "test", "path": "/type"}]);
        assert_eq!(stored(&payload(&steps)).unwrap(), wanted);
        let selector = FieldSelector::parse("regarding.name=a,type!=Normal").unwrap();
        assert_eq!(fields(&selector), FieldSelector::parse("involvedObject.name=a,type!=Normal").unwrap());
    }

    #[test]
    fn another_version_is_refused() {
        assert_eq!(stored(&payload(&json!({"apiVersion": "v1"}))).unwrap_err().code, 400);
    }

    #[test]
    fn new_events_are_held_to_more() {
        let whole = json!({"eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "c", "action": "a",
            "reportingInstance": "i", "reason": "r", "type": "Normal"});
        assert_eq!(strict(&whole), []);
        for (field, value) in
            [("eventTime", json!(null)), ("action", json!("")), ("type", json!("Odd")), ("count", json!(2))]
        {
            let mut broken = whole.clone();
            broken[field] = value;
            let fields: Vec<String> = strict(&broken).into_iter().map(|cause| cause.field).collect();
            assert_eq!(fields, [field]);
        }
    }
}
