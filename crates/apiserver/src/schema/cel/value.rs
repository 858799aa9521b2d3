//! From JSON to the values that rules see.
//!
//! As in kube-apiserver, a rule sees what its schema types: fields that the schema does not name are not there, metadata has
//! only `name` and `generateName`, names that are no CEL identifiers are escaped, a `number` is a double even when it is
//! written `1`, and `date-time`, `duration` and `byte` strings are timestamps, durations and bytes.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use cel::{
    Value as Cel,
    objects::{Key, Map},
};
use serde_json::Value;

use super::super::node::{Additional, Kind, Node, NodeId};

/// A converted value.
#[derive(Debug)]
pub(super) struct Converted {
    pub value: Cel,
    /// What copying it costs: one for each value in it, and one for each 16 bytes of text.
    pub size: u64,
}

/// Converts `value`, which is at node `id`.
pub(super) fn convert(nodes: &[Node], id: NodeId, value: &Value) -> Converted {
    let mut size = 0;
    let value = typed(nodes, id, value, &mut size);
    Converted { value, size }
}

fn typed(nodes: &[Node], id: NodeId, value: &Value, size: &mut u64) -> Cel {
    *size += 1;
    let node = &nodes[id as usize];
    match value {
        Value::Null => Cel::Null,
        Value::Bool(truth) => Cel::Bool(*truth),
        Value::Number(number) if node.kind == Kind::Number => Cel::Float(number.as_f64().unwrap_or_default()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Cel::Int(whole),
            (None, float) => Cel::Float(float.unwrap_or_default()),
        },
        Value::String(text) => {
            *size += text.len() as u64 / 16;
            string(node, text)
        }
        Value::Array(items) => {
            let convert = |item| match node.items {
                Some(id) => typed(nodes, id, item, size),
                None => Cel::Null,
            };
            Cel::List(Arc::new(items.iter().map(convert).collect()))
        }
        Value::Object(fields) => {
            let whole = id == 0 || node.embedded;
            let mut map = HashMap::with_capacity(fields.len());
            for (name, value) in fields {
                let (key, value) = match (node.property(name), node.additional) {
                    (Some(id), _) if whole && name == "metadata" => (name.clone(), metadata(nodes, id, value, size)),
                    (Some(id), _) => (escape(name), typed(nodes, id, value, size)),
                    (None, Additional::Node(id)) => (name.clone(), typed(nodes, id, value, size)),
                    _ => continue,
                };
                map.insert(Key::String(Arc::new(key)), value);
            }
            Cel::Map(Map { map: Arc::new(map) })
        }
    }
}

fn metadata(nodes: &[Node], id: NodeId, value: &Value, size: &mut u64) -> Cel {
    let names = ["name", "generateName"].into_iter().filter_map(|name| Some((name, value.get(name)?)));
    let visible: serde_json::Map<String, Value> = names.map(|(name, value)| (name.into(), value.clone())).collect();
    typed(nodes, id, &Value::Object(visible), size)
}

fn string(node: &Node, text: &str) -> Cel {
    let format = node.checks.as_ref().and_then(|checks| checks.format.as_deref());
    let shared = || Arc::new(text.to_string());
    let special = match format.filter(|_| node.kind == Kind::String) {
        Some("date-time") => cel::functions::time::timestamp(shared()).ok(),
        Some("duration") => cel::functions::time::duration(shared()).ok(),
        Some("byte") => STANDARD.decode(text).ok().map(|bytes| Cel::Bytes(Arc::new(bytes))),
        _ => None,
    };
    special.unwrap_or_else(|| Cel::String(shared()))
}

/// Words that cannot be field names in CEL.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A field's name as rules write it: `__if__`, `a__dash__b`.
pub(super) fn escape(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__").replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__")
}
