//! What the collector must do about one object: a pure function of the graph and of what its owners are.
//!
//! The rules are Kubernetes' own ("Garbage Collection", "Use Cascading Deletion"). An object that names owners goes when the
//! last of them is gone. While one of several remains, the names of the gone ones are taken off. An owner that is deleted in
//! the foreground counts as gone for those below it, who go the same way, lowest first; one that is orphaning keeps its
//! dependents, and loses the finalizer when none names it any more. An owner that cannot be judged keeps everything.

use std::collections::BTreeSet;

use roadstead_kubewire::options::Propagation;

use super::graph::{FOREGROUND, Graph, Id, Node, ORPHAN, Owner};

/// What an owner is, seen from one dependent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerState {
    /// There, with this uid.
    Live,
    /// There, and being deleted in the foreground: waits for its dependents.
    Waiting,
    /// Not there, or another object under its name, or out of reach from the dependent's namespace.
    Gone,
    /// Cannot be told: its kind is not served, or a cluster-scoped dependent names a namespaced owner.
    Unknown,
}

/// Looks owners up.
pub trait Owners {
    /// What `owner` is, seen from `dependent`.
    fn state(&self, dependent: &Id, owner: &Owner) -> OwnerState;
}

/// One step. Every one is harmless to repeat, and refused by the store if the object is no longer the one that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Delete the object at `version`.
    Delete {
        /// Which object.
        id: Id,
        /// The uid that it must have.
        uid: String,
        /// The resourceVersion that it must have.
        version: u64,
        /// What becomes of its own dependents.
        propagation: Propagation,
    },
    /// Take these uids off its owner references.
    RemoveOwners {
        /// Which object.
        id: Id,
        /// The uid that it must have.
        uid: String,
        /// Uids of the owners.
        owners: Vec<String>,
    },
    /// Let none of its owners wait for it: it is part of a circle.
    Unblock {
        /// Which object.
        id: Id,
        /// The uid that it must have.
        uid: String,
    },
    /// Take a finalizer off.
    RemoveFinalizer {
        /// Which object.
        id: Id,
        /// The uid that it must have.
        uid: String,
        /// Which finalizer.
        finalizer: &'static str,
    },
}

impl Action {
    /// Which object it acts on.
    pub fn id(&self) -> &Id {
        match self {
            Self::Delete { id, .. }
            | Self::RemoveOwners { id, .. }
            | Self::Unblock { id, .. }
            | Self::RemoveFinalizer { id, .. } => id,
        }
    }
}

/// The next steps for the node at `id`: none, one, or, for an orphaning owner, one for each dependent.
pub fn plan(graph: &Graph, owners: &impl Owners, id: &Id) -> Vec<Action> {
    match graph.get(id) {
        None => Vec::new(),
        Some(node) if node.deleting && node.orphan => plan_orphaning(graph, node),
        Some(node) if node.waits_for_dependents() => plan_foreground(graph, node),
        Some(node) if node.deleting => Vec::new(),
        Some(node) => plan_dependent(graph, owners, node).into_iter().collect(),
    }
}

fn remove_finalizer(node: &Node, finalizer: &'static str) -> Vec<Action> {
    vec![Action::RemoveFinalizer { id: node.id.clone(), uid: node.uid.clone(), finalizer }]
}

fn plan_orphaning(graph: &Graph, node: &Node) -> Vec<Action> {
    let release = |dependent: &Node| Action::RemoveOwners {
        id: dependent.id.clone(),
        uid: dependent.uid.clone(),
        owners: vec![node.uid.clone()],
    };
    let releases: Vec<Action> = graph.dependents(&node.uid, &node.id.key.namespace).map(release).collect();
    if releases.is_empty() { remove_finalizer(node, ORPHAN) } else { releases }
}

fn plan_foreground(graph: &Graph, node: &Node) -> Vec<Action> {
    if blockers(graph, node).next().is_none() {
        remove_finalizer(node, FOREGROUND)
    } else if waits_for_itself(graph, node) {
        vec![Action::Unblock { id: node.id.clone(), uid: node.uid.clone() }]
    } else {
        Vec::new()
    }
}

/// The dependents that the foreground deletion of `node` waits for.
fn blockers<'a>(graph: &'a Graph, node: &'a Node) -> impl Iterator<Item = &'a Node> {
    let blocks = |dependent: &&Node| dependent.owners.iter().any(|owner| owner.uid == node.uid && owner.blocks());
    graph.dependents(&node.uid, &node.id.key.namespace).filter(blocks)
}

/// Whether `node` is one of a circle of foreground deletions, each waiting for the next for ever.
fn waits_for_itself(graph: &Graph, node: &Node) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![node];
    while let Some(next) = open.pop() {
        for blocker in blockers(graph, next).filter(|blocker| blocker.waits_for_dependents()) {
            if blocker.id == node.id {
                return true;
            }
            if seen.insert(&blocker.id) {
                open.push(blocker);
            }
        }
    }
    false
}

fn plan_dependent(graph: &Graph, owners: &impl Owners, node: &Node) -> Option<Action> {
    let states: Vec<OwnerState> = node.owners.iter().map(|owner| owners.state(&node.id, owner)).collect();
    if states.is_empty() || states.contains(&OwnerState::Unknown) {
        return None;
    }
    let (id, uid) = (node.id.clone(), node.uid.clone());
    if states.contains(&OwnerState::Live) {
        let of = |(owner, state): (&Owner, &OwnerState)| (*state != OwnerState::Live).then(|| owner.uid.clone());
        let owners: Vec<String> = node.owners.iter().zip(&states).filter_map(of).collect();
        return (!owners.is_empty()).then_some(Action::RemoveOwners { id, uid, owners });
    }
    let has_dependents = graph.dependents(&node.uid, &node.id.key.namespace).next().is_some();
    let propagation = if states.contains(&OwnerState::Waiting) && has_dependents {
        Propagation::Foreground
    } else if node.orphan {
        Propagation::Orphan
    } else if node.foreground {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    Some(Action::Delete { id, uid, version: node.version, propagation })
}
