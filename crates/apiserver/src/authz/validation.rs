//! What the schema of the RBAC kinds cannot say: defaults, and rules between fields.
//!
//! In: an object of one of the four kinds before it is stored. Out: the same with defaults, or the causes why it is invalid.
//! Source: Kubernetes documentation, "Using RBAC"; the wording of the causes follows kube-apiserver.

use roadstead_kubewire::error::Cause;
use serde_json::{Value, json};

use super::index::GROUP;
use crate::objects::text;

/// Fills in absent rules, and `apiGroup` of the role reference and of users and groups, which clients may leave out.
pub fn default_fields(plural: &str, object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    if !matches!(plural, "rolebindings" | "clusterrolebindings") {
        // No rules are shown as such.
        fields.entry("rules").or_insert(Value::Null);
        return;
    }
    if let Some(reference) = fields.entry("roleRef").or_insert_with(|| json!({"kind": "", "name": ""})).as_object_mut()
    {
        fill(reference);
    }
    for subject in object.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        if matches!(text(subject, "/kind"), "User" | "Group")
            && let Some(subject) = subject.as_object_mut()
        {
            fill(subject);
        }
    }
}

/// What is stored of an object: an empty list of rules is none. Whoever sent it owns it all the same.
pub fn store_fields(object: &mut Value) {
    if let Some(rules) = object.get_mut("rules").filter(|rules| *rules == &json!([])) {
        *rules = Value::Null;
    }
}

fn fill(reference: &mut serde_json::Map<String, Value>) {
    if reference.get("apiGroup").and_then(Value::as_str).unwrap_or_default().is_empty() {
        reference.insert("apiGroup".into(), json!(GROUP));
    }
}

/// All that is wrong with an object of `plural`; empty is good. `old` is the stored object, if there is one.
pub fn causes(plural: &str, old: Option<&Value>, new: &Value) -> Vec<Cause> {
    match plural {
        "roles" => rule_causes(new, true),
        "clusterroles" => rule_causes(new, false),
        "rolebindings" => binding_causes(old, new, &["Role", "ClusterRole"]),
        "clusterrolebindings" => binding_causes(old, new, &["ClusterRole"]),
        _ => Vec::new(),
    }
}

fn cause(reason: &str, field: String, message: impl Into<String>) -> Cause {
    Cause { reason: reason.into(), field, message: message.into() }
}

fn required(field: String, message: &str) -> Cause {
    cause("FieldValueRequired", field, format!("Required value: {message}").trim_end_matches(": ").to_string())
}

fn rule_causes(role: &Value, namespaced: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, rule) in role.get("rules").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let empty = |field: &str| rule.get(field).and_then(Value::as_array).is_none_or(Vec::is_empty);
        let path = |field: &str| format!("rules[{index}].{field}");
        if empty("verbs") {
            causes.push(required(path("verbs"), "verbs must contain at least one value"));
        }
        if !empty("nonResourceURLs") {
            let message = match () {
                () if namespaced => "namespaced rules cannot apply to non-resource URLs",
                () if !(empty("apiGroups") && empty("resources") && empty("resourceNames")) => {
                    "rules cannot apply to both regular resources and non-resource URLs"
                }
                () => continue,
            };
            let value = &rule["nonResourceURLs"];
            causes.push(cause(
                "FieldValueInvalid",
                path("nonResourceURLs"),
                format!("Invalid value: {value}: {message}"),
            ));
            continue;
        }
        if empty("apiGroups") {
            causes.push(required(path("apiGroups"), "resource rules must supply at least one api group"));
        }
        if empty("resources") {
            causes.push(required(path("resources"), "resource rules must supply at least one resource"));
        }
    }
    causes
}

fn binding_causes(old: Option<&Value>, new: &Value, role_kinds: &[&str]) -> Vec<Cause> {
    let mut causes = Vec::new();
    let unsupported = |field: String, value: &str, supported: &[&str]| {
        let supported = supported.iter().map(|kind| format!("{kind:?}")).collect::<Vec<_>>().join(", ");
        let message = format!("Unsupported value: {value:?}: supported values: {supported}");
        cause("FieldValueNotSupported", field, message)
    };
    let role_ref = &new["roleRef"];
    if text(role_ref, "/apiGroup") != GROUP {
        causes.push(unsupported("roleRef.apiGroup".into(), text(role_ref, "/apiGroup"), &[GROUP]));
    }
    if !role_kinds.contains(&text(role_ref, "/kind")) {
        causes.push(unsupported("roleRef.kind".into(), text(role_ref, "/kind"), role_kinds));
    }
    if text(role_ref, "/name").is_empty() {
        causes.push(required("roleRef.name".into(), ""));
    }
    // The rights of a binding's subjects are bound to this role; another role is another binding.
    if old.is_some_and(|old| old["roleRef"] != *role_ref) {
        // Named as in kube-apiserver's Go value, which it prints.
        let shown = json!({"APIGroup": role_ref["apiGroup"], "Kind": role_ref["kind"], "Name": role_ref["name"]});
        let message = format!("Invalid value: {shown}: cannot change roleRef");
        causes.push(cause("FieldValueInvalid", "roleRef".into(), message));
    }
    let namespaced = !text(new, "/metadata/namespace").is_empty();
    for (index, subject) in new.get("subjects").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let path = |field: &str| format!("subjects[{index}].{field}");
        if text(subject, "/name").is_empty() {
            causes.push(required(path("name"), ""));
        }
        let group = match text(subject, "/kind") {
            "ServiceAccount" => {
                if !namespaced && text(subject, "/namespace").is_empty() {
                    causes.push(required(path("namespace"), ""));
                }
                ""
            }
            "User" | "Group" => GROUP,
            kind => {
                causes.push(unsupported(path("kind"), kind, &["ServiceAccount", "User", "Group"]));
                continue;
            }
        };
        if text(subject, "/apiGroup") != group {
            causes.push(unsupported(path("apiGroup"), text(subject, "/apiGroup"), &[group]));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(plural: &str, old: Option<&Value>, new: &Value) -> Vec<String> {
        causes(plural, old, new).into_iter().map(|cause| cause.field).collect()
    }

    #[test]
    fn rules_are_checked() {
        for (plural, rule, expected) in [
            ("roles", json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}), vec![]),
            ("roles", json!({"resources": ["pods"], "verbs": ["get"]}), vec!["rules[0].apiGroups"]),
            ("roles", json!({"apiGroups": [""], "verbs": []}), vec!["rules[0].verbs", "rules[0].resources"]),
            ("roles", json!({"nonResourceURLs": ["/x"], "verbs": ["get"]}), vec!["rules[0].nonResourceURLs"]),
            ("clusterroles", json!({"nonResourceURLs": ["/x"], "verbs": ["get"]}), vec![]),
            (
                "clusterroles",
                json!({"nonResourceURLs": ["/x"], "resources": ["a"], "verbs": ["get"]}),
                vec!["rules[0].nonResourceURLs"],
            ),
        ] {
            assert_eq!(fields(plural, None, &json!({"rules": [rule]})), expected);
        }
    }

    #[test]
    fn bindings_are_defaulted_and_checked() {
        let mut binding = json!({
            "metadata": {"name": "b", "namespace": "ns"},
            "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}],
        });
        assert_eq!(fields("rolebindings", None, &binding), ["roleRef.apiGroup", "subjects[0].apiGroup"]);
        default_fields("rolebindings", &mut binding);
        assert_eq!(fields("rolebindings", None, &binding), [""; 0]);
        assert_eq!(fields("clusterrolebindings", None, &binding), ["roleRef.kind"]);
        let mut other = binding.clone();
        other["roleRef"]["name"] = json!("other");
        assert_eq!(fields("rolebindings", Some(&binding), &other), ["roleRef"]);
        other["subjects"] = json!([{"kind": "Robot", "name": "x"}, {"kind": "Group", "name": "", "apiGroup": GROUP}]);
        assert_eq!(fields("rolebindings", None, &other), ["subjects[0].kind", "subjects[1].name"]);
        binding["metadata"].as_object_mut().unwrap().remove("namespace");
        assert!(fields("clusterrolebindings", None, &binding).contains(&"subjects[1].namespace".to_string()));
    }
}
