//! Lists of type set and map: what makes two items the same.
//!
//! Shared by validation (nothing may occur twice) and by everything that matches old items with new ones.

use roadstead_kubewire::error::Cause;
use serde_json::{Map, Value};
use std::collections::HashMap;

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

/// Reports items that occur twice: each once, at its second place. In a list of type map that has other things than objects
/// the first of those is all that is told.
pub(crate) fn unique(list: &ListType, items: &[Value], path: &Path, causes: &mut Vec<Cause>) {
    let identity = |item: &Value| match list {
        ListType::Map(keys) => Value::Object(key_of(keys, item)),
        ListType::Atomic | ListType::Set => item.clone(),
    };
    let odd = |item: &Value| !item.is_object() && !item.is_null();
    match list {
        ListType::Atomic => return,
        ListType::Map(_) => {
            if let Some(index) = items.iter().position(odd) {
                let why = "must be an object for an array of list-type map";
                causes.push(field::invalid(path.index(index), &items[index], why));
                return;
            }
        }
        ListType::Set => {}
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        let identity = identity(item);
        let times = seen.entry(identity.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            causes.push(field::duplicate(path.index(index), &identity));
        }
    }
}
