//! What access control and the built-in controllers read: committed objects, from memory.
//!
//! A seam and not the store itself, so that evaluation, tokens, garbage collection and namespace deletion can be tested
//! without one. All reads are of committed state and never wait for a writer. [`Objects::version`] is what makes caches
//! cheap: an index over some kinds is good for as long as the versions of those kinds have not moved.

use std::sync::Arc;

use roadstead_kubewire::Key;
use serde_json::Value;
use tokio::sync::watch;

use crate::{registry::resource_name, store::Store};

/// Reads committed objects. Objects carry `apiVersion` and `kind`.
pub trait Objects: Send + Sync + 'static {
    /// One object; an empty namespace in `key` for cluster-scoped kinds.
    fn get(&self, group: &str, plural: &str, key: &Key) -> Option<Arc<Value>>;

    /// All objects of a kind, in one namespace or (`None`) everywhere, in no particular order.
    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>>;

    /// Moves with every committed change to objects of a kind. Only equality means anything.
    fn version(&self, group: &str, plural: &str) -> u64;

    /// Wakes after committed changes to objects of a kind; closed when there will be none any more.
    fn changes(&self, group: &str, plural: &str) -> watch::Receiver<u64>;
}

impl Objects for Store {
    fn get(&self, group: &str, plural: &str, key: &Key) -> Option<Arc<Value>> {
        Store::get(self, &resource_name(group, plural), key)?.value().ok().map(Arc::new)
    }

    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let state = self.state();
        let table = state.tables.get(&*resource_name(group, plural)).into_iter().flatten();
        let wanted = table.filter(|(key, _)| namespace.is_none_or(|namespace| key.namespace == namespace));
        wanted.filter_map(|(_, object)| object.value().ok().map(Arc::new)).collect()
    }

    fn version(&self, group: &str, plural: &str) -> u64 {
        self.feed(&resource_name(group, plural)).version()
    }

    fn changes(&self, group: &str, plural: &str) -> watch::Receiver<u64> {
        self.feed(&resource_name(group, plural)).newest()
    }
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

    /// The objects of one kind, and the count of changes to them.
    #[derive(Default)]
    struct Kind {
        version: watch::Sender<u64>,
        objects: BTreeMap<Key, Arc<Value>>,
    }

    /// Objects in a map.
    #[derive(Default)]
    pub struct Memory {
        kinds: Mutex<BTreeMap<(String, String), Kind>>,
    }

    fn key_of(object: &Value) -> Key {
        Key::new(text(object, "/metadata/namespace"), text(object, "/metadata/name"))
    }

    impl Memory {
        fn with<T>(&self, group: &str, plural: &str, work: impl FnOnce(&mut Kind) -> T) -> T {
            work(self.kinds.lock().unwrap().entry((group.into(), plural.into())).or_default())
        }

        /// Puts `object` under its own namespace and name.
        pub fn put(&self, group: &str, plural: &str, object: Value) {
            self.with(group, plural, |kind| {
                kind.objects.insert(key_of(&object), Arc::new(object));
                kind.version.send_modify(|version| *version += 1);
            });
        }

        /// Removes an object.
        pub fn remove(&self, group: &str, plural: &str, key: &Key) {
            self.with(group, plural, |kind| {
                kind.objects.remove(key);
                kind.version.send_modify(|version| *version += 1);
            });
        }
    }

    impl Objects for Memory {
        fn get(&self, group: &str, plural: &str, key: &Key) -> Option<Arc<Value>> {
            self.with(group, plural, |kind| kind.objects.get(key).cloned())
        }

        fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
            let wanted = |key: &Key| namespace.is_none_or(|namespace| key.namespace == namespace);
            self.with(group, plural, |kind| {
                kind.objects.iter().filter(|(key, _)| wanted(key)).map(|(_, object)| object.clone()).collect()
            })
        }

        fn version(&self, group: &str, plural: &str) -> u64 {
            self.with(group, plural, |kind| *kind.version.borrow())
        }

        fn changes(&self, group: &str, plural: &str) -> watch::Receiver<u64> {
            self.with(group, plural, |kind| kind.version.subscribe())
        }
    }
}
