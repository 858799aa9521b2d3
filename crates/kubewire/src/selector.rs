//! Label and field selectors: what they are and how they are matched.
//!
//! Strings come in by [`LabelSelector::parse`] and [`FieldSelector::parse`] (grammars in [`mod@labels`] and [`mod@fields`]); matching
//! works over whatever the store holds: a map, a closure, or the object as JSON.

pub mod fields;
pub mod labels;
pub mod syntax;

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::Value;

pub use fields::FieldSelectorError;
pub use labels::LabelSelectorError;

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
    /// `key>5`: present, an integer, and greater.
    GreaterThan(String, i64),
    /// `key<5`: present, an integer, and less.
    LessThan(String, i64),
}

/// A parsed `fieldSelector`: (path, value, equal); empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(pub Vec<(String, String, bool)>);

impl Requirement {
    /// Whether a label of this value (`None`: absent) fulfils the requirement.
    pub fn accepts(&self, value: Option<&str>) -> bool {
        let is_one_of = |values: &[String], value: &str| values.iter().any(|wanted| wanted == value);
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Requirement::In(_, values) => value.is_some_and(|value| is_one_of(values, value)),
            Requirement::NotIn(_, values) => value.is_none_or(|value| !is_one_of(values, value)),
            Requirement::Exists(_) => value.is_some(),
            Requirement::NotExists(_) => value.is_none(),
            Requirement::GreaterThan(_, bound) => number().is_some_and(|number| number > *bound),
            Requirement::LessThan(_, bound) => number().is_some_and(|number| number < *bound),
        }
    }

    /// The label that this is about.
    pub fn key(&self) -> &str {
        match self {
            Requirement::In(key, _)
            | Requirement::NotIn(key, _)
            | Requirement::Exists(key)
            | Requirement::NotExists(key)
            | Requirement::GreaterThan(key, _)
            | Requirement::LessThan(key, _) => key,
        }
    }
}

impl LabelSelector {
    /// Parses the `labelSelector` query parameter. Never panics.
    pub fn parse(text: &str) -> Result<Self, LabelSelectorError> {
        labels::parse(text).map(Self)
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `labels` fulfil every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// Like [`matches`](Self::matches), over any way to look up a label.
    pub fn matches_with<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| requirement.accepts(label(requirement.key())))
    }

    /// Whether a whole object is selected by its `metadata.labels`.
    pub fn matches_object(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.matches_with(|key| labels.get(key).and_then(Value::as_str))
    }

    /// The value that `key` must have, if the selector admits only one: lets a store use an index.
    pub fn exact(&self, key: &str) -> Option<&str> {
        self.0.iter().find_map(|requirement| match requirement {
            Requirement::In(k, values) if k == key => match values.as_slice() {
                [only] => Some(only.as_str()),
                _ => None,
            },
            _ => None,
        })
    }
}

impl FieldSelector {
    /// Parses the `fieldSelector` query parameter. Never panics.
    pub fn parse(text: &str) -> Result<Self, FieldSelectorError> {
        fields::parse(text).map(Self)
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all requirements hold; `value_of` reads a field, absent fields are empty strings.
    pub fn matches<'a>(&self, value_of: impl Fn(&str) -> Option<Cow<'a, str>>) -> bool {
        self.0.iter().all(|(path, wanted, equal)| (value_of(path).as_deref().unwrap_or("") == wanted) == *equal)
    }

    /// Whether a whole object is selected: paths are dotted field names, e.g. `metadata.name`.
    pub fn matches_object(&self, object: &Value) -> bool {
        self.matches(|path| match path.split('.').try_fold(object, |value, field| value.get(field))? {
            Value::String(text) => Some(Cow::Borrowed(text.as_str())),
            Value::Null => None,
            other => Some(Cow::Owned(other.to_string())),
        })
    }

    /// The value that `path` must equal, if the selector says so.
    pub fn exact(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|(p, _, equal)| *equal && p == path).map(|(_, value, _)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requirements_accept_as_kubernetes_does() {
        let object = json!({"metadata": {"labels": {"tier": "db", "rank": "7"}}});
        for (text, selected) in [
            ("", true),
            ("tier=db", true),
            ("tier=web", false),
            ("tier!=web", true),
            ("absent!=web", true),
            ("tier in (web, db)", true),
            ("tier notin (web)", true),
            ("absent notin (web)", true),
            ("tier", true),
            ("!tier", false),
            ("!absent", true),
            ("rank>6", true),
            ("rank>7", false),
            ("rank<8", true),
            ("tier>1", false),
            ("tier=db,rank=8", false),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().matches_object(&object), selected, "{text}");
        }
    }

    #[test]
    fn field_selectors_read_dotted_paths() {
        let object = json!({"metadata": {"name": "a"}, "spec": {"replicas": 3, "paused": false, "none": null}});
        for (text, selected) in [
            ("metadata.name=a", true),
            ("metadata.name!=a", false),
            ("spec.replicas==3,spec.paused=false", true),
            ("spec.none=", true),
            ("spec.absent=", true),
            ("spec.absent.deeper!=x", true),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap().matches_object(&object), selected, "{text}");
        }
        let selector = FieldSelector::parse("metadata.name=a,spec.x!=b").unwrap();
        assert_eq!(selector.exact("metadata.name"), Some("a"));
        assert_eq!(selector.exact("spec.x"), None);
    }

    #[test]
    fn exact_labels_are_found() {
        let selector = LabelSelector::parse("a=1,b in (2,3),c").unwrap();
        assert_eq!((selector.exact("a"), selector.exact("b"), selector.exact("c")), (Some("1"), None, None));
    }
}
