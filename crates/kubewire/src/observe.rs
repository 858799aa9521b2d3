//! What is told about each request once it is over: to metrics and to the audit log.
//!
//! A record carries no bodies, headers or query values, so nothing secret can pass here.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::auth::{Attributes, User};

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Unique id, answered as `Audit-Id`.
    pub request_id: String,
    /// When it arrived.
    pub received: Timestamp,
    /// Who asked, after impersonation; `None` where that was never found out.
    pub user: Option<User>,
    /// Who asked in that user's name.
    pub impersonator: Option<User>,
    /// HTTP method.
    pub method: String,
    /// What was asked. The name of an object made with `generateName` is filled in.
    pub attributes: Attributes,
    /// Whether the request was a dry run.
    pub dry_run: bool,
    /// Address of the peer; `None` in process.
    pub peer: Option<SocketAddr>,
    /// `User-Agent`, cut to 128 characters.
    pub user_agent: String,
    /// HTTP status code; 499 where the client left before it was answered.
    pub code: u16,
    /// From arrival to the answer; for a watch, to its end.
    pub duration: Duration,
    /// Bytes of the answer's body, before compression.
    pub bytes: u64,
}

/// Is told about requests. Called on the request's own task: must not block.
pub trait Observer: Send + Sync + 'static {
    /// A watch begins; [`finished`](Self::finished) follows when it ends. `code` is 200, duration and bytes are 0.
    fn watch_started(&self, _record: &Record) {}

    /// A request is over. Called exactly once for each.
    fn finished(&self, record: &Record);
}

/// Several observers as one.
impl<T: Observer + ?Sized> Observer for Vec<Arc<T>> {
    fn watch_started(&self, record: &Record) {
        self.iter().for_each(|observer| observer.watch_started(record));
    }

    fn finished(&self, record: &Record) {
        self.iter().for_each(|observer| observer.finished(record));
    }
}

/// Fills a record and hands it over when dropped, so that no way out of a request goes unseen.
pub(crate) struct Recorder {
    pub record: Record,
    started: Instant,
    observer: Option<Arc<dyn Observer>>,
}

impl Recorder {
    pub fn new(observer: Option<Arc<dyn Observer>>, record: Record) -> Self {
        Self { record: Record { code: 499, ..record }, started: Instant::now(), observer }
    }

    pub fn watch_started(&self) {
        if let Some(observer) = &self.observer {
            observer.watch_started(&self.record);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(observer) = &self.observer {
            self.record.duration = self.started.elapsed();
            observer.finished(&self.record);
        }
    }
}
