//! Merging what is applied into the present object, and taking fields out of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    set::{Set, field},
    types::{Shape, Type, Types},
};

/// The present object with everything that is applied. Nothing is removed.
pub(super) fn merge(types: Types<'_>, live: &Value, applied: &Value) -> Value {
    pair(types, types.root(), Some(live), Some(applied)).unwrap_or(Value::Null)
}

fn pair(types: Types<'_>, of: Type, live: Option<&Value>, applied: Option<&Value>) -> Option<Value> {
    let (live, applied) = match (live, applied) {
        (Some(live), Some(applied)) => (live, applied),
        (only, None) | (None, only) => return only.cloned(),
    };
    match (types.common_shape(of, Some(live), Some(applied)), live, applied) {
        // An applied null or nothing says nothing about what is inside.
        (Shape::Map | Shape::List, live, Value::Null) => Some(live.clone()),
        (Shape::Map, Value::Object(live), Value::Object(applied)) => {
            let mut merged = live.clone();
            for (name, value) in applied {
                let value = pair(types, types.field(of, name).0, live.get(name), Some(value));
                merged.extend(value.map(|value| (name.clone(), value)));
            }
            Some(Value::Object(merged))
        }
        (Shape::List, Value::Array(live), Value::Array(applied)) => Some(Value::Array(lists(types, of, live, applied))),
        (_, _, applied) => Some(applied.clone()),
    }
}

/// Merges lists item by item. Applied items come in the order that they are applied in; an item that is only in the present list
/// stays between the same neighbours where it can.
fn lists(types: Types<'_>, of: Type, live: &[Value], applied: &[Value]) -> Vec<Value> {
    let identify = |items: &[Value]| -> Vec<String> {
        let element = |(index, item)| types.element(of, item).unwrap_or_else(|_| format!("i:{index}"));
        items.iter().enumerate().map(element).collect()
    };
    let (left, right) = (identify(live), identify(applied));
    let mut first: BTreeMap<&str, Option<&Value>> = BTreeMap::new();
    for (element, item) in left.iter().zip(live) {
        // What occurs twice is not merged into.
        first.entry(element).and_modify(|item| *item = None).or_insert(Some(item));
    }
    let wanted: BTreeSet<&str> = right.iter().map(String::as_str).collect();
    let mut shared = right.iter().filter(|element| first.contains_key(element.as_str())).peekable();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut merged = Vec::with_capacity(live.len().max(applied.len()));
    let take = |at: usize| {
        let live = first.get(right[at].as_str()).copied().flatten();
        pair(types, types.item(of), live, Some(&applied[at])).unwrap_or(Value::Null)
    };
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() {
            if left[l] == right[r] {
                done.insert(&right[r]);
                merged.push(take(r));
                (l, r) = (l + 1, r + 1);
                shared.next();
                continue;
            }
            if wanted.contains(left[l].as_str()) && shared.peek().is_some_and(|next| **next != left[l]) {
                // Shared, but its turn comes with the applied list.
                l += 1;
                continue;
            }
        }
        if l < left.len() {
            if !wanted.contains(left[l].as_str()) {
                merged.push(live[l].clone());
                l += 1;
                continue;
            }
            if done.contains(left[l].as_str()) {
                l += 1;
            }
        }
        if r < right.len() {
            done.insert(&right[r]);
            merged.push(take(r));
            if shared.peek().is_some_and(|next| **next == right[r]) {
                shared.next();
            }
            r += 1;
        }
    }
    merged
}

/// `value` without the fields of `gone`. A map or a list that is emptied by it stays, as `null`: what that means is for its type
/// to say.
pub(super) fn remove(types: Types<'_>, value: &Value, gone: &Set) -> Value {
    without(types, types.root(), value, gone)
}

fn without(types: Types<'_>, of: Type, value: &Value, gone: &Set) -> Value {
    match (types.shape(of, value), value) {
        (Shape::Map, Value::Object(fields)) => {
            let mut kept = Map::new();
            for (name, value) in fields {
                match gone.below.get(&field(name)) {
                    Some(set) if set.member => {}
                    Some(set) => {
                        kept.insert(name.clone(), without(types, types.field(of, name).0, value, set));
                    }
                    None => {
                        kept.insert(name.clone(), value.clone());
                    }
                }
            }
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
        (Shape::List, Value::Array(items)) => {
            let keep = |item: &Value| match types.element(of, item).ok().and_then(|element| gone.below.get(&element)) {
                Some(set) if set.member => None,
                Some(set) => Some(without(types, types.item(of), item, set)),
                None => Some(item.clone()),
            };
            let kept: Vec<Value> = items.iter().filter_map(keep).collect();
            if kept.is_empty() { Value::Null } else { Value::Array(kept) }
        }
        _ => value.clone(),
    }
}

/// The set, with every object that the schema names and that holds a member made a member too: when all that a manager owned
/// in an object goes, the object goes.
pub(super) fn with_parents(types: Types<'_>, set: &Set) -> Set {
    parents(types, types.root(), set)
}

fn parents(types: Types<'_>, of: Type, set: &Set) -> Set {
    let mut all = Set { member: set.member, below: BTreeMap::new() };
    for (element, below) in &set.below {
        let (of, declared) = match element.strip_prefix("f:") {
            Some(name) if types.is_struct(of) => types.field(of, name),
            Some(name) => (types.field(of, name).0, false),
            None => (types.item(of), false),
        };
        let mut below_all = parents(types, of, below);
        below_all.member |= declared && !below.below.is_empty();
        all.below.insert(element.clone(), below_all);
    }
    all
}
