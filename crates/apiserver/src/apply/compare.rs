//! What changed between two versions of an object, field by field.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    set::{Set, field},
    types::{Shape, Type, Types},
};

/// Fields that are new, have another value, or are gone.
#[derive(Debug, Default)]
pub(super) struct Diff {
    pub added: Set,
    pub modified: Set,
    pub removed: Set,
}

impl Diff {
    fn attach(&mut self, element: &str, below: Diff) {
        self.added.attach(element.to_string(), below.added);
        self.modified.attach(element.to_string(), below.modified);
        self.removed.attach(element.to_string(), below.removed);
    }

    /// Everything with a value that it did not have.
    pub(super) fn set(&self) -> Set {
        self.added.union(&self.modified)
    }
}

/// Compares two versions of an object.
pub(super) fn compare(types: Types<'_>, old: &Value, new: &Value) -> Diff {
    pair(types, types.root(), Some(old), Some(new))
}

fn pair(types: Types<'_>, of: Type, old: Option<&Value>, new: Option<&Value>) -> Diff {
    let mut diff = Diff::default();
    match types.common_shape(of, old, new) {
        Shape::Leaf => {
            if let (Some(old), Some(new)) = (old, new) {
                diff.modified.member = !same(old, new);
                if types.shape(of, old) != types.shape(of, new) {
                    // What was made of fields and now is a scalar, or the other way round.
                    inner(types, of, types.shape(of, old), Some(old), None, &mut diff);
                    inner(types, of, types.shape(of, new), None, Some(new), &mut diff);
                }
            }
        }
        shape => inner(types, of, shape, old, new, &mut diff),
    }
    diff.added.member |= old.is_none();
    diff.removed.member |= new.is_none();
    diff
}

/// Compares what is inside of maps or lists.
fn inner(types: Types<'_>, of: Type, shape: Shape, old: Option<&Value>, new: Option<&Value>, diff: &mut Diff) {
    let (no_fields, no_items) = (Map::new(), Vec::new());
    let both_empty = match shape {
        Shape::Leaf => return,
        Shape::Map => {
            let fields = [old, new].map(|value| value.and_then(Value::as_object).unwrap_or(&no_fields));
            maps(types, of, fields[0], fields[1], diff);
            fields.iter().all(|fields| fields.is_empty())
        }
        Shape::List => {
            let items = [old, new].map(|value| value.and_then(Value::as_array).unwrap_or(&no_items));
            lists(types, of, items[0], items[1], diff);
            items.iter().all(|items| items.is_empty())
        }
    };
    // Empty against null is a difference in itself.
    diff.modified.member |= both_empty && old.is_some() && new.is_some() && old != new;
}

fn maps(types: Types<'_>, of: Type, old: &Map<String, Value>, new: &Map<String, Value>, diff: &mut Diff) {
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    for name in new.keys().chain(gone) {
        let (old, new) = (old.get(name), new.get(name));
        if old != new {
            diff.attach(&field(name), pair(types, types.field(of, name).0, old, new));
        }
    }
}

fn lists(types: Types<'_>, of: Type, old: &[Value], new: &[Value], diff: &mut Diff) {
    let mut places: BTreeMap<String, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    // An item without identity cannot be compared; validation refuses it.
    for item in old {
        if let Ok(element) = types.element(of, item) {
            places.entry(element).or_default().0.push(item);
        }
    }
    for item in new {
        if let Ok(element) = types.element(of, item) {
            places.entry(element).or_default().1.push(item);
        }
    }
    let of = types.item(of);
    for (element, (old, new)) in places {
        let mut below = match (old.as_slice(), new.as_slice()) {
            (old, new) if old.len() > 1 && new.len() > 1 => Diff::default(),
            (old, new) if old.len() > 1 => match new.first() {
                Some(new) => pair(types, of, None, Some(new)),
                None => Diff::default(),
            },
            (old, new) if new.len() > 1 => match old.first() {
                Some(old) => pair(types, of, Some(old), None),
                None => Diff::default(),
            },
            (old, new) => pair(types, of, old.first().copied(), new.first().copied()),
        };
        // Items that occur several times are owned as one place.
        match (old.len() > 1, new.len() > 1) {
            (true, true) => below.modified.member = old != new,
            (true, false) => below.removed.member = true,
            (false, true) => below.added.member = true,
            (false, false) => {}
        }
        diff.attach(&element, below);
    }
}

/// Equality, in which `1` is `1.0`.
fn same(old: &Value, new: &Value) -> bool {
    old == new || matches!((old, new), (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64())
}
