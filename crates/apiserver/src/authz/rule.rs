//! One RBAC rule: what it allows, and what of another rule it covers.
//!
//! The matching is Kubernetes' own (`PolicyRule`, rbac.authorization.k8s.io/v1): `*` alone is a wildcard for verbs, groups
//! and resources; `*/scale` stands for the subresource of every resource; `pods` does not include `pods/log`; a rule with
//! names never allows a request without one (so not `create`, and `list` only with a name in the field selector); a
//! non-resource path may end in `*`.

use std::collections::BTreeMap;

use roadstead_kubewire::Attributes;
use serde::{Deserialize, Deserializer, Serialize};

/// A rule of a Role or ClusterRole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// API groups; `""` is core.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// Paths such as `/metrics` or `/healthz/*`.
    #[serde(rename = "nonResourceURLs", deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
    /// Names that the rule is limited to; empty is no limit.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Plurals, with the subresource after a slash.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Verbs, in lower case.
    #[serde(deserialize_with = "null_is_empty")]
    pub verbs: Vec<String>,
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default())
}

/// Whether `list` has `*` or `wanted`.
fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

fn path_matches(pattern: &str, path: &str) -> bool {
    pattern == path || (pattern.ends_with('*') && path.starts_with(pattern.trim_end_matches('*')))
}

/// Whether `list` has the resource `wanted` (`pods`, `pods/log`), itself or by a wildcard.
fn has_resource(list: &[String], wanted: &str) -> bool {
    let subresource = wanted.split_once('/').map(|(_, subresource)| subresource);
    list.iter()
        .any(|item| item == "*" || item == wanted || (subresource.is_some() && item.strip_prefix("*/") == subresource))
}

impl Rule {
    /// The two rules that together give everything.
    pub fn everything() -> [Self; 2] {
        let all = || vec!["*".to_string()];
        [
            Self { api_groups: all(), resources: all(), verbs: all(), ..Self::default() },
            Self { non_resource_urls: all(), verbs: all(), ..Self::default() },
        ]
    }

    /// Whether this rule allows what is asked.
    pub fn allows(&self, asked: &Attributes) -> bool {
        if !has(&self.verbs, &asked.verb) {
            return false;
        }
        if asked.resource.is_empty() {
            return self.non_resource_urls.iter().any(|pattern| path_matches(pattern, &asked.path));
        }
        let resource_matches = if asked.subresource.is_empty() {
            has(&self.resources, &asked.resource)
        } else {
            has_resource(&self.resources, &format!("{}/{}", asked.resource, asked.subresource))
        };
        resource_matches
            && has(&self.api_groups, &asked.group)
            && (self.resource_names.is_empty() || self.resource_names.contains(&asked.name))
    }

    /// Takes the rule apart into single powers.
    fn powers(&self) -> Vec<Power> {
        let mut powers = Vec::new();
        let names: Vec<Option<&String>> =
            if self.resource_names.is_empty() { vec![None] } else { self.resource_names.iter().map(Some).collect() };
        for verb in &self.verbs {
            for group in &self.api_groups {
                for resource in &self.resources {
                    powers.extend(names.iter().map(|name| Power::Resource {
                        group: group.clone(),
                        resource: resource.clone(),
                        name: name.cloned(),
                        verb: verb.clone(),
                    }));
                }
            }
            powers.extend(
                self.non_resource_urls.iter().map(|path| Power::Path { path: path.clone(), verb: verb.clone() }),
            );
        }
        powers
    }

    /// Whether this rule alone gives `power`.
    pub fn covers(&self, power: &Power) -> bool {
        match power {
            Power::Path { path, verb } => {
                has(&self.verbs, verb) && self.non_resource_urls.iter().any(|pattern| path_matches(pattern, path))
            }
            Power::Resource { group, resource, name, verb } => {
                has(&self.verbs, verb)
                    && has(&self.api_groups, group)
                    && has_resource(&self.resources, resource)
                    && (self.resource_names.is_empty()
                        || name.as_ref().is_some_and(|name| self.resource_names.contains(name)))
            }
        }
    }
}

/// The smallest thing that a rule gives. Wildcards stay: the power over `*` is covered only by `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Power {
    /// A verb on a resource, of one name or of all (`None`).
    Resource {
        /// API group.
        group: String,
        /// Plural, with subresource.
        resource: String,
        /// Name.
        name: Option<String>,
        /// Verb.
        verb: String,
    },
    /// A method on a non-resource path.
    Path {
        /// Path or pattern.
        path: String,
        /// Method in lower case.
        verb: String,
    },
}

/// The powers in `wanted` that none of `held` gives.
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Power> {
    let mut missing: Vec<Power> =
        wanted.iter().flat_map(Rule::powers).filter(|power| !held.iter().any(|rule| rule.covers(power))).collect();
    missing.sort();
    missing.dedup();
    missing
}

/// Describes powers as Kubernetes does, one line for each resource: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
pub fn describe(powers: &[Power]) -> String {
    let mut lines: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for power in powers {
        let (what, verb) = match power {
            Power::Path { path, verb } => (format!("NonResourceURLs:[{path:?}]"), verb),
            Power::Resource { group, resource, name, verb } => {
                let names = name.as_ref().map(|name| format!(", ResourceNames:[{name:?}]")).unwrap_or_default();
                (format!("APIGroups:[{group:?}], Resources:[{resource:?}]{names}"), verb)
            }
        };
        lines.entry(what).or_default().push(verb);
    }
    let quoted = |verbs: Vec<&str>| verbs.iter().map(|verb| format!("{verb:?}")).collect::<Vec<_>>().join(" ");
    lines
        .into_iter()
        .map(|(what, verbs)| format!("{{{what}, Verbs:[{}]}}", quoted(verbs)))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(value: serde_json::Value) -> Rule {
        serde_json::from_value(value).unwrap()
    }

    fn resource(verb: &str, group: &str, resource: &str, name: &str) -> Attributes {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes {
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn resources_match_as_in_kubernetes() {
        let one = rule(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "create"]}));
        let log = rule(json!({"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}));
        let scale = rule(json!({"apiGroups": ["*"], "resources": ["*/scale"], "verbs": ["*"]}));
        let all = rule(json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}));
        let named =
            rule(json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a", "b"], "verbs": ["*"]}));
        let empty = rule(json!({"apiGroups": null, "resources": [], "verbs": ["*"]}));
        for (rule, asked, expected) in [
            (&one, resource("get", "", "pods", "x"), true),
            (&one, resource("create", "", "pods", ""), true),
            (&one, resource("delete", "", "pods", "x"), false),
            (&one, resource("get", "apps", "pods", "x"), false),
            (&one, resource("get", "", "pods/log", "x"), false),
            (&log, resource("get", "", "pods/log", "x"), true),
            (&log, resource("get", "", "pods", "x"), false),
            (&scale, resource("patch", "apps", "deployments/scale", "x"), true),
            (&scale, resource("patch", "apps", "deployments/status", "x"), false),
            (&scale, resource("patch", "apps", "scale", "x"), false),
            (&scale, resource("patch", "apps", "deployments", "x"), false),
            (&all, resource("bind", "g", "anything/at", "x"), true),
            (&named, resource("get", "", "secrets", "a"), true),
            (&named, resource("get", "", "secrets", "c"), false),
            (&named, resource("list", "", "secrets", ""), false),
            (&named, resource("list", "", "secrets", "b"), true),
            (&named, resource("create", "", "secrets", ""), false),
            (&named, resource("deletecollection", "", "secrets", ""), false),
            (&empty, resource("get", "", "pods", ""), false),
        ] {
            assert_eq!(rule.allows(&asked), expected, "{rule:?} {asked:?}");
        }
    }

    #[test]
    fn paths_match_as_in_kubernetes() {
        let rule = rule(json!({"nonResourceURLs": ["/healthz", "/metrics/*", "/a*"], "verbs": ["get"]}));
        for (verb, path, expected) in [
            ("get", "/healthz", true),
            ("post", "/healthz", false),
            ("get", "/healthz/log", false),
            ("get", "/metrics/x/y", true),
            ("get", "/metrics", false),
            ("get", "/apis", true),
            ("get", "/b", false),
        ] {
            let asked = Attributes { verb: verb.into(), path: path.into(), ..Attributes::default() };
            assert_eq!(rule.allows(&asked), expected, "{verb} {path}");
        }
        let all = Rule {
            resources: vec!["*".into()],
            api_groups: vec!["*".into()],
            verbs: vec!["*".into()],
            ..Rule::default()
        };
        assert!(!all.allows(&Attributes { verb: "get".into(), path: "/metrics".into(), ..Attributes::default() }));
    }

    #[test]
    fn covers_power_by_power() {
        let held = [
            rule(json!({"apiGroups": [""], "resources": ["pods", "*/status"], "verbs": ["get", "list"]})),
            rule(json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["get"]})),
            rule(json!({"nonResourceURLs": ["/m/*"], "verbs": ["get"]})),
        ];
        for (wanted, covered) in [
            (json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}), true),
            (json!({"apiGroups": [""], "resources": ["pods", "things/status"], "verbs": ["list", "get"]}), true),
            (json!({"apiGroups": [""], "resources": ["pods"], "resourceNames": ["x"], "verbs": ["get"]}), true),
            (json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}), false),
            (json!({"apiGroups": ["*"], "resources": ["pods"], "verbs": ["get"]}), false),
            (json!({"apiGroups": [""], "resources": ["*"], "verbs": ["get"]}), false),
            (json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["get"]}), true),
            (
                json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a", "b"], "verbs": ["get"]}),
                false,
            ),
            (json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}), false),
            (json!({"nonResourceURLs": ["/m/x", "/m/*"], "verbs": ["get"]}), true),
            (json!({"nonResourceURLs": ["/m/*", "/*"], "verbs": ["get"]}), false),
        ] {
            assert_eq!(missing(&held, &[rule(wanted.clone())]).is_empty(), covered, "{wanted}");
        }
    }

    #[test]
    fn describes_what_is_missing() {
        let wanted = rule(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}));
        assert_eq!(describe(&missing(&[], &[wanted])), r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#);
    }
}
