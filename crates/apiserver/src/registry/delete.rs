//! What a deletion does: a pure decision.
//!
//! An object without finalizers goes at once. One with them is marked, and goes when the last is removed. The propagation
//! policy is a finalizer too: the garbage collector does its work and removes it.

use jiff::Timestamp;
use roadstead_kubewire::{ApiError, ApiResult, DeleteOptions, Key, options::Propagation};
use serde_json::Value;

use super::{kind::Kind, meta, update};

/// Finalizer that stands for "dependents lose this owner and stay".
pub const ORPHAN: &str = "orphan";
/// Finalizer that stands for "dependents go first".
pub const FOREGROUND: &str = "foregroundDeletion";

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Remove it now.
    Remove,
    /// Deletion begins, or its policy changes: store this.
    Mark(Value),
    /// Deletion has begun before and nothing changes.
    Wait,
}

/// Decides what deleting `live` does.
///
/// # Errors
/// 409 where a precondition does not hold.
pub fn plan(kind: &Kind, key: &Key, live: &Value, options: &DeleteOptions, now: Timestamp) -> ApiResult<Plan> {
    for (name, wanted, found, hint) in [
        ("UID", &options.uid, meta::text(live, "uid"), "deleted and then recreated"),
        ("ResourceVersion", &options.resource_version, meta::text(live, "resourceVersion"), "modified"),
    ] {
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
            let why = format!(
                "the {name} in the precondition ({wanted}) does not match the {name} in record ({found}). The object might \
                 have been {hint}"
            );
            // Of the kind, not the resource: so kube-apiserver words it.
            return Err(ApiError::conflict(&kind.info.group, &kind.info.kind, &key.name, &why));
        }
    }
    let finalizers = finalizers(live, options.propagation);
    if finalizers.is_empty() && !kind.hooks.held(live) {
        return Ok(Plan::Remove);
    }
    let mut marked = live.clone();
    let list: Vec<Value> = finalizers.into_iter().map(Value::from).collect();
    meta::set(&mut marked, "finalizers", Some(list.into()).filter(|list: &Value| *list != Value::Array(vec![])));
    if !meta::deleting(live) {
        meta::set(&mut marked, "deletionTimestamp", Some(meta::time(now)));
        meta::set(&mut marked, "deletionGracePeriodSeconds", Some(0.into()));
        if kind.counts_generation {
            update::bump(live, &mut marked);
        }
        kind.hooks.mark_deleted(&mut marked);
    }
    Ok(if marked == *live { Plan::Wait } else { Plan::Mark(marked) })
}

/// Whether an object that is written goes away with it: its deletion has begun and nothing holds it any more.
pub fn released(kind: &Kind, new: &Value) -> bool {
    meta::deleting(new) && meta::finalizers(new).is_empty() && !kind.hooks.held(new)
}

fn finalizers(live: &Value, propagation: Option<Propagation>) -> Vec<String> {
    let mut finalizers: Vec<String> = meta::finalizers(live).into_iter().map(str::to_string).collect();
    let wanted = match propagation {
        None => return finalizers,
        Some(Propagation::Orphan) => Some(ORPHAN),
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Background) => None,
    };
    finalizers.retain(|name| ![ORPHAN, FOREGROUND].contains(&name.as_str()) || Some(name.as_str()) == wanted);
    if let Some(wanted) = wanted.filter(|wanted| !finalizers.iter().any(|name| name == wanted)) {
        finalizers.push(wanted.into());
    }
    finalizers
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::tests::thing;

    fn live(finalizers: &[&str], since: Option<&str>) -> Value {
        let mut object = json!({"metadata": {"name": "x", "uid": "u", "resourceVersion": "5", "generation": 1}});
        if !finalizers.is_empty() {
            object["metadata"]["finalizers"] = json!(finalizers);
        }
        if let Some(since) = since {
            object["metadata"]["deletionTimestamp"] = json!(since);
        }
        object
    }

    fn decide(live: &Value, options: &DeleteOptions) -> ApiResult<Plan> {
        plan(&thing(), &Key::new("default", "x"), live, options, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn finalizers_and_policies_decide() {
        use Propagation::*;
        let start = "1970-01-01T00:00:00Z";
        for (before, since, propagation, after) in [
            (&[][..], None, None, None),
            (&[], None, Some(Background), None),
            (&[], None, Some(Foreground), Some(&[FOREGROUND][..])),
            (&[], None, Some(Orphan), Some(&[ORPHAN])),
            (&["a"], None, None, Some(&["a"])),
            (&["a"], None, Some(Foreground), Some(&["a", FOREGROUND])),
            (&[ORPHAN], None, None, Some(&[ORPHAN])),
            (&[ORPHAN, "a"], Some(start), Some(Foreground), Some(&["a", FOREGROUND])),
            (&[FOREGROUND], Some(start), Some(Background), None),
        ] {
            let options = DeleteOptions { propagation, ..DeleteOptions::default() };
            match (decide(&live(before, since), &options).unwrap(), after) {
                (Plan::Remove, None) => {}
                (Plan::Mark(marked), Some(after)) => {
                    assert_eq!(meta::finalizers(&marked), after);
                    assert_eq!(meta::text(&marked, "deletionTimestamp"), start);
                    assert_eq!(marked["metadata"]["generation"], if since.is_none() { 2 } else { 1 });
                }
                (plan, after) => panic!("{plan:?}, expected {after:?}"),
            }
        }
        assert_eq!(decide(&live(&["a"], Some(start)), &DeleteOptions::default()).unwrap(), Plan::Wait);
    }

    #[test]
    fn preconditions_hold_or_nothing_happens() {
        for (uid, version, good) in [(Some("u"), Some("5"), true), (Some("v"), None, false), (None, Some("4"), false)] {
            let options = DeleteOptions {
                uid: uid.map(Into::into),
                resource_version: version.map(Into::into),
                ..DeleteOptions::default()
            };
            assert_eq!(
                decide(&live(&[], None), &options).map_err(|error| error.code),
                [Err(409), Ok(Plan::Remove)][usize::from(good)]
            );
        }
    }
}
