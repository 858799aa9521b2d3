//! Values that kube-apiserver cannot even decode: of the wrong JSON type for a built-in kind or for the metadata of any.
//!
//! In: an object as it was sent. Out: the first such value. Custom resources are decoded into anything, so a wrong type in
//! them is for validation to find (422); a misfit here is a bad request (400).

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    field::Path,
    node::{Additional, Kind, Node, NodeId},
    quantity,
    validate::{fits, type_name},
};

/// What cannot be decoded in `value`, if anything.
pub(crate) fn find(nodes: &[Node], id: NodeId, value: &Value, path: &Path) -> Option<String> {
    let node = &nodes[id as usize];
    if node.typed && !value.is_null() {
        let at = path.as_str();
        if !fits(node.kind, value) {
            let (found, wanted) = (type_name(value), node.kind.name());
            return Some(format!("cannot unmarshal {found} into field {at} of type {wanted}"));
        }
        if let Some(text) = value.as_str() {
            let format = node.checks.as_ref().and_then(|checks| checks.format.as_deref()).unwrap_or_default();
            let good = match format {
                "byte" => STANDARD.decode(text).is_ok(),
                "date-time" => text.parse::<Timestamp>().is_ok(),
                _ => node.kind != Kind::Quantity || quantity::is_quantity(text),
            };
            if !good {
                let wanted = if node.kind == Kind::Quantity { "quantity" } else { format };
                return Some(format!("the text in field {at} is no {wanted}"));
            }
        }
    }
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match (node.property(name), node.additional) {
            (Some(id), _) | (None, Additional::Node(id)) => find(nodes, id, value, &path.child(name)),
            _ => None,
        }),
        Value::Array(items) => {
            let id = node.items?;
            items.iter().enumerate().find_map(|(index, item)| find(nodes, id, item, &path.index(index)))
        }
        _ => None,
    }
}
