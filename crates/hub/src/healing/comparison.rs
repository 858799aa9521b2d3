//! One comparison of an endpoint's log with its registry.
//!
//! The hard part is that deliveries go on meanwhile. A look takes time; an event may be recorded between it and the announcement, and an old
//! look announced after it would be the last word, and wrong. So each repository is settled in rounds: fold, look, fold; if an event came
//! to the repository meanwhile, again. A difference must also outlast [`GRACE`], since the event that tells of it may be on its way. And
//! if an event slipped in before the announcement all the same, which the fold after it shows, another round follows at once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use roadstead_api::event::ImageChange;
use roadstead_outbound::registry::{Registry, RegistryError};
use roadstead_outbound::tags::{Difference, Known, Obstacle, Seen, Settle, Step, TagStore, TagStoreError, look};
use serde::Deserialize;
use tokio::time::sleep;

use super::{GRACE, announce, healer};
use crate::endpoint::Endpoint;
use crate::journal::{Journal, RecordError, key};
use crate::log::{Draft, Endpoints, Limit, LogError, Selection};

/// Rounds for one repository in one comparison; a repository that is pushed to all the time needs no healing.
const ROUNDS: u32 = 5;
/// Part of the log that is folded at once.
const PAGE: Limit = Limit { events: 500, bytes: 4 << 20 };
/// How long the log may take to show what it has recorded.
const SHOWN: Duration = Duration::from_secs(5);

/// What of the hub's own can fail.
#[derive(Debug, thiserror::Error)]
pub(super) enum HealError {
    /// What is known.
    #[error("{0}")]
    Store(#[from] TagStoreError),
    /// Reading the log.
    #[error("{0}")]
    Log(#[from] LogError),
    /// Appending to it.
    #[error("{0}")]
    Record(#[from] RecordError),
}

type Trouble = Obstacle<HealError>;

fn own(error: impl Into<HealError>) -> Trouble {
    Obstacle::Own(error.into())
}

pub(super) struct Comparison<'a> {
    endpoint: &'a Endpoint,
    registry: &'a Registry,
    journal: &'a Journal,
    tags: &'a TagStore,
    /// Position up to which the log is folded. That of the store is behind where nothing was told since: a busy hub would else write it
    /// for each repository.
    cursor: AtomicU64,
}

impl Settle for Comparison<'_> {
    type Error = HealError;

    async fn settle(&self, repository: &str) -> Result<usize, Trouble> {
        let mut announced = 0;
        let mut lasting = false;
        for _ in 0..ROUNDS {
            self.fold().await?;
            let known = self.known(repository).await?;
            let seen = look(self.registry, repository, &known, |_| true).await?;
            let news = known.news(&seen);
            if !news.is_empty() && !lasting {
                lasting = true;
                sleep(GRACE).await;
                continue;
            }
            self.fold().await?;
            if self.known(repository).await?.touched != known.touched {
                continue;
            }
            let drafts = self.drafts(repository, &news, &known);
            if !drafts.is_empty() {
                announced += drafts.len();
                self.journal.append(self.endpoint, drafts).await.map_err(own)?;
                if self.fold().await?.contains(repository) {
                    continue;
                }
            }
            self.note(repository, &seen).await?;
            break;
        }
        Ok(announced)
    }

    fn waits(&self, error: &RegistryError) {
        healer::waits(self.endpoint, self.journal, error);
    }
}

impl<'a> Comparison<'a> {
    /// Begins with what the store knows and the log has told since.
    pub(super) async fn begin(
        endpoint: &'a Endpoint,
        registry: &'a Registry,
        journal: &'a Journal,
        tags: &'a TagStore,
    ) -> Result<Self, Trouble> {
        let cursor = tags.source(&endpoint.stream.uid).await.map_err(own)?.cursor.into();
        let comparison = Comparison { endpoint, registry, journal, tags, cursor };
        comparison.fold().await?;
        let step = Step { cursor: Some(comparison.cursor.load(Ordering::Relaxed)), ..Step::default() };
        comparison.tags.apply(comparison.uid(), step).await.map_err(own)?;
        Ok(comparison)
    }

    fn uid(&self) -> &str {
        &self.endpoint.stream.uid
    }

    async fn known(&self, repository: &str) -> Result<Known, Trouble> {
        self.tags.known(self.uid(), repository).await.map_err(own)
    }

    /// The events for what is news and wanted.
    fn drafts(&self, repository: &str, news: &[Difference], known: &Known) -> Vec<Draft> {
        let (provider, host, now) = (self.endpoint.provider, self.registry.host(), Timestamp::now());
        let drafts = news
            .iter()
            .map(|difference| announce::draft(provider, host, repository, difference, known.touched, now))
            .filter(|draft| self.journal.wanted(self.endpoint, draft));
        drafts
            .inspect(|draft| tracing::info!(endpoint = %key(self.endpoint), event = draft.id, "announcing what no event told"))
            .collect()
    }

    /// Notes what was seen: tags that are no news and those that nobody wants to be told of. What was announced is in the log already.
    async fn note(&self, repository: &str, seen: &Seen) -> Result<(), Trouble> {
        let cursor = self.cursor.load(Ordering::Relaxed);
        match self.known(repository).await?.found(repository, seen, cursor) {
            None => Ok(()),
            found => self.tags.apply(self.uid(), Step { found, ..Step::default() }).await.map_err(own),
        }
    }

    /// Brings what is known up to the head of the log. Gives the repositories that a delivery was recorded for since the last time.
    async fn fold(&self) -> Result<BTreeSet<String>, Trouble> {
        let (log, stream) = (self.journal.log(), &self.endpoint.stream);
        let selection = Selection::of(Endpoints::Named(vec![(stream.namespace.clone(), stream.name.clone())]));
        if let Some(stats) = log.stats(stream) {
            log.reached(stats.last_position, SHOWN).await;
        }
        let head = log.head();
        let mut cursor = self.cursor.load(Ordering::Relaxed);
        let mut delivered = BTreeSet::new();
        while cursor < head {
            let page = log.read(&selection, cursor, head, PAGE).await.map_err(own)?;
            let mut told = Vec::new();
            for record in page.records.iter().filter(|record| record.stream().uid == stream.uid) {
                let Ok(event) = serde_json::from_slice::<Told>(&record.frame().object) else { continue };
                let (Some(image), true) = (event.spec.image, event.spec.verified) else { continue };
                if !event.spec.reconciled {
                    delivered.insert(image.repository.clone());
                }
                told.push((record.position, image));
            }
            cursor = page.through;
            if !told.is_empty() {
                let step = Step { cursor: Some(cursor), told, ..Step::default() };
                self.tags.apply(self.uid(), step).await.map_err(own)?;
            }
            self.cursor.store(cursor, Ordering::Relaxed);
        }
        Ok(delivered)
    }
}

/// What of an event matters here.
#[derive(Deserialize)]
struct Told {
    spec: ToldSpec,
}

#[derive(Deserialize)]
struct ToldSpec {
    #[serde(default)]
    verified: bool,
    #[serde(default)]
    reconciled: bool,
    image: Option<ImageChange>,
}
