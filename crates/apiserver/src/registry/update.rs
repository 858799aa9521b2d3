//! What an existing object becomes when it, or a subresource of it, is written: a pure step.
//!
//! The main resource and `status` each keep the other's part. What the server decides (uid, times, generation) is carried
//! over from the present object whatever the client sent.

use roadstead_kubewire::{ApiError, ApiResult, Key};
use serde_json::Value;

use super::{create, kind::Kind, meta};

/// Fields of `metadata` that are as they were whatever is sent.
const KEPT: [&str; 3] = ["creationTimestamp", "generation", "namespace"];
/// Those that stay if an update leaves them out. To change them is refused.
const STAYS: [&str; 2] = ["uid", "deletionGracePeriodSeconds"];

/// Checks that what was sent is meant for `key`, and fills in what it leaves out of that.
///
/// # Errors
/// 400 for another kind, namespace or name.
pub fn aimed(kind: &Kind, key: &Key, sent: &mut Value) -> ApiResult<()> {
    create::identify(kind, Some(&key.namespace).filter(|namespace| !namespace.is_empty()).map(String::as_str), sent)?;
    match meta::text(sent, "name") {
        "" => Err(ApiError::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            key.name
        ))),
        name if name != key.name => Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            key.name
        ))),
        _ => Ok(()),
    }
}

/// Checks that a whole object that was sent is meant for `live`: its uid is a precondition. In a patch it is a change, and refused
/// as such.
///
/// # Errors
/// 409 for another uid.
pub fn same(kind: &Kind, key: &Key, live: &Value, sent: &Value) -> ApiResult<()> {
    let (found, wanted) = (meta::text(live, "uid"), meta::text(sent, "uid"));
    if !wanted.is_empty() && wanted != found {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}");
        return Err(ApiError::conflict(&kind.info.group, &kind.info.plural, &key.name, &why));
    }
    Ok(())
}

/// Checks that what was sent is meant for `live`, the object at `key`.
///
/// # Errors
/// 400 for another name; 409 for another resourceVersion; 422 where a resourceVersion is required and absent.
pub fn addressed(kind: &Kind, key: &Key, live: &Value, sent: &mut Value) -> ApiResult<()> {
    aimed(kind, key, sent)?;
    let (group, plural) = (&kind.info.group, &kind.info.plural);
    match meta::text(sent, "resourceVersion") {
        "" if kind.blind_update => Ok(()),
        "" => {
            let cause = meta::cause(
                "FieldValueInvalid",
                "metadata.resourceVersion",
                "Invalid value: 0: must be specified for an update",
            );
            // Of the resource, not the kind: so kube-apiserver words it.
            Err(ApiError::invalid(group, plural, &key.name, vec![cause]))
        }
        version if version != meta::text(live, "resourceVersion") => Err(stale(kind, &key.name)),
        _ => Ok(()),
    }
}

/// 409: somebody else was first.
pub fn stale(kind: &Kind, name: &str) -> ApiError {
    let why = "the object has been modified; please apply your changes to the latest version and try again";
    ApiError::conflict(&kind.info.group, &kind.info.plural, name, why)
}

/// Puts together what `live` becomes when `sent` is written to it (`sub: None`) or to one of its subresources.
pub fn merge(kind: &Kind, live: &Value, sent: Value, sub: Option<&str>) -> Value {
    let whole = sub.is_none() || sub == Some("status") && kind.status_reaches_metadata();
    let mut new = match sub.filter(|_| !whole) {
        None => {
            let mut new = sent;
            for pointer in kind.resets(sub) {
                match pointer.strip_prefix("/metadata/") {
                    Some(field) => keep(&mut new, live, field),
                    None => take(&mut new, live, pointer.trim_start_matches('/')),
                }
            }
            new
        }
        Some(sub) => {
            let part = if sub == "finalize" { "spec" } else { sub };
            let mut new = live.clone();
            take(&mut new, &sent, part);
            set_managed_fields(&mut new, &sent);
            new
        }
    };
    kept(&mut new, live);
    new
}

/// Gives `new` what the server alone decides, as it is in `live`.
pub fn kept(new: &mut Value, live: &Value) {
    KEPT.iter().for_each(|field| keep(new, live, field));
    let absent = |new: &Value, field: &str| match &new["metadata"][field] {
        Value::String(text) => text.is_empty(),
        value => value.is_null(),
    };
    STAYS.iter().for_each(|field| {
        if absent(new, field) {
            keep(new, live, field);
        }
    });
    // What is going stays going; nothing goes because somebody writes that it did.
    if meta::deleting(live) {
        keep(new, live, "deletionTimestamp");
    }
    meta::set(new, "selfLink", None);
    meta::set(new, "resourceVersion", Some(meta::text(live, "resourceVersion").into()));
}

fn keep(new: &mut Value, live: &Value, field: &str) {
    let kept = meta::meta(live).and_then(|meta| meta.get(field)).cloned();
    meta::set(new, field, kept);
}

/// Counts the generation up if what is wanted has changed: anything but metadata, and but status where that is a
/// subresource.
pub fn count_generation(kind: &Kind, live: &Value, new: &mut Value, sub: Option<&str>) {
    let wanted = |object: &Value| {
        let mut object = object.clone();
        if let Some(members) = object.as_object_mut() {
            for part in ["apiVersion", "kind", "metadata"].into_iter().chain(kind.has_status().then_some("status")) {
                members.shift_remove(part);
            }
        }
        object
    };
    // What a Deployment's annotations say reaches its ReplicaSets, so it is wanted too.
    let annotations = |object: &Value| object.pointer("/metadata/annotations").cloned();
    let deployment = kind.info.kind == "Deployment" && kind.info.group == "apps" && sub != Some("status");
    let annotated = deployment && annotations(live) != annotations(new);
    if kind.counts_generation && (annotated || wanted(live) != wanted(new)) {
        bump(live, new);
    }
}

/// One more than the generation of `live`.
pub fn bump(live: &Value, new: &mut Value) {
    let generation = live["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
    meta::set(new, "generation", Some(generation.into()));
}

/// Whether writing `new` over `live` would change nothing but times in `managedFields`.
pub fn unchanged(live: &Value, new: &Value) -> bool {
    let plain = |object: &Value| {
        let mut object = object.clone();
        let fields = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut);
        for entry in fields.into_iter().flatten().filter_map(Value::as_object_mut) {
            entry.shift_remove("time");
        }
        object
    };
    plain(live) == plain(new)
}

fn take(into: &mut Value, from: &Value, part: &str) {
    let Some(members) = into.as_object_mut() else { return };
    match from.get(part) {
        Some(value) => members.insert(part.into(), value.clone()),
        None => members.shift_remove(part),
    };
}

fn set_managed_fields(new: &mut Value, sent: &Value) {
    let fields = meta::meta(sent).and_then(|meta| meta.get("managedFields")).cloned();
    meta::set(new, "managedFields", fields);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::tests::thing;

    fn live() -> Value {
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "spec": {"a": 1}, "status": {"s": 1}, "metadata": {
            "name": "x", "namespace": "default", "uid": "u", "resourceVersion": "5", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"l": "1"}}})
    }

    fn with(changes: &[(&str, Value)]) -> Value {
        let mut object = live();
        for (path, value) in changes {
            *object.pointer_mut(path).unwrap() = value.clone();
        }
        object
    }

    #[test]
    fn each_side_keeps_the_others_part_and_the_servers_fields() {
        let sent = with(&[
            ("/spec/a", json!(2)),
            ("/status/s", json!(2)),
            ("/metadata/labels/l", json!("2")),
            ("/metadata/creationTimestamp", json!("2020-01-01T00:00:00Z")),
            ("/metadata/generation", json!(99)),
        ]);
        let main = merge(&thing(), &live(), sent.clone(), None);
        assert_eq!(main, with(&[("/spec/a", json!(2)), ("/metadata/labels/l", json!("2"))]));
        let status = merge(&thing(), &live(), sent, Some("status"));
        assert_eq!(status, with(&[("/status/s", json!(2))]));
    }

    #[test]
    fn what_may_not_change_stays_only_where_it_is_left_out() {
        let dying = json!({"name": "x", "deletionTimestamp": "t"});
        for (sent, uid, going) in [
            (with(&[("/metadata/uid", json!("other"))]), json!("other"), Value::Null),
            (with(&[("/metadata/uid", json!(""))]), json!("u"), Value::Null),
            (with(&[("/metadata", dying.clone())]), json!("u"), json!("t")),
        ] {
            let merged = merge(&thing(), &live(), sent, None);
            assert_eq!((&merged["metadata"]["uid"], &merged["metadata"]["deletionTimestamp"]), (&uid, &going));
        }
    }

    #[test]
    fn generation_counts_what_is_wanted_alone() {
        for (changed, generation) in [
            (with(&[]), 3),
            (with(&[("/spec/a", json!(2))]), 4),
            (with(&[("/status/s", json!(2))]), 3),
            (with(&[("/metadata/labels/l", json!("2"))]), 3),
        ] {
            let mut new = changed;
            count_generation(&thing(), &live(), &mut new, None);
            assert_eq!(new["metadata"]["generation"], generation);
        }
    }

    #[test]
    fn an_update_must_be_meant_for_this_object() {
        let key = Key::new("default", "x");
        for (sent, code) in [
            (with(&[]), 0),
            (with(&[("/metadata/resourceVersion", json!("4"))]), 409),
            (with(&[("/metadata/resourceVersion", json!(""))]), 422),
            (with(&[("/metadata/uid", json!("v"))]), 409),
            (with(&[("/metadata/name", json!(""))]), 400),
            (with(&[("/metadata/name", json!("y"))]), 400),
            (with(&[("/metadata/namespace", json!("y"))]), 400),
            (with(&[("/apiVersion", json!("other/v1"))]), 400),
        ] {
            let mut changed = sent.clone();
            let same = same(&thing(), &key, &live(), &changed);
            let result = same.and_then(|()| addressed(&thing(), &key, &live(), &mut changed));
            assert_eq!(result.err().map_or(0, |error| error.code), code, "{sent}");
        }
    }

    #[test]
    fn times_of_managers_alone_are_no_change() {
        let at = |time: &str, manager: &str| {
            let mut object = live();
            object["metadata"]["managedFields"] = json!([{"manager": manager, "time": time}]);
            object
        };
        assert!(unchanged(&at("1", "a"), &at("2", "a")));
        assert!(!unchanged(&at("1", "a"), &at("1", "b")));
        assert!(!unchanged(&live(), &with(&[("/spec/a", json!(2))])));
    }
}
