//! What a namespace that is being deleted needs next: a pure function of the namespace and of what is in it.
//!
//! Its life: `Active`; deleted, it becomes `Terminating` and takes in nothing new; its objects are deleted, each with its own
//! finalizers respected; conditions tell what is still there; when nothing is, the finalizer `kubernetes` in
//! `spec.finalizers` is removed, and with it the namespace. Names are Kubernetes' own (core/v1 Namespace).

use std::{collections::BTreeMap, sync::Arc};

use roadstead_kubewire::Key;
use serde_json::{Value, json};

use crate::objects::{text, texts};

/// The finalizer in `spec.finalizers` that stands for "its objects have to go first".
pub const FINALIZER: &str = "kubernetes";

/// An object in the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Resource, as the store names it, e.g. `secrets` or `apps.example.com`.
    pub resource: Arc<str>,
    /// Which object.
    pub key: Key,
    /// Its uid.
    pub uid: String,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its finalizers.
    pub finalizers: Vec<String>,
}

/// One step; harmless to repeat.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Delete this object.
    Delete(Content),
    /// Write this status.
    Status(Value),
    /// Write this namespace, without the finalizer.
    Finalize(Value),
}

/// The next steps for `namespace`, at `now` (RFC 3339); none if it is not being deleted, or only waits.
pub fn plan(namespace: &Value, contents: Vec<Content>, now: &str) -> Vec<Step> {
    if !is_terminating(namespace) || !texts(namespace, "/spec/finalizers").any(|finalizer| finalizer == FINALIZER) {
        return Vec::new();
    }
    let status = status(namespace, &contents, now);
    if contents.is_empty() {
        let mut next = namespace.clone();
        let others: Vec<&str> = texts(namespace, "/spec/finalizers").filter(|name| *name != FINALIZER).collect();
        next["spec"]["finalizers"] = json!(others);
        next["status"] = status;
        return vec![Step::Finalize(next)];
    }
    let changed = namespace.get("status") != Some(&status);
    let told = changed.then_some(Step::Status(status));
    let deletes = contents.into_iter().filter(|content| !content.deleting).map(Step::Delete);
    deletes.chain(told).collect()
}

/// Whether a namespace is being deleted.
pub fn is_terminating(namespace: &Value) -> bool {
    !text(namespace, "/metadata/deletionTimestamp").is_empty()
}

fn status(namespace: &Value, contents: &[Content], now: &str) -> Value {
    let mut resources: BTreeMap<&str, usize> = BTreeMap::new();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for content in contents {
        *resources.entry(&content.resource).or_default() += 1;
        for finalizer in &content.finalizers {
            *finalizers.entry(finalizer).or_default() += 1;
        }
    }
    let list = |items: &BTreeMap<&str, usize>, verb: &str| {
        let texts = items.iter().map(|(name, count)| format!("{name} {verb} {count} resource instances"));
        texts.collect::<Vec<_>>().join(", ")
    };
    let remaining = match resources.is_empty() {
        true => (false, "ContentRemoved", "All content successfully removed".to_string()),
        false => (true, "SomeResourcesRemain", format!("Some resources are remaining: {}", list(&resources, "has"))),
    };
    let held = match finalizers.is_empty() {
        true => (false, "ContentHasNoFinalizers", "All content-preserving finalizers finished".to_string()),
        false => (
            true,
            "SomeFinalizersRemain",
            format!("Some content in the namespace has finalizers remaining: {}", list(&finalizers, "in")),
        ),
    };
    let before = namespace.pointer("/status/conditions").and_then(Value::as_array);
    let condition = |kind: &str, (holds, reason, message): (bool, &str, String)| {
        let status = if holds { "True" } else { "False" };
        let same = before.into_iter().flatten().find(|old| old["type"] == kind && old["status"] == status);
        let since = same.map_or(now, |old| text(old, "/lastTransitionTime"));
        json!({"type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message})
    };
    json!({
        "phase": "Terminating",
        "conditions": [
            condition("NamespaceContentRemaining", remaining),
            condition("NamespaceFinalizersRemaining", held),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(deleted: bool) -> Value {
        let mut namespace = json!({"metadata": {"name": "team"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        if deleted {
            namespace["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        namespace
    }

    fn content(name: &str, deleting: bool, finalizers: &[&str]) -> Content {
        Content {
            resource: "secrets".into(),
            key: Key::new("team", name),
            uid: name.into(),
            deleting,
            finalizers: finalizers.iter().map(|name| name.to_string()).collect(),
        }
    }

    #[test]
    fn an_active_namespace_is_left_alone() {
        assert_eq!(plan(&namespace(false), vec![content("a", false, &[])], "t"), []);
    }

    #[test]
    fn contents_go_first_and_what_remains_is_told() {
        let all = vec![content("a", false, &[]), content("b", true, &["example.com/hold"])];
        let steps = plan(&namespace(true), all.clone(), "t1");
        let [Step::Delete(first), Step::Status(status)] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!(first.key.name, "a");
        assert_eq!(status["phase"], "Terminating");
        assert_eq!(
            status["conditions"][0]["message"],
            "Some resources are remaining: secrets has 2 resource instances"
        );
        assert_eq!(
            status["conditions"][1]["message"],
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        );
        // Told once, and not again with another time.
        let mut told = namespace(true);
        told["status"] = status.clone();
        assert_eq!(plan(&told, all, "t2"), [Step::Delete(content("a", false, &[]))]);
        let steps = plan(&told, vec![content("b", true, &[])], "t2");
        let [Step::Status(status)] = &steps[..] else { panic!("{steps:?}") };
        let since: Vec<&str> =
            [0, 1].into_iter().map(|at| text(&status["conditions"][at], "/lastTransitionTime")).collect();
        assert_eq!(since, ["t1", "t2"]);
    }

    #[test]
    fn an_empty_one_loses_our_finalizer_alone() {
        let mut held = namespace(true);
        held["spec"]["finalizers"] = json!(["kubernetes", "example.com/backup"]);
        let steps = plan(&held, vec![], "t");
        let [Step::Finalize(next)] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!(next["spec"]["finalizers"], json!(["example.com/backup"]));
        assert_eq!(plan(next, vec![], "t"), [], "the rest is not ours to remove");
    }
}
