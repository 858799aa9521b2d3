//! Watches: the events that exist, where they are asked for, then every later one, with bookmarks in between.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use roadstead_api::names::{LOG_GROUP, VERSION};
use roadstead_kubewire::{ApiResult, WatchEvent, WatchOptions, WatchStream};
use tokio::time::{Instant, timeout_at};

use super::resource::{api_error, parse_version, reach};
use crate::log::{Follow, Limit, Log, LogError, Record, Selection};

/// Longest time between two bookmarks.
const BOOKMARK: Duration = Duration::from_secs(30);
/// Events that exist already are read in pages of this.
const PAGE: Limit = Limit { events: 256, bytes: 256 << 10 };

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// With the events that exist; `marked`: their end is marked by a bookmark (`sendInitialEvents`).
    Existing { marked: bool },
    /// With what comes after a position.
    After(u64),
    /// With what comes after now.
    Now,
}

/// Kubernetes' rules: no version, or 0, means the present state first, unless initial events are declined; `sendInitialEvents`
/// asks for it at any version.
fn start(version: Option<u64>, send_initial_events: Option<bool>) -> Start {
    match (send_initial_events, version) {
        (Some(true), _) => Start::Existing { marked: true },
        (None, None | Some(0)) => Start::Existing { marked: false },
        (Some(false), None | Some(0)) => Start::Now,
        (_, Some(position)) => Start::After(position),
    }
}

/// One watch.
struct Watch {
    log: Arc<dyn Log>,
    selection: Selection,
    phase: Phase,
    /// Read but not sent yet.
    buffer: std::vec::IntoIter<Arc<Record>>,
    bookmarks: bool,
    next_bookmark: Instant,
}

enum Phase {
    /// Sending what existed at `head`.
    Existing {
        after: u64,
        head: u64,
        marked: bool,
    },
    Live(Box<dyn Follow>),
    Over,
}

/// Starts a watch. Errors: 400 for a version that is no number, 504 for one that the log does not reach in time.
pub(super) async fn watch(log: Arc<dyn Log>, selection: Selection, options: &WatchOptions) -> ApiResult<WatchStream> {
    let version = parse_version(&options.resource_version)?;
    reach(&*log, version.unwrap_or(0)).await?;
    let phase = match start(version, options.send_initial_events) {
        Start::Existing { marked } => Phase::Existing { after: 0, head: log.head(), marked },
        Start::After(position) => Phase::Live(log.follow(selection.clone(), position)),
        Start::Now => Phase::Live(log.follow(selection.clone(), log.head())),
    };
    let watch = Watch {
        log,
        selection,
        phase,
        buffer: Vec::new().into_iter(),
        bookmarks: options.bookmarks,
        next_bookmark: next_bookmark(),
    };
    Ok(stream::unfold(watch, Watch::step).boxed())
}

impl Watch {
    async fn step(mut self) -> Option<(WatchEvent, Self)> {
        loop {
            if let Some(record) = self.buffer.next() {
                return Some((record.frame().clone(), self));
            }
            match self.advance().await {
                Ok(Some(event)) => return Some((event, self)),
                Ok(None) if matches!(self.phase, Phase::Over) => return None,
                Ok(None) => {}
                // The log is shutting down: the client connects again.
                Err(LogError::Closed) => return None,
                Err(error) => {
                    self.phase = Phase::Over;
                    return Some((WatchEvent::error(&api_error(error)), self));
                }
            }
        }
    }

    /// Fills the buffer, or gives a bookmark, or changes the phase.
    async fn advance(&mut self) -> Result<Option<WatchEvent>, LogError> {
        match &mut self.phase {
            Phase::Existing { after, head, .. } if *after < *head => {
                let page = self.log.read(&self.selection, *after, *head, PAGE).await?;
                *after = page.through;
                self.buffer = page.records.into_iter();
                Ok(None)
            }
            Phase::Existing { head, marked, .. } => {
                let bookmark = marked.then(|| bookmark(*head, true));
                self.phase = Phase::Live(self.log.follow(self.selection.clone(), *head));
                Ok(bookmark)
            }
            Phase::Live(follow) if self.bookmarks => match timeout_at(self.next_bookmark, follow.next()).await {
                Ok(records) => {
                    self.buffer = records?.into_iter();
                    Ok(None)
                }
                Err(_elapsed) => {
                    self.next_bookmark = next_bookmark();
                    Ok(Some(bookmark(follow.position(), false)))
                }
            },
            Phase::Live(follow) => {
                self.buffer = follow.next().await?.into_iter();
                Ok(None)
            }
            Phase::Over => Ok(None),
        }
    }
}

fn bookmark(position: u64, initial_events_end: bool) -> WatchEvent {
    let api_version = format!("{LOG_GROUP}/{VERSION}");
    WatchEvent::bookmark(&api_version, "WebhookEvent", &position.to_string(), initial_events_end)
}

/// Somewhat before the longest time, so that many watches that began together do not send theirs together.
fn next_bookmark() -> Instant {
    let random = RandomState::new().build_hasher().finish();
    Instant::now() + BOOKMARK.mul_f64(0.7 + 0.3 * (random % 1000) as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_follow_kubernetes_rules() {
        let cases = [
            (None, None, Start::Existing { marked: false }),
            (Some(0), None, Start::Existing { marked: false }),
            (Some(7), None, Start::After(7)),
            (None, Some(true), Start::Existing { marked: true }),
            (Some(7), Some(true), Start::Existing { marked: true }),
            (None, Some(false), Start::Now),
            (Some(0), Some(false), Start::Now),
            (Some(7), Some(false), Start::After(7)),
        ];
        for (version, send, expected) in cases {
            assert_eq!(start(version, send), expected, "{version:?} {send:?}");
        }
    }
}
