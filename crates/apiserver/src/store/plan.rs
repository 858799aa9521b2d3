//! Deciding a batch of writes: a pure function from the present state and the waiting writes to the next state, the changes,
//! and who is refused. The writer thread makes the result durable before anybody sees it, or drops it whole.

use std::sync::{Arc, OnceLock};

use imbl::OrdMap;
use roadstead_kubewire::{EventKind, Key, WatchEvent};

use super::object::{Draft, Object};

/// Name of a resource in the store: its plural, and its group after a dot if it has one, e.g. `secrets`,
/// `webhookendpoints.roadstead.dev`. All versions of a kind are one resource.
pub type ResourceName = Arc<str>;

/// The objects of one resource in the order of lists: by namespace, then name.
pub type Table = OrdMap<Arc<Key>, Arc<Object>>;

/// All objects at one moment. Immutable; cloning shares almost everything.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The resourceVersion of the last write.
    pub version: u64,
    /// Every resource that ever had an object.
    pub tables: OrdMap<ResourceName, Table>,
}

impl State {
    /// The object, if it exists.
    pub fn get(&self, resource: &str, key: &Key) -> Option<&Arc<Object>> {
        self.tables.get(resource)?.get(key)
    }

    /// The objects of `resource`.
    pub fn table(&self, resource: &str) -> Table {
        self.tables.get(resource).cloned().unwrap_or_default()
    }
}

/// What must be so for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The object does not exist.
    Absent,
    /// The object exists at this resourceVersion.
    Version(u64),
}

/// Another object that must still be as it was seen, e.g. the namespace that an object is created in.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Its resource.
    pub resource: ResourceName,
    /// Which one.
    pub key: Key,
    /// The resourceVersion at which it was seen.
    pub version: u64,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Create or replace.
    Put(Draft),
    /// Remove.
    Delete,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Write {
    /// Which resource.
    pub resource: ResourceName,
    /// Which object.
    pub key: Key,
    /// On what condition.
    pub expect: Expect,
    /// A further condition.
    pub guard: Option<Guard>,
    /// What.
    pub action: Action,
}

/// Why a write did not happen: its expectation no longer held. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was to be created, and exists.
    #[error("the object already exists")]
    Exists,
    /// It was to be changed, and does not exist.
    #[error("the object does not exist")]
    Missing,
    /// It has another resourceVersion by now.
    #[error("the object has been changed by somebody else")]
    Changed,
    /// The [`Guard`] has changed or is gone.
    #[error("an object that this one depends on has changed")]
    Guarded,
}

/// One change that happened.
#[derive(Debug)]
pub struct Change {
    /// Its resourceVersion.
    pub version: u64,
    /// Which resource.
    pub resource: ResourceName,
    /// Which object.
    pub key: Arc<Key>,
    /// The object before, if it existed.
    pub before: Option<Arc<Object>>,
    /// The object after, unless it was deleted.
    pub after: Option<Arc<Object>>,
    /// Framed once for all watchers; for changes read from disk, when the first watcher asks.
    pub(super) event: OnceLock<WatchEvent>,
}

impl Change {
    /// Puts together a change whose event is framed when it is first asked for.
    pub(super) fn recalled(
        version: u64,
        resource: ResourceName,
        key: Arc<Key>,
        before: Option<Arc<Object>>,
        after: Option<Arc<Object>>,
    ) -> Self {
        Self { version, resource, key, before, after, event: OnceLock::new() }
    }

    /// What a watcher of everything sees.
    pub fn event(&self) -> &WatchEvent {
        self.event.get_or_init(|| match (&self.before, &self.after) {
            (None, Some(after)) => WatchEvent::new(EventKind::Added, &after.json),
            (Some(_), Some(after)) => WatchEvent::new(EventKind::Modified, &after.json),
            (Some(before), None) => before.event_at(EventKind::Deleted, self.version),
            (None, None) => WatchEvent::new(EventKind::Deleted, b"{}"), // no such change is ever made
        })
    }

    /// Bytes that this change keeps alive, roughly.
    pub(super) fn size(&self) -> usize {
        let of = |object: &Option<Arc<Object>>| object.as_ref().map_or(0, |object| object.json.len());
        of(&self.after).max(of(&self.before)) + 256
    }
}

/// Decides `writes` in their order, each seeing the ones before it. The results are in the same order.
pub fn plan<'a>(
    state: &State,
    writes: impl IntoIterator<Item = &'a Write>,
) -> (State, Vec<Result<Arc<Change>, Refusal>>) {
    let mut next = state.clone();
    let results = writes.into_iter().map(|write| step(&mut next, write).map(Arc::new)).collect();
    (next, results)
}

fn step(state: &mut State, write: &Write) -> Result<Change, Refusal> {
    if let Some(guard) = &write.guard
        && state.get(&guard.resource, &guard.key).map(|seen| seen.version) != Some(guard.version)
    {
        return Err(Refusal::Guarded);
    }
    let before = state.get(&write.resource, &write.key).cloned();
    match (write.expect, &before) {
        (Expect::Absent, Some(_)) => return Err(Refusal::Exists),
        (Expect::Version(_), None) => return Err(Refusal::Missing),
        (Expect::Version(wanted), Some(found)) if wanted != found.version => return Err(Refusal::Changed),
        _ => {}
    }
    let key = before.as_ref().map_or_else(|| Arc::new(write.key.clone()), |object| object.key.clone());
    let version = state.version + 1;
    let table = state.tables.entry(write.resource.clone()).or_default();
    let (after, event) = match &write.action {
        Action::Put(draft) => {
            let kind = if before.is_some() { EventKind::Modified } else { EventKind::Added };
            let (object, event) = draft.finish(key.clone(), version, kind);
            let object = Arc::new(object);
            table.insert(key.clone(), object.clone());
            (Some(object), event)
        }
        Action::Delete => {
            let Some(gone) = table.remove(&*key) else { return Err(Refusal::Missing) };
            (None, gone.event_at(EventKind::Deleted, version))
        }
    };
    state.version = version;
    Ok(Change { version, resource: write.resource.clone(), key, before, after, event: OnceLock::from(event) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn write(name: &str, expect: Expect, action: Action) -> Write {
        Write { resource: "things".into(), key: Key::new("a", name), expect, guard: None, action }
    }

    fn put() -> Action {
        Action::Put(Draft::new(&json!({"metadata": {"uid": "u"}})))
    }

    #[test]
    fn later_writes_of_a_batch_see_the_earlier_ones() {
        let batch = [
            write("x", Expect::Version(1), put()),
            write("x", Expect::Absent, put()),
            write("x", Expect::Absent, put()),
            write("x", Expect::Version(7), put()),
            write("x", Expect::Version(1), put()),
            write("x", Expect::Version(2), Action::Delete),
            write("x", Expect::Version(2), Action::Delete),
            write("x", Expect::Absent, put()),
        ];
        let start = State::default();
        let (next, results) = plan(&start, &batch);
        let versions: Vec<_> = results.iter().map(|r| r.as_ref().map(|c| c.version).map_err(Clone::clone)).collect();
        assert_eq!(
            versions,
            [
                Err(Refusal::Missing),
                Ok(1),
                Err(Refusal::Exists),
                Err(Refusal::Changed),
                Ok(2),
                Ok(3),
                Err(Refusal::Missing),
                Ok(4)
            ]
        );
        assert_eq!((start.version, next.version), (0, 4));
        let kinds: Vec<_> = results.iter().flatten().map(|change| change.event().kind).collect();
        assert_eq!(kinds, [EventKind::Added, EventKind::Modified, EventKind::Deleted, EventKind::Added]);
    }

    #[test]
    fn a_guard_must_be_as_it_was_seen() {
        let (state, _) = plan(&State::default(), &[write("ns", Expect::Absent, put())]);
        let guarded = |version| Write {
            guard: Some(Guard { resource: "things".into(), key: Key::new("a", "ns"), version }),
            ..write("x", Expect::Absent, put())
        };
        assert_eq!(plan(&state, &[guarded(7)]).1[0].as_ref().unwrap_err(), &Refusal::Guarded);
        let batch = [write("ns", Expect::Version(1), Action::Delete), guarded(1)];
        assert_eq!(plan(&state, &batch).1[1].as_ref().unwrap_err(), &Refusal::Guarded);
        assert!(plan(&state, &[guarded(1)]).1[0].is_ok());
    }

    #[test]
    fn a_recalled_change_frames_the_same_event() {
        let batch = [
            write("x", Expect::Absent, put()),
            write("x", Expect::Version(1), put()),
            write("x", Expect::Version(2), Action::Delete),
        ];
        for change in plan(&State::default(), &batch).1.into_iter().flatten() {
            let again = Change::recalled(
                change.version,
                change.resource.clone(),
                change.key.clone(),
                change.before.clone(),
                change.after.clone(),
            );
            assert_eq!(again.event().line, change.event().line);
        }
    }
}
