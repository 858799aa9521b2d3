//! Which objects a list or watch is about: namespace, labels and fields.
//!
//! Fields are read from the serialised object where a selector asks for them; only the members on the path are looked at,
//! and no tree is built.

use std::{borrow::Cow, collections::HashMap};

use roadstead_kubewire::{
    ApiError, ApiResult, Key, ResourceInfo,
    selector::{FieldSelector, LabelSelector},
};
use serde_json::value::RawValue;

use crate::store::Object;

/// A selection of objects of one resource.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    namespace: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    /// A selection; `namespace: None` is all.
    ///
    /// # Errors
    /// 400 for a field that this kind cannot be selected by.
    pub fn new(
        info: &ResourceInfo,
        namespace: Option<&str>,
        labels: &LabelSelector,
        fields: &FieldSelector,
    ) -> ApiResult<Self> {
        for (path, _, _) in &fields.0 {
            let known = matches!(path.as_str(), "metadata.name" | "metadata.namespace")
                || info.selectable_fields.iter().any(|field| field.trim_start_matches('.') == path);
            if !known {
                return Err(ApiError::bad_request(format!(
                    "field label not supported: {path}; supported are metadata.name, metadata.namespace{}",
                    info.selectable_fields
                        .iter()
                        .map(|field| format!(", {}", field.trim_start_matches('.')))
                        .collect::<String>()
                )));
            }
        }
        Ok(Self { namespace: namespace.map(str::to_string), labels: labels.clone(), fields: fields.clone() })
    }

    /// Whether everything in the namespace is selected.
    pub fn is_plain(&self) -> bool {
        self.labels.0.is_empty() && self.fields.0.is_empty()
    }

    /// The namespace, unless all.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Whether an object with this key could be selected.
    pub fn takes_key(&self, key: &Key) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
            && self.fields.exact("metadata.name").is_none_or(|name| name == key.name)
    }

    /// Whether the object is selected.
    pub fn takes(&self, object: &Object) -> bool {
        self.takes_key(&object.key)
            && self.labels.matches(&object.labels)
            && self.fields.matches(|path| match path {
                "metadata.name" => Some(Cow::Borrowed(object.key.name.as_str())),
                "metadata.namespace" => Some(Cow::Borrowed(object.key.namespace.as_str())),
                _ => field(&object.json, path),
            })
    }
}

/// The text of a field of a serialised object, e.g. of `spec.endpoint`. Numbers and booleans as JSON writes them.
fn field<'a>(json: &'a [u8], path: &str) -> Option<Cow<'a, str>> {
    let mut at = std::str::from_utf8(json).ok()?;
    for member in path.split('.') {
        let members: HashMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(at).ok()?;
        at = members.get(member)?.get();
    }
    match at.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(at).ok().map(Cow::Owned),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::tests::thing;

    #[test]
    fn fields_are_read_as_text() {
        let json = br#"{"spec":{"a":"x\u0041","n":5,"b":true,"o":{},"z":null,"deep":{"er":"y"}}}"#;
        for (path, expected) in [
            ("spec.a", Some("xA")),
            ("spec.n", Some("5")),
            ("spec.b", Some("true")),
            ("spec.o", None),
            ("spec.z", None),
            ("spec.missing", None),
            ("spec.deep.er", Some("y")),
            ("spec.a.b", None),
        ] {
            assert_eq!(field(json, path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        let fields = |path: &str| FieldSelector(vec![(path.into(), "x".into(), true)]);
        for (path, good) in [("metadata.name", true), ("spec.size", true), ("spec.other", false)] {
            let selection = Selection::new(&thing().info, None, &LabelSelector::default(), &fields(path));
            assert_eq!(selection.is_ok(), good, "{path}");
        }
    }
}
