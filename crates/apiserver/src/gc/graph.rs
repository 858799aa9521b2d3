//! Who depends on whom: the part of all objects that the collector has to think about.
//!
//! In: each object as it comes, changes and goes. Kept: those that name an owner, and those whose deletion waits for the
//! collector; everything else is looked up when it is needed. Out: nodes, and the dependents of an owner by its uid.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use roadstead_kubewire::Key;
use serde::Deserialize;
use serde_json::Value;

pub use crate::registry::delete::{FOREGROUND, ORPHAN};

/// Which object: the resource as the store names it (`secrets`, `apps.example.com`), and its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// Plural, and the group after a dot if it has one.
    pub resource: Arc<str>,
    /// Namespace and name.
    pub key: Key,
}

/// An entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name; its namespace is the dependent's.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Whether the owner's foreground deletion waits for this dependent.
    #[serde(default)]
    pub block_owner_deletion: Option<bool>,
}

impl Owner {
    /// API group of the owner.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// Whether a foreground deletion waits.
    pub fn blocks(&self) -> bool {
        self.block_owner_deletion == Some(true)
    }
}

/// What the collector knows about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Which object.
    pub id: Id,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion when it was read.
    pub version: u64,
    /// Its owners.
    pub owners: Vec<Owner>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it has the finalizer [`FOREGROUND`].
    pub foreground: bool,
    /// Whether it has the finalizer [`ORPHAN`].
    pub orphan: bool,
}

impl Node {
    /// Reads an object. Owner references that cannot be read make it one without owners: nothing is collected on a guess.
    pub fn read(id: Id, version: u64, object: &Value) -> Self {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Metadata {
            uid: String,
            owner_references: Option<Vec<Owner>>,
            deletion_timestamp: Option<String>,
            finalizers: Option<Vec<String>>,
        }
        let metadata = Metadata::deserialize(&object["metadata"]).unwrap_or_default();
        let finalizers = metadata.finalizers.unwrap_or_default();
        let has = |finalizer: &str| finalizers.iter().any(|given| given == finalizer);
        Self {
            id,
            uid: metadata.uid,
            version,
            owners: metadata.owner_references.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            foreground: has(FOREGROUND),
            orphan: has(ORPHAN),
        }
    }

    /// Whether it waits for its dependents to go.
    pub fn waits_for_dependents(&self) -> bool {
        self.deleting && self.foreground
    }

    /// Whether the collector has anything to do with it.
    fn matters(&self) -> bool {
        !self.owners.is_empty() || (self.deleting && (self.foreground || self.orphan))
    }
}

/// All nodes that matter.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: HashMap<Id, Node>,
    by_uid: HashMap<String, Id>,
    dependents: HashMap<String, BTreeSet<Id>>,
}

impl Graph {
    /// Takes in an object as it is now.
    pub fn insert(&mut self, node: Node) {
        self.remove(&node.id);
        if !node.matters() {
            return;
        }
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(node.id.clone());
        }
        self.by_uid.insert(node.uid.clone(), node.id.clone());
        self.nodes.insert(node.id.clone(), node);
    }

    /// Forgets an object.
    pub fn remove(&mut self, id: &Id) {
        let Some(node) = self.nodes.remove(id) else { return };
        self.by_uid.remove(&node.uid);
        for owner in &node.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(id);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }

    /// The node, if it matters.
    pub fn get(&self, id: &Id) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// All that names `uid` as owner from where that owner can be: a namespaced owner only owns in its own namespace.
    pub fn dependents<'a>(&'a self, uid: &str, namespace: &'a str) -> impl Iterator<Item = &'a Node> {
        let ids = self.dependents.get(uid).into_iter().flatten();
        let nodes = ids.filter_map(|id| self.nodes.get(id));
        nodes.filter(move |node| namespace.is_empty() || node.id.key.namespace == namespace)
    }

    /// All nodes.
    pub fn ids(&self) -> impl Iterator<Item = &Id> {
        self.nodes.keys()
    }

    /// The nodes about which a change of `id` (uid before and after, where there is one) may tell something new: itself, its
    /// dependents and its owners. To be called after [`insert`](Self::insert) or [`remove`](Self::remove); `owners` are
    /// the uids of the owners before.
    pub fn affected(&self, id: &Id, uids: &[&str], owners: &[String]) -> BTreeSet<Id> {
        let itself = self.get(id);
        let owners_now = itself.into_iter().flat_map(|node| &node.owners).map(|owner| &owner.uid);
        let owners = owners_now.chain(owners).filter_map(|uid| self.by_uid.get(uid));
        let dependents = uids.iter().filter_map(|uid| self.dependents.get(*uid)).flatten();
        itself.map(|node| &node.id).into_iter().chain(owners).chain(dependents).cloned().collect()
    }
}
