//! The schema as apply sees it: which values are one field, and which are made of fields.
//!
//! A scalar is one field; so is an atomic list or map, and everything that the schema of a built-in kind leaves open. What
//! the schema of a custom resource leaves open (`x-kubernetes-preserve-unknown-fields`) is taken as it comes: objects are made
//! of fields, lists are not.

use serde_json::{Map, Value};

use super::set::{keyed, valued};
use crate::schema::{
    Schema,
    lists::key_of,
    node::{Additional, Kind, ListType, Node, NodeId},
};

/// What is known of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// Its schema.
    Node(NodeId),
    /// Nothing: objects are made of fields.
    Deduced,
}

/// How a value is owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// As one.
    Leaf,
    /// Field by field.
    Map,
    /// Item by item.
    List,
}

/// Types, looked up in one schema.
#[derive(Clone, Copy)]
pub(super) struct Types<'a> {
    schema: &'a Schema,
}

impl<'a> Types<'a> {
    pub(super) fn new(schema: &'a Schema) -> Self {
        Self { schema }
    }

    /// The type of the whole object.
    pub(super) fn root(&self) -> Type {
        Type::Node(self.schema.root())
    }

    fn node(&self, of: Type) -> Option<&'a Node> {
        match of {
            Type::Node(id) => Some(self.schema.node(id)),
            Type::Deduced => None,
        }
    }

    /// How `value`, of type `of`, is owned.
    pub(super) fn shape(&self, of: Type, value: &Value) -> Shape {
        let node = self.node(of);
        let open = node.is_some_and(|node| node.typed && node.opaque() && !node.preserve);
        match value {
            _ if open => Shape::Leaf,
            Value::Object(_) if node.is_some_and(|node| node.atomic_map) => Shape::Leaf,
            Value::Object(_) => Shape::Map,
            Value::Array(_) => match node.map(|node| &node.list) {
                Some(ListType::Set | ListType::Map(_)) => Shape::List,
                Some(ListType::Atomic) | None => Shape::Leaf,
            },
            _ => Shape::Leaf,
        }
    }

    /// How a pair of values is owned where either may be missing or `null`.
    pub(super) fn common_shape(&self, of: Type, left: Option<&Value>, right: Option<&Value>) -> Shape {
        let present =
            |value: Option<&'_ Value>| value.filter(|value| !value.is_null()).map(|value| self.shape(of, value));
        match (present(left), present(right)) {
            (Some(left), Some(right)) if left != right => Shape::Leaf,
            (Some(shape), _) | (None, Some(shape)) => shape,
            (None, None) => Shape::Leaf,
        }
    }

    /// The type of a field, and whether the schema names it (rather than admitting any key).
    pub(super) fn field(&self, of: Type, name: &str) -> (Type, bool) {
        let Some(node) = self.node(of) else { return (Type::Deduced, false) };
        match (node.property(name), node.additional) {
            (Some(id), _) => (Type::Node(id), true),
            (None, Additional::Node(id)) => (Type::Node(id), false),
            (None, Additional::Any | Additional::None) => (Type::Deduced, false),
        }
    }

    /// Whether an object of this type may have a field of this name.
    pub(super) fn admits(&self, of: Type, name: &str) -> bool {
        self.node(of).is_none_or(|node| {
            node.property(name).is_some() || node.additional != Additional::None || node.preserve || node.opaque()
        })
    }

    /// The type of the items.
    pub(super) fn item(&self, of: Type) -> Type {
        self.node(of).and_then(|node| node.items).map_or(Type::Deduced, Type::Node)
    }

    /// The element of an item of a list that is owned item by item. The error says why it has none.
    pub(super) fn element(&self, of: Type, item: &Value) -> Result<String, String> {
        let node = self.node(of);
        match node.map(|node| &node.list) {
            Some(ListType::Map(keys)) => {
                if !item.is_object() {
                    return Err("associative list with keys may not have non-map elements".into());
                }
                let mut found = key_of(keys, item);
                for key in keys.iter().filter(|key| !item.as_object().is_some_and(|o| o.contains_key(key.as_ref()))) {
                    let (field, _) = self.field(self.item(of), key);
                    if let Some(default) = self.node(field).and_then(|node| node.default.as_deref()) {
                        found.insert(key.to_string(), default.clone());
                    }
                }
                if found.is_empty() {
                    return Err(format!(
                        "associative list with keys has an element that omits all key fields {keys:?} (and doesn't have \
                         default values for any key fields)"
                    ));
                }
                Ok(keyed(sorted(found)))
            }
            _ if item.is_object() => Err("associative list without keys has an element that's a map type".into()),
            _ if item.is_array() => Err("not supported: associative list with lists as elements".into()),
            _ => Ok(valued(item)),
        }
    }

    /// Whether values of this type are objects by their schema.
    pub(super) fn is_struct(&self, of: Type) -> bool {
        self.node(of).is_some_and(|node| node.kind == Kind::Object || node.kind == Kind::Any)
    }
}

fn sorted(keys: Map<String, Value>) -> Map<String, Value> {
    let mut keys: Vec<_> = keys.into_iter().collect();
    keys.sort_by(|a, b| a.0.cmp(&b.0));
    keys.into_iter().collect()
}
