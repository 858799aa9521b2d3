//! The compiled form of a schema: a flat list of small nodes that point at each other by index.
//!
//! Indices instead of nested boxes because published schemas share definitions and recurse (`JSONSchemaProps` holds itself):
//! each definition is compiled once and everything that refers to it holds four bytes. What most nodes do not have
//! (constraints, rules, a default) is behind one pointer, so a node stays under a hundred bytes.

use std::sync::Arc;

use regex::Regex;
use serde_json::Value;

use super::cel::Rules;

/// Index of a node in its schema.
pub(crate) type NodeId = u32;

/// What JSON a node admits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything: the schema names no type.
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    /// `x-kubernetes-int-or-string`.
    IntOrString,
    /// `resource.Quantity` of the built-in kinds: a string, or a number that becomes one.
    Quantity,
}

impl Kind {
    /// OpenAPI's name, as error messages use it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Any => "any",
            Kind::Object => "object",
            Kind::Array => "array",
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
            Kind::IntOrString => "integer or string",
            Kind::Quantity => "string",
        }
    }
}

/// `additionalProperties`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Additional {
    /// Absent or `false`.
    #[default]
    None,
    /// `true`.
    Any,
    /// A schema for every value.
    Node(NodeId),
}

/// `x-kubernetes-list-type`: who owns what of a list, and what may not occur twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    /// One value, owned as a whole.
    #[default]
    Atomic,
    /// Scalars, each once.
    Set,
    /// Objects, told apart by these fields.
    Map(Box<[Box<str>]>),
}

/// How strategic merge patch treats a field, from `x-kubernetes-patch-strategy` and `-merge-key`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strategy {
    /// Lists are merged rather than replaced.
    pub merge: bool,
    /// Maps are replaced rather than merged.
    pub replace: bool,
    /// Fields that the patch does not name are dropped where it says `$retainKeys`.
    pub retain_keys: bool,
    /// The field that tells items apart; none in lists of scalars.
    pub key: Option<Box<str>>,
}

/// What a value must satisfy beyond its type.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub format: Option<Box<str>>,
    pub values: Vec<Value>,
    pub required: Vec<Box<str>>,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub pattern: Option<Regex>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub unique_items: bool,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub all_of: Vec<NodeId>,
    pub any_of: Vec<NodeId>,
    pub one_of: Vec<NodeId>,
    pub not: Option<NodeId>,
    pub rules: Option<Rules>,
}

/// One schema node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub kind: Kind,
    /// `null` is a value, not an absence.
    pub nullable: bool,
    /// Unknown fields are kept (`x-kubernetes-preserve-unknown-fields`).
    pub preserve: bool,
    /// A whole API object (`x-kubernetes-embedded-resource`).
    pub embedded: bool,
    /// The field is decoded into a Go value by kube-apiserver (built-in kinds and all metadata): there `null` means absent
    /// and an absent number or boolean is its zero.
    pub typed: bool,
    /// The zero of the type (an empty text, 0, false) is the same as no value.
    pub zero_absent: bool,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic_map: bool,
    /// Fields, sorted by name.
    pub properties: Box<[(Box<str>, NodeId)]>,
    pub additional: Additional,
    pub items: Option<NodeId>,
    pub list: ListType,
    pub strategy: Option<Box<Strategy>>,
    pub default: Option<Box<Value>>,
    pub checks: Option<Arc<Checks>>,
}

impl Node {
    /// The node of the field `name`, if the schema names it.
    pub(crate) fn property(&self, name: &str) -> Option<NodeId> {
        let at = self.properties.binary_search_by(|(key, _)| key.as_ref().cmp(name)).ok()?;
        Some(self.properties[at].1)
    }

    /// Whether values are kept and admitted without a schema of their own.
    pub(crate) fn opaque(&self) -> bool {
        self.kind == Kind::Any && self.properties.is_empty() && self.items.is_none()
    }
}
