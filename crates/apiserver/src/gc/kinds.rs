//! Which kinds are served, and so can own and be collected: from the catalog, by kind and by name.

use std::{collections::HashMap, sync::Arc};

use roadstead_kubewire::{Resource, Verb, catalog::Snapshot};

use crate::registry::resource_name;

/// A served kind.
pub struct Served {
    /// Its resource, in the version that discovery prefers.
    pub resource: Arc<dyn Resource>,
    /// The store's name of it.
    pub name: Arc<str>,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
}

/// The served kinds whose objects are in the store: what can be both created and deleted. Others (reviews, the event log)
/// are not the collector's to judge.
#[derive(Default)]
pub struct Kinds {
    served: Vec<Served>,
    by_kind: HashMap<(String, String), usize>,
    by_name: HashMap<Arc<str>, usize>,
}

impl Kinds {
    /// Reads the catalog.
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut kinds = Self::default();
        for resource in &snapshot.resources {
            let info = resource.info();
            let stored = [Verb::Create, Verb::Get, Verb::Delete].iter().all(|verb| info.verbs.contains(verb));
            let name = resource_name(&info.group, &info.plural);
            if !stored || kinds.by_name.contains_key(&name) {
                continue;
            }
            let at = kinds.served.len();
            kinds.by_kind.insert((info.group.clone(), info.kind.clone()), at);
            kinds.by_name.insert(name.clone(), at);
            kinds.served.push(Served { resource: resource.clone(), name, namespaced: info.namespaced });
        }
        kinds
    }

    /// The kind of an owner reference.
    pub fn by_kind(&self, group: &str, kind: &str) -> Option<&Served> {
        self.by_kind.get(&(group.to_string(), kind.to_string())).map(|at| &self.served[*at])
    }

    /// The kind that the store calls `name`.
    pub fn by_name(&self, name: &str) -> Option<&Served> {
        self.by_name.get(name).map(|at| &self.served[*at])
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Served> {
        self.served.iter()
    }
}
