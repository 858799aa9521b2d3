//! Schemas: what an object of a kind looks like, and what that means for a write.
//!
//! A [`Schema`] is compiled once per kind from OpenAPI (a CRD's, or Kubernetes' published one for built-in kinds). A write goes
//! through it in this order: [`decode`](Schema::decode) (parse, shape, tell what is unknown), [`default`](Schema::default),
//! [`validate`](Schema::validate). Patch and apply read it for how lists and maps merge. [`structural`] says whether a CRD's
//! schema is one that a server can work with.
//!
//! Everything here is pure, bounded and total: any bytes and any schema give an answer or an error, never a panic.

mod cel;
mod checks;
mod compile;
mod defaults;
pub mod document;
pub mod field;
mod format;
pub(crate) mod lists;
mod misfit;
pub(crate) mod node;
mod prune;
pub(crate) mod quantity;
mod structural;
mod validate;

use std::sync::Arc;

use roadstead_kubewire::{ApiError, ApiResult, Payload, error::Cause, options::FieldValidation};
use serde_json::{Map, Value};

pub(crate) use compile::OBJECT_META;
use field::Path;
use node::{Node, NodeId};
use prune::Keep;
pub use structural::structural;

/// Why a schema cannot be compiled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A `$ref` names no definition.
    #[error("the schema refers to {0}, which is not defined")]
    UnknownReference(String),
    /// Nesting beyond what is reasonable.
    #[error("the schema nests deeper than {0} levels")]
    TooDeep(usize),
    /// A `pattern` is no regular expression.
    #[error("the schema has a pattern that is not a regular expression: {0}")]
    Pattern(String),
}

/// The compiled schema of one kind. Immutable and shared.
#[derive(Debug)]
pub struct Schema {
    nodes: Vec<Node>,
}

impl Schema {
    /// Compiles `root` with the `definitions` that its `$ref`s (`#/components/schemas/<name>`) name; what is not among them is
    /// looked for among the built-in definitions. `apiVersion`, `kind` and `metadata` are always those of every object.
    pub fn compile(root: &Value, definitions: &Map<String, Value>) -> Result<Arc<Self>, SchemaError> {
        Ok(Arc::new(Self { nodes: compile::compile(root, definitions)? }))
    }

    /// Parses a body and brings it into the schema's shape. Answers the object and warnings. Errors: 400 for what cannot be
    /// parsed or is no object, and under [`FieldValidation::Strict`] for unknown fields and duplicate keys.
    pub fn decode(&self, payload: &Payload, validation: FieldValidation) -> ApiResult<(Value, Vec<String>)> {
        let document::Document { mut value, duplicates } = document::parse(payload)?;
        if value.is_null() && self.nodes[0].typed {
            // Nothing is what Go has before it decodes anything.
            value = Value::Object(Map::new());
        }
        if !value.is_object() {
            return Err(ApiError::bad_request("the body is not an object"));
        }
        if let Some(why) = self.misfit(&value) {
            return Err(ApiError::bad_request(format!("the object cannot be decoded: {why}")));
        }
        let unknown = self.prune(&mut value);
        let told = duplicates.iter().map(|path| format!("duplicate field \"{path}\""));
        let told: Vec<String> = told.chain(unknown.iter().map(|path| format!("unknown field \"{path}\""))).collect();
        match validation {
            FieldValidation::Strict if !told.is_empty() => {
                Err(ApiError::bad_request(format!("strict decoding error: {}", told.join(", "))))
            }
            FieldValidation::Warn => Ok((value, told)),
            FieldValidation::Strict | FieldValidation::Ignore => Ok((value, Vec::new())),
        }
    }

    /// Drops what the schema does not know; answers the paths (`spec.x`, `spec.ports[0].y`) of what was dropped.
    pub fn prune(&self, value: &mut Value) -> Vec<String> {
        let mut unknown = Vec::new();
        prune::prune(&self.nodes, 0, value, &Path::root(), Keep::Nothing, &mut unknown);
        if !self.nodes[0].typed {
            // Of custom resources kube-apiserver tells them in this order; of built-in kinds in that of the document.
            unknown.sort_by_cached_key(|path| (!path.starts_with("metadata."), path.clone()));
        }
        unknown
    }

    /// Brings what comes of an apply into shape. Unlike what is sent as a whole it keeps a `null` that a custom resource may not have.
    pub fn prune_applied(&self, value: &mut Value) {
        prune::prune(&self.nodes, 0, value, &Path::root(), Keep::Nulls, &mut Vec::new());
    }

    /// Like [`decode`](Self::decode) for what is applied: zeros and empty lists are kept, as the manager's own; unknown fields
    /// are refused, as they have no type.
    pub fn decode_applied(&self, payload: &Payload, validation: FieldValidation) -> ApiResult<(Value, Vec<String>)> {
        let document::Document { mut value, duplicates } = document::parse(payload)?;
        if !value.is_object() {
            return Err(ApiError::bad_request("the body is not an object"));
        }
        let duplicates: Vec<String> = duplicates.iter().map(|path| format!("duplicate field \"{path}\"")).collect();
        if validation == FieldValidation::Strict && !duplicates.is_empty() {
            return Err(ApiError::bad_request(format!("strict decoding error: {}", duplicates.join(", "))));
        }
        let mut unknown = Vec::new();
        prune::prune(&self.nodes, 0, &mut value, &Path::root(), Keep::Sent, &mut unknown);
        if let Some(path) = unknown.first() {
            return Err(ApiError::bad_request(format!(
                "failed to create typed patch object: .{path}: field not declared in schema"
            )));
        }
        Ok((value, if validation == FieldValidation::Warn { duplicates } else { Vec::new() }))
    }

    /// What in `value` cannot be decoded, if anything.
    pub fn misfit(&self, value: &Value) -> Option<String> {
        misfit::find(&self.nodes, 0, value, &Path::root())
    }

    /// Fills in the schema's defaults. Idempotent.
    pub fn default(&self, value: &mut Value) {
        defaults::apply(&self.nodes, 0, value);
    }

    /// What is wrong with `new`; `old` is the present object when this is an update.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<Cause> {
        self.validate_with(new, old, &[], Vec::new())
    }

    /// The same; `scale` is what is wrong with what its Scale shows, which is told in between. Where what is wrong already
    /// (`earlier`, told by the caller) is bad enough, rules are not evaluated.
    pub fn validate_with(&self, new: &Value, old: Option<&Value>, earlier: &[Cause], scale: Vec<Cause>) -> Vec<Cause> {
        validate::validate(&self.nodes, new, old, earlier, scale)
    }

    pub(crate) fn root(&self) -> NodeId {
        0
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }
}

#[cfg(test)]
mod tests;
