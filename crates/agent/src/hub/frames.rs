//! The lines of a watch: bytes in, events, bookmarks and errors out. A line is bounded, and so is silence.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use kube::core::Status;
use roadstead_api::event::WebhookEvent;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::HubError;
use crate::event::Event;

/// Longest line: a body of 64 KiB in base64, headers and normalised fields are far below it.
const MAX_LINE: usize = 4 << 20;
/// A hub sends a bookmark each 30 s at least; after this silence the connection is taken for dead.
const SILENCE: Duration = Duration::from_secs(75);

/// One line of a watch.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// An event was recorded.
    Event(Box<Event>),
    /// Everything up to this position has been told.
    Bookmark(u64),
}

/// The rest of a watch's response.
pub struct Frames {
    body: UnsyncBoxBody<Bytes, String>,
    buffer: BytesMut,
    /// Bytes of the buffer that hold no line end.
    scanned: usize,
}

impl Frames {
    pub(super) fn new<B>(body: B) -> Self
    where
        B: hyper::body::Body<Data = Bytes, Error: std::fmt::Display> + Send + 'static,
    {
        Self { body: body.map_err(|error| error.to_string()).boxed_unsync(), buffer: BytesMut::new(), scanned: 0 }
    }

    /// The next line; `None` when the hub ended the watch. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Frame>, HubError> {
        loop {
            while let Some(line) = self.line()? {
                if let Some(frame) = read(&line)? {
                    return Ok(Some(frame));
                }
            }
            let chunk = match tokio::time::timeout(SILENCE, self.body.frame()).await {
                Err(_) => return Err(HubError::Unreachable(format!("silent for {} s", SILENCE.as_secs()))),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(HubError::Unreachable(format!("the watch broke: {error}"))),
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            };
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// Takes a whole line from the buffer.
    fn line(&mut self) -> Result<Option<Bytes>, HubError> {
        match self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let line = self.buffer.split_to(self.scanned + end + 1).freeze();
                self.scanned = 0;
                Ok(Some(line))
            }
            None => {
                self.scanned = self.buffer.len();
                if self.scanned > MAX_LINE {
                    return Err(HubError::Protocol(format!("a line of more than {MAX_LINE} bytes")));
                }
                Ok(None)
            }
        }
    }
}

/// Reads one line. Kinds of frames that do not concern an append-only log are passed over.
fn read(line: &[u8]) -> Result<Option<Frame>, HubError> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        #[serde(borrow)]
        object: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Versioned {
        metadata: kube::core::ListMeta,
    }
    let wrong = |error: serde_json::Error| HubError::Protocol(error.to_string());
    let line = line.trim_ascii();
    if line.is_empty() {
        return Ok(None);
    }
    let line: Line<'_> = serde_json::from_slice(line).map_err(wrong)?;
    match line.kind {
        "ADDED" => {
            let event: WebhookEvent = serde_json::from_str(line.object.get()).map_err(wrong)?;
            Event::new(event).map(|event| Some(Frame::Event(Box::new(event)))).map_err(HubError::Protocol)
        }
        "BOOKMARK" => {
            let object: Versioned = serde_json::from_str(line.object.get()).map_err(wrong)?;
            let version = object.metadata.resource_version.unwrap_or_default();
            let position = version
                .parse()
                .map_err(|_| HubError::Protocol(format!("bookmark {version:?} is not a log position")))?;
            Ok(Some(Frame::Bookmark(position)))
        }
        "ERROR" => {
            let status: Status = serde_json::from_str(line.object.get()).map_err(wrong)?;
            Err(HubError::from_object(status))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use serde_json::json;

    use super::{Frame as Line, *};

    fn added(position: u64) -> String {
        let event = json!({
            "apiVersion": "log.roadstead.dev/v1alpha1", "kind": "WebhookEvent",
            "metadata": {"name": format!("shop-{position:020}"), "resourceVersion": position.to_string()},
            "spec": {"endpoint": "shop", "sequence": position, "id": "a", "provider": "github", "type": "push",
                     "receivedAt": "2026-11-20T09:00:00Z", "verified": true},
        });
        format!("{}\n", json!({"type": "ADDED", "object": event}))
    }

    fn bookmark(position: u64) -> String {
        let object = json!({"kind": "WebhookEvent", "metadata": {"resourceVersion": position.to_string()}});
        format!("{}\n", json!({"type": "BOOKMARK", "object": object}))
    }

    /// A body that comes in pieces of `size` bytes.
    fn pieces(text: String, size: usize) -> Frames {
        let chunks: Vec<Bytes> = text.into_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
        let stream = futures::stream::iter(chunks.into_iter().map(|chunk| Ok::<_, Infallible>(Frame::data(chunk))));
        Frames::new(StreamBody::new(stream))
    }

    #[tokio::test]
    async fn lines_are_read_however_they_are_cut() {
        for size in [1, 7, 100, 100_000] {
            let text = format!("{}\n{}{}", added(5), bookmark(9), added(11));
            let mut frames = pieces(text, size);
            let mut positions = Vec::new();
            while let Some(frame) = frames.next().await.unwrap() {
                positions.push(match frame {
                    Line::Event(event) => event.position,
                    Line::Bookmark(position) => position + 1000,
                });
            }
            assert_eq!(positions, [5, 1009, 11], "{size}");
        }
    }

    #[tokio::test]
    async fn errors_end_the_watch() {
        let gone = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "12 events missed"}});
        let mut frames = pieces(format!("{gone}\n"), 50);
        assert_eq!(frames.next().await, Err(HubError::Expired("12 events missed".into())));
        for bad in [
            "nonsense\n",
            "{\"type\":\"ADDED\",\"object\":{}}\n",
            "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{}}}\n",
        ] {
            assert!(matches!(pieces(bad.into(), 9).next().await, Err(HubError::Protocol(_))), "{bad}");
        }
        let mut endless = pieces("x".repeat(MAX_LINE + 1), 1 << 20);
        assert!(matches!(endless.next().await, Err(HubError::Protocol(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_an_error() {
        let silent = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let result = Frames::new(StreamBody::new(silent)).next().await;
        assert!(matches!(result, Err(HubError::Unreachable(message)) if message.contains("75 s")));
    }
}
