//! Objects as rows: what `kubectl get` prints. Columns and cells are made here, on the server, so that every client shows the same.
//! Source: Kubernetes API concepts, "Receiving resources as Tables".

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    accept::Include,
    duration,
    jsonpath::JsonPath,
    resource::{Column, Resource},
    view::partial_metadata,
};

/// The columns of a resource, ready to make rows of its objects.
pub struct Table {
    resource: Arc<dyn Resource>,
    columns: Vec<Column>,
    /// One for each column; `None` where its path cannot be read, which shows as an empty cell.
    paths: Vec<Option<JsonPath>>,
    include: Include,
}

impl Table {
    /// A table of `resource`'s objects.
    pub fn new(resource: Arc<dyn Resource>, include: Include) -> Self {
        let mut columns = resource.info().columns.clone();
        if columns.is_empty() {
            columns.push(Column {
                name: "Age".into(),
                kind: "date".into(),
                format: String::new(),
                description: "Time since the object was created".into(),
                priority: 0,
                json_path: ".metadata.creationTimestamp".into(),
            });
        }
        let paths = columns.iter().map(|column| JsonPath::parse(&column.json_path).ok()).collect();
        Self { resource, columns, paths, include }
    }

    /// Whether kube-apiserver makes this table by rote: of kinds for which it has no columns of its own.
    pub fn is_by_rote(&self) -> bool {
        matches!(self.columns.as_slice(), [only] if only.name == "Created At")
    }

    /// `columnDefinitions`: NAME first.
    pub fn column_definitions(&self) -> Value {
        let name = json!({
            "name": "Name", "type": "string", "format": "name", "priority": 0,
            "description": "Name of the object, unique among those of its kind in a namespace",
        });
        let others = self.columns.iter().map(|column| {
            json!({
                "name": column.name, "type": column.kind, "format": column.format,
                "description": column.description, "priority": column.priority,
            })
        });
        std::iter::once(name).chain(others).collect()
    }

    /// One row: `{"cells": [...], "object": ...}`.
    pub fn row(&self, object: &Bytes, now: Timestamp) -> Vec<u8> {
        let value: Value = serde_json::from_slice(object).unwrap_or_default();
        let mut row = Vec::with_capacity(512);
        row.extend_from_slice(b"{\"cells\":");
        row.extend_from_slice(self.cells(&value, now).to_string().as_bytes());
        row.extend_from_slice(b",\"object\":");
        match self.include {
            Include::None => row.extend_from_slice(b"null"),
            Include::Metadata => row.extend_from_slice(&partial_metadata(object)),
            Include::Object => row.extend_from_slice(object),
        }
        row.push(b'}');
        row
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Value {
        let name = object["metadata"]["name"].clone();
        let own = self.resource.table_cells(object).filter(|cells| cells.len() == self.columns.len());
        let cells = match own {
            Some(mut cells) => {
                let dates = self.columns.iter().zip(&mut cells).filter(|(column, _)| column.kind == "date");
                dates.for_each(|(_, cell)| *cell = date(cell, now));
                cells
            }
            None => {
                let columns = self.columns.iter().zip(&self.paths);
                columns
                    .map(|(column, path)| path.as_ref().map_or(Value::Null, |p| cell(column, p, object, now)))
                    .collect()
            }
        };
        std::iter::once(name).chain(cells).collect()
    }
}

/// The value at a column's path in the column's type; null where there is none or it is of another type.
fn cell(column: &Column, path: &JsonPath, object: &Value, now: Timestamp) -> Value {
    let found = path.find(object);
    let Some(first) = found.first() else { return Value::Null };
    match column.kind.as_str() {
        "integer" => first.as_i64().or_else(|| first.as_f64().map(|number| number as i64)).into(),
        "number" => first.as_f64().into(),
        "boolean" => first.as_bool().into(),
        "date" => date(first, now),
        // Where the path names several values, all of them are shown.
        _ => {
            let texts: Vec<String> = found.iter().filter(|value| !value.is_null()).map(|value| text(value)).collect();
            if texts.is_empty() { Value::Null } else { texts.join(",").into() }
        }
    }
}

/// A time as an age.
fn date(time: &Value, now: Timestamp) -> Value {
    time.as_str().map_or(Value::Null, |time| duration::age(time, now).into())
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::ResourceInfo;

    struct Things(ResourceInfo, Option<Vec<Value>>);

    impl Resource for Things {
        fn info(&self) -> &ResourceInfo {
            &self.0
        }

        fn table_cells(&self, _object: &Value) -> Option<Vec<Value>> {
            self.1.clone()
        }
    }

    fn things(columns: &[(&str, &str)], own: Option<Vec<Value>>) -> Arc<dyn Resource> {
        let columns = columns.iter().map(|(kind, path)| Column {
            name: "C".into(),
            kind: (*kind).into(),
            format: String::new(),
            description: String::new(),
            priority: 1,
            json_path: (*path).into(),
        });
        Arc::new(Things(ResourceInfo { columns: columns.collect(), ..ResourceInfo::default() }, own))
    }

    fn cells(resource: Arc<dyn Resource>) -> Value {
        let object = json!({
            "metadata": {"name": "a", "creationTimestamp": "2026-11-20T08:55:00Z"},
            "spec": {"n": 3, "f": 1.5, "b": true, "tags": ["x", "y"], "map": {"k": "v"}, "none": null},
        });
        let row = Table::new(resource, Include::None)
            .row(&Bytes::from(object.to_string()), "2026-11-20T09:00:00Z".parse().unwrap());
        serde_json::from_slice::<Value>(&row).unwrap()["cells"].take()
    }

    #[test]
    fn cells_have_their_columns_types() {
        let columns = [
            ("integer", ".spec.n"),
            ("number", ".spec.f"),
            ("boolean", ".spec.b"),
            ("string", ".spec.n"),
            ("string", ".spec.tags[*]"),
            ("string", ".spec.map"),
            ("string", ".spec.none"),
            ("integer", ".spec.b"),
            ("string", ".spec.absent"),
            ("string", "..broken"),
            ("date", ".metadata.creationTimestamp"),
        ];
        let wanted = json!(["a", 3, 1.5, true, "3", "x,y", "{\"k\":\"v\"}", null, null, null, null, "5m"]);
        assert_eq!(cells(things(&columns, None)), wanted);
    }

    #[test]
    fn age_is_the_default_and_own_cells_go_first() {
        assert_eq!(cells(things(&[], None)), json!(["a", "5m"]));
        assert_eq!(cells(things(&[("string", ".spec.n")], Some(vec![json!("own")]))), json!(["a", "own"]));
        let times = things(&[("date", ".x"), ("date", ".y")], Some(vec![json!("2026-11-20T08:55:00Z"), json!(null)]));
        assert_eq!(cells(times), json!(["a", "5m", null]));
    }
}
