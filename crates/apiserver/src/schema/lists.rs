//! Lists of type set and map: what makes two items the same.
//!
//! Shared by validation (nothing may occur twice) and by everything that matches old items with new ones.

use roadstead_kubewire::error::Cause;
use serde_json::{Map, Value};
use std::collections::HashSet;

use super::{
    field::{self, Path},
    node::ListType,
};

/// The key fields of an item of a list of type map; fields that are absent are left out.
pub(crate) fn key_of(keys: &[Box<str>], item: &Value) -> Map<String, Value> {
    keys.iter().filter_map(|key| Some((key.to_string(), item.get(key.as_ref())?.clone()))).collect()
}

/// The item of `items` with the same keys as `item`.
pub(crate) fn find<'a>(keys: &[Box<str>], items: &'a [Value], item: &Value) -> Option<&'a Value> {
    items.iter().find(|other| keys.iter().all(|key| other.get(key.as_ref()) == item.get(key.as_ref())))
}

/// Reports items that occur twice.
pub(crate) fn unique(list: &ListType, items: &[Value], path: &Path, causes: &mut Vec<Cause>) {
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let identity = match list {
            ListType::Atomic => return,
            ListType::Set => item.clone(),
            ListType::Map(_) if !item.is_object() => {
                causes.push(field::invalid(path.index(index), item, "must be an object for an array of list-type map"));
                continue;
            }
            ListType::Map(keys) => Value::Object(key_of(keys, item)),
        };
        if !seen.insert(identity.to_string()) {
            causes.push(field::duplicate(path.index(index), &identity));
        }
    }
}
