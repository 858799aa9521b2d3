//! What access control and the built-in controllers read: committed objects, from memory.
//!
//! A seam and not the store itself, so that evaluation, tokens, garbage collection and namespace deletion can be tested
//! without one. All reads are of committed state and never wait for a writer. [`Objects::version`] is what makes caches
//! cheap: an index over some kinds is good for as long as the versions of those kinds have not moved.

use std::sync::Arc;

use roadstead_kubewire::Key;
use serde_json::Value;

/// Reads committed objects. Objects carry `apiVersion` and `kind`.
pub trait Objects: Send + Sync + 'static {
    /// One object; an empty namespace in `key` for cluster-scoped kinds.
    fn get(&self, group: &str, plural: &str, key: &Key) -> Option<Arc<Value>>;

    /// All objects of a kind, in one namespace or (`None`) everywhere, in no particular order.
    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>>;

    /// Moves with every committed change to objects of a kind. Only equality means anything.
    fn version(&self, group: &str, plural: &str) -> u64;
}

/// A string at a JSON pointer, or the empty string.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The texts of an array of strings at a JSON pointer.
pub(crate) fn texts<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a str> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
pub(crate) mod memory {
    //! Objects in a map, for tests.

    use std::{collections::BTreeMap, sync::Mutex};

    use super::*;

    type Kind = (String, String);

    /// Objects in a map.
    #[derive(Default)]
    pub struct Memory {
        kinds: Mutex<BTreeMap<Kind, (u64, BTreeMap<Key, Arc<Value>>)>>,
    }

    fn key_of(object: &Value) -> Key {
        Key::new(text(object, "/metadata/namespace"), text(object, "/metadata/name"))
    }

    impl Memory {
        /// Puts `object` under its own namespace and name.
        pub fn put(&self, group: &str, plural: &str, object: Value) {
            let mut kinds = self.kinds.lock().unwrap();
            let (version, objects) = kinds.entry((group.into(), plural.into())).or_default();
            *version += 1;
            objects.insert(key_of(&object), Arc::new(object));
        }

        /// Removes an object.
        pub fn remove(&self, group: &str, plural: &str, key: &Key) {
            let mut kinds = self.kinds.lock().unwrap();
            let (version, objects) = kinds.entry((group.into(), plural.into())).or_default();
            *version += 1;
            objects.remove(key);
        }
    }

    impl Objects for Memory {
        fn get(&self, group: &str, plural: &str, key: &Key) -> Option<Arc<Value>> {
            self.kinds.lock().unwrap().get(&(group.into(), plural.into()))?.1.get(key).cloned()
        }

        fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
            let kinds = self.kinds.lock().unwrap();
            let Some((_, objects)) = kinds.get(&(group.into(), plural.into())) else { return Vec::new() };
            let wanted = |key: &Key| namespace.is_none_or(|namespace| key.namespace == namespace);
            objects.iter().filter(|(key, _)| wanted(key)).map(|(_, object)| object.clone()).collect()
        }

        fn version(&self, group: &str, plural: &str) -> u64 {
            self.kinds.lock().unwrap().get(&(group.into(), plural.into())).map_or(0, |(version, _)| *version)
        }
    }
}
