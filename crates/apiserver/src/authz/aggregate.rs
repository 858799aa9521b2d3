//! Aggregated ClusterRoles: the union of the roles that their selectors select.
//!
//! In: all ClusterRoles. Out: the rules of each one. What an aggregated role itself stores under `rules` counts for nothing;
//! it is a copy for people, which [`super::bootstrap`] keeps up to date. Evaluated here, so that a decision never depends
//! on whether that copy is fresh. Roles may aggregate aggregated roles, even in circles: the result is the least set that
//! satisfies them all, and an empty one for a selector that cannot be understood.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use serde_json::Value;

use super::rule::Rule;
use crate::objects::text;

/// The rules of every ClusterRole, by name.
pub fn effective_rules(roles: &[Arc<Value>]) -> BTreeMap<String, Vec<Rule>> {
    let mut rules = BTreeMap::new();
    let mut aggregated: Vec<(&str, Vec<&str>)> = Vec::new();
    for role in roles {
        let name = text(role, "/metadata/name");
        match role.get("aggregationRule").filter(|rule| !rule.is_null()) {
            None => rules.insert(name.to_string(), stored_rules(role)),
            Some(aggregation) => {
                aggregated.push((name, sources(aggregation, name, roles)));
                rules.insert(name.to_string(), Vec::new())
            }
        };
    }
    // All sets start empty and only grow, so this ends, after at most as many rounds as roles are chained.
    loop {
        let next: Vec<(&str, Vec<Rule>)> =
            aggregated.iter().map(|(name, sources)| (*name, union(sources, &rules))).collect();
        let mut grown = false;
        for (name, union) in next {
            grown |= rules.get(name).is_none_or(|old| old.len() != union.len());
            rules.insert(name.to_string(), union);
        }
        if !grown {
            return rules;
        }
    }
}

/// The `rules` of a Role or ClusterRole as stored. One that cannot be read gives nothing.
pub fn stored_rules(role: &Value) -> Vec<Rule> {
    let rules = role.get("rules").and_then(Value::as_array).into_iter().flatten();
    rules.filter_map(|rule| Rule::deserialize(rule).ok()).collect()
}

/// Names of the roles that an aggregation selects: selector by selector, by name, never `own`.
fn sources<'a>(aggregation: &Value, own: &str, roles: &'a [Arc<Value>]) -> Vec<&'a str> {
    let mut names = Vec::new();
    for selector in aggregation.get("clusterRoleSelectors").and_then(Value::as_array).into_iter().flatten() {
        let selected = roles.iter().filter(|role| selects(selector, role.pointer("/metadata/labels")));
        let mut selected: Vec<&str> = selected.map(|role| text(role, "/metadata/name")).filter(|n| *n != own).collect();
        selected.sort_unstable();
        names.extend(selected);
    }
    names
}

fn union(sources: &[&str], rules: &BTreeMap<String, Vec<Rule>>) -> Vec<Rule> {
    let mut union: Vec<Rule> = Vec::new();
    for rule in sources.iter().filter_map(|name| rules.get(*name)).flatten() {
        if !union.contains(rule) {
            union.push(rule.clone());
        }
    }
    union
}

/// A `LabelSelector` object (meta/v1) against labels; an operator that is not known selects nothing.
fn selects(selector: &Value, labels: Option<&Value>) -> bool {
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
    let equal = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    equal.into_iter().all(|(key, value)| label(key) == value.as_str() && value.is_string())
        && expressions.into_iter().all(|expression| {
            let value = label(text(expression, "/key"));
            let listed = || crate::objects::texts(expression, "/values").any(|listed| Some(listed) == value);
            match text(expression, "/operator") {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn role(name: &str, labels: Value, body: Value) -> Arc<Value> {
        let mut role = json!({"metadata": {"name": name, "labels": labels}});
        role.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        Arc::new(role)
    }

    fn leaf(name: &str, label: &str) -> Arc<Value> {
        let rule = json!({"apiGroups": [""], "resources": [name], "verbs": ["get"]});
        role(name, json!({label: "true"}), json!({"rules": [rule]}))
    }

    fn resources(rules: &BTreeMap<String, Vec<Rule>>, name: &str) -> Vec<String> {
        rules[name].iter().flat_map(|rule| rule.resources.clone()).collect()
    }

    fn selecting(label: &str) -> Value {
        json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]}})
    }

    #[test]
    fn chains_and_ignores_what_is_stored() {
        let mut admin = (*role("admin", json!({}), selecting("to-admin"))).clone();
        admin["rules"] = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
        let roles = [
            Arc::new(admin),
            role("edit", json!({"to-admin": "true"}), selecting("to-edit")),
            leaf("roles", "to-admin"),
            leaf("pods", "to-edit"),
            leaf("other", "to-other"),
        ];
        let rules = effective_rules(&roles);
        assert_eq!(resources(&rules, "admin"), ["pods", "roles"]);
        assert_eq!(resources(&rules, "edit"), ["pods"]);
    }

    #[test]
    fn circles_end() {
        let roles = [
            role("a", json!({"to-b": "true"}), selecting("to-a")),
            role("b", json!({"to-a": "true"}), selecting("to-b")),
            leaf("x", "to-a"),
            leaf("y", "to-b"),
        ];
        let rules = effective_rules(&roles);
        for name in ["a", "b"] {
            let mut found = resources(&rules, name);
            found.sort();
            assert_eq!(found, ["x", "y"]);
        }
    }

    #[test]
    fn selectors_select() {
        let labels = json!({"a": "1"});
        for (selector, expected) in [
            (json!({}), true),
            (json!({"matchLabels": {"a": "1"}}), true),
            (json!({"matchLabels": {"a": "2"}}), false),
            (json!({"matchLabels": {"b": null}}), false),
            (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}), true),
            (json!({"matchExpressions": [{"key": "b", "operator": "In", "values": ["1"]}]}), false),
            (json!({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}), true),
            (json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}), true),
            (json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}), false),
            (json!({"matchExpressions": [{"key": "a", "operator": "Near"}]}), false),
        ] {
            assert_eq!(selects(&selector, Some(&labels)), expected, "{selector}");
        }
    }
}
