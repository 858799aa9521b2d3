//! The fields of an object: what a manager owns that applied it.

use serde_json::Value;
use std::collections::BTreeMap;

use super::{
    set::{Set, field},
    types::{Shape, Type, Types},
};

/// How many errors are told.
const MAX_ERRORS: usize = 20;

/// The fields of `value`. Items that occur twice in a list are owned as one place, and items that have no identity not at all.
pub(super) fn fields(types: Types<'_>, value: &Value) -> Set {
    Collector { types, errors: Vec::new() }.of(types.root(), value, "")
}

/// The fields of what a client applies, which must fit the schema exactly. The error lists what does not.
pub(super) fn applied_fields(types: Types<'_>, value: &Value) -> Result<Set, Vec<String>> {
    let mut collector = Collector { types, errors: Vec::new() };
    let set = collector.of(types.root(), value, "");
    if collector.errors.is_empty() { Ok(set) } else { Err(collector.errors) }
}

struct Collector<'a> {
    types: Types<'a>,
    errors: Vec<String>,
}

impl Collector<'_> {
    fn refuse(&mut self, path: &str, why: &str) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(if path.is_empty() { why.to_string() } else { format!("{path}: {why}") });
        }
    }

    fn of(&mut self, of: Type, value: &Value, path: &str) -> Set {
        match (self.types.shape(of, value), value) {
            (Shape::Map, Value::Object(fields)) => {
                let mut set = Set::default();
                for (name, value) in fields {
                    let path = format!("{path}.{name}");
                    if !self.types.admits(of, name) {
                        self.refuse(&path, "field not declared in schema");
                    }
                    let (of, declared) = self.types.field(of, name);
                    let mut below = self.of(of, value, &path);
                    below.member |= !declared || value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
                    set.attach(field(name), below);
                }
                set
            }
            (Shape::List, Value::Array(items)) => self.items(of, items, path),
            _ => Set::here(),
        }
    }

    fn items(&mut self, of: Type, items: &[Value], path: &str) -> Set {
        let mut places: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
        for (index, item) in items.iter().enumerate() {
            match self.types.element(of, item) {
                Ok(element) => places.entry(element).or_default().push(item),
                Err(why) => self.refuse(&format!("{path}: element {index}"), &why),
            }
        }
        let mut set = Set::default();
        for (element, items) in places {
            let below = match items.as_slice() {
                [item] => {
                    let mut below = self.of(self.types.item(of), item, &format!("{path}[{}]", &element[2..]));
                    below.member = true;
                    below
                }
                _ => {
                    self.refuse(path, &format!("duplicate entries for key [{}]", &element[2..]));
                    Set::here()
                }
            };
            set.attach(element, below);
        }
        set
    }
}
