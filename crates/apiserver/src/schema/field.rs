//! The causes that validation finds, in kube-apiserver's words.
//!
//! One function per kind of error; each gives a [`Cause`] whose message is what follows the field's path in
//! `Secret "x" is invalid: data[a b]: Invalid value: "a b": ...`. Source: the `field` package of Kubernetes' apimachinery.

use std::fmt::Display;

use roadstead_kubewire::error::Cause;
use serde_json::Value;

fn cause(reason: &str, path: impl Display, message: String) -> Cause {
    Cause { reason: reason.into(), message, field: path.to_string() }
}

fn with_detail(message: String, detail: &str) -> String {
    if detail.is_empty() { message } else { format!("{message}: {detail}") }
}

/// `Invalid value: <value>: <detail>`.
pub fn invalid(path: impl Display, value: &Value, detail: &str) -> Cause {
    cause("FieldValueInvalid", path, with_detail(format!("Invalid value: {value}"), detail))
}

/// `Invalid value: <value>: <detail>` for a value of the wrong type; `value` is usually the name of the type found.
pub fn type_invalid(path: impl Display, value: &Value, detail: &str) -> Cause {
    cause("FieldValueTypeInvalid", path, with_detail(format!("Invalid value: {value}"), detail))
}

/// `Required value: <detail>`.
pub fn required(path: impl Display, detail: &str) -> Cause {
    cause("FieldValueRequired", path, with_detail("Required value".into(), detail))
}

/// `Forbidden: <detail>`.
pub fn forbidden(path: impl Display, detail: &str) -> Cause {
    cause("FieldValueForbidden", path, with_detail("Forbidden".into(), detail))
}

/// `Duplicate value: <value>`.
pub fn duplicate(path: impl Display, value: &Value) -> Cause {
    cause("FieldValueDuplicate", path, format!("Duplicate value: {value}"))
}

/// `Unsupported value: <value>: supported values: "a", "b"`.
pub fn not_supported<S: AsRef<str>>(path: impl Display, value: &Value, supported: &[S]) -> Cause {
    let supported: Vec<String> = supported.iter().map(|value| format!("{:?}", value.as_ref())).collect();
    let message = with_detail(
        format!("Unsupported value: {value}"),
        &if supported.is_empty() { String::new() } else { format!("supported values: {}", supported.join(", ")) },
    );
    cause("FieldValueNotSupported", path, message)
}

/// `Too long: may not be more than <max> bytes`.
pub fn too_long(path: impl Display, max: u64) -> Cause {
    let unit = if max == 1 { "byte" } else { "bytes" };
    cause("FieldValueTooLong", path, format!("Too long: may not be more than {max} {unit}"))
}

/// `Too many: <actual>: must have at most <max> items`.
pub fn too_many(path: impl Display, actual: usize, max: u64) -> Cause {
    let unit = if max == 1 { "item" } else { "items" };
    cause("FieldValueTooMany", path, format!("Too many: {actual}: must have at most {max} {unit}"))
}

/// A path to a field: `spec.ports[0].name`, `data[tls.key]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// The root, which prints as nothing.
    pub fn root() -> Self {
        Self::default()
    }

    /// A path from its printed form.
    pub fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// A field below.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.into()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// An item below.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// An entry of a map below.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// How a sentence about the value begins: `spec.x in body `, or nothing for the root.
    pub(crate) fn in_body(&self) -> String {
        if self.0.is_empty() { String::new() } else { format!("{} in body ", self.0) }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The root is named like this by kube-apiserver too.
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}
