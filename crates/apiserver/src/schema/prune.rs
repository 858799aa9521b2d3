//! Bringing an object into the shape that its schema describes.
//!
//! Unknown fields are dropped and told; a `null` where the schema knows no null is an absence and goes silently (defaulting
//! may then fill it). What kube-apiserver decodes into a Go value (built-in kinds, metadata) comes out as it writes it: without
//! empty lists and maps, and with a `Quantity` as text.

use serde_json::{Map, Value};

use super::{
    field::Path,
    node::{Additional, Kind, Node, NodeId},
    quantity,
};

/// What is left as it was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing: the object is decoded.
    Nothing,
    /// `null`s of custom resources, for validation to find: the object is what comes of an apply.
    Nulls,
    /// All zeros, `null`s, empty lists and maps, and quantities as they are written: the object is applied, and who applies them
    /// owns them.
    Sent,
}

/// How many unknown fields are told.
const MAX_TOLD: usize = 100;

/// Shapes `value`, which is at `path`; appends the paths of what was unknown.
pub(crate) fn prune(nodes: &[Node], id: NodeId, value: &mut Value, path: &Path, keep: Keep, unknown: &mut Vec<String>) {
    let node = &nodes[id as usize];
    match value {
        Value::Object(fields) => prune_fields(nodes, node, fields, path, keep, unknown),
        Value::Array(items) => {
            if let Some(id) = node.items {
                for (index, item) in items.iter_mut().enumerate() {
                    prune(nodes, id, item, &path.index(index), keep, unknown);
                }
            }
        }
        Value::Number(number) => match node.kind {
            Kind::Quantity if keep == Keep::Sent => {}
            Kind::Quantity => *value = Value::String(quantity::canonical(&number.to_string())),
            Kind::Integer if !number.is_i64() && !number.is_u64() => whole(value),
            _ => {}
        },
        Value::String(text) if node.kind == Kind::Quantity && keep != Keep::Sent => *text = quantity::canonical(text),
        _ => {}
    }
}

fn prune_fields(
    nodes: &[Node],
    node: &Node,
    fields: &mut Map<String, Value>,
    path: &Path,
    keep: Keep,
    unknown: &mut Vec<String>,
) {
    fields.retain(|name, value| {
        let id = match (node.property(name), node.additional) {
            (Some(id), _) | (None, Additional::Node(id)) => id,
            (None, Additional::Any) => return true,
            (None, Additional::None) if node.preserve || node.opaque() => return true,
            (None, Additional::None) => {
                if unknown.len() < MAX_TOLD {
                    unknown.push(path.child(name).as_str().to_string());
                }
                return false;
            }
        };
        let field = &nodes[id as usize];
        if value.is_null() && field.typed && node.property(name).is_none() && keep != Keep::Sent {
            // In a map, unlike in a field, Go keeps its zero.
            *value = match field.kind {
                Kind::String => "".into(),
                _ => Value::Null,
            };
        }
        let stays = keep == Keep::Sent || keep == Keep::Nulls && !field.typed;
        // An empty list of managed fields says that there shall be none; of a custom resource, whose metadata is written anew
        // before it is looked at, it says nothing.
        let counts = keep == Keep::Sent || nodes[0].typed && name == "managedFields";
        if value.is_null() && !field.nullable && !stays
            || !counts && field.typed && (empty(field, value) && !field.nullable || field.zero_absent && zero(value))
        {
            return false;
        }
        if value.is_object() || value.is_array() {
            prune(nodes, id, value, &path.child(name), keep, unknown);
        } else {
            prune(nodes, id, value, path, keep, unknown);
        }
        true
    });
}

/// What Go has where nothing was sent.
fn zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(flag) => !flag,
        _ => false,
    }
}

/// A list or a map without anything in it. An object with named fields is something even when it is empty.
fn empty(node: &Node, value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty() && node.kind == Kind::Array,
        Value::Object(fields) => fields.is_empty() && node.additional != Additional::None,
        _ => false,
    }
}

/// Writes `3.0` as `3` where the schema says integer, as every Kubernetes client would.
fn whole(value: &mut Value) {
    if let Some(number) = value.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 9e15) {
        *value = Value::from(number as i64);
    }
}
