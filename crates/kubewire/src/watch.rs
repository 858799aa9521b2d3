//! Watch events: serialised once, shared by every watcher.

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::BoxStream;

use crate::error::ApiError;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// New, or newly selected.
    Added,
    /// Changed.
    Modified,
    /// Gone, or no longer selected.
    Deleted,
    /// Only a resourceVersion to resume from.
    Bookmark,
    /// A `Status`; the stream ends after it.
    Error,
}

impl EventKind {
    /// `ADDED`, `MODIFIED`, ...
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Added => "ADDED",
            EventKind::Modified => "MODIFIED",
            EventKind::Deleted => "DELETED",
            EventKind::Bookmark => "BOOKMARK",
            EventKind::Error => "ERROR",
        }
    }
}

/// One event of a watch. Cheap to clone: both parts share one buffer.
#[derive(Clone, Debug)]
pub struct WatchEvent {
    /// What happened.
    pub kind: EventKind,
    /// The frame as sent: `{"type":"ADDED","object":{...}}` and a newline.
    pub line: Bytes,
    /// The object alone, a slice of [`line`](Self::line).
    pub object: Bytes,
}

impl WatchEvent {
    /// Frames a serialised object.
    pub fn new(kind: EventKind, object: &[u8]) -> Self {
        let head = format!("{{\"type\":\"{}\",\"object\":", kind.as_str());
        let mut line = BytesMut::with_capacity(head.len() + object.len() + 2);
        line.put_slice(head.as_bytes());
        line.put_slice(object);
        line.put_slice(b"}\n");
        let line = line.freeze();
        let object = line.slice(head.len()..head.len() + object.len());
        Self { kind, line, object }
    }

    /// A bookmark at `resource_version`. `initial_events_end` marks the end of `sendInitialEvents`.
    pub fn bookmark(api_version: &str, kind: &str, resource_version: &str, initial_events_end: bool) -> Self {
        let mut metadata = serde_json::json!({"resourceVersion": resource_version});
        if initial_events_end {
            metadata["annotations"] = serde_json::json!({"k8s.io/initial-events-end": "true"});
        }
        let object = serde_json::json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        Self::new(EventKind::Bookmark, object.to_string().as_bytes())
    }

    /// An error; the last event of a stream.
    pub fn error(error: &ApiError) -> Self {
        Self::new(EventKind::Error, error.to_status().to_string().as_bytes())
    }
}

/// The events of one watch, until the client leaves, the time is over or an error ends it. Dropping it must end all work
/// behind it. Implementations send bookmarks; the service cuts the stream at `timeoutSeconds`.
pub type WatchStream = BoxStream<'static, WatchEvent>;
