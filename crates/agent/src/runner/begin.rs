//! Before the first event: what the trigger is, whether it can work, and where it starts.

use std::{sync::Arc, time::Duration};

use kube::Api;
use roadstead_api::{Trigger, trigger::Start};
use roadstead_reconcile::{Backoff, conditions::Wanted, patch};
use tokio_util::sync::CancellationToken;

use super::Runner;
use crate::{
    actions::Invalid,
    dead_letters::TriggerKey,
    hub::{Extent, HubError},
    plan::Progress,
    prepare,
    shared::{MANAGER, Shared},
    status::Report,
};

/// Reads the trigger (the runner before this one may just have written its status) and prepares its work. `None`: there is
/// nothing to run, and the status says why.
pub(super) async fn open(shared: &Arc<Shared>, key: TriggerKey, cancel: &CancellationToken) -> Option<Runner> {
    let trigger = read(shared, &key, cancel).await?;
    let invalid = match prepare::work(shared, &trigger) {
        Ok(work) if !trigger.spec.suspend => {
            return Some(Runner::new(shared.clone(), trigger, work, cancel.clone()));
        }
        Ok(_) => Invalid { reason: "Suspended", message: "spec.suspend is true; events wait in the hub's log".into() },
        Err(invalid) => invalid,
    };
    tracing::info!(
        namespace = key.0,
        trigger = key.1,
        reason = invalid.reason,
        detail = invalid.message,
        "not running"
    );
    let mut report = Report::new(trigger.status.clone(), trigger.metadata.generation);
    report.condition(&Wanted::new("Ready", false, invalid.reason, &invalid.message));
    let api: Api<Trigger> = Api::namespaced(shared.own.clone(), &key.0);
    let patch = report.patch();
    if let Err(error) = shared.acting(patch::merge_status(&api, &key.1, &patch, MANAGER)).await {
        tracing::warn!(trigger = key.1, %error, "the status cannot be written");
    }
    None
}

async fn read(shared: &Shared, key: &TriggerKey, cancel: &CancellationToken) -> Option<Trigger> {
    let api: Api<Trigger> = Api::namespaced(shared.own.clone(), &key.0);
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    loop {
        match patch::persist(|| api.get_opt(&key.1)).await {
            Ok(trigger) => return trigger,
            Err(error) => tracing::warn!(trigger = key.1, %error, "the trigger cannot be read"),
        }
        tokio::select! {
            () = cancel.cancelled() => return None,
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
}

impl Runner {
    /// Where a new trigger starts. It is persisted before anything is acted on, so that a restart starts there too.
    /// `None`: cancelled.
    pub(super) async fn locate(&mut self, start: Start) -> Option<Progress> {
        let extent = self.extent().await?;
        let progress = match start {
            Start::Now => Progress { position: extent.head, ..Progress::default() },
            Start::Earliest => Progress {
                position: extent.start,
                sequence: extent.before_first.unwrap_or_default(),
                ..Progress::default()
            },
        };
        self.persist_start(progress).await
    }

    /// The hub's log begins anew (its data was lost): the trigger does so too, with the first event that there is.
    pub(super) async fn start_over(&mut self) -> Option<Progress> {
        let message = "the hub's log begins anew; events recorded between the last that was read and its loss are gone";
        self.report.condition(&Wanted::new("EventsMissed", true, "LogReplaced", message));
        self.shared.tell(&self.trigger, "EventsMissed", message.into());
        let extent = self.extent().await?;
        self.persist_start(Progress { position: extent.start, ..Progress::default() }).await
    }

    async fn persist_start(&mut self, progress: Progress) -> Option<Progress> {
        tracing::info!(
            namespace = self.key.0,
            trigger = self.key.1,
            source = self.source,
            position = progress.position,
            "starts here"
        );
        self.report.progress(&self.source, &progress, 0);
        self.insist().await.then_some(progress)
    }

    /// Asks the hub until it answers; the status tells meanwhile that it does not.
    async fn extent(&mut self) -> Option<Extent> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        loop {
            // An endpoint that is not there has an empty log: that it is missing must be told.
            let asked = async {
                self.work.admit().await?;
                self.work.hub.extent(&self.work.endpoint).await
            };
            match asked.await {
                Ok(extent) => return Some(extent),
                Err(error) => {
                    if self.not_ready(&error) {
                        let patch = self.report.patch();
                        let write = patch::merge_status(&self.api, &self.key.1, &patch, MANAGER);
                        let written = self.shared.acting(write).await;
                        if written.as_ref().is_err_and(patch::is_not_found) {
                            return None;
                        }
                    }
                    if matches!(error, HubError::Denied(_)) {
                        self.work.hub.renew().await;
                    }
                }
            }
            tokio::select! {
                () = self.cancel.cancelled() => return None,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// Says in the status what is wrong with the hub. Answers whether that is news.
    pub(super) fn not_ready(&mut self, error: &HubError) -> bool {
        let reason = match error {
            HubError::Unreachable(_) | HubError::Ahead(_) => "HubUnreachable",
            HubError::Denied(_) => "HubDenied",
            HubError::NotFound(_) => "EndpointNotFound",
            HubError::Unavailable { .. } => "EndpointUnavailable",
            HubError::Expired(_) => "EventsMissed",
            HubError::Protocol(_) => "HubNotUnderstood",
        };
        self.report.condition(&Wanted::new("Ready", false, reason, &format!("hub {}: {error}", self.work.hub.name())))
    }
}
