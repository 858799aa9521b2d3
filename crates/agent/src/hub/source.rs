//! Follows one endpoint: a watch that is opened again, from where it was, whenever it breaks.
//!
//! Out flow [`Signal`]s over a small channel; while nobody takes them nothing is read from the socket, which is the
//! back-pressure. Dropping the [`Source`] ends it.

use std::{sync::Arc, time::Duration};

use roadstead_api::trigger::HubEndpoint;
use roadstead_reconcile::Backoff;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinHandle},
    time::Instant,
};

use super::{Asker, Hub, HubError, frames::Frame};
use crate::{event::Event, metrics::Metrics};

/// Signals between socket and trigger.
const CHANNEL: usize = 32;

/// What the hub tells.
#[derive(Debug)]
pub enum Signal {
    /// Connected. The endpoint's last event has this sequence, or a later one.
    Up {
        /// Sequence.
        sequence: u64,
    },
    /// An event.
    Event(Box<Event>),
    /// Everything up to this position has been told.
    Passed(u64),
    /// Not connected; it is tried again.
    Down(HubError),
    /// Events after the last position were removed before they were read. Reading goes on with the first retained one,
    /// whose sequence tells the number.
    Expired {
        /// The hub's words.
        message: String,
    },
    /// The hub's log begins anew, at lower positions than before: what was remembered of it means nothing. It is the
    /// last signal.
    Replaced,
}

/// A followed endpoint.
pub struct Source {
    signals: mpsc::Receiver<Signal>,
    task: AbortHandle,
}

impl Source {
    /// Follows `endpoint` in the name of `asker` from after `position`.
    pub fn open(hub: Arc<Hub>, endpoint: HubEndpoint, asker: Option<Asker>, position: u64, metrics: Metrics) -> Self {
        let (out, signals) = mpsc::channel(CHANNEL);
        let task: JoinHandle<()> = tokio::spawn(async move {
            let follower = Follower { hub, endpoint, asker, position, out, metrics };
            follower.run().await;
        });
        Self { signals, task: task.abort_handle() }
    }

    /// The next signal; `None` after [`Signal::Replaced`]. Cancel-safe.
    pub async fn next(&mut self) -> Option<Signal> {
        self.signals.recv().await
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a watch ended.
enum End {
    /// The hub ended it in good order (it does so every few minutes).
    Closed,
    /// It failed.
    Failed(HubError),
    /// The hub's log begins anew.
    Replaced,
    /// Nobody listens any more.
    Unwanted,
}

impl From<HubError> for End {
    fn from(error: HubError) -> Self {
        Self::Failed(error)
    }
}

struct Follower {
    hub: Arc<Hub>,
    endpoint: HubEndpoint,
    asker: Option<Asker>,
    /// Last position that was passed on.
    position: u64,
    out: mpsc::Sender<Signal>,
    metrics: Metrics,
}

impl Follower {
    async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        loop {
            let ended = match self.watch(&mut backoff).await {
                Err(End::Failed(HubError::Expired(message))) => self.skip_to_first(message).await,
                Err(End::Failed(HubError::Ahead(message))) => self.check_ahead(message).await,
                ended => ended,
            };
            match ended {
                Ok(()) | Err(End::Closed) => {}
                Err(End::Unwanted) => return,
                Err(End::Replaced) => {
                    tracing::warn!(hub = self.hub.name(), endpoint = self.endpoint.name, "the hub's log begins anew");
                    let _ = self.out.send(Signal::Replaced).await;
                    return;
                }
                Err(End::Failed(error)) => {
                    tracing::info!(hub = self.hub.name(), endpoint = self.endpoint.name, %error, "the watch ended");
                    if matches!(error, HubError::Denied(_)) {
                        self.hub.renew().await;
                    }
                    if self.out.send(Signal::Down(error)).await.is_err() {
                        return;
                    }
                }
            }
            tokio::select! {
                () = self.out.closed() => return,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
            self.metrics.reconnected(self.hub.name());
        }
    }

    /// One watch, until it ends.
    async fn watch(&mut self, backoff: &mut Backoff) -> Result<(), End> {
        let sequence = self.hub.admit(&self.endpoint, self.asker.as_ref()).await?;
        let mut frames = self.hub.watch(&self.endpoint, self.position).await?;
        self.tell(Signal::Up { sequence }).await?;
        // An endpoint of another namespace may take its permission back while the watch is open.
        let foreign = self.asker.as_ref().filter(|asker| asker.namespace != self.endpoint.namespace);
        let recheck = foreign.map(|asker| asker.recheck);
        let mut due = recheck.map(|every| Instant::now() + every);
        loop {
            let frame = tokio::select! {
                // A busy endpoint must not put the question off.
                biased;
                () = self.out.closed() => return Err(End::Unwanted),
                () = at(due) => {
                    self.hub.admit(&self.endpoint, self.asker.as_ref()).await?;
                    due = recheck.map(|every| Instant::now() + every);
                    continue;
                }
                frame = frames.next() => frame?.ok_or(End::Closed)?,
            };
            backoff.reset();
            let (position, signal) = match frame {
                Frame::Event(event) => (event.position, Signal::Event(event)),
                Frame::Bookmark(position) => (position, Signal::Passed(position)),
            };
            // After P a hub tells of nothing before P, unless it is not the log that it was.
            if position < self.position {
                return Err(End::Replaced);
            }
            self.position = position;
            self.tell(signal).await?;
        }
    }

    /// The log has not come to where this one has read. A log never loses what it told of: it is another one, unless
    /// the hub cannot even say where it ends.
    async fn check_ahead(&mut self, message: String) -> Result<(), End> {
        let extent = self.hub.extent(&self.endpoint).await?;
        if extent.head < self.position { Err(End::Replaced) } else { Err(HubError::Unreachable(message).into()) }
    }

    /// Events are gone: goes on with the first that is there.
    async fn skip_to_first(&mut self, message: String) -> Result<(), End> {
        let extent = self.hub.extent(&self.endpoint).await?;
        if extent.head < self.position {
            return Err(End::Replaced);
        }
        self.position = extent.start;
        self.tell(Signal::Expired { message }).await
    }

    async fn tell(&self, signal: Signal) -> Result<(), End> {
        self.out.send(signal).await.map_err(|_| End::Unwanted)
    }
}

/// Waits until then, or for ever.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
