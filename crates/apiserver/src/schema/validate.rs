//! Checking an object against its schema, in kube-apiserver's words.
//!
//! In: the new object and, for an update, the old one. Out: what is wrong, each with the path of its field. A part that did
//! not change is not checked again (ratcheting): an object that became invalid when its schema was tightened can still be
//! edited elsewhere. Old and new are matched by field name, by map key and by the keys of lists of type map; items of other
//! lists have no old value.

use roadstead_kubewire::error::Cause;
use serde_json::{Value, json};

use super::{
    cel::Budget,
    checks,
    field::{self, Path},
    lists,
    node::{Additional, Kind, ListType, Node, NodeId},
};

/// Causes with which an object is too far off for its rules to be evaluated.
const BLOCKING: [&str; 5] =
    ["FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"];

/// What is said then.
pub(crate) const UNCHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors \
                         to complete validation";

/// How many causes are reported.
const MAX_CAUSES: usize = 50;

/// Validates `new` (and `old`) against the root of `nodes`.
pub(crate) fn validate(
    nodes: &[Node],
    new: &Value,
    old: Option<&Value>,
    earlier: &[Cause],
    scale: Vec<Cause>,
) -> Vec<Cause> {
    let mut run = Run::new(nodes);
    run.value(0, new, old, &Path::root());
    let Run { mut causes, embedded, listed, ruled, .. } = run;
    causes.extend(scale.into_iter().chain(embedded).chain(listed));
    if !earlier.iter().chain(&causes).any(|cause| BLOCKING.contains(&cause.reason.as_str())) {
        causes.extend(ruled);
    } else if nodes.iter().any(|node| node.checks.as_ref().is_some_and(|checks| checks.rules.is_some())) {
        causes.push(field::invalid("<nil>", &Value::Null, UNCHECKED));
    }
    causes
}

/// Whether `value` satisfies the node, without transition rules; for `anyOf` and the like.
fn satisfies(nodes: &[Node], id: NodeId, value: &Value) -> bool {
    let mut run = Run::new(nodes);
    run.value(id, value, None, &Path::root());
    run.causes.is_empty() && run.ruled.is_empty()
}

struct Run<'a> {
    nodes: &'a [Node],
    causes: Vec<Cause>,
    /// What embedded objects lack; told after what the schema says.
    embedded: Vec<Cause>,
    /// What occurs twice; told after that.
    listed: Vec<Cause>,
    /// What rules find; it counts only for an object that has the right shape.
    ruled: Vec<Cause>,
    budget: Budget,
}

impl<'a> Run<'a> {
    fn new(nodes: &'a [Node]) -> Self {
        Self {
            nodes,
            causes: Vec::new(),
            embedded: Vec::new(),
            listed: Vec::new(),
            ruled: Vec::new(),
            budget: Budget::default(),
        }
    }

    fn value(&mut self, id: NodeId, value: &Value, old: Option<&Value>, path: &Path) {
        if self.causes.len() >= MAX_CAUSES {
            return;
        }
        let nodes = self.nodes;
        let node = &nodes[id as usize];
        let unchanged = old == Some(value);
        if !unchanged {
            // What is decoded into Go values may be nothing there.
            let may_be_null = node.nullable || node.typed || node.kind == Kind::Any;
            if value.is_null() && may_be_null {
                return;
            }
            if !fits(node.kind, value) {
                self.causes.push(wrong_type(node.kind, value, path));
                if let Some(checks) = &node.checks {
                    checks::enumerated(checks, value, path, &mut self.causes);
                }
                return;
            }
            if let Some(checks) = &node.checks {
                checks::check(checks, node, value, path, &mut self.causes);
                self.branches(checks, value, path);
            }
        }
        self.below(node, value, old, path);
        if let Some(rules) = node.checks.as_ref().and_then(|checks| checks.rules.as_ref()) {
            rules.check(nodes, id, value, old, path, &mut self.budget, &mut self.ruled);
        }
    }

    fn below(&mut self, node: &Node, value: &Value, old: Option<&Value>, path: &Path) {
        match value {
            Value::Object(fields) => {
                if node.embedded {
                    embedded(value, path, &mut self.embedded);
                }
                for (name, value) in fields {
                    if let (Some(id), _) | (None, Additional::Node(id)) = (node.property(name), node.additional) {
                        self.value(id, value, old.and_then(|old| old.get(name)), &path.child(name));
                    }
                }
            }
            Value::Array(items) => {
                // What is decoded into Go values may have the same keys twice.
                if old != Some(value) && !node.typed {
                    lists::unique(&node.list, items, path, &mut self.listed);
                }
                let Some(id) = node.items else { return };
                for (index, item) in items.iter().enumerate() {
                    let old = match &node.list {
                        ListType::Map(keys) => old.and_then(|old| lists::find(keys, old.as_array()?, item)),
                        _ => None,
                    };
                    self.value(id, item, old, &path.index(index));
                }
            }
            _ => {}
        }
    }

    fn branches(&mut self, checks: &super::node::Checks, value: &Value, path: &Path) {
        let nodes = self.nodes;
        let count = |list: &[NodeId]| list.iter().filter(|id| satisfies(nodes, **id, value)).count();
        let mut refuse = |why: &str| {
            let name = path.as_str();
            self.causes.push(field::invalid(path, &json!(""), &format!("\"{name}\" {why}")));
        };
        if !checks.any_of.is_empty() && count(&checks.any_of) == 0 {
            refuse("must validate at least one schema (anyOf)");
        }
        if !checks.one_of.is_empty() {
            match count(&checks.one_of) {
                1 => {}
                0 => refuse("must validate one and only one schema (oneOf). Found none valid"),
                n => refuse(&format!("must validate one and only one schema (oneOf). Found {n} valid alternatives")),
            }
        }
        if checks.not.is_some_and(|id| satisfies(nodes, id, value)) {
            refuse("must not validate the schema (not)");
        }
        for id in &checks.all_of {
            self.value(*id, value, None, path);
        }
    }
}

/// An embedded object names what it is.
fn embedded(value: &Value, path: &Path, causes: &mut Vec<Cause>) {
    for name in ["apiVersion", "kind"] {
        if value.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
            causes.push(field::required(path.child(name), ""));
        }
    }
}

pub(crate) fn fits(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::Any => true,
        Kind::Object => value.is_object(),
        Kind::Array => value.is_array(),
        Kind::String => value.is_string(),
        Kind::Boolean => value.is_boolean(),
        Kind::Number => value.is_number(),
        Kind::Integer => integer(value),
        Kind::IntOrString => value.is_string() || integer(value),
        Kind::Quantity => value.is_string() || value.is_number(),
    }
}

fn integer(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// What JSON type a value has, as OpenAPI names it.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn wrong_type(kind: Kind, value: &Value, path: &Path) -> Cause {
    let found = type_name(value);
    let wanted = match kind {
        Kind::IntOrString => "integer,string",
        kind => kind.name(),
    };
    let detail = format!("{}must be of type {wanted}: \"{found}\"", path.in_body());
    field::type_invalid(path, &json!(found), &detail)
}
