//! Server-side apply: who owns which field, and what follows from it.
//!
//! In: the present object, and either what a manager applies or what an update makes of it. Out: the object to store, with
//! `metadata.managedFields` brought up to date. The rules are those of Kubernetes ("Server-Side Apply"):
//!
//! - Who applies owns the fields that it applied last, and nothing else. A field that it no longer applies goes, unless
//!   somebody else owns it too.
//! - Who writes otherwise owns the fields that it gave a new value. Everybody else loses them.
//! - Changing a field that another manager owns is a conflict, unless forced. Applying the same value shares it.
//!
//! What is one field (a scalar, an atomic list) and what is made of fields comes from the schema: see `types`.
//! What an endpoint does not write it does not own either: `status` through the main resource, `spec` through `status`.

mod collect;
mod compare;
mod conflict;
mod last_applied;
mod managed;
mod merge;
pub mod scale;
mod set;
mod types;

use jiff::Timestamp;
use roadstead_kubewire::{ApiError, ApiResult};
use serde_json::{Map, Value, json};

use crate::schema::Schema;
use compare::Diff;
use conflict::Conflict;
use managed::{Entry, Managed, Manager, Operation};
use set::Set;
use types::Types;

/// Who writes, how and when.
#[derive(Clone, Debug)]
pub struct Request {
    /// `fieldManager`.
    pub manager: String,
    /// `force`: take fields that others own.
    pub force: bool,
    /// The subresource written through, e.g. `status`; empty for the object itself.
    pub subresource: String,
    /// `apiVersion` of the object as written.
    pub api_version: String,
    /// What the endpoint leaves as it is, whatever is sent, so that nobody owns it by writing here: JSON pointers, e.g. `/status`.
    pub resets: &'static [&'static str],
    /// The fields of an object before anybody has written one; `null`: none.
    pub blank: Value,
    /// The time of the write, for `managedFields`.
    pub now: Timestamp,
}

/// Fields that nobody owns, because the server keeps them. `metadata` itself is one.
const UNOWNED: [&str; 9] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// The manager of fields that were there before anybody was tracked.
const BEFORE: &str = "before-first-apply";

/// Applies `applied` to `live` (`None`: the object does not exist yet).
///
/// Answers the merged object with its new `metadata.managedFields`; it is neither defaulted nor validated. Applying the same
/// twice answers what is there, times included. Errors: 409 `Conflict` with a cause for each field that another manager owns
/// with another value, unless forced; 400 for an object that does not fit the schema or carries managedFields.
pub fn apply(live: Option<&Value>, applied: &Value, request: &Request, schema: &Schema) -> ApiResult<Value> {
    let attempt = |force| apply_once(live, applied, request, schema, force);
    let merged = match attempt(request.force)? {
        Ok(merged) => merged,
        Err(conflicts) => match last_applied::disputed(live, conflicts, request, Types::new(schema)) {
            conflicts if conflicts.is_empty() => attempt(true)?.map_err(conflict::error)?,
            conflicts => return Err(conflict::error(conflicts)),
        },
    };
    Ok(last_applied::renew(merged, applied, request))
}

type Attempt = Result<Value, Vec<Conflict>>;

fn apply_once(
    live: Option<&Value>,
    applied: &Value,
    request: &Request,
    schema: &Schema,
    force: bool,
) -> ApiResult<Attempt> {
    let types = Types::new(schema);
    // Not yet without name and uid: they keep `metadata` in place when all else in it goes.
    let set = restrict(check(applied, request, types)?, request);
    let empty = blank(applied, request);
    let before = without_managed(live.unwrap_or(&empty));
    let mut managed = live.map(Managed::of).unwrap_or_default();
    if managed.0.is_empty() && live.is_some() {
        let manager = manager(BEFORE, Operation::Update, request);
        update(&mut managed, manager, &empty, &before, request, types);
    }

    let me = manager(&request.manager, Operation::Apply, request);
    let mine = managed.position(&me);
    let last = mine.map(|at| managed.0[at].fields.clone()).unwrap_or_default();
    let time = mine.and_then(|at| managed.0[at].time.clone());
    match mine {
        Some(at) => managed.0[at] = Entry { manager: me.clone(), time, fields: set },
        None => managed.0.push(Entry { manager: me.clone(), time, fields: set }),
    }

    let merged = merge::merge(types, &before, applied);
    let merged = prune(types, &merged, &managed, &last);
    let diff = restrict_diff(compare::compare(types, &before, &merged), request);
    let conflicts = release(&mut managed, &me, &diff, force);
    if !conflicts.is_empty() {
        return Ok(Err(conflicts));
    }
    if let Some(at) = managed.position(&me) {
        let entry = &mut managed.0[at];
        entry.fields = strip(std::mem::take(&mut entry.fields));
        if merged != before {
            entry.time = Some(stamp(request));
        }
    }
    managed.drop_empty();
    let mut answer = merged;
    managed.write(&mut answer);
    Ok(Ok(answer))
}

/// Notes in `new`'s `metadata.managedFields` what an update changed: call it after every create, update and patch that is not
/// an apply, with the object as it was (`None`: it is created) and as it will be stored.
///
/// A client may set `managedFields` itself in a write to the main resource: `[]` (or one empty entry) clears them, and
/// tracking ends until the next apply.
pub fn track_update(live: Option<&Value>, new: &mut Value, request: &Request, schema: &Schema) {
    let types = Types::new(schema);
    let mut managed = live_or_new(live, new, request);
    let empty = blank(new, request);
    let before = without_managed(live.unwrap_or(&empty));
    let after = without_managed(new);
    if live.is_none() || !managed.0.is_empty() {
        let manager = manager(&request.manager, Operation::Update, request);
        update(&mut managed, manager, &before, &after, request, types);
        managed.cap();
    }
    managed.write(new);
}

/// Which entries count: the client's where it may and does set them, else those that are there.
fn live_or_new(live: Option<&Value>, new: &Value, request: &Request) -> Managed {
    let present = live.map(Managed::of).unwrap_or_default();
    if !request.subresource.is_empty() {
        return present;
    }
    let sent = new.pointer("/metadata/managedFields").and_then(Value::as_array).map(Vec::as_slice);
    match sent {
        Some([]) => Managed::default(),
        Some([Value::Object(only)]) if only.is_empty() => Managed::default(),
        _ => Some(Managed::of(new)).filter(|sent| !sent.0.is_empty()).unwrap_or(present),
    }
}

/// Gives `me` what is new or changed, and takes it, and what is gone, from everybody else.
fn update(managed: &mut Managed, me: Manager, before: &Value, after: &Value, request: &Request, types: Types<'_>) {
    let diff = restrict_diff(compare::compare(types, before, after), request);
    release(managed, &me, &diff, true);
    let taken = strip(diff.set());
    match managed.position(&me) {
        Some(at) => {
            let entry = &mut managed.0[at];
            entry.fields = entry.fields.difference(&diff.removed);
            if !taken.is_empty() {
                entry.fields = entry.fields.union(&taken);
                entry.time = Some(stamp(request));
            }
        }
        None => managed.0.push(Entry { manager: me, time: Some(stamp(request)), fields: taken }),
    }
    managed.drop_empty();
}

/// Takes from everybody but `me` what changed or is gone. What they would lose by a change is answered as conflicts, and left
/// with them, unless `force`.
fn release(managed: &mut Managed, me: &Manager, diff: &Diff, force: bool) -> Vec<Conflict> {
    let changed = diff.set();
    let others = managed.0.iter_mut().filter(|entry| !entry.manager.is(me));
    let mut conflicts = Vec::new();
    for entry in others {
        let fields = entry.fields.intersection(&changed);
        if !fields.is_empty() && !force {
            conflicts.push(Conflict { manager: entry.manager.clone(), fields });
        } else {
            entry.fields = entry.fields.difference(&fields).difference(&diff.removed);
        }
    }
    conflicts
}

/// Removes from `merged` what the manager applied `last` time, does not apply now, and nobody else owns.
fn prune(types: Types<'_>, merged: &Value, managed: &Managed, last: &Set) -> Value {
    if last.is_empty() {
        return merged.clone();
    }
    let all = |value: &Value| merge::with_parents(types, &collect::fields(types, value));
    let last = merge::with_parents(types, last);
    let pruned = merge::remove(types, merged, &last);
    // Give back what somebody owns.
    let owned = managed.0.iter().fold(Set::default(), |all, entry| all.union(&entry.fields));
    let owned = merge::with_parents(types, &owned);
    let present = all(merged);
    let pruned = merge::remove(types, merged, &present.difference(&all(&pruned).union(&owned)));
    // And what went only because it was in an object that went.
    merge::remove(types, merged, &present.difference(&all(&pruned)).intersection(&last))
}

fn check(applied: &Value, request: &Request, types: Types<'_>) -> ApiResult<Set> {
    let version = applied["apiVersion"].as_str().unwrap_or_default();
    if version != request.api_version {
        return Err(ApiError::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
            request.api_version
        )));
    }
    if applied.pointer("/metadata/managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    collect::applied_fields(types, applied).map_err(|errors| {
        let name = applied.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let kind = applied["kind"].as_str().unwrap_or_default();
        ApiError::bad_request(format!(
            "failed to create typed patch object ({name}; {version}, Kind={kind}): {}",
            errors.join(", ")
        ))
    })
}

/// The object before anybody has written one.
fn blank(object: &Value, request: &Request) -> Value {
    let mut blank = json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": {}});
    for (name, value) in request.blank.as_object().into_iter().flatten() {
        blank[name] = value.clone();
    }
    blank
}

fn manager(name: &str, operation: Operation, request: &Request) -> Manager {
    Manager {
        name: name.into(),
        operation,
        api_version: request.api_version.clone(),
        subresource: request.subresource.clone(),
    }
}

fn without_managed(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.shift_remove("managedFields");
    } else if let Value::Object(fields) = &mut object {
        fields.insert("metadata".into(), Value::Object(Map::new()));
    }
    object
}

/// Only what the endpoint writes.
fn restrict(set: Set, request: &Request) -> Set {
    request.resets.iter().fold(set, |set, pointer| set.without(pointer))
}

fn restrict_diff(diff: Diff, request: &Request) -> Diff {
    Diff {
        added: restrict(diff.added, request),
        modified: restrict(diff.modified, request),
        removed: restrict(diff.removed, request),
    }
}

/// Without what nobody owns.
fn strip(mut set: Set) -> Set {
    set.member = false;
    set.below.remove("f:apiVersion");
    set.below.remove("f:kind");
    if let Some(mut metadata) = set.below.remove("f:metadata") {
        metadata.member = false;
        for name in UNOWNED {
            metadata.below.remove(&set::field(name));
        }
        set.attach("f:metadata".into(), metadata);
    }
    set
}

fn stamp(request: &Request) -> String {
    request.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests;
