//! Watches: the messages that exist, where they are asked for, then every change, with bookmarks in between.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use roadstead_api::names::{LOG_GROUP, VERSION};
use roadstead_kubewire::{ApiError, ApiResult, WatchEvent, WatchOptions, WatchStream, watch::EventKind};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    resource::{api_error, serialised},
    select::Filter,
};
use crate::log::{Delivery, DeliveryLog, Place};

/// Longest time between two bookmarks.
const BOOKMARK: Duration = Duration::from_secs(30);
/// Messages and changes are read in pages of this.
const PAGE: usize = 256;

/// One watch.
struct Watch {
    log: Arc<DeliveryLog>,
    filter: Filter,
    /// Still to be sent of what exists, and whether its end is marked by a bookmark.
    existing: Option<(Place, bool)>,
    /// Changes up to this position were sent.
    position: u64,
    positions: watch::Receiver<u64>,
    /// Read but not sent yet.
    buffer: VecDeque<WatchEvent>,
    bookmarks: bool,
    next_bookmark: Instant,
    over: bool,
}

/// Starts a watch. Errors: 400 for a version that is no number, 504 for one of the future.
pub(super) fn watch(log: Arc<DeliveryLog>, filter: Filter, options: &WatchOptions) -> ApiResult<WatchStream> {
    let version = match options.resource_version.as_str() {
        "" => 0,
        text => text.parse().map_err(|_| {
            ApiError::bad_request(format!("Invalid value: \"{text}\": resourceVersion must be a position in the log"))
        })?,
    };
    let head = log.head();
    if version > head {
        return Err(ApiError::unavailable(format!("Too large resource version: {version}, current: {head}"), 1));
    }
    // Kubernetes' rules: no version, or 0, means the present state first, unless it is declined.
    let existing = match (options.send_initial_events, version) {
        (Some(true), _) => Some((Place::default(), true)),
        (None, 0) => Some((Place::default(), false)),
        _ => None,
    };
    let position = if existing.is_some() || version == 0 { head } else { version };
    let watch = Watch {
        positions: log.positions(),
        log,
        filter,
        existing,
        position,
        buffer: VecDeque::new(),
        bookmarks: options.bookmarks,
        next_bookmark: Instant::now() + BOOKMARK,
        over: false,
    };
    Ok(stream::unfold(watch, Watch::step).boxed())
}

impl Watch {
    async fn step(mut self) -> Option<(WatchEvent, Self)> {
        loop {
            if let Some(event) = self.buffer.pop_front() {
                return Some((event, self));
            }
            if self.over {
                return None;
            }
            let filled = match self.existing {
                Some((after, marked)) => self.read_existing(after, marked).await,
                None => self.read_changes().await,
            };
            if let Err(error) = filled {
                self.over = true;
                self.buffer.push_back(WatchEvent::error(&error));
            }
        }
    }

    async fn read_existing(&mut self, after: Place, marked: bool) -> ApiResult<()> {
        let page = self.log.page(&self.filter.selection(), after, PAGE).await.map_err(api_error)?;
        for delivery in &page.deliveries {
            self.push(EventKind::Added, delivery)?;
        }
        self.existing = page.next.map(|place| (place, marked));
        if self.existing.is_none() && marked {
            self.buffer.push_back(bookmark(self.position, true));
        }
        Ok(())
    }

    async fn read_changes(&mut self) -> ApiResult<()> {
        if *self.positions.borrow_and_update() <= self.position {
            return self.wait().await;
        }
        let Some(mut changes) = self.log.changes(self.position, PAGE) else {
            let message = format!("too old resource version: {}: list again", self.position);
            return Err(ApiError::expired(message));
        };
        let Some(last) = changes.last().map(|change| change.position) else { return Ok(()) };
        // Of several changes of one message the last is enough: what is read is its present state.
        let mut seen = std::collections::HashSet::new();
        changes.reverse();
        changes.retain(|change| seen.insert((change.webhook, change.number)));
        changes.reverse();
        let before = self.position;
        for delivery in self.log.changed(changes).await.map_err(api_error)? {
            let kind = if delivery.born > before { EventKind::Added } else { EventKind::Modified };
            self.push(kind, &delivery)?;
        }
        self.position = last;
        Ok(())
    }

    async fn wait(&mut self) -> ApiResult<()> {
        match timeout_at(self.next_bookmark, self.positions.changed()).await {
            Ok(Ok(())) => Ok(()),
            // The log is shutting down: the client connects again.
            Ok(Err(_)) => {
                self.over = true;
                Ok(())
            }
            Err(_) => {
                self.next_bookmark = Instant::now() + BOOKMARK;
                if self.bookmarks {
                    self.buffer.push_back(bookmark(self.position, false));
                }
                Ok(())
            }
        }
    }

    /// Sends a message, if it is selected. One that is not any more is sent as DELETED: whoever selects by state counts on it.
    fn push(&mut self, kind: EventKind, delivery: &Delivery) -> ApiResult<()> {
        let kind = match (self.filter.matches(delivery), kind) {
            (true, kind) => kind,
            (false, EventKind::Modified) if self.filter.by_state() => EventKind::Deleted,
            (false, _) => return Ok(()),
        };
        self.buffer.push_back(WatchEvent::new(kind, &serialised(delivery)?));
        Ok(())
    }
}

fn bookmark(position: u64, initial_events_end: bool) -> WatchEvent {
    let api_version = format!("{LOG_GROUP}/{VERSION}");
    WatchEvent::bookmark(&api_version, "WebhookDelivery", &position.to_string(), initial_events_end)
}
