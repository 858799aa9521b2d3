//! Filling in what the schema defaults.
//!
//! As Kubernetes does it for custom resources: a field that is absent (or `null` where null is no value) takes a copy of its
//! default, then the walk goes on into what is there, defaults included. An absent object without a default stays absent,
//! so defaults below it do not apply.

use serde_json::Value;

use super::node::{Additional, Node, NodeId};

/// Applies the defaults below `value`.
pub(crate) fn apply(nodes: &[Node], id: NodeId, value: &mut Value) {
    let node = &nodes[id as usize];
    match value {
        Value::Object(fields) => {
            for (name, property) in &node.properties {
                let field = &nodes[*property as usize];
                let Some(default) = &field.default else { continue };
                let absent = fields.get(name.as_ref()).is_none_or(|value| value.is_null() && !field.nullable);
                if absent {
                    fields.insert(name.to_string(), (**default).clone());
                }
            }
            for (name, value) in fields {
                match (node.property(name), node.additional) {
                    (Some(id), _) | (None, Additional::Node(id)) => apply(nodes, id, value),
                    _ => {}
                }
            }
        }
        Value::Array(items) => {
            if let Some(id) = node.items {
                items.iter_mut().for_each(|item| apply(nodes, id, item));
            }
        }
        _ => {}
    }
}
