//! The hub's event log as the source of what registry webhooks are told: rooms do not import each other, so the binary joins them.

use std::sync::Arc;

use async_trait::async_trait;
use roadstead_api::event::ImageChange;
use roadstead_hub::log::{self, Endpoints, Limit, Log, LogError, Record, Selection};
use roadstead_notify::source::{Batch, Change, Follow, Source, SourceError};
use serde::Deserialize;

/// Events that are read at once where retention has left a gap.
const PAGE: Limit = Limit { events: 256, bytes: 4 << 20 };

/// The log as a source.
pub struct ImageSource(Arc<dyn Log>);

impl ImageSource {
    /// Of this log.
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self(log)
    }
}

impl Source for ImageSource {
    fn head(&self) -> u64 {
        self.0.head()
    }

    fn follow(&self, after: u64) -> Box<dyn Follow> {
        let selection = Selection::of(Endpoints::All);
        let live = self.0.follow(selection.clone(), after);
        Box::new(Following { log: self.0.clone(), selection, live, after, gap: None })
    }
}

struct Following {
    log: Arc<dyn Log>,
    selection: Selection,
    live: Box<dyn log::Follow>,
    /// Everything up to this position has been given.
    after: u64,
    /// After a gap: up to where what is retained is read page by page, because a follower would stop at the gap.
    gap: Option<u64>,
}

impl Following {
    fn batch(&mut self, records: &[Arc<Record>], through: u64) -> Batch {
        self.after = through;
        Batch { changes: records.iter().filter_map(|record| change(record)).collect(), through }
    }
}

#[async_trait]
impl Follow for Following {
    async fn next(&mut self) -> Result<Batch, SourceError> {
        let unreadable = |error: LogError| SourceError::Unreadable(error.to_string());
        if let Some(through) = self.gap {
            let page = self.log.read(&self.selection, self.after, through, PAGE).await.map_err(unreadable)?;
            if page.through >= through {
                self.gap = None;
                self.live = self.log.follow(self.selection.clone(), page.through);
            }
            return Ok(self.batch(&page.records, page.through));
        }
        match self.live.next().await {
            Ok(records) => {
                let through = self.live.position();
                Ok(self.batch(&records, through))
            }
            Err(LogError::Gone(missed)) => {
                self.gap = Some(self.log.head());
                Err(SourceError::Missed(missed.to_string()))
            }
            Err(error) => Err(unreadable(error)),
        }
    }
}

/// What an event tells of an image, if it does. The body is not looked at.
fn change(record: &Record) -> Option<Change> {
    #[derive(Deserialize)]
    struct Event {
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Spec {
        verified: bool,
        #[serde(default)]
        reconciled: bool,
        #[serde(default)]
        image: Option<ImageChange>,
    }
    let Event { spec } = serde_json::from_slice(&record.frame().object).ok()?;
    let stream = record.stream();
    Some(Change {
        position: record.position,
        namespace: stream.namespace.clone(),
        endpoint: stream.name.clone(),
        id: record.id.to_string(),
        at: jiff::Timestamp::from_microsecond(record.received).unwrap_or_default(),
        image: spec.image?,
        verified: spec.verified,
        reconciled: spec.reconciled,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use roadstead_api::endpoint::Provider;
    use roadstead_hub::log::{Draft, LocalLog, Options, Retention, Stream};

    use super::*;

    fn draft(id: usize, image: bool) -> Draft {
        Draft {
            id: id.to_string(),
            dedupe: true,
            kind: "push".into(),
            provider: Provider::Distribution,
            received_at: "2026-11-20T09:00:00.123456Z".parse().unwrap(),
            verified: true,
            reconciled: false,
            git: None,
            image: image.then(|| ImageChange {
                repository: "shop".into(),
                tag: format!("v{id}"),
                action: "push".into(),
                ..ImageChange::default()
            }),
            method: "POST".into(),
            headers: Vec::new(),
            body: Bytes::from_static(b"{}"),
        }
    }

    #[tokio::test]
    async fn images_come_in_order_and_a_gap_is_told_and_passed() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { retention_interval: Duration::from_millis(10), ..Options::default() };
        let log = LocalLog::open(dir.path(), options).await.unwrap();
        let stream = Stream { namespace: "a".into(), name: "registry".into(), uid: "u".into() };
        log.retain(&stream, Retention::default()).await.unwrap();
        let source = ImageSource::new(log.clone());
        let mut early = source.follow(source.head());
        for id in 1..=6 {
            log.append(&stream, vec![draft(id, id != 2)]).await.unwrap();
        }
        let mut tags = Vec::new();
        while tags.len() < 5 {
            let batch = early.next().await.unwrap();
            assert!(batch.changes.iter().all(|change| change.position <= batch.through));
            assert!(batch.changes.iter().all(|change| change.namespace == "a" && change.endpoint == "registry"));
            tags.extend(batch.changes.into_iter().map(|change| change.image.tag));
        }
        assert_eq!(tags, ["v1", "v3", "v4", "v5", "v6"], "what tells of no image is passed over");

        log.retain(&stream, Retention { events: Some(2), ..Retention::default() }).await.unwrap();
        let applied = async {
            while log.stats(&stream).is_none_or(|stats| stats.first < 5) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), applied).await.expect("retention is applied");
        let mut late = source.follow(0);
        assert!(matches!(late.next().await, Err(SourceError::Missed(_))));
        let rest = late.next().await.unwrap();
        assert_eq!(rest.changes.iter().map(|change| change.image.tag.as_str()).collect::<Vec<_>>(), ["v5", "v6"]);
        log.append(&stream, vec![draft(7, true)]).await.unwrap();
        assert_eq!(late.next().await.unwrap().changes[0].image.tag, "v7");
        log.close().await;
    }
}
