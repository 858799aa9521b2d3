//! A live reader: a position and a selection. From memory while it keeps up, from disk when it is behind, and the same events either
//! way.

use std::sync::{Arc, atomic::Ordering};

use async_trait::async_trait;
use futures::future::select_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{
    Follow,
    error::LogError,
    reader::Readers,
    record::Record,
    ring::{Endpoint, Tail},
    shared::Shared,
    types::{Endpoints, Limit, Missed, Page, Selection},
};

/// Most events that are handed over at once.
const EVENTS: usize = 256;
/// Bytes that are handed over at once, from memory or disk, if nothing else is free.
const SMALL: usize = 64 << 10;
/// Bytes read from disk at once while [`BUDGET`] lasts.
const LARGE: usize = 512 << 10;
/// Bytes that all readers together may hold in large reads; bounds what many stalled readers can pin.
const BUDGET: usize = 64 << 20;

/// The budget for large reads, one for each log.
pub(super) fn budget() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(BUDGET / LARGE))
}

/// What wakes the reader.
enum Source {
    /// Its endpoints, each with its bell: nobody else's events wake it.
    Named(Vec<(Arc<Endpoint>, watch::Receiver<()>)>),
    /// The bell of all.
    All(watch::Receiver<()>),
}

/// A follower of the local log.
pub(super) struct LocalFollow {
    shared: Arc<Shared>,
    selection: Selection,
    source: Source,
    position: u64,
    /// Held while a large read is with the consumer.
    large: Option<OwnedSemaphorePermit>,
}

impl LocalFollow {
    pub fn new(shared: Arc<Shared>, selection: Selection, after: u64) -> Self {
        let source = match &selection.endpoints {
            Endpoints::Named(list) => Source::Named(
                list.iter()
                    .map(|(namespace, name)| shared.endpoint(namespace, name))
                    .map(|endpoint| (endpoint.clone(), endpoint.tail.listen()))
                    .collect(),
            ),
            _ => Source::All(shared.ring.all.listen()),
        };
        shared.counters.followers.fetch_add(1, Ordering::Relaxed);
        Self { shared, selection, source, position: after, large: None }
    }

    /// What is new, without waiting. An empty answer means that everything up to the position it leaves behind was delivered.
    async fn advance(&mut self) -> Result<Vec<Arc<Record>>, LogError> {
        self.large = None;
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(LogError::Closed);
        }
        // Whatever is rung from here on wakes the next wait.
        match &mut self.source {
            Source::Named(list) => list.iter_mut().for_each(|(_, bell)| drop(bell.borrow_and_update())),
            Source::All(bell) => drop(bell.borrow_and_update()),
        }
        self.check().await?;
        let head = self.shared.head();
        if head <= self.position {
            return Ok(Vec::new());
        }
        let page = match self.look_in_memory(head) {
            Some(page) => page,
            None => self.look_on_disk(head).await?,
        };
        // Retention may have taken something while it was being read.
        self.check().await?;
        self.position = page.through;
        Ok(page.records)
    }

    /// Fails if the reader has missed an event for good.
    async fn check(&self) -> Result<(), LogError> {
        let position = self.position;
        if self.shared.lives.iter().any(|life| life.after < position && position + 1 < life.start) {
            return Err(LogError::Gone(Missed::Restored { position }));
        }
        let Some(endpoint) = self.shared.removed_after(&self.selection.endpoints, position) else { return Ok(()) };
        Err(LogError::Gone(Readers::run(&self.shared, move |shared| shared.count_missed(&endpoint, position)).await?))
    }

    fn look_in_memory(&self, head: u64) -> Option<Page> {
        let mut page = Page { records: Vec::new(), through: head };
        match &self.source {
            Source::All(_) => self.collect(&self.shared.ring.all, head, &mut page)?,
            Source::Named(list) => {
                for (endpoint, _) in list {
                    self.collect(&endpoint.tail, head, &mut page)?;
                }
                if list.len() > 1 {
                    page.records.sort_unstable_by_key(|record| record.position);
                    // A list cut at its limit says nothing about positions behind the cut.
                    let cut = page.records.partition_point(|record| record.position <= page.through);
                    page.records.truncate(cut);
                }
            }
        }
        Some(page)
    }

    /// Adds what `tail` has, up to the limits; then `page.through` is the last one taken.
    fn collect(&self, tail: &Tail, head: u64, page: &mut Page) -> Option<()> {
        let (mut events, mut bytes) = (0, 0);
        tail.visit(self.position, head, |record| {
            let endpoint = record.stream();
            if record.visible()
                && self.selection.endpoints.contains(&endpoint.namespace, &endpoint.name)
                && self.selection.takes(record)
            {
                page.records.push(record.clone());
                events += 1;
                bytes += record.weight();
            }
            let more = events < EVENTS && bytes < LARGE;
            if !more {
                page.through = page.through.min(record.position);
            }
            more
        })
    }

    async fn look_on_disk(&mut self, head: u64) -> Result<Page, LogError> {
        self.large = self.shared.large_reads.clone().try_acquire_owned().ok();
        let bytes = if self.large.is_some() { LARGE } else { SMALL };
        let (selection, after) = (self.selection.clone(), self.position);
        Readers::run(&self.shared, move |shared| {
            shared.read_disk(&selection, after, head, Limit { events: EVENTS, bytes })
        })
        .await
    }

    async fn wait(&mut self) -> Result<(), LogError> {
        let rung = match &mut self.source {
            Source::All(bell) => bell.changed().await,
            Source::Named(list) => match list.as_mut_slice() {
                [] => std::future::pending().await,
                [(_, bell)] => bell.changed().await,
                many => select_all(many.iter_mut().map(|(_, bell)| Box::pin(bell.changed()))).await.0,
            },
        };
        rung.map_err(|_| LogError::Closed)
    }
}

#[async_trait]
impl Follow for LocalFollow {
    async fn next(&mut self) -> Result<Vec<Arc<Record>>, LogError> {
        loop {
            let before = self.position;
            let records = self.advance().await?;
            if !records.is_empty() {
                return Ok(records);
            }
            // A page in which nothing was selected is not the end.
            if self.position == before || self.position >= self.shared.head() {
                self.wait().await?;
            }
        }
    }

    fn position(&mut self) -> u64 {
        // The head is read before the tails: what comes between the two is above it.
        let head = self.shared.head();
        if let Some(page) = self.look_in_memory(head)
            && page.records.is_empty()
            && head > self.position
        {
            self.position = head;
        }
        self.position
    }
}

impl Drop for LocalFollow {
    fn drop(&mut self) {
        self.shared.counters.followers.fetch_sub(1, Ordering::Relaxed);
        if let Source::Named(list) = &mut self.source {
            for (endpoint, _) in list.drain(..) {
                self.shared.release_endpoint(&endpoint);
            }
        }
    }
}
