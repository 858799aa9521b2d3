//! The body of a watch: events as they come, one line each, until the client leaves or something ends it.
//!
//! Costs two boxes beside the resource's own stream, because there are thousands of these, nearly all of them idle. Events that are
//! ready together go out in one write. Nothing is queued here: a slow client is not polled, and the resource behind the stream decides
//! what becomes of it.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::Stream;

use super::{Inner, access::Caller};
use crate::{
    error::ApiError,
    observe::Recorder,
    view::View,
    watch::{EventKind, WatchEvent, WatchStream},
};

/// Events are joined up to about this many bytes.
const WRITE: usize = 64 * 1024;
/// Watches without `timeoutSeconds` end after this time and up to as much again, so that they don't all come back at once.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30 * 60);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// A watch in progress.
pub(super) struct Watching {
    events: Option<WatchStream>,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    view: View,
    recorder: Option<Recorder>,
}

impl Watching {
    /// Sends `events` in the form of `view` until `end` resolves.
    pub fn new(
        events: WatchStream,
        view: View,
        end: Pin<Box<dyn Future<Output = ()> + Send>>,
        recorder: Option<Recorder>,
    ) -> Self {
        Self { events: Some(events), end, view, recorder }
    }

    fn id(&self) -> &str {
        self.recorder.as_ref().map_or("", |recorder| recorder.record.request_id.as_str())
    }

    /// Takes what is ready. `None` when it is over.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(events) = &mut self.events else { return Poll::Ready(None) };
        if self.end.as_mut().poll(cx).is_ready() {
            self.events = None;
            return Poll::Ready(None);
        }
        let Some(first) = ready!(events.as_mut().poll_next(cx)) else {
            self.events = None;
            return Poll::Ready(None);
        };
        let mut last = first.kind;
        let first = self.view.event(first);
        let mut joined: Option<BytesMut> = None;
        while last != EventKind::Error && joined.as_ref().map_or(first.len(), BytesMut::len) < WRITE {
            match events.as_mut().poll_next(cx) {
                Poll::Ready(Some(next)) => {
                    last = next.kind;
                    let joined = joined.get_or_insert_with(|| BytesMut::from(&first[..]));
                    joined.extend_from_slice(&self.view.event(next));
                }
                // The end and "not yet" are seen again at the next poll.
                Poll::Ready(None) => {
                    self.events = None;
                    break;
                }
                Poll::Pending => break,
            }
        }
        if last == EventKind::Error {
            self.events = None;
        }
        Poll::Ready(Some(joined.map_or(first, BytesMut::freeze)))
    }
}

impl Stream for Watching {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = self.get_mut();
        // A panic here would take the whole connection down, with all other watches on it.
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| this.poll_write(cx))).unwrap_or_else(|panic| {
            tracing::error!(request_id = this.id(), panic = super::panic_text(panic.as_ref()), "watch panicked");
            this.events = None;
            let error = WatchEvent::error(&ApiError::internal("an internal error ended this watch"));
            Poll::Ready(Some(error.line))
        });
        let written = ready!(polled);
        match (&written, &mut this.recorder) {
            (Some(bytes), Some(recorder)) => recorder.record.bytes += bytes.len() as u64,
            (Some(_), None) => {}
            (None, recorder) => *recorder = None,
        }
        Poll::Ready(written)
    }
}

impl Inner {
    /// Resolves when a watch must end: its time is over, its credentials end or are withdrawn, or the process stops.
    pub(super) fn end_of_watch(
        &self,
        timeout: Option<u64>,
        caller: &Caller,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let timeout = match timeout {
            None | Some(0) => DEFAULT_TIMEOUT + jitter(DEFAULT_TIMEOUT),
            Some(seconds) => Duration::from_secs(seconds).min(LONGEST_TIMEOUT),
        };
        let left = caller.authenticated.expires.map(|end| end.duration_since(jiff::Timestamp::now()));
        let timeout = left.map_or(timeout, |left| timeout.min(left.try_into().unwrap_or_default()));
        let shutdown = self.shutdown.clone();
        let credentials = (!caller.trusted).then(|| (self.authenticator.clone(), caller.authenticated.clone()));
        Box::pin(async move {
            let revoked = async {
                match &credentials {
                    Some((authenticator, user)) => authenticator.revoked(user).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(timeout) => {}
                () = revoked => {}
                () = shutdown.cancelled() => {}
            }
        })
    }
}

/// A random time below `most`.
fn jitter(most: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u128() as u32;
    most.mul_f64(f64::from(random) / (f64::from(u32::MAX) + 1.0))
}
