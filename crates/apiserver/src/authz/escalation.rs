//! Nobody grants what they do not have.
//!
//! In: who writes a Role, ClusterRole or binding, its old and new content. Out: nothing, or 403. A role may be written by
//! who holds all its rules, or has the verb `escalate` on it; a binding by who holds all rules of the role it refers to, or
//! has `bind` on that role. An aggregation can gather anything, so it needs everything. Called by whoever stores these
//! kinds, between defaulting and the write. Members of `system:masters` may.
//! Source: Kubernetes documentation, "Using RBAC", privilege escalation prevention and bootstrapping.

use roadstead_kubewire::{ApiError, ApiResult, Attributes, User};
use serde_json::Value;

use super::{
    Rbac,
    aggregate::stored_rules,
    index::GROUP,
    is_master,
    rule::{Rule, describe, missing},
};
use crate::objects::text;

impl Rbac {
    /// Checks the write of an object of `plural` (`roles`, `clusterroles`, `rolebindings`, `clusterrolebindings`; others
    /// pass). `old` is `None` for a new object. Errors: 403.
    pub fn check_write(&self, user: &User, plural: &str, old: Option<&Value>, new: &Value) -> ApiResult<()> {
        if is_master(user) || old.is_some_and(|old| only_collector_fields_differ(old, new)) {
            return Ok(());
        }
        match plural {
            "roles" | "clusterroles" => self.check_role(user, plural, old, new),
            "rolebindings" | "clusterrolebindings" => self.check_binding(user, plural, new),
            _ => Ok(()),
        }
    }

    fn check_role(&self, user: &User, plural: &str, old: Option<&Value>, new: &Value) -> ApiResult<()> {
        let namespace = text(new, "/metadata/namespace");
        // A request to create carries no name in its path, so `escalate` limited to names does not reach it.
        let name = if old.is_some() { text(new, "/metadata/name") } else { "" };
        if self.evaluate(user, &ask("escalate", plural, namespace, name)).allowed {
            return Ok(());
        }
        self.require(user, plural, new, &stored_rules(new))?;
        let aggregates = |role: &Value| {
            role.pointer("/aggregationRule/clusterRoleSelectors")
                .and_then(Value::as_array)
                .is_some_and(|selectors| !selectors.is_empty())
        };
        if (aggregates(new) || old.is_some_and(aggregates)) && !self.holds_everything(user) {
            let name = text(new, "/metadata/name");
            return Err(forbidden(plural, name, "must have cluster-admin privileges to use the aggregationRule"));
        }
        Ok(())
    }

    fn check_binding(&self, user: &User, plural: &str, new: &Value) -> ApiResult<()> {
        let namespace = text(new, "/metadata/namespace");
        let role_plural = match text(new, "/roleRef/kind") {
            "ClusterRole" => "clusterroles",
            _ => "roles",
        };
        let role_name = text(new, "/roleRef/name");
        if self.evaluate(user, &ask("bind", role_plural, namespace, role_name)).allowed {
            return Ok(());
        }
        // Binding what does not exist yet would grant whatever it becomes.
        let rules = self
            .index()
            .role_rules(&new["roleRef"], namespace)
            .ok_or_else(|| ApiError::not_found(GROUP, role_plural, role_name))?;
        self.require(user, plural, new, &rules)
    }

    fn require(&self, user: &User, plural: &str, object: &Value, wanted: &[Rule]) -> ApiResult<()> {
        let missing = missing(&self.rules_of(user, text(object, "/metadata/namespace")), wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let why = format!(
            "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            user.groups,
            describe(&missing)
        );
        Err(forbidden(plural, text(object, "/metadata/name"), &why))
    }

    fn holds_everything(&self, user: &User) -> bool {
        missing(&self.rules_of(user, ""), &Rule::everything()).is_empty()
    }
}

fn ask(verb: &str, plural: &str, namespace: &str, name: &str) -> Attributes {
    Attributes {
        verb: verb.into(),
        group: GROUP.into(),
        resource: plural.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    }
}

fn forbidden(plural: &str, name: &str, why: &str) -> ApiError {
    ApiError::forbidden(format!("{plural}.{GROUP} {name:?} is forbidden: {why}"))
}

/// Whether nothing but owner references and finalizers (and the store's own bookkeeping) changes: deleting a role must not
/// need its powers.
fn only_collector_fields_differ(old: &Value, new: &Value) -> bool {
    let stripped = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion", "generation"] {
                metadata.remove(field);
            }
        }
        object
    };
    stripped(old) == stripped(new)
}
