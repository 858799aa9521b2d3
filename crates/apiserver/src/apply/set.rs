//! Sets of fields, and their wire form `FieldsV1`.
//!
//! A set is a tree: each step down is an element (`f:<field>`, `k:<keys of a list item>`, `v:<value of a set item>`,
//! `i:<index>`), and a place in the tree is a member or only on the way to one. The elements are kept in their wire spelling, made
//! canonical (keys sorted), so that comparing places is comparing strings. Source: Kubernetes, "Field management"; the format is
//! that of `metadata.managedFields[].fieldsV1`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A set of fields. The default is the empty set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set {
    /// This place itself belongs to the set.
    pub member: bool,
    /// What is below, by element; never an empty set.
    pub below: BTreeMap<String, Set>,
}

impl Set {
    /// The set of one place: the one that it is put at.
    pub(crate) fn here() -> Self {
        Self { member: true, below: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    /// Puts a set below, if it has any member.
    pub(crate) fn attach(&mut self, element: String, set: Set) {
        if !set.is_empty() {
            self.below.insert(element, set);
        }
    }

    /// What belongs to either.
    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.member |= other.member;
        for (element, set) in &other.below {
            let merged = all.below.get(element).map_or_else(|| set.clone(), |own| own.union(set));
            all.below.insert(element.clone(), merged);
        }
        all
    }

    /// What belongs to both.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let mut common = Self { member: self.member && other.member, below: BTreeMap::new() };
        for (element, set) in &self.below {
            if let Some(theirs) = other.below.get(element) {
                common.attach(element.clone(), set.intersection(theirs));
            }
        }
        common
    }

    /// What belongs to this set and not to the other.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        let mut rest = Self { member: self.member && !other.member, below: BTreeMap::new() };
        for (element, set) in &self.below {
            let left = other.below.get(element).map_or_else(|| set.clone(), |theirs| set.difference(theirs));
            rest.attach(element.clone(), left);
        }
        rest
    }

    /// Without a field and all that is below it; the path is that of a JSON pointer through objects, e.g. `/metadata/labels`.
    pub(crate) fn without(mut self, pointer: &str) -> Self {
        let Some(path) = pointer.strip_prefix('/') else { return self };
        let (name, rest) = path.find('/').map_or((path, ""), |at| path.split_at(at));
        let element = field(name);
        if let Some(below) = self.below.remove(&element).filter(|_| !rest.is_empty()) {
            self.attach(element, below.without(rest));
        }
        self
    }

    /// Whether a field is a member; its path as for [`without`](Self::without).
    pub(crate) fn has(&self, pointer: &str) -> bool {
        let mut at = Some(self);
        for name in pointer.split('/').skip(1) {
            at = at.and_then(|set| set.below.get(&field(name)));
        }
        at.is_some_and(|set| set.member)
    }

    /// The set of one field; its path as for [`without`](Self::without).
    pub(crate) fn of_field(pointer: &str) -> Self {
        let around = |inner: Self, name: &str| {
            let mut set = Self::default();
            set.attach(field(name), inner);
            set
        };
        pointer.split('/').skip(1).collect::<Vec<_>>().into_iter().rev().fold(Self::here(), around)
    }

    /// The paths of all members as people read them, `.spec.ports[port=80,protocol="TCP"].name`; those nearer to the root first.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(&mut String::new(), &mut paths);
        paths
    }

    fn collect(&self, at: &mut String, paths: &mut Vec<String>) {
        for (element, _) in self.below.iter().filter(|(_, set)| set.member) {
            paths.push(format!("{at}{}", print(element)));
        }
        for (element, set) in &self.below {
            let length = at.len();
            at.push_str(&print(element));
            set.collect(at, paths);
            at.truncate(length);
        }
    }

    /// `fieldsV1`.
    pub(crate) fn to_fields(&self) -> Value {
        let mut fields = Map::new();
        for (element, set) in &self.below {
            let mut inner = Map::new();
            if set.member && !set.below.is_empty() {
                inner.insert(".".into(), Value::Object(Map::new()));
            }
            if let Value::Object(below) = set.to_fields() {
                inner.extend(below);
            }
            fields.insert(element.clone(), Value::Object(inner));
        }
        Value::Object(fields)
    }

    /// Reads `fieldsV1`. `None`: it is malformed.
    pub(crate) fn from_fields(fields: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (element, inner) in fields.as_object()? {
            if element == "." {
                set.member = true;
                continue;
            }
            let mut below = Self::from_fields(inner)?;
            // A place without anything below is named because it is a member.
            below.member |= below.below.is_empty();
            let element = canonical(element)?;
            let merged = set.below.get(&element).map_or_else(|| below.clone(), |own| own.union(&below));
            set.below.insert(element, merged);
        }
        Some(set)
    }
}

/// The element of a field.
pub(crate) fn field(name: &str) -> String {
    format!("f:{name}")
}

/// The element of an item with these keys, which must be sorted by name.
pub(crate) fn keyed(keys: Map<String, Value>) -> String {
    format!("k:{}", Value::Object(keys))
}

/// The element of an item of a set.
pub(crate) fn valued(value: &Value) -> String {
    format!("v:{value}")
}

/// The one spelling of an element.
fn canonical(element: &str) -> Option<String> {
    let (kind, rest) = element.split_once(':')?;
    match kind {
        "f" => Some(element.to_string()),
        "k" => {
            let Value::Object(keys) = serde_json::from_str(rest).ok()? else { return None };
            let mut keys: Vec<_> = keys.into_iter().collect();
            keys.sort_by(|a, b| a.0.cmp(&b.0));
            Some(keyed(keys.into_iter().collect()))
        }
        "v" => Some(valued(&serde_json::from_str(rest).ok()?)),
        "i" => rest.parse::<i64>().ok().map(|index| format!("i:{index}")),
        _ => None,
    }
}

/// An element as people read it.
fn print(element: &str) -> String {
    match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some(("v", value)) => format!("[={value}]"),
        Some((_, index)) => format!("[{index}]"),
        None => element.to_string(),
    }
}
