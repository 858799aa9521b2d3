//! From OpenAPI JSON to nodes.
//!
//! In: the schema of one kind (a CRD's `openAPIV3Schema` or a published one) and the definitions that it refers to. Out: the
//! nodes. Definitions are compiled when first referred to and then shared. A published field often is
//! `{"allOf": [{"$ref": ...}], "x-kubernetes-list-type": ...}`: the definition with something on top; such a node starts as a
//! copy of the definition's (children shared).
//!
//! Every object gets `apiVersion`, `kind` and the real `metadata`, whatever its CRD says about them, since the server decodes
//! those three itself.

use std::{collections::HashMap, sync::Arc};

use regex::Regex;
use serde_json::{Map, Value};

use crate::builtin::zeros;

use super::{
    SchemaError,
    cel::Rules,
    node::{Additional, Checks, Kind, ListType, Node, NodeId, Strategy},
};

/// Deeper schemas are refused.
const MAX_DEPTH: usize = 100;

/// Name of the definition of `metadata`.
pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Compiles `root` and what it refers to. The first node of the answer is the root.
pub(crate) fn compile(root: &Value, definitions: &Map<String, Value>) -> Result<Vec<Node>, SchemaError> {
    let mut compiler =
        Compiler { definitions, nodes: vec![Node::default()], named: HashMap::new(), copies: Vec::new() };
    let typed = root.pointer("/properties/metadata").is_some_and(|metadata| reference(metadata).is_some());
    let id = compiler.node(root, typed, 0)?;
    compiler.finish_copies();
    compiler.nodes[0] = compiler.nodes[id as usize].clone();
    compiler.adopt_metadata()?;
    Ok(compiler.nodes)
}

/// Compiles a part of a CRD's schema by itself; metadata is whatever the part says.
pub(crate) fn fragment(part: &Value) -> Result<Vec<Node>, SchemaError> {
    let definitions = Map::new();
    let mut compiler =
        Compiler { definitions: &definitions, nodes: vec![Node::default()], named: HashMap::new(), copies: Vec::new() };
    let id = compiler.node(part, false, 0)?;
    compiler.finish_copies();
    compiler.nodes[0] = compiler.nodes[id as usize].clone();
    Ok(compiler.nodes)
}

/// The name that a schema refers to, be it `{"$ref"}` or `{"allOf": [{"$ref"}]}`.
fn reference(schema: &Value) -> Option<&str> {
    let target = schema.get("$ref").or_else(|| match schema.get("allOf")?.as_array()?.as_slice() {
        [only] => only.get("$ref"),
        _ => None,
    })?;
    target.as_str()?.rsplit('/').next()
}

struct Compiler<'a> {
    definitions: &'a Map<String, Value>,
    nodes: Vec<Node>,
    named: HashMap<&'a str, NodeId>,
    /// Nodes that are to become a copy of another, with their own additions on top.
    copies: Vec<(NodeId, NodeId)>,
}

impl<'a> Compiler<'a> {
    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        (self.nodes.len() - 1) as NodeId
    }

    /// The node of a definition, compiled on first use. Recursion ends because the name is taken before its fields are read.
    fn definition(&mut self, name: &str) -> Result<NodeId, SchemaError> {
        if let Some(id) = self.named.get(name) {
            return Ok(*id);
        }
        let definitions: &'a Map<String, Value> = self.definitions;
        let shared: &'a Map<String, Value> = match definitions.contains_key(name) {
            true => definitions,
            false => crate::builtin::definitions_ref(),
        };
        let (name, schema) =
            shared.get_key_value(name).ok_or_else(|| SchemaError::UnknownReference(name.to_string()))?;
        let id = self.push(Node::default());
        self.named.insert(name, id);
        let node = self.read(schema, name.starts_with("io.k8s."), 0)?;
        self.zeros(name, schema, &node);
        self.nodes[id as usize] = if name.ends_with(".api.resource.Quantity") {
            Node { kind: Kind::Quantity, typed: true, ..Node::default() }
        } else {
            node
        };
        Ok(id)
    }

    /// Marks the optional fields of a built-in definition for which zero is no value. Such fields are scalars, so their nodes are
    /// their own.
    fn zeros(&mut self, name: &str, schema: &Value, node: &Node) {
        if !name.starts_with("io.k8s.") {
            return;
        }
        let required =
            |field: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == field));
        for (field, id) in node.properties.iter().filter(|(field, _)| !required(field)) {
            let scalar = &mut self.nodes[*id as usize];
            let plain = matches!(scalar.kind, Kind::String | Kind::Integer | Kind::Boolean) && scalar.typed;
            if plain && reference(&schema["properties"][field.as_ref()]).is_none() {
                scalar.zero_absent = zeros::dropped(name, field, scalar.kind == Kind::String);
            }
        }
    }

    fn node(&mut self, schema: &Value, typed: bool, depth: usize) -> Result<NodeId, SchemaError> {
        let Some(target) = reference(schema) else {
            let node = self.read(schema, typed, depth)?;
            return Ok(self.push(node));
        };
        let target = self.definition(target)?;
        let adds = |key: &String| key == "default" || key == "nullable" || key.starts_with("x-kubernetes-");
        if !schema.as_object().is_some_and(|fields| fields.keys().any(adds)) {
            return Ok(target);
        }
        let mut node = Node { typed, ..Node::default() };
        extensions(schema, &mut node);
        let id = self.push(node);
        self.copies.push((id, target));
        Ok(id)
    }

    fn finish_copies(&mut self) {
        for (id, target) in std::mem::take(&mut self.copies) {
            let over = std::mem::take(&mut self.nodes[id as usize]);
            let mut node = self.nodes[target as usize].clone();
            node.typed |= over.typed;
            node.nullable |= over.nullable;
            node.atomic_map |= over.atomic_map;
            node.default = over.default.or(node.default);
            node.strategy = over.strategy.or(node.strategy);
            if over.list != ListType::Atomic {
                node.list = over.list;
            }
            self.nodes[id as usize] = node;
        }
    }

    fn read(&mut self, schema: &Value, typed: bool, depth: usize) -> Result<Node, SchemaError> {
        if depth > MAX_DEPTH {
            return Err(SchemaError::TooDeep(MAX_DEPTH));
        }
        let below = depth + 1;
        let mut node = Node { typed, kind: kind(schema), ..Node::default() };
        extensions(schema, &mut node);
        if let Some(Value::Object(properties)) = schema.get("properties") {
            let mut compiled = Vec::with_capacity(properties.len());
            for (name, property) in properties {
                compiled.push((name.as_str().into(), self.node(property, typed, below)?));
            }
            compiled.sort_unstable();
            node.properties = compiled.into_boxed_slice();
        }
        node.additional = match schema.get("additionalProperties") {
            Some(Value::Bool(true)) => Additional::Any,
            Some(values @ Value::Object(_)) => Additional::Node(self.node(values, typed, below)?),
            _ => Additional::None,
        };
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            node.items = Some(self.node(items, typed, below)?);
        }
        // A published object without fields is one whose content is not described (`FieldsV1`).
        node.preserve |=
            typed && node.kind == Kind::Object && node.properties.is_empty() && node.additional == Additional::None;
        node.checks = self.checks(schema, typed, below)?.map(Arc::new);
        Ok(node)
    }

    fn checks(&mut self, schema: &Value, typed: bool, depth: usize) -> Result<Option<Checks>, SchemaError> {
        let Value::Object(fields) = schema else { return Ok(None) };
        let mut checks = Checks::default();
        let mut any = false;
        for (key, value) in fields {
            any |= match key.as_str() {
                "format" => set(&mut checks.format, value.as_str().map(Into::into)),
                "enum" => set_list(&mut checks.values, value, |value| Some(value.clone())),
                "required" => set_list(&mut checks.required, value, |name| {
                    let name = name.as_str()?;
                    (!typed || fields.get("properties").and_then(|all| all.get(name)).is_some_and(is_text))
                        .then(|| name.into())
                }),
                "minimum" => set(&mut checks.minimum, value.as_f64()),
                "maximum" => set(&mut checks.maximum, value.as_f64()),
                "multipleOf" => set(&mut checks.multiple_of, value.as_f64().filter(|n| *n > 0.0)),
                "minLength" => set(&mut checks.min_length, value.as_u64()),
                "maxLength" => set(&mut checks.max_length, value.as_u64()),
                "minItems" => set(&mut checks.min_items, value.as_u64()),
                "maxItems" => set(&mut checks.max_items, value.as_u64()),
                "minProperties" => set(&mut checks.min_properties, value.as_u64()),
                "maxProperties" => set(&mut checks.max_properties, value.as_u64()),
                "exclusiveMinimum" => flag(&mut checks.exclusive_minimum, value),
                "exclusiveMaximum" => flag(&mut checks.exclusive_maximum, value),
                "uniqueItems" => flag(&mut checks.unique_items, value),
                "pattern" => {
                    let pattern = value.as_str().unwrap_or_default();
                    let compiled = Regex::new(pattern).map_err(|e| SchemaError::Pattern(e.to_string()))?;
                    set(&mut checks.pattern, Some(compiled))
                }
                "allOf" => self.branches(&mut checks.all_of, value, typed, depth)?,
                "anyOf" => self.branches(&mut checks.any_of, value, typed, depth)?,
                "oneOf" => self.branches(&mut checks.one_of, value, typed, depth)?,
                "not" => {
                    checks.not = Some(self.node(value, typed, depth)?);
                    true
                }
                "x-kubernetes-validations" => set(&mut checks.rules, Some(Rules::compile(value))),
                _ => false,
            };
        }
        Ok(any.then_some(checks))
    }

    fn branches(
        &mut self,
        into: &mut Vec<NodeId>,
        list: &Value,
        typed: bool,
        depth: usize,
    ) -> Result<bool, SchemaError> {
        for branch in list.as_array().into_iter().flatten() {
            into.push(self.node(branch, typed, depth)?);
        }
        Ok(!into.is_empty())
    }

    /// Gives the root and every embedded object the three fields that the server itself decodes. What a CRD demands of its
    /// metadata (a pattern for the name) still holds: its own node is checked beside the real one.
    fn adopt_metadata(&mut self) -> Result<(), SchemaError> {
        let string = self.push(Node { kind: Kind::String, typed: true, ..Node::default() });
        let meta = self.definition(OBJECT_META)?;
        self.finish_copies();
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if node.kind != Kind::Object || (at != 0 && !node.embedded) {
                continue;
            }
            let mut properties: Vec<_> = std::mem::take(&mut self.nodes[at].properties).into_vec();
            for (name, id) in [("apiVersion", string), ("kind", string), ("metadata", meta)] {
                match properties.iter().position(|(key, _)| key.as_ref() == name) {
                    None => properties.push((name.into(), id)),
                    Some(found) if name == "metadata" && !self.nodes[properties[found].1 as usize].typed => {
                        let mut whole = self.nodes[meta as usize].clone();
                        let own = properties[found].1;
                        let checks = Checks { all_of: vec![own], ..Checks::default() };
                        whole.checks = Some(Arc::new(checks));
                        properties[found].1 = self.push(whole);
                    }
                    Some(_) => {}
                }
            }
            properties.sort_unstable();
            self.nodes[at].properties = properties.into_boxed_slice();
        }
        Ok(())
    }
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    *slot = value;
    slot.is_some()
}

fn flag(slot: &mut bool, value: &Value) -> bool {
    *slot = value.as_bool().unwrap_or(false);
    *slot
}

fn set_list<T>(slot: &mut Vec<T>, value: &Value, read: impl Fn(&Value) -> Option<T>) -> bool {
    slot.extend(value.as_array().into_iter().flatten().filter_map(read));
    !slot.is_empty()
}

/// Published schemas call required what is always sent: of what kube-apiserver decodes, an absent number is 0 and an absent
/// struct is empty. Only an absent text is really missing.
fn is_text(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("string")
}

fn kind(schema: &Value) -> Kind {
    let is = |key: &str| schema.get(key).and_then(Value::as_bool) == Some(true);
    if is("x-kubernetes-int-or-string") || schema.get("format").and_then(Value::as_str) == Some("int-or-string") {
        return Kind::IntOrString;
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => Kind::Object,
        Some("array") => Kind::Array,
        Some("string") => Kind::String,
        Some("integer") => Kind::Integer,
        Some("number") => Kind::Number,
        Some("boolean") => Kind::Boolean,
        _ => Kind::Any,
    }
}

/// Reads what may stand beside a `$ref` as well.
fn extensions(schema: &Value, node: &mut Node) {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    let is = |key: &str| schema.get(key).and_then(Value::as_bool) == Some(true);
    node.nullable = is("nullable");
    node.preserve = is("x-kubernetes-preserve-unknown-fields");
    node.embedded = is("x-kubernetes-embedded-resource");
    node.atomic_map = text("x-kubernetes-map-type") == Some("atomic");
    node.default = schema.get("default").map(|value| Box::new(value.clone()));
    node.list = match text("x-kubernetes-list-type") {
        Some("set") => ListType::Set,
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten();
            ListType::Map(keys.filter_map(|key| Some(key.as_str()?.into())).collect())
        }
        _ => ListType::Atomic,
    };
    if let Some(names) = text("x-kubernetes-patch-strategy") {
        let has = |name: &str| names.split(',').any(|part| part == name);
        node.strategy = Some(Box::new(Strategy {
            merge: has("merge"),
            replace: has("replace"),
            retain_keys: has("retainKeys"),
            key: text("x-kubernetes-patch-merge-key").map(Into::into),
        }));
    }
}
