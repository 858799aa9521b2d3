//! Constraints on one value: required fields, enumerations, bounds, patterns, formats.

use roadstead_kubewire::error::Cause;
use serde_json::{Value, json};

use super::{
    field::{self, Path},
    format,
    node::{Checks, Kind, Node},
};

/// Checks `value`, of whatever type, against the enumeration.
pub(crate) fn enumerated(checks: &Checks, value: &Value, path: &Path, causes: &mut Vec<Cause>) {
    if !checks.values.is_empty() && !checks.values.contains(value) {
        let supported: Vec<String> = checks.values.iter().map(plain).collect();
        causes.push(field::not_supported(path, value, &supported));
    }
}

/// Checks `value`, whose type is right.
pub(crate) fn check(checks: &Checks, node: &Node, value: &Value, path: &Path, causes: &mut Vec<Cause>) {
    enumerated(checks, value, path, causes);
    let mut refuse = |why: String| {
        causes.push(field::invalid(path, value, &format!("{}{why}", path.in_body())));
    };
    match value {
        Value::Number(number) => {
            let n = number.as_f64().unwrap_or_default();
            if let Some(bound) = checks.minimum {
                if checks.exclusive_minimum && n <= bound {
                    refuse(format!("should be greater than {bound}"));
                } else if n < bound {
                    refuse(format!("should be greater than or equal to {bound}"));
                }
            }
            if let Some(bound) = checks.maximum {
                if checks.exclusive_maximum && n >= bound {
                    refuse(format!("should be less than {bound}"));
                } else if n > bound {
                    refuse(format!("should be less than or equal to {bound}"));
                }
            }
            if let Some(factor) = checks.multiple_of {
                let quotient = n / factor;
                if (quotient - quotient.round()).abs() > 1e-9 {
                    refuse(format!("should be a multiple of {factor}"));
                }
            }
        }
        Value::String(text) => {
            if let Some(min) = checks.min_length.filter(|min| (text.chars().count() as u64) < *min) {
                refuse(format!("should be at least {min} chars long"));
            }
            if let Some(pattern) = checks.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
                refuse(format!("should match '{pattern}'"));
            }
            if let Some(max) = checks.max_length.filter(|max| text.chars().count() as u64 > *max) {
                causes.push(field::too_long(path, max));
            }
        }
        Value::Array(items) => {
            if let Some(min) = checks.min_items.filter(|min| (items.len() as u64) < *min) {
                refuse(format!("should have at least {min} items"));
            }
            if checks.unique_items && (1..items.len()).any(|i| items[..i].contains(&items[i])) {
                refuse("shouldn't contain duplicates".into());
            }
            if let Some(max) = checks.max_items.filter(|max| items.len() as u64 > *max) {
                causes.push(field::too_many(path, items.len(), max));
            }
        }
        Value::Object(fields) => {
            if let Some(min) = checks.min_properties.filter(|min| (fields.len() as u64) < *min) {
                refuse(format!("should have at least {min} properties"));
            }
            if let Some(max) = checks.max_properties.filter(|max| fields.len() as u64 > *max) {
                causes.push(field::too_many(path, fields.len(), max));
            }
            // Owners are judged with the rest of the metadata.
            let owner = node.typed && path.as_str().starts_with("metadata.ownerReferences[");
            for name in checks.required.iter().filter(|name| !owner && !fields.contains_key(name.as_ref())) {
                causes.push(field::required(path.child(name), ""));
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
    if node.typed
        && checks.format.as_deref() == Some("int32")
        && value.as_i64().is_none_or(|number| i32::try_from(number).is_err())
    {
        causes.push(field::type_invalid(path, value, &format!("{}must be of type int32", path.in_body())));
    }
    if let Some(name) = checks.format.as_deref().filter(|_| node.kind == Kind::String) {
        let text = value.as_str().unwrap_or_default();
        if !format::matches(name, text) {
            let detail = format!("{}must be of type {name}: {}", path.in_body(), json!(text));
            causes.push(field::type_invalid(path, value, &detail));
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}
