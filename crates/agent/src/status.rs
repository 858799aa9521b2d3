//! A trigger's status as the agent keeps it, and the patch that writes it.

use jiff::Timestamp;
use roadstead_api::trigger::{TriggerResult, TriggerStatus};
use roadstead_reconcile::conditions::{self, Wanted};
use serde_json::{Value, json};

use crate::plan::Progress;

/// Longest message in `lastResult`, in bytes.
const MAX_MESSAGE: usize = 2048;

/// The whole status of one trigger. One writer: the trigger's runner.
#[derive(Clone, Debug)]
pub struct Report {
    status: TriggerStatus,
    generation: Option<i64>,
}

impl Report {
    /// Continues from what is there.
    pub fn new(status: Option<TriggerStatus>, generation: Option<i64>) -> Self {
        let mut status = status.unwrap_or_default();
        status.observed_generation = generation;
        Self { status, generation }
    }

    /// Where to continue, if the status is about `source` and tells a position.
    pub fn resume(&self, source: &str) -> Option<Progress> {
        if self.status.source.as_deref() != Some(source) {
            return None;
        }
        Some(Progress {
            position: self.status.position.as_deref()?.parse().ok()?,
            sequence: self.status.sequence,
            done_ahead: Progress::parse_ranges(self.status.done_ahead.as_deref().unwrap_or_default()),
        })
    }

    /// How far it is with `source`; `lag` events are not done.
    pub fn progress(&mut self, source: &str, progress: &Progress, lag: u64) {
        self.status.source = Some(source.to_string());
        self.status.position = Some(progress.position.to_string());
        self.status.sequence = progress.sequence;
        self.status.done_ahead = progress.format_ranges();
        self.status.lag = lag;
    }

    /// Sets a condition; says whether anything changed.
    pub fn condition(&mut self, wanted: &Wanted<'_>) -> bool {
        conditions::set(&mut self.status.conditions, wanted, self.generation, Timestamp::now())
    }

    /// Takes a condition away; says whether it was there.
    pub fn clear(&mut self, kind: &str) -> bool {
        conditions::remove(&mut self.status.conditions, kind)
    }

    /// An attempt succeeded.
    pub fn succeeded(&mut self, event: &str, message: &str) {
        self.status.succeeded += 1;
        self.last(event, true, message);
    }

    /// An attempt failed.
    pub fn failed(&mut self, event: &str, message: &str) {
        self.status.failed += 1;
        self.last(event, false, message);
    }

    /// An event needed nothing, for a reason worth telling if there is one.
    pub fn skipped(&mut self, event: &str, reason: Option<&str>) {
        self.status.skipped += 1;
        if let Some(reason) = reason {
            self.last(event, true, reason);
        }
    }

    /// Events were removed before they were read. Answers the total.
    pub fn missed(&mut self, events: u64) -> u64 {
        self.status.missed += events;
        self.status.missed
    }

    /// DeadLetters: how many there are, and how many more were removed. Says whether anything changed.
    pub fn dead_letters(&mut self, count: usize, dropped: u64) -> bool {
        let count = count as u64;
        let changed = self.status.dead_letters != count || dropped > 0;
        self.status.dead_letters = count;
        self.status.dead_letters_dropped += dropped;
        changed
    }

    fn last(&mut self, event: &str, success: bool, message: &str) {
        let message = message[..message.floor_char_boundary(MAX_MESSAGE)].to_string();
        let at = Timestamp::now().to_string();
        self.status.last_result = Some(TriggerResult { event: event.to_string(), success, message, at });
    }

    /// The merge patch of the status: fields that are empty now are taken away.
    pub fn patch(&self) -> Value {
        let mut patch = json!(self.status);
        for field in ["source", "position", "doneAhead", "lastResult"] {
            if patch.get(field).is_none() {
                patch[field] = Value::Null;
            }
        }
        patch["conditions"] = json!(self.status.conditions);
        patch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_survives_the_status() {
        let mut report = Report::new(None, Some(3));
        assert_eq!(report.resume("main/default/shop"), None);
        let progress = Progress { position: 88123, sequence: 42, done_ahead: vec![(88125, 88130)] };
        report.progress("main/default/shop", &progress, 1);
        let read: TriggerStatus = serde_json::from_value(report.patch()).unwrap();
        let again = Report::new(Some(read), Some(3));
        assert_eq!(again.resume("main/default/shop"), Some(progress));
        assert_eq!(again.resume("main/default/other"), None, "another endpoint's log has other positions");
    }

    #[test]
    fn what_is_empty_is_taken_away() {
        let mut report = Report::new(None, None);
        let progress = Progress { position: 1, sequence: 1, done_ahead: vec![(3, 4)] };
        report.progress("a", &progress, 1);
        report.progress("a", &Progress { done_ahead: vec![], ..progress }, 0);
        assert_eq!(report.patch()["doneAhead"], Value::Null);
        assert!(report.patch().as_object().unwrap().contains_key("doneAhead"));
        assert_eq!(report.patch()["conditions"], json!([]));
    }

    #[test]
    fn counters_go_on_over_restarts() {
        let mut report = Report::new(Some(TriggerStatus { succeeded: 5, ..TriggerStatus::default() }), None);
        report.succeeded("a", &"ä".repeat(2000));
        report.failed("b", "no");
        report.skipped("c", None);
        let status = &report.status;
        assert_eq!((status.succeeded, status.failed, status.skipped), (6, 1, 1));
        assert_eq!(status.last_result.as_ref().unwrap().event, "b");
    }
}
