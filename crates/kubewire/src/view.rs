//! Turns what a resource answers into the form that the client negotiated: the objects themselves, a Table, or metadata only.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    accept::{Form, Include},
    resource::{List, Resource},
    table::Table,
    watch::{EventKind, WatchEvent},
};

/// The form of the answers to one request.
pub enum View {
    /// Objects as they are.
    Plain,
    /// `meta.k8s.io/v1` PartialObjectMetadata.
    Metadata,
    /// `meta.k8s.io/v1` Table.
    Table {
        /// Makes the rows.
        table: Box<Table>,
        /// Whether the columns have been sent on this watch.
        introduced: bool,
    },
}

impl View {
    /// The view of `resource` in a negotiated form.
    pub fn new(form: Form, include: Include, resource: &Arc<dyn Resource>) -> Self {
        match form {
            Form::Plain => View::Plain,
            Form::Metadata => View::Metadata,
            Form::Table => View::Table { table: Box::new(Table::new(resource.clone(), include)), introduced: false },
        }
    }

    /// One object. A `Status` (the answer to a deletion, say) is never turned into something else.
    pub fn object(&self, object: Bytes) -> Bytes {
        match self {
            View::Plain => object,
            _ if peek(&object).kind.as_deref() == Some("Status") => object,
            View::Metadata => partial_metadata(&object).into(),
            View::Table { table, .. } => self::table(table, &object, true).into(),
        }
    }

    /// A list, in pieces.
    pub fn list(&self, resource: &dyn Resource, list: List) -> VecDeque<Bytes> {
        let info = resource.info();
        let now = Timestamp::now();
        let metadata = list_metadata(&list);
        let (kind, version) = (info.list_kind.as_str(), info.api_version());
        let (head, items): (Value, Vec<Bytes>) = match self {
            // As kube-apiserver does: items of built-in kinds do not repeat what the list says.
            View::Plain if info.strategic_merge => {
                let items = list.items.iter().map(|item| without_type(item, &version, &info.kind)).collect();
                (json!({"kind": kind, "apiVersion": version, "metadata": metadata}), items)
            }
            View::Plain => {
                let mut metadata = metadata;
                metadata.entry("continue").or_insert_with(|| "".into());
                (json!({"kind": kind, "apiVersion": version, "metadata": metadata}), list.items)
            }
            View::Metadata => (
                json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}),
                list.items.iter().map(|item| partial_metadata(item).into()).collect(),
            ),
            View::Table { table, .. } => (
                json!({
                    "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                    "columnDefinitions": table.column_definitions(),
                }),
                list.items.iter().map(|item| table.row(item, now).into()).collect(),
            ),
        };
        let mut head = head.to_string();
        head.pop();
        if items.is_empty() {
            // As kube-apiserver writes what it never began to fill.
            let nothing = match self {
                View::Metadata => Some(",\"items\":null}\n"),
                View::Table { table, .. } if table.is_by_rote() => Some(",\"rows\":null}\n"),
                _ => None,
            };
            if let Some(nothing) = nothing {
                return VecDeque::from([Bytes::from(head + nothing)]);
            }
        }
        head.push_str(if matches!(self, View::Table { .. }) { ",\"rows\":[" } else { ",\"items\":[" });
        let mut pieces = VecDeque::with_capacity(2 * items.len() + 2);
        pieces.push_back(Bytes::from(head));
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                pieces.push_back(Bytes::from_static(b","));
            }
            pieces.push_back(item);
        }
        pieces.push_back(Bytes::from_static(b"]}\n"));
        pieces
    }

    /// One event of a watch, framed. Errors stay as they are.
    pub fn event(&mut self, event: WatchEvent) -> Bytes {
        match self {
            _ if event.kind == EventKind::Error => event.line,
            View::Plain => event.line,
            View::Metadata => WatchEvent::new(event.kind, &partial_metadata(&event.object)).line,
            View::Table { table, introduced } => {
                let object = self::table(table, &event.object, !*introduced);
                *introduced = true;
                WatchEvent::new(event.kind, &object).line
            }
        }
    }
}

/// A Table of one row.
fn table(table: &Table, object: &Bytes, with_columns: bool) -> Vec<u8> {
    let version = peek(object).metadata.resource_version.unwrap_or_default();
    let columns = if with_columns { table.column_definitions() } else { Value::Null };
    let mut text = json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": version},
        "columnDefinitions": columns,
    })
    .to_string()
    .into_bytes();
    text.pop();
    text.extend_from_slice(b",\"rows\":[");
    text.extend_from_slice(&table.row(object, Timestamp::now()));
    text.extend_from_slice(b"]}");
    text
}

fn list_metadata(list: &List) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".into(), list.resource_version.as_str().into());
    if let Some(token) = &list.continue_token {
        metadata.insert("continue".into(), token.as_str().into());
        if let Some(remaining) = list.remaining {
            metadata.insert("remainingItemCount".into(), remaining.into());
        }
    }
    metadata
}

/// A serialised object without the apiVersion and kind that it begins with, if these are the given ones.
fn without_type(object: &Bytes, version: &str, kind: &str) -> Bytes {
    let start = format!("{{\"apiVersion\":\"{version}\",\"kind\":\"{kind}\",");
    match object.strip_prefix(start.as_bytes()) {
        Some(rest) => [b"{", rest].concat().into(),
        None => object.clone(),
    }
}

/// The metadata of a serialised object as a PartialObjectMetadata.
pub(crate) fn partial_metadata(object: &[u8]) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        metadata: Option<&'a RawValue>,
    }
    let metadata = serde_json::from_slice::<Object>(object).ok().and_then(|object| object.metadata);
    let metadata = metadata.map_or("{}", RawValue::get);
    let mut text = Vec::with_capacity(metadata.len() + 80);
    text.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":");
    text.extend_from_slice(metadata.as_bytes());
    text.push(b'}');
    text
}

/// The few fields that the wire itself reads of an object.
#[derive(Default, Deserialize)]
pub(crate) struct Peek {
    #[serde(default)]
    pub kind: Option<String>,
    #[serde(default)]
    pub metadata: PeekMetadata,
}

/// The few fields that the wire itself reads of an object's metadata.
#[derive(Default, Deserialize)]
pub(crate) struct PeekMetadata {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default, rename = "resourceVersion")]
    pub resource_version: Option<String>,
}

/// Reads these fields without building the rest.
pub(crate) fn peek(object: &[u8]) -> Peek {
    serde_json::from_slice(object).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::ResourceInfo;

    struct Things(ResourceInfo);

    impl Resource for Things {
        fn info(&self) -> &ResourceInfo {
            &self.0
        }
    }

    fn things() -> Arc<dyn Resource> {
        Arc::new(Things(ResourceInfo {
            group: "g".into(),
            version: "v1".into(),
            list_kind: "ThingList".into(),
            ..ResourceInfo::default()
        }))
    }

    fn thing(name: &str) -> Bytes {
        json!({"kind": "Thing", "apiVersion": "g/v1", "metadata": {"name": name, "resourceVersion": "7"}, "spec": {}})
            .to_string()
            .into()
    }

    fn list(form: Form) -> Value {
        let resource = things();
        let view = View::new(form, Include::Object, &resource);
        let list = List {
            items: vec![thing("a"), thing("b")],
            resource_version: "9".into(),
            continue_token: Some("t".into()),
            remaining: Some(3),
        };
        let text: Vec<u8> = view.list(resource.as_ref(), list).into_iter().flatten().collect();
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn lists_in_every_form() {
        let metadata = json!({"resourceVersion": "9", "continue": "t", "remainingItemCount": 3});
        let plain = list(Form::Plain);
        assert_eq!((&plain["kind"], &plain["apiVersion"]), (&json!("ThingList"), &json!("g/v1")));
        assert_eq!((&plain["metadata"], &plain["items"][1]["metadata"]["name"]), (&metadata, &json!("b")));
        let partial = list(Form::Metadata);
        assert_eq!(partial["kind"], "PartialObjectMetadataList");
        assert_eq!(partial["items"][0]["metadata"]["name"], "a");
        assert_eq!(partial["items"][0].get("spec"), None);
        let table = list(Form::Table);
        assert_eq!((&table["kind"], &table["metadata"]), (&json!("Table"), &metadata));
        assert_eq!(table["columnDefinitions"][0]["format"], "name");
        assert_eq!((&table["rows"][1]["cells"][0], &table["rows"][1]["object"]["spec"]), (&json!("b"), &json!({})));
    }

    #[test]
    fn items_of_built_in_kinds_do_not_repeat_their_type() {
        let item = Bytes::from_static(br#"{"apiVersion":"v1","kind":"Secret","metadata":{}}"#);
        assert_eq!(without_type(&item, "v1", "Secret"), &br#"{"metadata":{}}"#[..]);
        assert_eq!(without_type(&item, "v2", "Secret"), item);
    }

    #[test]
    fn only_the_first_event_of_a_watch_carries_columns() {
        let mut view = View::new(Form::Table, Include::Metadata, &things());
        let mut next =
            |kind| -> Value { serde_json::from_slice(&view.event(WatchEvent::new(kind, &thing("a")))).unwrap() };
        let first = next(EventKind::Added);
        assert_eq!((&first["type"], first["object"]["columnDefinitions"].is_array()), (&json!("ADDED"), true));
        assert_eq!(first["object"]["metadata"]["resourceVersion"], "7");
        assert_eq!(first["object"]["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        assert!(next(EventKind::Modified)["object"]["columnDefinitions"].is_null());
    }

    #[test]
    fn a_status_stays_a_status() {
        let status = Bytes::from_static(b"{\"kind\":\"Status\",\"metadata\":{}}");
        assert_eq!(View::new(Form::Table, Include::None, &things()).object(status.clone()), status);
        let error = crate::ApiError::expired("too old");
        let event = WatchEvent::error(&error);
        assert_eq!(View::Metadata.event(event.clone()), event.line);
    }
}
