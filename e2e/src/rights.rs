//! The rights that hub and agent run with on a real cluster, and no others: those that the Helm chart grants.

use k8s_openapi::api::rbac::v1::PolicyRule;

/// API group, resources, verbs, names (none: all).
type Rule = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

/// The hub, in each namespace that it watches.
pub const HUB: &[Rule] = &[
    ("roadstead.dev", &["webhookendpoints", "subscribers"], &["get", "list", "watch"], &[]),
    ("roadstead.dev", &["webhookendpoints/status", "subscribers/status"], &["patch"], &[]),
    ("roadstead.dev", &["registrywebhooks"], &["get", "list", "watch"], &[]),
    ("roadstead.dev", &["registrywebhooks/status"], &["patch"], &[]),
    ("", &["secrets"], &["get", "list", "watch"], &[]),
    ("", &["events"], &["create", "patch"], &[]),
];

/// The hub, in its system namespace.
pub const HUB_SYSTEM: &[Rule] = &[("", &["configmaps"], &["create", "patch"], &["roadstead-hub"])];

/// The agent, in each namespace that it watches.
pub const AGENT: &[Rule] = &[
    ("roadstead.dev", &["triggers", "deadletters"], &["get", "list", "watch"], &[]),
    ("roadstead.dev", &["triggers/status", "deadletters/status"], &["patch"], &[]),
    ("roadstead.dev", &["deadletters"], &["create", "delete"], &[]),
    ("", &["secrets"], &["get"], &[]),
    ("", &["events"], &["create", "patch"], &[]),
    ("", &["serviceaccounts"], &["impersonate"], &[]),
];

/// As Kubernetes' rules.
pub fn rules(table: &[Rule]) -> Vec<PolicyRule> {
    let owned = |list: &[&str]| list.iter().map(|item| item.to_string()).collect::<Vec<_>>();
    let rule = |(group, resources, verbs, names): &Rule| PolicyRule {
        api_groups: Some(vec![group.to_string()]),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        resource_names: Some(owned(names)).filter(|names| !names.is_empty()),
        ..PolicyRule::default()
    };
    table.iter().map(rule).collect()
}
