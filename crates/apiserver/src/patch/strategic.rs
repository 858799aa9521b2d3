//! Strategic merge patch: a merge patch that knows which lists merge, and by which field.
//!
//! In: the present document, the patch, and the schema of the kind, whose nodes carry `x-kubernetes-patch-strategy` and
//! `-merge-key`. Where neither is said, lists are replaced and maps merged, so for documents without lists this is a merge
//! patch. Source: Kubernetes, "Strategic Merge Patch".

use roadstead_kubewire::{ApiError, ApiResult};
use serde_json::{Map, Value};

use super::directive::{Beside, Mode, beside, mode, strip};
use crate::schema::{
    Schema,
    node::{Additional, Node, NodeId},
};

/// Applies a strategic merge patch. Errors: 400 for a patch that contradicts itself or the schema (a directive in the wrong
/// place, an item of a merged list without its key).
pub fn strategic(document: &Value, patch: &Value, schema: &Schema) -> ApiResult<Value> {
    if !patch.is_object() {
        return Err(ApiError::bad_request("a strategic merge patch is an object"));
    }
    let merged = Merger { schema }.value(Some(document), patch, Some(schema.root()))?;
    Ok(merged.unwrap_or_else(|| Value::Object(Map::new())))
}

struct Merger<'a> {
    schema: &'a Schema,
}

impl Merger<'_> {
    fn node(&self, id: Option<NodeId>) -> Option<&Node> {
        id.map(|id| self.schema.node(id))
    }

    /// The schema of a field, where there is one.
    fn below(&self, id: Option<NodeId>, name: &str) -> Option<NodeId> {
        let node = self.node(id)?;
        node.property(name).or(match node.additional {
            Additional::Node(id) => Some(id),
            _ => None,
        })
    }

    /// The new value of what was `old`; `None` is its removal.
    fn value(&self, old: Option<&Value>, patch: &Value, id: Option<NodeId>) -> ApiResult<Option<Value>> {
        let strategy = self.node(id).and_then(|node| node.strategy.as_deref());
        match (old, patch) {
            (_, Value::Null) => Ok(None),
            (old, Value::Object(patch)) => match mode(patch)? {
                Mode::Delete => Ok(None),
                Mode::Replace => Ok(Some(strip(&Value::Object(patch.clone())))),
                Mode::Merge if strategy.is_some_and(|s| s.replace) => Ok(Some(strip(&Value::Object(patch.clone())))),
                Mode::Merge => {
                    let empty = Map::new();
                    let old = old.and_then(Value::as_object).unwrap_or(&empty);
                    self.object(old, patch, id).map(|merged| Some(Value::Object(merged)))
                }
            },
            (old, Value::Array(items)) if strategy.is_some_and(|s| s.merge) => {
                let old = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let merged = match strategy.and_then(|s| s.key.as_deref()) {
                    Some(key) => self.keyed(old, items, key, self.node(id).and_then(|node| node.items))?,
                    None => scalars(old, items),
                };
                Ok(Some(Value::Array(merged)))
            }
            (_, value) => Ok(Some(strip(value))),
        }
    }

    fn object(
        &self,
        old: &Map<String, Value>,
        patch: &Map<String, Value>,
        id: Option<NodeId>,
    ) -> ApiResult<Map<String, Value>> {
        let mut new = old.clone();
        if let Some(retained) = patch.get("$retainKeys") {
            let names = retained.as_array().ok_or_else(|| bad("$retainKeys is a list of field names"))?;
            let unnamed = patch.iter().find(|(key, value)| {
                matches!(beside(key), Beside::Field) && !value.is_null() && !names.iter().any(|n| n == key.as_str())
            });
            if let Some((key, _)) = unnamed {
                return Err(bad(&format!("{key} is set by the patch but not among its $retainKeys")));
            }
            new.retain(|key, _| names.iter().any(|name| name == key.as_str()));
        }
        for (key, value) in patch {
            match beside(key) {
                Beside::Own | Beside::Order(_) => {}
                Beside::DeleteFrom(field) => delete_from(&mut new, field, value)?,
                Beside::Field => match self.value(old_of(&new, key), value, self.below(id, key))? {
                    Some(value) => {
                        new.insert(key.clone(), value);
                    }
                    None => {
                        new.shift_remove(key);
                    }
                },
            }
        }
        for (key, order) in patch {
            if let Beside::Order(field) = beside(key) {
                let below = self.node(self.below(id, field));
                let merge_key = below.and_then(|node| node.strategy.as_deref()?.key.as_deref());
                let order = order.as_array().ok_or_else(|| bad("$setElementOrder is a list"))?;
                check_order(order, patch.get(field), merge_key)?;
                if let Some(Value::Array(items)) = new.get_mut(field) {
                    reorder(items, order, merge_key);
                }
            }
        }
        Ok(new)
    }

    /// Merges two lists of objects that are told apart by `key`.
    fn keyed(&self, old: &[Value], patch: &[Value], key: &str, id: Option<NodeId>) -> ApiResult<Vec<Value>> {
        let only = |item: &Value, what: &str| {
            item.get("$patch").and_then(Value::as_str) == Some(what) && item.as_object().is_some_and(|o| o.len() == 1)
        };
        let mut new = old.to_vec();
        if patch.iter().any(|item| only(item, "replace")) {
            new.clear();
        }
        for item in patch.iter().filter(|item| !only(item, "replace")) {
            let fields =
                item.as_object().ok_or_else(|| bad(&format!("an item of a list merged by {key} is an object")))?;
            let identity = fields.get(key).filter(|value| !value.is_null());
            let identity = identity.ok_or_else(|| bad(&format!("map does not contain declared merge key: {key}")))?;
            let at = new.iter().position(|old| old.get(key) == Some(identity));
            match (self.value(at.map(|at| &new[at]), item, id)?, at) {
                (Some(value), Some(at)) => new[at] = value,
                (Some(value), None) => new.push(value),
                (None, Some(_)) => new.retain(|old| old.get(key) != Some(identity)),
                (None, None) => {}
            }
        }
        Ok(new)
    }
}

fn old_of<'a>(fields: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    fields.get(key)
}

fn bad(why: &str) -> ApiError {
    ApiError::bad_request(why)
}

/// Merges two lists of scalars: what is new is appended.
fn scalars(old: &[Value], patch: &[Value]) -> Vec<Value> {
    let mut new = old.to_vec();
    for item in patch {
        if !new.contains(item) {
            new.push(item.clone());
        }
    }
    new
}

fn delete_from(fields: &mut Map<String, Value>, field: &str, values: &Value) -> ApiResult<()> {
    let values = values.as_array().ok_or_else(|| bad("$deleteFromPrimitiveList is a list of values"))?;
    if let Some(Value::Array(items)) = fields.get_mut(field) {
        items.retain(|item| !values.contains(item));
    }
    Ok(())
}

/// What identifies an item in an order: itself, or its key.
fn identity<'a>(item: &'a Value, key: Option<&str>) -> &'a Value {
    match key {
        Some(key) => item.get(key).unwrap_or(&Value::Null),
        None => item,
    }
}

/// An order must name what the patch adds, in the same order.
fn check_order(order: &[Value], patched: Option<&Value>, key: Option<&str>) -> ApiResult<()> {
    let items = patched.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let kept = items.iter().filter(|item| item.get("$patch").is_none());
    let mut rest = order.iter().map(|item| identity(item, key));
    for item in kept.map(|item| identity(item, key)) {
        if !rest.any(|ordered| ordered == item) {
            return Err(bad("The order in patch list doesn't match $setElementOrder list"));
        }
    }
    Ok(())
}

/// Brings `items` into the given order; what the order does not name keeps its place relative to what stood before it.
fn reorder(items: &mut Vec<Value>, order: &[Value], key: Option<&str>) {
    let place = |item: &Value| order.iter().position(|ordered| identity(ordered, key) == identity(item, key));
    let mut named: Vec<(usize, Value)> = Vec::new();
    let mut unnamed: Vec<(usize, Value)> = Vec::new();
    for (index, item) in std::mem::take(items).into_iter().enumerate() {
        match place(&item) {
            Some(at) => named.push((at, item)),
            None => unnamed.push((index, item)),
        }
    }
    named.sort_by_key(|(at, _)| *at);
    // An unnamed item goes back to its index, as far as the list reaches.
    let mut result: Vec<Value> = named.into_iter().map(|(_, item)| item).collect();
    for (index, item) in unnamed {
        result.insert(index.min(result.len()), item);
    }
    *items = result;
}
