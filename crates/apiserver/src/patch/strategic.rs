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
            (Some(Value::Object(old)), Value::Object(patch)) => match mode(patch)? {
                // What is deleted as a whole is empty, not gone: `null` removes.
                Mode::Delete => Ok(Some(Value::Object(Map::new()))),
                Mode::Merge if !strategy.is_some_and(|s| s.replace) => self.object(old, patch, id).map(Some),
                Mode::Merge | Mode::Replace => Ok(Some(strip(&Value::Object(patch.clone())))),
            },
            (_, Value::Object(patch)) if mode(patch)? == Mode::Delete => Ok(None),
            (Some(Value::Array(old)), Value::Array(items)) if strategy.is_some_and(|s| s.merge) => {
                let merged = match strategy.and_then(|s| s.key.as_deref()) {
                    Some(key) => self.keyed(old, items, key, self.node(id).and_then(|node| node.items))?,
                    None => scalars(old, items),
                };
                Ok(Some(Value::Array(merged)))
            }
            (_, value) => Ok(Some(strip(value))),
        }
    }

    fn object(&self, old: &Map<String, Value>, patch: &Map<String, Value>, id: Option<NodeId>) -> ApiResult<Value> {
        let mut new = old.clone();
        if let Some(names) = patch.get("$retainKeys") {
            retain(&mut new, patch, names)?;
        }
        for (key, value) in patch {
            match beside(key) {
                Beside::Own | Beside::Order(_) => {}
                Beside::DeleteFrom(field) => delete_from(&mut new, field, value)?,
                Beside::Field => match self.value(new.get(key), value, self.below(id, key))? {
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
                let before = old.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                if let Some(Value::Array(items)) = new.get_mut(field) {
                    *items = ordered(std::mem::take(items), order, before, merge_key);
                }
            }
        }
        Ok(Value::Object(new))
    }

    /// Merges two lists of objects that are told apart by `key`.
    fn keyed(&self, old: &[Value], patch: &[Value], key: &str, id: Option<NodeId>) -> ApiResult<Vec<Value>> {
        let mut new = old.to_vec();
        let mut rest = Vec::new();
        let mut replace = false;
        for item in patch {
            let fields =
                item.as_object().ok_or_else(|| bad(&format!("an item of a list merged by {key} is an object")))?;
            match mode(fields)? {
                // One such item is about the whole list.
                Mode::Replace => replace = true,
                Mode::Delete => {
                    let gone = identity_in(item, key)?;
                    new.retain(|old| old.get(key) != Some(gone));
                }
                Mode::Merge => rest.push(item),
            }
        }
        if replace {
            return Ok(rest.into_iter().map(strip).collect());
        }
        for item in &rest {
            let identity = identity_in(item, key)?;
            let at = new.iter().position(|old| old.get(key) == Some(identity));
            match (self.value(at.map(|at| &new[at]), item, id)?, at) {
                (Some(value), Some(at)) => new[at] = value,
                (Some(value), None) => new.push(value),
                (None, _) => {}
            }
        }
        let patched: Vec<Value> = rest.into_iter().cloned().collect();
        Ok(ordered(new, &patched, old, Some(key)))
    }
}

/// The value of the merge key.
fn identity_in<'a>(item: &'a Value, key: &str) -> ApiResult<&'a Value> {
    let found = item.get(key).filter(|value| !value.is_null());
    found.ok_or_else(|| bad(&format!("map does not contain declared merge key: {key}")))
}

/// `$retainKeys`: only these fields stay, and the patch sets no others.
fn retain(new: &mut Map<String, Value>, patch: &Map<String, Value>, names: &Value) -> ApiResult<()> {
    let names = names.as_array().ok_or_else(|| bad("$retainKeys is a list of field names"))?;
    let named = |key: &str| names.iter().any(|name| name == key);
    let set = patch.iter().filter(|(key, value)| matches!(beside(key), Beside::Field) && !value.is_null());
    if let Some((key, _)) = set.into_iter().find(|(key, _)| !named(key)) {
        return Err(bad(&format!("{key} is set by the patch but not among its $retainKeys")));
    }
    new.retain(|key, _| named(key));
    Ok(())
}

fn bad(why: &str) -> ApiError {
    ApiError::bad_request(why)
}

/// Merges two lists of scalars, each of which then occurs once.
fn scalars(old: &[Value], patch: &[Value]) -> Vec<Value> {
    let mut new: Vec<Value> = Vec::with_capacity(old.len() + patch.len());
    for item in old.iter().chain(patch) {
        if !new.contains(item) {
            new.push(item.clone());
        }
    }
    ordered(new, patch, old, None)
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

/// Brings a merged list into order. What `order` names comes in that order; the rest comes in the order `before`; where the two
/// meet, what stood first before stays first, and what is new goes before the rest.
fn ordered(items: Vec<Value>, order: &[Value], before: &[Value], key: Option<&str>) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| list.iter().position(|one| identity(one, key) == identity(item, key));
    let (mut named, rest): (Vec<Value>, Vec<Value>) = items.into_iter().partition(|item| place(order, item).is_some());
    named.sort_by_key(|item| place(order, item));
    let mut rest = rest.into_iter().peekable();
    let mut result = Vec::with_capacity(named.len());
    for item in named {
        let at = place(before, &item);
        while let Some(other) = rest.next_if(|other| at.is_some() && place(before, other).is_some_and(|p| Some(p) < at))
        {
            result.push(other);
        }
        result.push(item);
    }
    result.extend(rest);
    result
}
