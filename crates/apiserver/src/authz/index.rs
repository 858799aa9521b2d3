//! Who has which rules: bindings turned inside out, so that a request looks up its user and groups and nothing else.
//!
//! In: the four RBAC kinds. Out: for the whole cluster and for each namespace, the rules of each user and each group. A
//! service account is a user (`system:serviceaccount:<namespace>:<name>`). A binding to a role that does not exist, or
//! that cannot be read, gives nothing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use roadstead_kubewire::{Attributes, Key, User};
use serde_json::Value;

use super::{
    aggregate::{effective_rules, stored_rules},
    rule::Rule,
};
use crate::objects::{Objects, text};

/// API group of the RBAC kinds.
pub const GROUP: &str = "rbac.authorization.k8s.io";
/// Members of this group may do everything, whatever the roles say.
pub const MASTERS: &str = "system:masters";

/// Plurals of the RBAC kinds.
const KINDS: [&str; 4] = ["clusterroles", "clusterrolebindings", "roles", "rolebindings"];

/// What one binding gives to one subject.
struct Grant {
    rules: Arc<[Rule]>,
    /// Which binding, role and subject, for access reviews.
    source: String,
}

/// Grants by user and by group.
#[derive(Default)]
struct Grants {
    users: HashMap<String, Vec<Arc<Grant>>>,
    groups: HashMap<String, Vec<Arc<Grant>>>,
}

impl Grants {
    fn of<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a Arc<Grant>> {
        let groups = user.groups.iter().filter_map(|group| self.groups.get(group));
        self.users.get(&user.name).into_iter().chain(groups).flatten()
    }

    /// Gives `rules` to each subject of `binding`.
    fn bind(&mut self, binding: &Value, rules: &Arc<[Rule]>) {
        let home = text(binding, "/metadata/namespace");
        for subject in binding.get("subjects").and_then(Value::as_array).into_iter().flatten() {
            let name = text(subject, "/name");
            let (holders, name) = match text(subject, "/kind") {
                "User" => (&mut self.users, name.to_string()),
                "Group" => (&mut self.groups, name.to_string()),
                "ServiceAccount" => {
                    let namespace = Some(text(subject, "/namespace")).filter(|n| !n.is_empty()).unwrap_or(home);
                    (&mut self.users, service_account_user(namespace, name))
                }
                _ => continue,
            };
            let source = format!(
                "{} {:?} of {} {:?} to {} {:?}",
                if home.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" },
                [text(binding, "/metadata/name"), home].join("/").trim_end_matches('/'),
                text(binding, "/roleRef/kind"),
                text(binding, "/roleRef/name"),
                text(subject, "/kind"),
                text(subject, "/name"),
            );
            holders.entry(name).or_default().push(Arc::new(Grant { rules: rules.clone(), source }));
        }
    }
}

/// The user name of a service account.
pub fn service_account_user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// Versions of the RBAC kinds, to know whether an index is still good.
pub fn versions(objects: &dyn Objects) -> [u64; 4] {
    KINDS.map(|plural| objects.version(GROUP, plural))
}

/// An immutable index over one state of the RBAC kinds.
pub struct Index {
    /// What it was built from.
    pub versions: [u64; 4],
    cluster: Grants,
    namespaces: HashMap<String, Grants>,
    cluster_roles: BTreeMap<String, Arc<[Rule]>>,
    roles: HashMap<Key, Arc<[Rule]>>,
}

impl Index {
    /// Reads the RBAC kinds.
    pub fn build(objects: &dyn Objects) -> Self {
        // Versions first: a change while reading makes the index look older than it is, never newer.
        let versions = versions(objects);
        let [cluster_roles, cluster_bindings, roles, bindings] = KINDS.map(|plural| objects.list(GROUP, plural, None));
        let cluster_roles = effective_rules(&cluster_roles).into_iter().map(|(name, rules)| (name, rules.into()));
        let role_key = |role: &Value| Key::new(text(role, "/metadata/namespace"), text(role, "/metadata/name"));
        let mut index = Self {
            versions,
            cluster: Grants::default(),
            namespaces: HashMap::new(),
            cluster_roles: cluster_roles.collect(),
            roles: roles.iter().map(|role| (role_key(role), stored_rules(role).into())).collect(),
        };
        for binding in cluster_bindings {
            if let Some(rules) = index.role_rules(&binding["roleRef"], "") {
                index.cluster.bind(&binding, &rules);
            }
        }
        for binding in bindings {
            let namespace = text(&binding, "/metadata/namespace");
            if let Some(rules) = index.role_rules(&binding["roleRef"], namespace) {
                index.namespaces.entry(namespace.into()).or_default().bind(&binding, &rules);
            }
        }
        index
    }

    /// The rules of the role that a binding in `namespace` (empty: a ClusterRoleBinding) refers to.
    pub fn role_rules(&self, role_ref: &Value, namespace: &str) -> Option<Arc<[Rule]>> {
        let name = text(role_ref, "/name");
        match text(role_ref, "/kind") {
            "ClusterRole" => self.cluster_roles.get(name).cloned(),
            "Role" if !namespace.is_empty() => self.roles.get(&Key::new(namespace, name)).cloned(),
            _ => None,
        }
    }

    fn grants<'a>(&'a self, user: &'a User, namespace: &str) -> impl Iterator<Item = &'a Arc<Grant>> {
        let local = self.namespaces.get(namespace).into_iter().flat_map(|grants| grants.of(user));
        self.cluster.of(user).chain(local)
    }

    /// Which binding allows what is asked, if one does.
    pub fn allowed_by<'a>(&'a self, user: &'a User, asked: &Attributes) -> Option<&'a str> {
        self.grants(user, &asked.namespace)
            .find(|grant| grant.rules.iter().any(|rule| rule.allows(asked)))
            .map(|grant| grant.source.as_str())
    }

    /// All rules that hold for `user` in `namespace` (empty: cluster-wide ones only).
    pub fn rules_of(&self, user: &User, namespace: &str) -> Vec<Rule> {
        self.grants(user, namespace).flat_map(|grant| grant.rules.iter().cloned()).collect()
    }
}
