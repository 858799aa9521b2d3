//! The built-in kinds: Kubernetes' own, as far as Roadstead serves them.
//!
//! Their schemas are Kubernetes' published ones ([`definitions`]), trimmed to what is served by `cargo xtask openapi`. What the
//! schemas do not say is here, kind by kind, as pure functions over JSON: defaults, validation beyond the schema, and what
//! `kubectl get` shows ([`resources`]).

mod blank;
mod cells;
mod defaults;
mod kinds;
mod rules;
pub(crate) mod typed;
mod warnings;
pub(crate) mod zeros;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
};

use roadstead_kubewire::{ResourceInfo, error::Cause};
use serde_json::{Map, Value};

use crate::schema::{Schema, SchemaError};

/// A built-in kind.
#[derive(Clone, Debug)]
pub struct Kind {
    /// For discovery, routing and printing. `schema_name` names its schema among [`definitions`].
    pub info: ResourceInfo,
    /// The fields that kube-apiserver's Go types always have, written or not; `null`: none beside metadata.
    pub blank: fn() -> Value,
    /// Fills in what kube-apiserver fills in. Runs after decoding and before validation; idempotent.
    pub default: fn(&mut Value),
    /// What is wrong beyond the schema; `old` is the present object when this is an update.
    pub validate: fn(new: &Value, old: Option<&Value>) -> Vec<Cause>,
    /// What the writer is warned of, though nothing is wrong with it.
    pub warn: fn(new: &Value, old: Option<&Value>) -> Vec<String>,
    /// The cells of `info.columns`, where they are not simply at the columns' paths. Cells of `date` columns are RFC 3339 times.
    pub cells: Option<fn(&Value) -> Vec<Value>>,
}

/// The published schemas, by name, e.g. `io.k8s.api.core.v1.Secret`. `$ref`s are `#/components/schemas/<name>`.
pub fn definitions() -> Arc<Map<String, Value>> {
    shared().clone()
}

pub(crate) fn definitions_ref() -> &'static Map<String, Value> {
    shared()
}

fn shared() -> &'static Arc<Map<String, Value>> {
    static DEFINITIONS: OnceLock<Arc<Map<String, Value>>> = OnceLock::new();
    DEFINITIONS.get_or_init(|| match serde_json::from_str(include_str!("openapi.json")) {
        Ok(Value::Object(definitions)) => Arc::new(definitions),
        // The file is part of the program and a test reads it.
        _ => Arc::default(),
    })
}

/// The compiled schema of a built-in kind by its name among [`definitions`]; compiled when first asked for, then shared.
pub fn schema(name: &str) -> Result<Arc<Schema>, SchemaError> {
    static COMPILED: OnceLock<Mutex<HashMap<String, Arc<Schema>>>> = OnceLock::new();
    let mut compiled = COMPILED.get_or_init(Mutex::default).lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(schema) = compiled.get(name) {
        return Ok(schema.clone());
    }
    let root = shared().get(name).ok_or_else(|| SchemaError::UnknownReference(name.to_string()))?;
    let mut root = root.clone();
    if matches!(name, "io.k8s.api.rbac.v1.Role" | "io.k8s.api.rbac.v1.ClusterRole") {
        // That there are none is shown.
        root["properties"]["rules"]["nullable"] = true.into();
    }
    let schema = Schema::compile(&root, shared())?;
    compiled.insert(name.to_string(), schema.clone());
    Ok(schema)
}

/// The kinds that are stored like any other: all built-in ones except the reviews, which only answer a question.
pub fn resources() -> Vec<Kind> {
    kinds::stored()
}

/// Completes the address fields of a Service: what was settled stays unless the type has changed, and each is there in its old
/// and its new form. Answers what is wrong with them, which is told before all else.
pub fn addresses(service: &mut Value, old: Option<&Value>) -> Vec<Cause> {
    defaults::addresses(service, old);
    rules::addresses(service)
}

/// The kinds that are only created and never stored: authentication and authorization reviews. Their handlers are elsewhere.
pub fn reviews() -> Vec<Kind> {
    kinds::reviews()
}
