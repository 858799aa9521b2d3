//! The authoriser against tables, and against an evaluation that reads every binding for every question.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{aggregate::effective_rules, index::GROUP, *};
use crate::objects::{memory::Memory, text};

fn user(name: &str, groups: &[&str]) -> User {
    User { name: name.into(), groups: groups.iter().map(|group| group.to_string()).collect(), ..User::default() }
}

fn asked(verb: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes {
        verb: verb.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    }
}

fn role(namespace: &str, name: &str, rules: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace}, "rules": rules})
}

fn binding(namespace: &str, name: &str, role_kind: &str, role: &str, subjects: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role},
        "subjects": subjects,
    })
}

fn with_defaults() -> (Arc<Memory>, Rbac) {
    let memory = Arc::new(Memory::default());
    for role in bootstrap::cluster_roles() {
        memory.put(GROUP, "clusterroles", role);
    }
    for binding in bootstrap::cluster_role_bindings() {
        memory.put(GROUP, "clusterrolebindings", binding);
    }
    let rbac = Rbac::new(memory.clone());
    (memory, rbac)
}

#[test]
fn defaults_allow_what_kubernetes_allows() {
    let (memory, rbac) = with_defaults();
    let editor = json!([{"kind": "ServiceAccount", "name": "bot"}]);
    memory.put(GROUP, "rolebindings", binding("team", "edit", "ClusterRole", "edit", editor));
    memory.put(
        GROUP,
        "rolebindings",
        binding("team", "admin", "ClusterRole", "admin", json!([{"kind": "User", "name": "ann"}])),
    );
    let anonymous = User::anonymous();
    let nobody = user("nobody", &["system:authenticated"]);
    let bot = user("system:serviceaccount:team:bot", &["system:authenticated"]);
    let ann = user("ann", &["system:authenticated"]);
    let root = user("root", &["system:masters"]);
    let group = |group: &str, mut attributes: Attributes| {
        attributes.group = group.into();
        attributes
    };
    let path = |path: &str| Attributes { verb: "get".into(), path: path.into(), ..Attributes::default() };
    let review = group("authorization.k8s.io", asked("create", "selfsubjectaccessreviews", "", ""));
    for (user, asked, expected) in [
        (&anonymous, path("/healthz"), true),
        (&anonymous, path("/readyz"), true),
        (&anonymous, path("/version"), true),
        (&anonymous, path("/apis"), false),
        (&anonymous, path("/metrics"), false),
        (&anonymous, review.clone(), false),
        (&nobody, path("/apis/apps/v1"), true),
        (&nobody, review, true),
        (&nobody, asked("get", "secrets", "team", "x"), false),
        (&bot, asked("create", "secrets", "team", ""), true),
        (&bot, asked("create", "secrets", "other", ""), false),
        (&bot, asked("list", "secrets", "", ""), false),
        (&bot, asked("get", "pods/log", "team", "x"), true),
        (&bot, group("roadstead.dev", asked("create", "webhookendpoints", "team", "")), true),
        (&bot, group("roadstead.dev", asked("update", "webhookendpoints/status", "team", "x")), false),
        (&bot, group(GROUP, asked("create", "roles", "team", "")), false),
        (&ann, group(GROUP, asked("create", "roles", "team", "")), true),
        (&ann, asked("delete", "namespaces", "team", "team"), false),
        (&root, asked("anything", "anything", "", ""), true),
    ] {
        assert_eq!(rbac.evaluate(user, &asked).allowed, expected, "{user:?} {asked:?}");
    }
}

#[test]
fn a_change_holds_for_the_next_request() {
    let (memory, rbac) = with_defaults();
    let bob = user("bob", &[]);
    let question = asked("get", "pods", "team", "x");
    assert!(!rbac.evaluate(&bob, &question).allowed);
    let subjects = json!([{"kind": "User", "name": "bob"}]);
    memory.put(GROUP, "rolebindings", binding("team", "b", "Role", "reader", subjects));
    assert!(!rbac.evaluate(&bob, &question).allowed, "the role is not there yet");
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    memory.put(GROUP, "roles", role("team", "reader", rules));
    let verdict = rbac.evaluate(&bob, &question);
    assert_eq!(verdict.reason, r#"RBAC: allowed by RoleBinding "b/team" of Role "reader" to User "bob""#);
    memory.remove(GROUP, "rolebindings", &roadstead_kubewire::Key::new("team", "b"));
    assert!(!rbac.evaluate(&bob, &question).allowed);
}

#[test]
fn nobody_grants_what_they_do_not_have() {
    let (memory, rbac) = with_defaults();
    let rule = |resource: &str, verbs: &[&str]| json!([{"apiGroups": [""], "resources": [resource], "verbs": verbs}]);
    let managing = |resource: &str, verb: &str, names: Value| json!({"apiGroups": [GROUP], "resources": [resource], "resourceNames": names, "verbs": [verb]});
    let grant = |name: &str, rules: Value| {
        memory.put(GROUP, "roles", role("team", name, rules));
        let subjects = json!([{"kind": "User", "name": name}]);
        memory.put(GROUP, "rolebindings", binding("team", name, "Role", name, subjects));
    };
    grant("reader", rule("pods", &["get", "list"]));
    grant("escalator", json!([managing("roles", "escalate", json!([]))]));
    grant("binder", json!([managing("clusterroles", "bind", json!(["view"]))]));
    memory.put(
        GROUP,
        "clusterrolebindings",
        binding("", "chief", "ClusterRole", "cluster-admin", json!([{"kind": "User", "name": "chief"}])),
    );
    let new_role = |rules: Value| role("team", "new", rules);
    let new_binding = |kind: &str, name: &str| binding("team", "new", kind, name, json!([]));
    let aggregating = json!({"metadata": {"name": "new"}, "aggregationRule": {"clusterRoleSelectors": [{}]}});
    for (name, plural, object, expected) in [
        ("reader", "roles", new_role(rule("pods", &["get"])), true),
        ("reader", "roles", new_role(rule("pods", &["get", "delete"])), false),
        ("reader", "roles", new_role(rule("secrets", &["get"])), false),
        ("reader", "clusterroles", role("", "new", rule("pods", &["get"])), false),
        ("reader", "rolebindings", new_binding("Role", "reader"), true),
        ("reader", "rolebindings", new_binding("Role", "escalator"), false),
        ("reader", "rolebindings", new_binding("ClusterRole", "view"), false),
        ("reader", "rolebindings", new_binding("Role", "not-there"), false),
        ("escalator", "roles", new_role(rule("secrets", &["*"])), true),
        ("escalator", "rolebindings", new_binding("Role", "reader"), false),
        ("binder", "rolebindings", new_binding("ClusterRole", "view"), true),
        ("binder", "rolebindings", new_binding("ClusterRole", "edit"), false),
        ("chief", "clusterroles", aggregating.clone(), true),
        ("reader", "clusterroles", aggregating, false),
        ("reader", "configmaps", json!({}), true),
    ] {
        let outcome = rbac.check_write(&user(name, &[]), plural, None, &object);
        assert_eq!(outcome.is_ok(), expected, "{name} {plural} {object}: {outcome:?}");
    }
    let denied = rbac.check_write(&user("reader", &["g"]), "roles", None, &new_role(rule("secrets", &["get"])));
    assert_eq!(
        denied.unwrap_err().message,
        "roles.rbac.authorization.k8s.io \"new\" is forbidden: user \"reader\" (groups=[\"g\"]) is attempting to grant \
         RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"
    );
    assert!(rbac.check_write(&User::system(), "roles", None, &new_role(rule("secrets", &["*"]))).is_ok());
    // Finalizers and owners may be taken off a role by somebody without its powers.
    let old = new_role(rule("secrets", &["*"]));
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!(["x"]);
    assert!(rbac.check_write(&user("reader", &[]), "roles", Some(&old), &new).is_ok());
    new["rules"] = rule("secrets", &["get"]);
    assert!(rbac.check_write(&user("reader", &[]), "roles", Some(&old), &new).is_err());
}

/// The same question answered without an index: every binding, every subject, every rule.
fn naive(memory: &Memory, user: &User, asked: &Attributes) -> bool {
    let cluster_roles = effective_rules(&memory.list(GROUP, "clusterroles", None));
    let mut bindings = memory.list(GROUP, "clusterrolebindings", None);
    if !asked.namespace.is_empty() {
        bindings.extend(memory.list(GROUP, "rolebindings", Some(&asked.namespace)));
    }
    bindings.iter().any(|binding| {
        let home = text(binding, "/metadata/namespace");
        let applies = binding["subjects"].as_array().into_iter().flatten().any(|subject| {
            let name = text(subject, "/name");
            match text(subject, "/kind") {
                "User" => user.name == name,
                "Group" => user.groups.iter().any(|group| group == name),
                "ServiceAccount" => {
                    let namespace = subject.get("namespace").and_then(Value::as_str).unwrap_or(home);
                    !namespace.is_empty() && user.name == format!("system:serviceaccount:{namespace}:{name}")
                }
                _ => false,
            }
        });
        let role = text(binding, "/roleRef/name");
        let rules = match text(binding, "/roleRef/kind") {
            "ClusterRole" => cluster_roles.get(role).cloned(),
            _ if home.is_empty() => None,
            _ => memory
                .get(GROUP, "roles", &roadstead_kubewire::Key::new(home, role))
                .map(|role| aggregate::stored_rules(&role)),
        };
        applies && rules.into_iter().flatten().any(|rule| rule.allows(asked))
    })
}

fn rules() -> impl Strategy<Value = Value> {
    let some = |items: &'static [&'static str]| proptest::sample::subsequence(items, 0..=2);
    let rule = (some(&["", "*", "apps"]), some(&["pods", "*", "*/log"]), some(&["get", "*", "list"]), some(&["x", "y"]))
        .prop_map(|(groups, resources, verbs, names)| {
            json!({"apiGroups": groups, "resources": resources, "verbs": verbs, "resourceNames": names})
        });
    proptest::collection::vec(rule, 0..3).prop_map(Value::from)
}

fn subjects() -> impl Strategy<Value = Value> {
    let subject = (0..4, prop_oneof![Just("ann"), Just("bob")]).prop_map(|(kind, name)| match kind {
        0 => json!({"kind": "User", "name": name}),
        1 => json!({"kind": "Group", "name": name}),
        2 => json!({"kind": "ServiceAccount", "name": name}),
        _ => json!({"kind": "ServiceAccount", "name": name, "namespace": "a"}),
    });
    proptest::collection::vec(subject, 0..3).prop_map(Value::from)
}

fn names() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("r1"), Just("r2"), Just("r3")]
}

fn namespaces() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b")]
}

fn questions() -> impl Strategy<Value = (User, Attributes)> {
    let users =
        prop_oneof![Just("ann"), Just("bob"), Just("system:serviceaccount:a:ann"), Just("system:serviceaccount:b:bob")];
    let groups = proptest::sample::subsequence(&["ann", "bob", "c"], 0..=2);
    let what = (
        prop_oneof![Just("get"), Just("list"), Just("delete")],
        prop_oneof![Just("pods"), Just("pods/log"), Just("jobs")],
    );
    let place = (
        prop_oneof![Just(""), Just("a"), Just("b")],
        prop_oneof![Just(""), Just("x")],
        prop_oneof![Just(""), Just("apps")],
    );
    (users, groups, what, place).prop_map(|(name, groups, (verb, resource), (namespace, object, group))| {
        let mut attributes = asked(verb, resource, namespace, object);
        attributes.group = group.into();
        (user(name, &groups), attributes)
    })
}

proptest! {
    #[test]
    fn agrees_with_the_naive_evaluation(
        cluster_roles in proptest::collection::vec((names(), rules(), any::<bool>(), any::<bool>()), 0..4),
        roles in proptest::collection::vec((namespaces(), names(), rules()), 0..4),
        bindings in proptest::collection::vec((any::<bool>(), namespaces(), names(), any::<bool>(), subjects()), 0..8),
        questions in proptest::collection::vec(questions(), 1..20),
    ) {
        let memory = Arc::new(Memory::default());
        let rbac = Rbac::new(memory.clone());
        for (name, rules, labelled, aggregated) in cluster_roles {
            let mut role = role("", name, rules);
            if labelled {
                role["metadata"]["labels"] = json!({"join": "yes"});
            }
            if aggregated {
                role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"join": "yes"}}]});
            }
            memory.put(GROUP, "clusterroles", role);
        }
        for (namespace, name, rules) in roles {
            memory.put(GROUP, "roles", role(namespace, name, rules));
        }
        for (number, (cluster, namespace, name, to_cluster_role, subjects)) in bindings.into_iter().enumerate() {
            let kind = if to_cluster_role { "ClusterRole" } else { "Role" };
            let own_name = format!("b{number}");
            if cluster {
                memory.put(GROUP, "clusterrolebindings", binding("", &own_name, kind, name, subjects));
            } else {
                memory.put(GROUP, "rolebindings", binding(namespace, &own_name, kind, name, subjects));
            }
        }
        for (user, attributes) in questions {
            let expected = naive(&memory, &user, &attributes);
            prop_assert_eq!(rbac.evaluate(&user, &attributes).allowed, expected, "{:?} {:?}", user, attributes);
        }
    }
}
