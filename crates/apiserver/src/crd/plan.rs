//! Which CRDs are served, and what each one's status should say: a pure decision over all of them.
//!
//! Names are first come, first served within a group: a CRD that is established keeps its names; among the others the older
//! one wins. Once established, a CRD stays so.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use crate::{
    objects::{text, texts},
    registry::meta,
};

/// Names that something already serves: group, then plural, singular or short name, or kind or list kind.
pub type Taken = BTreeSet<(String, String)>;

/// What is decided about one CRD.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// Whether its resources are served.
    pub served: bool,
    /// What its status should be, where that is not what it is.
    pub status: Option<Value>,
}

/// Decides about all CRDs. `taken` are the names of what is not defined by CRDs; `now` is an RFC 3339 time.
pub fn plan(crds: &[Arc<Value>], mut taken: Taken, now: &str) -> Vec<Verdict> {
    let mut order: Vec<&Arc<Value>> = crds.iter().collect();
    let age = |crd: &Value| {
        (!established(crd), meta::text(crd, "creationTimestamp").to_string(), meta::text(crd, "name").to_string())
    };
    order.sort_by_cached_key(|crd| age(crd));
    order.into_iter().map(|crd| verdict(crd, &mut taken, now)).collect()
}

fn verdict(crd: &Value, taken: &mut Taken, now: &str) -> Verdict {
    let conflict = conflict(crd, taken);
    let established = established(crd) || conflict.is_none();
    if established {
        taken.extend(names(crd).into_iter().map(|(_, name)| name));
    }
    let mut status = crd["status"].clone();
    if conflict.is_none() {
        status["acceptedNames"] = crd["spec"]["names"].clone();
    }
    let accepted = match &conflict {
        None => ("True", "NoConflicts", "no conflicts found".to_string()),
        Some((reason, name)) => ("False", *reason, format!("{name:?} is already in use")),
    };
    set_condition(&mut status, "NamesAccepted", accepted, now);
    let condition = match established {
        true => ("True", "InitialNamesAccepted", "the initial names have been accepted".to_string()),
        false => ("False", "NotAccepted", "not all names are accepted".to_string()),
    };
    set_condition(&mut status, "Established", condition, now);
    if meta::deleting(crd) {
        let condition = ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress".to_string());
        set_condition(&mut status, "Terminating", condition, now);
    }
    Verdict {
        name: meta::text(crd, "name").into(),
        served: established,
        status: Some(status).filter(|status| *status != crd["status"]),
    }
}

fn established(crd: &Value) -> bool {
    let conditions = crd.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Established" && condition["status"] == "True")
}

/// The names of a CRD with the reason to give when one is in use. Kinds and resource names cannot meet: the former have
/// upper case letters.
fn names(crd: &Value) -> Vec<(&'static str, (String, String))> {
    let group = text(crd, "/spec/group");
    let names = &crd["spec"]["names"];
    let one = |reason, pointer| [(reason, text(names, pointer))];
    let all = one("PluralConflict", "/plural")
        .into_iter()
        .chain(one("SingularConflict", "/singular"))
        .chain(texts(names, "/shortNames").map(|name| ("ShortNamesConflict", name)))
        .chain(one("KindConflict", "/kind"))
        .chain(one("ListKindConflict", "/listKind"));
    all.map(|(reason, name)| (reason, (group.to_string(), name.to_string()))).collect()
}

fn conflict(crd: &Value, taken: &Taken) -> Option<(&'static str, String)> {
    let found = names(crd).into_iter().find(|(_, name)| taken.contains(name));
    found.map(|(reason, (_, name))| (reason, name))
}

/// Sets a condition; its time is that of the last change of `status`.
fn set_condition(object: &mut Value, kind: &str, (status, reason, message): (&str, &str, String), now: &str) {
    if !object["conditions"].is_array() {
        object["conditions"] = json!([]);
    }
    let Some(conditions) = object["conditions"].as_array_mut() else { return };
    let present = conditions.iter_mut().find(|condition| condition["type"] == kind);
    let since = present.as_ref().filter(|present| present["status"] == status).map(|c| c["lastTransitionTime"].clone());
    let wanted = json!({
        "type": kind, "status": status, "lastTransitionTime": since.unwrap_or_else(|| now.into()),
        "reason": reason, "message": message,
    });
    match present {
        Some(present) => *present = wanted,
        None => conditions.push(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(plural: &str, kind: &str, created: &str) -> Value {
        json!({
            "metadata": {"name": format!("{plural}.example.com"), "creationTimestamp": created},
            "spec": {"group": "example.com", "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind,
                "listKind": format!("{kind}List"), "shortNames": ["t"]}},
            "status": {"storedVersions": ["v1"]}})
    }

    fn reasons(verdict: &Verdict) -> Vec<String> {
        let conditions = verdict.status.as_ref().unwrap()["conditions"].as_array().unwrap();
        conditions
            .iter()
            .map(|c| format!("{}={}", c["type"].as_str().unwrap(), c["reason"].as_str().unwrap()))
            .collect()
    }

    #[test]
    fn the_older_one_has_the_names_and_keeps_them() {
        let young = crd("toys", "Toy", "2026-01-02T00:00:00Z");
        let old = crd("things", "Thing", "2026-01-01T00:00:00Z");
        let verdicts = plan(&[Arc::new(young.clone()), Arc::new(old)], Taken::new(), "now");
        assert_eq!((&*verdicts[0].name, verdicts[0].served), ("things.example.com", true));
        assert_eq!(reasons(&verdicts[0]), ["NamesAccepted=NoConflicts", "Established=InitialNamesAccepted"]);
        assert_eq!((&*verdicts[1].name, verdicts[1].served), ("toys.example.com", false));
        assert_eq!(reasons(&verdicts[1]), ["NamesAccepted=ShortNamesConflict", "Established=NotAccepted"]);

        let mut first = young;
        first["status"] = plan(&[Arc::new(first.clone())], Taken::new(), "now")[0].status.clone().unwrap();
        let older = crd("things", "Thing", "2026-01-01T00:00:00Z");
        let verdicts = plan(&[Arc::new(older), Arc::new(first)], Taken::new(), "later");
        assert_eq!((&*verdicts[0].name, verdicts[0].served, &verdicts[0].status), ("toys.example.com", true, &None));
        assert!(!verdicts[1].served);
    }

    #[test]
    fn names_of_built_in_kinds_are_taken() {
        let taken = Taken::from([("example.com".into(), "Thing".into())]);
        assert_eq!(
            reasons(&plan(&[Arc::new(crd("things", "Thing", ""))], taken, "now")[0])[0],
            "NamesAccepted=KindConflict"
        );
        let elsewhere = Taken::from([("other.com".into(), "Thing".into())]);
        assert!(plan(&[Arc::new(crd("things", "Thing", ""))], elsewhere, "now")[0].served);
    }
}
