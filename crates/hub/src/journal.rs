//! What is kept and what follows from keeping it, for whoever records events of an endpoint: deliveries, and comparisons with a registry.
//!
//! In: an endpoint and drafts. Out: events in the log; and in memory what depends on them: counters, the last events, the known tags, the
//! status that is to be written, and a look at the registry where an event shows that one was missed.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use roadstead_api::{WebhookEventSpec, endpoint::EventSummary, event::ImageChange};
use tokio::time::timeout;

use crate::{
    control::{endpoints::Key, status::Writer},
    endpoint::{Counted, Endpoint},
    log::{Draft, Log, LogError, Outcome},
    metrics::Metrics,
    tag_index::TagIndex,
};

/// How long an append may take before whoever wants it is told to come again.
const APPEND_DEADLINE: Duration = Duration::from_secs(8);

/// Why nothing was recorded; or, if it is only late, perhaps was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// The log refused.
    #[error("{0}")]
    Log(#[from] LogError),
    /// The log did not answer in time.
    #[error("recording took longer than {} s", APPEND_DEADLINE.as_secs())]
    Late,
}

/// Records events. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Journal {
    log: Arc<dyn Log>,
    writer: Writer,
    metrics: Metrics,
}

impl Journal {
    pub(crate) fn new(log: Arc<dyn Log>, writer: Writer, metrics: Metrics) -> Self {
        Self { log, writer, metrics }
    }

    pub(crate) fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Has the endpoint's status written.
    pub(crate) fn touch(&self, endpoint: &Endpoint) {
        self.writer.touch(&key(endpoint));
    }

    /// Whether `events` and `filter` keep an event. A filter that errors keeps it.
    pub(crate) fn wanted(&self, endpoint: &Endpoint, draft: &Draft) -> bool {
        if !endpoint.events.is_empty() && !endpoint.events.contains(&draft.kind) {
            return false;
        }
        let Some(Ok(filter)) = &endpoint.filter else { return true };
        let view = WebhookEventSpec {
            endpoint: endpoint.stream.name.clone(),
            id: if draft.dedupe { draft.id.clone() } else { String::new() },
            provider: endpoint.provider.as_str().into(),
            kind: draft.kind.clone(),
            received_at: micros(draft.received_at),
            verified: draft.verified,
            reconciled: draft.reconciled,
            git: draft.git.clone(),
            image: draft.image.clone(),
            ..WebhookEventSpec::default()
        }
        .filter_view();
        let (keep, error) = match filter.matches(&view) {
            Ok(keep) => (keep, None),
            Err(error) => (true, Some(error.to_string())),
        };
        let mut tail = endpoint.live.tail();
        if tail.filter_error != error {
            tail.filter_error = error;
            self.metrics.filter_error(endpoint.provider);
        }
        keep
    }

    /// Appends, and returns when that is durable.
    pub(crate) async fn append(&self, endpoint: &Endpoint, drafts: Vec<Draft>) -> Result<Vec<Outcome>, RecordError> {
        let notes: Vec<Note> = drafts.iter().map(|draft| Note::of(endpoint, draft)).collect();
        let outcomes = timeout(APPEND_DEADLINE, self.log.append(&endpoint.stream, drafts)).await;
        let outcomes = outcomes.map_err(|_| RecordError::Late)??;
        for (Note { mut summary, image, unproven }, outcome) in notes.into_iter().zip(&outcomes) {
            let Outcome::Recorded { sequence, .. } = *outcome else {
                endpoint.live.count(Counted::Duplicate, 1);
                continue;
            };
            tracing::debug!(endpoint = %key(endpoint), event = summary.id, sequence, "recorded");
            summary.sequence = sequence;
            endpoint.live.count(Counted::Accepted, 1);
            endpoint.live.recorded(summary);
            let Some(image) = image else { continue };
            let mut tags = endpoint.live.tags();
            if shows_a_gap(&tags, &image, unproven) {
                endpoint.live.healing.wake();
            }
            tags.observe(&image);
        }
        self.touch(endpoint);
        Ok(outcomes)
    }
}

/// What is needed of a draft after it was recorded.
struct Note {
    summary: EventSummary,
    image: Option<ImageChange>,
    unproven: bool,
}

impl Note {
    fn of(endpoint: &Endpoint, draft: &Draft) -> Note {
        let (git, image) = (draft.git.clone(), draft.image.clone());
        let spec = WebhookEventSpec { git, image, ..WebhookEventSpec::default() };
        debug_assert_eq!(endpoint.provider, draft.provider);
        let summary = EventSummary {
            sequence: 0,
            id: draft.id.clone(),
            kind: draft.kind.clone(),
            subject: spec.subject().chars().take(200).collect(),
            received_at: micros(draft.received_at),
        };
        Note { summary, image: spec.image, unproven: !draft.verified }
    }
}

/// Whether an event says that something is not known that should be: a tag goes that was never seen to come, or a change that nobody proved
/// and the registry did not confirm in time, which only a look at the registry can settle.
fn shows_a_gap(tags: &TagIndex, image: &ImageChange, unproven: bool) -> bool {
    match image.action.as_str() {
        "push" => unproven,
        "delete" => unproven || (!image.tag.is_empty() && tags.digest_of(&image.repository, &image.tag).is_none()),
        _ => false,
    }
}

/// Namespace and name of an endpoint.
pub(crate) fn key(endpoint: &Endpoint) -> Key {
    Key { namespace: endpoint.stream.namespace.clone(), name: endpoint.stream.name.clone() }
}

/// RFC 3339 with microseconds.
pub(crate) fn micros(at: Timestamp) -> String {
    format!("{at:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_show() {
        let image = |action: &str, tag: &str| ImageChange {
            repository: "a".into(),
            action: action.into(),
            tag: tag.into(),
            digest: "d".into(),
            ..ImageChange::default()
        };
        let mut tags = TagIndex::new(10);
        tags.observe(&image("push", "v1"));
        for (action, tag, unproven, gap) in [
            ("push", "v1", false, false),
            ("push", "v2", false, false),
            ("push", "v2", true, true),
            ("delete", "v1", false, false),
            ("delete", "v2", false, true),
            ("delete", "", false, false),
            ("pull", "v2", true, false),
        ] {
            assert_eq!(shows_a_gap(&tags, &image(action, tag), unproven), gap, "{action} {tag} {unproven}");
        }
    }
}
