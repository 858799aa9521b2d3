//! Watches: a place in a feed, seen through a selection.
//!
//! The stream holds a cursor and a few events that the client has not taken yet, nothing else; dropping it ends all. What
//! enters the selection is ADDED, what leaves it is DELETED, as Kubernetes has it. A watcher that fell behind the kept
//! history is told 410 and must list again.

use std::{collections::VecDeque, ops::Bound, sync::Arc, time::Duration};

use futures::StreamExt;
use roadstead_kubewire::{
    ApiError, ApiResult, EventKind, Key, WatchEvent, WatchOptions, WatchStream, options::VersionMatch, query,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Registry, select::Selection};
use crate::store::{Change, Cursor, Object, Store, Table};

/// Events that are prepared at once.
const CHUNK: usize = 64;
/// Bookmarks come about this often.
const BOOKMARK: Duration = Duration::from_secs(60);

struct Watcher {
    store: Store,
    registry: Arc<Registry>,
    selection: Selection,
    cursor: Cursor,
    initial: Option<Initial>,
    ready: VecDeque<WatchEvent>,
    next_bookmark: Option<Instant>,
    retired: CancellationToken,
    over: bool,
}

/// Objects that are there already and have to be sent first.
struct Initial {
    table: Table,
    after: Option<Key>,
    /// Whether a bookmark marks their end.
    announced: bool,
}

pub(super) fn watch(
    registry: &Arc<Registry>,
    namespace: Option<&str>,
    options: &WatchOptions,
) -> ApiResult<WatchStream> {
    let selection = Selection::new(&registry.kind.info, namespace, &options.labels, &options.fields)?;
    let asked = query::version(&options.resource_version)?;
    if options.send_initial_events.is_some() && options.version_match != VersionMatch::NotOlderThan {
        return Err(ApiError::bad_request("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
    }
    let store = registry.store.clone();
    let state = store.state();
    if asked > state.version {
        // A version that was never given out: from another store, or from before this one was replaced. Waiting for it
        // would skip changes; listing again heals the client.
        let error = ApiError::expired(format!("too large resource version: {asked}, current: {}", state.version));
        return Ok(futures::stream::iter([WatchEvent::error(&error)]).boxed());
    }
    let announced = options.send_initial_events == Some(true);
    let initial = announced || (asked == 0 && options.send_initial_events.is_none());
    let from = if initial || asked == 0 { state.version } else { asked };
    let feed = store.feed(&registry.kind.resource);
    if let Err(gone) = feed.after(from, 0) {
        return Ok(futures::stream::iter([WatchEvent::error(&ApiError::expired(gone.to_string()))]).boxed());
    }
    let table = || state.table(&registry.kind.resource);
    let watcher = Watcher {
        selection,
        cursor: feed.cursor(from, namespace),
        initial: initial.then(|| Initial { table: table(), after: None, announced: announced && options.bookmarks }),
        ready: VecDeque::new(),
        next_bookmark: options.bookmarks.then(next_bookmark),
        retired: registry.retired.clone(),
        over: false,
        registry: registry.clone(),
        store,
    };
    Ok(futures::stream::unfold(watcher, |mut watcher| async move { Some((watcher.next().await?, watcher)) }).boxed())
}

impl Watcher {
    async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            if self.initial.is_some() {
                self.send_initial();
                continue;
            }
            // Asked first: what was written before the end is handed out before it.
            let last = self.retired.is_cancelled();
            match self.cursor.ready(CHUNK) {
                Err(gone) => {
                    self.over = true;
                    return Some(WatchEvent::error(&ApiError::expired(gone.to_string())));
                }
                Ok(changes) if !changes.is_empty() => {
                    let seen = changes.iter().filter_map(|change| self.seen(change));
                    let seen: Vec<_> = seen.collect();
                    self.ready.extend(seen);
                    continue;
                }
                Ok(_) if last => return None,
                Ok(_) => {}
            }
            let bookmark = async {
                match self.next_bookmark {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                alive = self.cursor.changed() => self.over = !alive,
                () = self.retired.cancelled() => {}
                () = bookmark => self.send_bookmark(),
            }
        }
    }

    /// What this watcher sees of a change, if anything.
    fn seen(&self, change: &Change) -> Option<WatchEvent> {
        if !self.selection.takes_key(&change.key) {
            return None;
        }
        let takes = |object: &Option<Arc<Object>>| object.as_ref().is_some_and(|object| self.selection.takes(object));
        let kind = match (takes(&change.before), takes(&change.after)) {
            (false, false) => return None,
            (false, true) => EventKind::Added,
            (true, true) => EventKind::Modified,
            (true, false) => EventKind::Deleted,
        };
        let event = change.event();
        let event = match (kind, &change.before, &change.after) {
            _ if event.kind == kind => event.clone(),
            // It left the selection: the client gets what it last saw, at the version of the change.
            (EventKind::Deleted, Some(before), _) => before.event_at(kind, change.version),
            _ => WatchEvent::new(kind, &event.object),
        };
        Some(self.registry.shown_event(event))
    }

    fn send_initial(&mut self) {
        let Some(Initial { table, after, announced }) = &mut self.initial else { return };
        let first = match (&*after, self.selection.namespace()) {
            (Some(after), _) => Bound::Excluded(after.clone()),
            (None, Some(namespace)) => Bound::Included(Key::new(namespace, "")),
            (None, None) => Bound::Unbounded,
        };
        let ours = |key: &Key| self.selection.namespace().is_none_or(|namespace| namespace == key.namespace);
        let range = table.range::<_, Key>((first, Bound::Unbounded)).take_while(|(key, _)| ours(key)).take(CHUNK);
        let mut last = None;
        for (key, object) in range {
            last = Some((**key).clone());
            if self.selection.takes(object) {
                self.ready.push_back(WatchEvent::new(EventKind::Added, &self.registry.current(object)));
            }
        }
        if last.is_some() {
            *after = last;
            return;
        }
        let announced = *announced;
        self.initial = None;
        if announced {
            self.ready.push_back(self.bookmark(self.cursor.position(), true));
        }
    }

    /// Sends the newest version up to which this watcher has seen everything, and sets the next time.
    fn send_bookmark(&mut self) {
        // The state is shown only after the changes that led to it are in the feed: with the version read first, and no
        // change found then, there is none up to it.
        let version = self.store.state().version;
        if self
            .store
            .feed(&self.registry.kind.resource)
            .after(self.cursor.position(), 1)
            .is_ok_and(|more| more.is_empty())
        {
            self.ready.push_back(self.bookmark(version.max(self.cursor.position()), false));
            self.next_bookmark = Some(next_bookmark());
        }
    }

    fn bookmark(&self, version: u64, initial_events_end: bool) -> WatchEvent {
        let info = &self.registry.kind.info;
        WatchEvent::bookmark(&info.api_version(), &info.kind, &version.to_string(), initial_events_end)
    }
}

/// About a minute from now, differently for each watcher so that they do not all come at once.
fn next_bookmark() -> Instant {
    let spread = u64::from(jiff::Timestamp::now().subsec_nanosecond().unsigned_abs() % 10_000);
    Instant::now() + BOOKMARK - Duration::from_secs(5) + Duration::from_millis(spread)
}
