//! OpenAPI v2: one document with the schemas of everything, as JSON and in the protobuf form that `kubectl` insists on.
//!
//! kubectl validates with it what no OpenAPI v3 path describes: a `kind: List`, a kind that it does not know, a review. It reads
//! the definitions alone, so there are no paths in it. Sources: Swagger 2.0; the fields of `openapi.v2.Document` as numbered by the
//! gnostic project's `OpenAPIv2.proto`, which Kubernetes' clients decode.

use serde_json::{Map, Value, json};

use super::{SCHEMAS, closure, kind_extension};
use crate::catalog::Snapshot;

/// Media type of the protobuf form as clients ask for it.
pub const ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// Media type of the protobuf form as it is answered: `@` may not stand in one, and Go's parser refuses it.
pub const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The document as JSON.
pub fn document(snapshot: &Snapshot) -> Value {
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": {},
        "definitions": definitions(snapshot),
    })
}

/// The document as protobuf.
pub fn protobuf(snapshot: &Snapshot) -> Vec<u8> {
    let mut info = Message::default();
    info.text(1, "Kubernetes");
    info.text(2, "unversioned");
    let mut document = Message::default();
    document.text(1, "2.0");
    document.message(2, &info);
    document.message(8, &Message::default());
    document.message(9, &named(&definitions(snapshot)));
    document.0
}

/// All schemas, each with the kinds that it is of, and in the words of version 2.
fn definitions(snapshot: &Snapshot) -> Map<String, Value> {
    let infos: Vec<_> = snapshot.resources.iter().map(|resource| resource.info()).collect();
    let schemas = closure(&infos).into_iter();
    schemas
        .map(|(name, schema)| {
            let marked = kind_extension(&infos, name, schema);
            (name.to_string(), converted(marked.as_ref().unwrap_or(schema)))
        })
        .collect()
}

/// A schema of version 3 in the words of version 2, as far as they go: what has none there is left out, which makes it looser.
fn converted(schema: &Value) -> Value {
    let Some(fields) = schema.as_object() else { return json!({}) };
    let mut kept = Map::new();
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("$ref", Value::String(target)) => {
                let target = target.strip_prefix(SCHEMAS).unwrap_or(target);
                kept.insert(name.clone(), format!("#/definitions/{target}").into());
            }
            // Version 3 wraps a reference so that a description can stand beside it.
            ("allOf", Value::Array(parts)) if parts.len() == 1 => {
                if let Value::Object(part) = converted(&parts[0]) {
                    kept.extend(part);
                }
            }
            ("properties", Value::Object(properties)) => {
                let properties: Map<_, _> =
                    properties.iter().map(|(key, value)| (key.clone(), converted(value))).collect();
                kept.insert(name.clone(), properties.into());
            }
            ("items" | "additionalProperties", Value::Object(_)) => {
                kept.insert(name.clone(), converted(value));
            }
            ("description" | "type" | "format" | "required" | "title" | "additionalProperties", _) => {
                kept.insert(name.clone(), value.clone());
            }
            (extension, _) if extension.starts_with("x-kubernetes-") => {
                kept.insert(name.clone(), value.clone());
            }
            _ => {}
        }
    }
    kept.into()
}

/// `Properties` and `Definitions`: named schemas.
fn named(schemas: &Map<String, Value>) -> Message {
    let mut all = Message::default();
    for (name, value) in schemas {
        let mut entry = Message::default();
        entry.text(1, name);
        entry.message(2, &schema(value));
        all.message(1, &entry);
    }
    all
}

fn schema(value: &Value) -> Message {
    let mut message = Message::default();
    for (field, name) in [(1, "$ref"), (2, "format"), (3, "title"), (4, "description")] {
        if let Some(text) = value.get(name).and_then(Value::as_str) {
            message.text(field, text);
        }
    }
    for name in value.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        message.text(19, name);
    }
    match value.get("additionalProperties") {
        Some(Value::Bool(any)) => {
            let mut item = Message::default();
            item.flag(2, *any);
            message.message(21, &item);
        }
        Some(other) => message.message(21, &wrapped(schema(other))),
        None => {}
    }
    if let Some(kind) = value.get("type").and_then(Value::as_str) {
        let mut item = Message::default();
        item.text(1, kind);
        message.message(22, &item);
    }
    if let Some(items) = value.get("items") {
        message.message(23, &wrapped(schema(items)));
    }
    if let Some(properties) = value.get("properties").and_then(Value::as_object) {
        message.message(25, &named(properties));
    }
    let extensions = value.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-"));
    for (name, extension) in extensions {
        // JSON is YAML.
        let mut any = Message::default();
        any.text(2, &extension.to_string());
        let mut entry = Message::default();
        entry.text(1, name);
        entry.message(2, &any);
        message.message(31, &entry);
    }
    message
}

/// A message whose first field is another.
fn wrapped(inner: Message) -> Message {
    let mut outer = Message::default();
    outer.message(1, &inner);
    outer
}

/// A protobuf message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, message: &Message) {
        self.bytes(field, &message.0);
    }

    fn flag(&mut self, field: u64, flag: bool) {
        self.number(field << 3);
        self.number(u64::from(flag));
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.number(field << 3 | 2);
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A base 128 varint.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_speak_version_2() {
        let three = json!({
            "type": "object", "description": "d", "nullable": true, "required": ["a"],
            "properties": {
                "a": {"allOf": [{"$ref": "#/components/schemas/x.A"}], "description": "the a", "default": {}},
                "b": {"type": "array", "items": {"type": "string", "enum": ["x"]}},
                "c": {"type": "object", "additionalProperties": {"type": "integer", "format": "int32"}},
            },
            "x-kubernetes-group-version-kind": [{"group": "", "kind": "A", "version": "v1"}],
        });
        assert_eq!(
            converted(&three),
            json!({
                "type": "object", "description": "d", "required": ["a"],
                "properties": {
                    "a": {"$ref": "#/definitions/x.A", "description": "the a"},
                    "b": {"type": "array", "items": {"type": "string"}},
                    "c": {"type": "object", "additionalProperties": {"type": "integer", "format": "int32"}},
                },
                "x-kubernetes-group-version-kind": [{"group": "", "kind": "A", "version": "v1"}],
            })
        );
    }

    #[test]
    fn protobuf_is_written_field_by_field() {
        // Worked by hand: field 4 (description), field 22 (type) with field 1 inside; 22 << 3 | 2 takes two bytes.
        let message = schema(&json!({"type": "object", "description": "d"}));
        assert_eq!(message.0, [0x22, 1, b'd', 0xb2, 0x01, 8, 0x0a, 6, b'o', b'b', b'j', b'e', b'c', b't']);
        let mut long = Message::default();
        long.text(1, &"x".repeat(300));
        assert_eq!(long.0[..3], [0x0a, 0xac, 0x02]);
    }
}
