//! One trigger, from reading its position to persisting it: does what the [`plan`](crate::plan) decides.
//!
//! `begin` finds out what the trigger is and where it starts; `drive` is the loop over events, results, time and the
//! status; `note` turns results into status, metrics and log lines. A runner never outlives its trigger's spec: a
//! changed spec gets a new runner after the old one has stopped and persisted where it was.

mod begin;
mod drive;
mod note;

use std::{sync::Arc, time::Duration};

use kube::{Api, ResourceExt};
use roadstead_api::{Trigger, subscriber::Position};
use roadstead_reconcile::{Backoff, patch};
use tokio_util::sync::CancellationToken;

use crate::{
    actions::source_of,
    attempt::Work,
    dead_letters::TriggerKey,
    metrics::TriggerLabels,
    plan::Progress,
    shared::{MANAGER, Shared},
    status::Report,
};

/// One trigger with its work and status.
struct Runner {
    shared: Arc<Shared>,
    trigger: Trigger,
    key: TriggerKey,
    api: Api<Trigger>,
    work: Arc<Work>,
    /// `hub/namespace/name` of the endpoint.
    source: String,
    labels: TriggerLabels,
    report: Report,
    cancel: CancellationToken,
}

/// Why a runner ended.
enum End {
    /// It was asked to, and has persisted its position.
    Stopped,
    /// The hub's log begins anew.
    Replaced,
    /// The trigger is not there any more.
    Gone,
}

/// Runs a trigger until it is cancelled, deleted, or found not to work as it is written.
pub async fn run(shared: Arc<Shared>, key: TriggerKey, cancel: CancellationToken) {
    let Some(mut runner) = begin::open(&shared, key, &cancel).await else { return };
    let mut start = match runner.report.resume(&runner.source) {
        Some(progress) => Some(progress),
        None => runner.locate(runner.trigger.spec.start).await,
    };
    while let Some(progress) = start {
        start = match runner.drive(progress).await {
            End::Stopped | End::Gone => None,
            End::Replaced => runner.start_over().await,
        };
    }
}

impl Runner {
    fn new(shared: Arc<Shared>, trigger: Trigger, work: Work, cancel: CancellationToken) -> Self {
        let key = (trigger.namespace().unwrap_or_default(), trigger.name_any());
        Self {
            api: Api::namespaced(shared.own.clone(), &key.0),
            source: source_of(&trigger),
            labels: TriggerLabels { namespace: key.0.clone(), trigger: key.1.clone() },
            report: Report::new(trigger.status.clone(), trigger.metadata.generation),
            work: Arc::new(work),
            shared,
            trigger,
            key,
            cancel,
        }
    }

    /// Writes the status until it is written. `false`: cancelled, or the trigger is gone.
    async fn insist(&self) -> bool {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        loop {
            let patch = self.report.patch();
            match self.shared.acting(patch::merge_status(&self.api, &self.key.1, &patch, MANAGER)).await {
                Ok(_) => return true,
                Err(error) if patch::is_not_found(&error) => return false,
                Err(error) => tracing::warn!(trigger = self.key.1, %error, "the status cannot be written"),
            }
            tokio::select! {
                () = self.cancel.cancelled() => return false,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// Tells the hub's subscriber status how far this trigger is.
    fn tell_hub(&self, progress: &Progress, lag: u64) {
        let endpoint = &self.work.endpoint;
        let position = Position {
            endpoint: format!("{}/{}", endpoint.namespace, endpoint.name),
            sequence: progress.sequence,
            lag,
        };
        self.work.hub.positions.set(&format!("{}/{}", self.key.0, self.key.1), Some(position));
    }
}
