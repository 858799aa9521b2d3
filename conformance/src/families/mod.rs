//! Families of operations, one file each: each makes one operation, or a few that belong together, at a time.

pub mod crud;
pub mod definitions;
pub mod deletion;
pub mod dry_runs;
pub mod invalid;
pub mod lists;
pub mod patches;
pub mod scaling;
pub mod watches;

use serde_json::{Value, json};

use crate::{
    kinds::{Kind, NAMES, NAMESPACES},
    operation::Operation,
    random::Random,
};

/// Makes the next operations.
pub type Make = fn(&mut Random) -> Vec<Operation>;

/// A family of operations.
#[derive(Debug)]
pub struct Family {
    /// What `--family` calls it.
    pub name: &'static str,
    /// How often a sequence is of this family.
    pub weight: usize,
    /// How many operations in a hundred are plain creates, reads and deletes instead.
    pub mixed: usize,
    /// Makes the next operations.
    pub make: Make,
}

/// All families.
pub const FAMILIES: [Family; 9] = [
    Family { name: "crud", weight: 3, mixed: 0, make: crud::make },
    Family { name: "patches", weight: 6, mixed: 30, make: patches::make },
    Family { name: "scaling", weight: 2, mixed: 20, make: scaling::make },
    // Nothing in between: the collector may still act on what a plain operation leaves behind.
    Family { name: "deletion", weight: 2, mixed: 0, make: deletion::make },
    Family { name: "lists", weight: 3, mixed: 20, make: lists::make },
    Family { name: "watches", weight: 1, mixed: 0, make: watches::make },
    Family { name: "invalid", weight: 5, mixed: 30, make: invalid::make },
    Family { name: "definitions", weight: 3, mixed: 0, make: definitions::make },
    Family { name: "dry-runs", weight: 3, mixed: 30, make: dry_runs::make },
];

/// An object that operations are about: a kind, a namespace, a name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub kind: &'static Kind,
    pub namespace: &'static str,
    pub name: &'static str,
}

impl Subject {
    /// Any one.
    pub fn any(random: &mut Random) -> Self {
        let kind = Kind::any(random);
        Self::of(kind, random)
    }

    /// Any one of a kind.
    pub fn of(kind: &'static Kind, random: &mut Random) -> Self {
        // Most of the time in one namespace: so names meet.
        let namespace = random.weighted(&[(4, NAMESPACES[0]), (1, NAMESPACES[1])]);
        let name = random.weighted(&[(5, NAMES[0]), (3, NAMES[1]), (1, NAMES[2])]);
        Self { kind, namespace, name }
    }

    pub fn path(&self) -> String {
        self.kind.path(self.namespace, self.name)
    }

    pub fn collection(&self) -> String {
        self.kind.collection(self.namespace)
    }

    pub fn key(&self) -> String {
        self.kind.key(self.namespace, self.name)
    }

    pub fn object(&self, random: &mut Random) -> Value {
        self.kind.object(random, self.name)
    }

    pub fn create(&self, random: &mut Random) -> Operation {
        Operation::create(self.collection(), self.object(random))
    }

    /// Type and name and nothing else: what a patch of any kind begins with.
    pub fn bare(&self) -> Value {
        json!({"apiVersion": self.kind.api_version, "kind": self.kind.kind, "metadata": {"name": self.name}})
    }
}

/// A field manager as a query parameter; sometimes none.
pub(crate) fn manager(random: &mut Random) -> &'static str {
    random.weighted(&[(4, "fieldManager=one"), (3, "fieldManager=two"), (1, "fieldManager=three"), (2, "")])
}
