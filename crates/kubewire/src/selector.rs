//! Label and field selectors.

use std::collections::BTreeMap;

/// A parsed `labelSelector`; empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(pub Vec<Requirement>);

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// `key in (a, b)`, `key=a`.
    In(String, Vec<String>),
    /// `key notin (a, b)`, `key!=a`: also where the key is absent.
    NotIn(String, Vec<String>),
    /// `key`.
    Exists(String),
    /// `!key`.
    NotExists(String),
}

/// A parsed `fieldSelector`: (path, value, equal); empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(pub Vec<(String, String, bool)>);

impl LabelSelector {
    /// Whether `labels` fulfil every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::NotExists(key) => !labels.contains_key(key),
        })
    }
}

impl FieldSelector {
    /// Whether all requirements hold; `value_of` reads a field, absent fields are empty strings.
    pub fn matches<'a>(&self, value_of: impl Fn(&str) -> Option<std::borrow::Cow<'a, str>>) -> bool {
        self.0.iter().all(|(path, wanted, equal)| (value_of(path).as_deref().unwrap_or("") == wanted) == *equal)
    }

    /// The value that `path` must equal, if the selector says so.
    pub fn exact(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|(p, _, equal)| *equal && p == path).map(|(_, value, _)| value.as_str())
    }
}
