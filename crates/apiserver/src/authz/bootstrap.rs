//! The roles and bindings that exist from the start, and how they are kept.
//!
//! Out: ClusterRoles and ClusterRoleBindings under Kubernetes' own names (`cluster-admin`, `admin`, `edit`, `view`,
//! `system:discovery`, ...), with rules for the kinds of a Kubernetes that Roadstead's users meet, and Roadstead's own kinds
//! joined to `view` and `edit` by aggregation. [`reconciled`] decides what must change in a stored one: what is missing is
//! added, what people added stays, and the annotation `rbac.authorization.kubernetes.io/autoupdate: "false"` keeps us out.
//! [`stale_aggregates`] refreshes the copy of the rules that aggregated roles show to people.

use std::sync::Arc;

use roadstead_api::names;
use roadstead_kubewire::auth::{AUTHENTICATED, UNAUTHENTICATED};
use serde_json::{Value, json};

use super::{
    aggregate::{effective_rules, stored_rules},
    index::{GROUP, MASTERS},
    rule::missing,
};
use crate::objects::text;

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const READ_WRITE: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Annotation that keeps a default role or binding as it is, set to `false`.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

const HEALTH: &[&str] = &["/livez", "/readyz", "/healthz", "/version", "/version/"];
const DISCOVERY: &[&str] = &["/openapi", "/openapi/*", "/api", "/api/*", "/apis", "/apis/*"];

/// (API group, resources, verbs)
type Rules = &'static [(&'static str, &'static [&'static str], &'static [&'static str])];

const VIEW: Rules = &[
    (
        "",
        &[
            "pods",
            "pods/log",
            "pods/status",
            "services",
            "services/status",
            "endpoints",
            "configmaps",
            "events",
            "serviceaccounts",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "namespaces",
            "namespaces/status",
            "limitranges",
            "resourcequotas",
            "resourcequotas/status",
        ],
        READ,
    ),
    ("discovery.k8s.io", &["endpointslices"], READ),
    (
        "apps",
        &[
            "controllerrevisions",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
        READ,
    ),
    ("autoscaling", &["horizontalpodautoscalers", "horizontalpodautoscalers/status"], READ),
    ("batch", &["jobs", "jobs/status", "cronjobs", "cronjobs/status"], READ),
    ("networking.k8s.io", &["ingresses", "ingresses/status", "networkpolicies"], READ),
    ("policy", &["poddisruptionbudgets", "poddisruptionbudgets/status"], READ),
];

const EDIT: Rules = &[
    ("", &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"], READ),
    ("", &["serviceaccounts"], &["impersonate"]),
    (
        "",
        &[
            "pods",
            "pods/attach",
            "pods/exec",
            "pods/portforward",
            "pods/proxy",
            "services",
            "services/proxy",
            "configmaps",
            "secrets",
            "events",
            "serviceaccounts",
            "persistentvolumeclaims",
        ],
        WRITE,
    ),
    ("", &["pods/eviction", "serviceaccounts/token"], &["create"]),
    (
        "apps",
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
        WRITE,
    ),
    ("autoscaling", &["horizontalpodautoscalers"], WRITE),
    ("batch", &["jobs", "cronjobs"], WRITE),
    ("networking.k8s.io", &["ingresses", "networkpolicies"], WRITE),
    ("policy", &["poddisruptionbudgets"], WRITE),
    ("coordination.k8s.io", &["leases"], READ_WRITE),
];

const ADMIN: Rules = &[
    ("authorization.k8s.io", &["localsubjectaccessreviews"], &["create"]),
    (GROUP, &["roles", "rolebindings"], READ_WRITE),
];

const BASIC: Rules = &[
    ("authorization.k8s.io", &["selfsubjectaccessreviews", "selfsubjectrulesreviews"], &["create"]),
    ("authentication.k8s.io", &["selfsubjectreviews"], &["create"]),
];

const DELEGATOR: Rules = &[
    ("authentication.k8s.io", &["tokenreviews"], &["create"]),
    ("authorization.k8s.io", &["subjectaccessreviews"], &["create"]),
];

/// Every kind of Roadstead's own groups, present and future: subresources have to be named, so status stays with the
/// controllers.
const VIEW_OWN: Rules = &[(names::GROUP, &["*"], READ), (names::LOG_GROUP, &["*"], READ)];
const EDIT_OWN: Rules =
    &[(names::GROUP, &["webhookendpoints", "subscribers", "triggers", "deadletters", "registrywebhooks"], WRITE)];

fn aggregate_label(to: &str) -> String {
    format!("{GROUP}/aggregate-to-{to}")
}

fn resource_rules(rules: Rules) -> Vec<Value> {
    let rule = |(group, resources, verbs): &(&str, &[&str], &[&str])| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    rules.iter().map(rule).collect()
}

/// A ClusterRole; `joins` names the role that it is aggregated to.
fn role(name: &str, joins: Option<&str>, rules: Vec<Value>) -> Value {
    let mut role = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {AUTOUPDATE: "true"},
        },
        "rules": rules,
    });
    if let Some(joins) = joins {
        role["metadata"]["labels"][aggregate_label(joins)] = json!("true");
    }
    role
}

fn aggregate(name: &str, joins: Option<&str>) -> Value {
    let mut role = role(name, joins, Vec::new());
    let selector = json!({"matchLabels": {aggregate_label(name): "true"}});
    role["aggregationRule"] = json!({"clusterRoleSelectors": [selector]});
    role
}

fn paths(paths: &[&[&str]]) -> Vec<Value> {
    vec![json!({"nonResourceURLs": paths.concat(), "verbs": ["get"]})]
}

/// The default ClusterRoles.
pub fn cluster_roles() -> Vec<Value> {
    let everything = vec![
        json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}),
        json!({"nonResourceURLs": ["*"], "verbs": ["*"]}),
    ];
    let monitoring: &[&str] = &["/metrics", "/livez", "/livez/*", "/readyz", "/readyz/*", "/healthz", "/healthz/*"];
    vec![
        role("cluster-admin", None, everything),
        aggregate("admin", None),
        aggregate("edit", Some("admin")),
        aggregate("view", Some("edit")),
        role("system:aggregate-to-admin", Some("admin"), resource_rules(ADMIN)),
        role("system:aggregate-to-edit", Some("edit"), resource_rules(EDIT)),
        role("system:aggregate-to-view", Some("view"), resource_rules(VIEW)),
        role("roadstead:aggregate-to-edit", Some("edit"), resource_rules(EDIT_OWN)),
        role("roadstead:aggregate-to-view", Some("view"), resource_rules(VIEW_OWN)),
        role("system:discovery", None, paths(&[HEALTH, DISCOVERY])),
        role("system:public-info-viewer", None, paths(&[HEALTH])),
        role("system:basic-user", None, resource_rules(BASIC)),
        role("system:auth-delegator", None, resource_rules(DELEGATOR)),
        role("system:monitoring", None, paths(&[monitoring])),
    ]
}

/// The default ClusterRoleBindings: each binds the role of its own name.
pub fn cluster_role_bindings() -> Vec<Value> {
    let binding = |(name, groups): (&str, &[&str])| {
        let subjects = groups.iter().map(|group| json!({"apiGroup": GROUP, "kind": "Group", "name": group}));
        let mut binding = role(name, None, Vec::new());
        binding["kind"] = json!("ClusterRoleBinding");
        binding["roleRef"] = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": name});
        binding["subjects"] = subjects.collect();
        if let Some(fields) = binding.as_object_mut() {
            fields.remove("rules");
        }
        binding
    };
    let bindings: [(&str, &[&str]); 5] = [
        ("cluster-admin", &[MASTERS]),
        ("system:discovery", &[AUTHENTICATED]),
        ("system:basic-user", &[AUTHENTICATED]),
        ("system:public-info-viewer", &[AUTHENTICATED, UNAUTHENTICATED]),
        ("system:monitoring", &["system:monitoring"]),
    ];
    bindings.into_iter().map(binding).collect()
}

/// What a stored default role or binding must become so that nothing of `wanted` is missing; `None`: it is good, or its
/// owner keeps us out. A binding to another role is left alone, since its role cannot be changed.
pub fn reconciled(stored: &Value, wanted: &Value) -> Option<Value> {
    let autoupdate = stored.pointer("/metadata/annotations").and_then(|annotations| annotations.get(AUTOUPDATE));
    if autoupdate.and_then(Value::as_str) == Some("false") || stored.get("roleRef") != wanted.get("roleRef") {
        return None;
    }
    let mut next = stored.clone();
    for field in ["labels", "annotations"] {
        let wanted = wanted["metadata"][field].as_object().into_iter().flatten();
        for (key, value) in wanted.filter(|(key, _)| stored["metadata"][field].get(key).is_none()) {
            next["metadata"][field][key] = value.clone();
        }
    }
    if let Some(aggregation) = wanted.get("aggregationRule") {
        append_missing(&mut next, aggregation, &["aggregationRule", "clusterRoleSelectors"], "clusterRoleSelectors");
    } else if !missing(&stored_rules(stored), &stored_rules(wanted)).is_empty() {
        append_missing(&mut next, wanted, &["rules"], "rules");
    }
    if wanted.get("subjects").is_some() {
        append_missing(&mut next, wanted, &["subjects"], "subjects");
    }
    (next != *stored).then_some(next)
}

/// Appends the items of `wanted[field]` that the array at `path` in `object` lacks.
fn append_missing(object: &mut Value, wanted: &Value, path: &[&str], field: &str) {
    let slot = path.iter().fold(object, |value, key| &mut value[*key]);
    let mut items = slot.as_array().cloned().unwrap_or_default();
    let wanted = wanted[field].as_array().into_iter().flatten();
    let new: Vec<Value> = wanted.filter(|item| !items.contains(item)).cloned().collect();
    if !new.is_empty() {
        items.extend(new);
        *slot = Value::Array(items);
    }
}

/// The aggregated ClusterRoles whose stored rules are not what they aggregate to, as they should be.
pub fn stale_aggregates(roles: &[Arc<Value>]) -> Vec<Value> {
    let mut rules = effective_rules(roles);
    let aggregated = roles.iter().filter(|role| role.get("aggregationRule").is_some_and(|rule| !rule.is_null()));
    aggregated
        .filter_map(|role| {
            let rules = rules.remove(text(role, "/metadata/name"))?;
            (stored_rules(role) != rules).then(|| {
                let mut role = (**role).clone();
                role["rules"] = json!(rules);
                role
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_wanted_stays() {
        for wanted in cluster_roles().into_iter().chain(cluster_role_bindings()) {
            assert_eq!(reconciled(&wanted, &wanted), None, "{wanted}");
        }
    }

    #[test]
    fn what_is_missing_is_added_and_what_people_added_stays() {
        let wanted = cluster_roles().into_iter().find(|role| role["metadata"]["name"] == "system:basic-user").unwrap();
        let mut stored = wanted.clone();
        let own = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
        stored["rules"] = json!([own]);
        stored["metadata"]["labels"] = json!({"team": "a"});
        let next = reconciled(&stored, &wanted).unwrap();
        assert_eq!(next["rules"].as_array().unwrap().len(), 3);
        assert_eq!(next["rules"][0], own);
        assert_eq!(next["metadata"]["labels"]["team"], "a");
        assert_eq!(reconciled(&next, &wanted), None);
        stored["metadata"]["annotations"][AUTOUPDATE] = json!("false");
        assert_eq!(reconciled(&stored, &wanted), None);
    }

    #[test]
    fn a_binding_gets_its_subjects_back_but_not_another_role() {
        let wanted = cluster_role_bindings().remove(0);
        let mut stored = wanted.clone();
        stored["subjects"] = Value::Null;
        assert_eq!(reconciled(&stored, &wanted).unwrap()["subjects"], wanted["subjects"]);
        stored["roleRef"]["name"] = json!("view");
        assert_eq!(reconciled(&stored, &wanted), None);
    }

    #[test]
    fn aggregates_show_what_they_give() {
        let roles: Vec<Arc<Value>> = cluster_roles().into_iter().map(Arc::new).collect();
        let fresh = stale_aggregates(&roles);
        assert_eq!(fresh.len(), 3);
        assert!(fresh.iter().all(|role| !role["rules"].as_array().unwrap().is_empty()));
        let merged: Vec<Arc<Value>> = roles
            .iter()
            .map(|role| {
                let same = |new: &&Value| new["metadata"]["name"] == role["metadata"]["name"];
                fresh.iter().find(same).map_or(role.clone(), |role| Arc::new(role.clone()))
            })
            .collect();
        assert_eq!(stale_aggregates(&merged), Vec::<Value>::new());
    }
}
