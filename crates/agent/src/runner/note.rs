//! What happened, told: in the status, in metrics, in Events, in the log with the event's id.

use jiff::Timestamp;
use roadstead_reconcile::conditions::Wanted;

use super::{Runner, drive::Drive};
use crate::{
    actions::{Done, Failure},
    dead_letters::Brief,
    event::Event,
    metrics::Outcome,
    plan::retry::FailureKind,
};

impl Runner {
    /// The watch is open.
    pub(super) fn connected(&mut self, drive: &mut Drive, sequence: u64) {
        drive.newest = drive.newest.max(sequence);
        if self.report.condition(&Wanted::new("Ready", true, "Watching", &format!("watching {}", self.source))) {
            tracing::info!(namespace = self.key.0, trigger = self.key.1, source = self.source, "watching");
        }
        drive.pace.touch();
    }

    /// The hub says that events after the position are gone. How many is known with the next event's sequence.
    pub(super) fn expired(&mut self, drive: &mut Drive, message: &str) {
        self.say_missed(drive, "Removed", message);
    }

    /// Events from `first` to `last` (sequences) were removed before they were read.
    pub(super) fn missed(&mut self, drive: &mut Drive, events: u64, first: u64, last: u64) {
        let total = self.report.missed(events);
        self.shared.metrics.missed(&self.labels, events);
        let message = format!(
            "{events} events of {} (sequences {first} to {last}) were removed before they were read; {total} in all",
            self.source
        );
        self.say_missed(drive, "Removed", &message);
    }

    fn say_missed(&mut self, drive: &mut Drive, reason: &str, message: &str) {
        tracing::warn!(namespace = self.key.0, trigger = self.key.1, detail = message, "events missed");
        self.report.condition(&Wanted::new("EventsMissed", true, reason, message));
        drive.pace.touch();
        self.shared.tell(&self.trigger, "EventsMissed", message.to_string());
    }

    /// An event that the filter does not want.
    pub(super) fn filtered(&mut self, event: &Event) {
        tracing::debug!(namespace = self.key.0, trigger = self.key.1, event = event.spec.id, "filtered");
        self.report.skipped(&event.spec.id, None);
        self.shared.metrics.result(&self.labels, Outcome::Skipped);
    }

    /// An attempt ended.
    pub(super) fn note_result(&mut self, brief: &Brief, result: &Result<Done, Failure>) {
        let (namespace, trigger, event) = (&self.key.0, &self.key.1, &brief.id);
        let metrics = &self.shared.metrics;
        match result {
            Ok(Done::Acted(message)) => {
                tracing::info!(namespace, trigger, event, detail = message, "done");
                self.report.succeeded(event, message);
                metrics.result(&self.labels, Outcome::Succeeded);
                if let Ok(received) = brief.received_at.parse::<Timestamp>() {
                    metrics.delay(&self.labels, Timestamp::now().duration_since(received).as_secs_f64());
                }
            }
            Ok(Done::Unneeded(reason)) => {
                tracing::info!(namespace, trigger, event, reason, "nothing to do");
                self.report.skipped(event, Some(reason));
                metrics.result(&self.labels, Outcome::Skipped);
            }
            Err(failure) if failure.kind == FailureKind::Unread => {
                tracing::debug!(namespace, trigger, event, detail = failure.message, "not read");
            }
            Err(failure) => {
                tracing::warn!(namespace, trigger, event, kind = ?failure.kind, detail = failure.message, "failed");
                self.report.failed(event, &failure.message);
                metrics.result(&self.labels, Outcome::Failed);
            }
        }
    }

    /// An event was given up, or could not be.
    pub(super) fn note_burial(&mut self, brief: &Brief, reason: &str, result: &Result<(), kube::Error>) {
        let (namespace, trigger, event) = (&self.key.0, &self.key.1, &brief.id);
        if let Err(error) = result {
            tracing::warn!(namespace, trigger, event, %error, "the DeadLetter cannot be written");
            return;
        }
        tracing::warn!(namespace, trigger, event, reason, "given up");
        self.shared.metrics.result(&self.labels, Outcome::Dead);
        self.shared.tell(&self.trigger, "DeadLetter", format!("event {event} was given up: {reason}"));
    }

    /// The number of DeadLetters may have changed.
    pub(super) fn count_letters(&mut self, drive: &mut Drive) {
        let (count, dropped) = self.shared.dead_letters.tally(&self.key);
        self.shared.metrics.dead_letters(&self.labels, count);
        if self.report.dead_letters(count, dropped) {
            drive.pace.touch();
        }
    }

    /// Whether another agent uses the same subscriber.
    pub(super) fn say_shared(&mut self, drive: &mut Drive, shared: bool) {
        let message = "another agent uses the same subscriber: both act on every event";
        let changed = match shared {
            true => self.report.condition(&Wanted::new("SharedIdentity", true, "AnotherAgent", message)),
            false => self.report.clear("SharedIdentity"),
        };
        if changed {
            drive.pace.touch();
        }
    }
}
