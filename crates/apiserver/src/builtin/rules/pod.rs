//! Pod templates, labels and selectors.

use std::{cmp::Ordering, collections::HashSet};

use roadstead_kubewire::error::Cause;
use serde_json::{Map, Value, json};

use super::{list, one_of, text};
use crate::{
    registry::names::{self, NameRule},
    schema::{
        field::{self, Path},
        quantity,
    },
};

/// All that is wrong with a name that must be an RFC 1123 label.
pub(in crate::builtin) fn bad_label(name: &str) -> Vec<String> {
    NameRule::Label.check(name)
}

/// A map of labels.
pub(super) fn labels(map: &Map<String, Value>, path: &Path, causes: &mut Vec<Cause>) {
    for (key, value) in map {
        causes.extend(names::qualified(key).iter().map(|why| field::invalid(path, &json!(key), why)));
        let wrong = names::label_value(value.as_str().unwrap_or_default());
        causes.extend(wrong.iter().map(|why| field::invalid(path, value, why)));
    }
}

/// A label selector.
pub(super) fn selector(selector: &Value, path: &Path, causes: &mut Vec<Cause>) {
    if let Some(map) = selector.get("matchLabels").and_then(Value::as_object) {
        labels(map, &path.child("matchLabels"), causes);
    }
    for (index, term) in list(selector, "/matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let values = list(term, "/values");
        match text(term, "/operator") {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                causes.push(field::required(path.child("values"), why));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                causes.push(field::forbidden(path.child("values"), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => {
                causes.push(field::invalid(path.child("operator"), &term["operator"], "not a valid selector operator"))
            }
        }
        let wrong = names::qualified(text(term, "/key"));
        causes.extend(wrong.iter().map(|why| field::invalid(path.child("key"), &term["key"], why)));
    }
}

/// Whether a selector selects these labels.
pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    let equal = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let matches = |term: &Value| {
        let value = label(text(term, "/key"));
        let among = value.is_some_and(|value| list(term, "/values").iter().any(|one| one == value));
        match text(term, "/operator") {
            "In" => among,
            "NotIn" => !among,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    };
    equal.into_iter().all(|(key, value)| label(key) == value.as_str())
        && list(selector, "/matchExpressions").iter().all(matches)
}

/// A port's number.
pub(super) fn port_number(number: &Value, path: Path, causes: &mut Vec<Cause>) {
    if !number.as_i64().is_some_and(|n| (1..=65_535).contains(&n)) {
        let number = if number.is_null() { json!(0) } else { number.clone() };
        causes.push(field::invalid(path, &number, "must be between 1 and 65535, inclusive"));
    }
}

/// A port's name (RFC 6335, section 5.1).
pub(super) fn port_name(name: &str, path: Path, causes: &mut Vec<Cause>) {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = name.starts_with('-') || name.ends_with('-');
    for (wrong, why) in [
        (name.len() > 15, "must be no more than 15 characters"),
        (!name.chars().all(legal), "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"),
        (!name.chars().any(|c| c.is_ascii_lowercase()), "must contain at least one letter (a-z)"),
        (name.contains("--"), "must not contain consecutive hyphens"),
        (edge, "must not begin or end with a hyphen"),
    ] {
        if wrong {
            causes.push(field::invalid(&path, &json!(name), why));
        }
    }
}

/// The template of a workload, whose pods run for ever.
pub(super) fn template(template: &Value, path: &Path, causes: &mut Vec<Cause>) {
    if let Some(map) = template.pointer("/metadata/labels").and_then(Value::as_object) {
        labels(map, &path.child("labels"), causes);
    }
    let spec = path.child("spec");
    one_of(&template["spec"]["restartPolicy"], spec.child("restartPolicy"), &["Always"], causes);
    let dns = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    one_of(&template["spec"]["dnsPolicy"], spec.child("dnsPolicy"), &dns, causes);

    let mut volumes = HashSet::new();
    for (index, volume) in list(template, "/spec/volumes").iter().enumerate() {
        name_of(volume, &spec.child("volumes").index(index), &mut volumes, causes);
    }
    let containers = list(template, "/spec/containers");
    if containers.is_empty() {
        causes.push(field::required(spec.child("containers"), ""));
    }
    let mut names = HashSet::new();
    for (name, list) in [("containers", containers), ("initContainers", list(template, "/spec/initContainers"))] {
        for (index, one) in list.iter().enumerate() {
            let path = spec.child(name).index(index);
            name_of(one, &path, &mut names, causes);
            container(one, &path, &volumes, causes);
        }
    }
}

/// A name that must be a label, and unique in its list.
fn name_of<'a>(item: &'a Value, path: &Path, seen: &mut HashSet<&'a str>, causes: &mut Vec<Cause>) {
    // An absent name is the schema's matter.
    let Some(name) = item.get("name").and_then(Value::as_str) else { return };
    if name.is_empty() {
        causes.push(field::required(path.child("name"), ""));
    } else if let Some(why) = bad_label(name).first() {
        causes.push(field::invalid(path.child("name"), &json!(name), why));
    } else if !seen.insert(name) {
        causes.push(field::duplicate(path.child("name"), &json!(name)));
    }
}

/// Nobody requests more than the limit.
fn resources(resources: &Value, path: &Path, causes: &mut Vec<Cause>) {
    for (name, wanted) in resources["requests"].as_object().into_iter().flatten() {
        let (Some(wanted), Some(limit)) = (wanted.as_str(), resources["limits"][name].as_str()) else { continue };
        if quantity::compare(wanted, limit) == Some(Ordering::Greater) {
            let why = format!("must be less than or equal to {name} limit of {limit}");
            causes.push(field::invalid(path.child("requests"), &json!(wanted), &why));
        }
    }
}

fn container(container: &Value, path: &Path, volumes: &HashSet<&str>, causes: &mut Vec<Cause>) {
    let image = text(container, "/image");
    if image.is_empty() {
        causes.push(field::required(path.child("image"), ""));
    } else if image.trim() != image {
        causes.push(field::invalid(path.child("image"), &json!(image), "must not have leading or trailing whitespace"));
    }
    let pulls = ["Always", "IfNotPresent", "Never"];
    one_of(&container["imagePullPolicy"], path.child("imagePullPolicy"), &pulls, causes);
    let mut names = HashSet::new();
    for (index, port) in list(container, "/ports").iter().enumerate() {
        let path = path.child("ports").index(index);
        match port["containerPort"].as_i64() {
            None | Some(0) => causes.push(field::required(path.child("containerPort"), "")),
            Some(_) => port_number(&port["containerPort"], path.child("containerPort"), causes),
        }
        one_of(&port["protocol"], path.child("protocol"), &["SCTP", "TCP", "UDP"], causes);
        let name = text(port, "/name");
        if !name.is_empty() {
            port_name(name, path.child("name"), causes);
            if !names.insert(name) {
                causes.push(field::duplicate(path.child("name"), &json!(name)));
            }
        }
    }
    for (index, env) in list(container, "/env").iter().enumerate() {
        let path = path.child("env").index(index);
        let name = text(env, "/name");
        if name.is_empty() || name.contains('=') || name.chars().any(|c| !(' '..='~').contains(&c)) {
            let why =
                "a valid environment variable name must consist only of printable ASCII characters other than '='";
            causes.push(field::invalid(path.child("name"), &json!(name), why));
        }
        if !text(env, "/value").is_empty() && env.get("valueFrom").is_some() {
            let why = "may not be specified when `value` is not empty";
            causes.push(field::invalid(path.child("valueFrom"), &json!(""), why));
        }
    }
    resources(&container["resources"], &path.child("resources"), causes);
    let mut places = HashSet::new();
    for (index, mount) in list(container, "/volumeMounts").iter().enumerate() {
        let path = path.child("volumeMounts").index(index);
        let (name, place) = (text(mount, "/name"), text(mount, "/mountPath"));
        if !volumes.contains(name) {
            let message = format!("Not found: {name:?}");
            let field = path.child("name").as_str().to_string();
            causes.push(Cause { reason: "FieldValueNotFound".into(), message, field });
        }
        if !place.is_empty() && !places.insert(place) {
            causes.push(field::invalid(path.child("mountPath"), &json!(place), "must be unique"));
        }
    }
}
