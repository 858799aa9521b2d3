//! `RegistryWebhook.status`: what it should say (pure), the Events that a change of it is worth, and a writer that says it at a
//! bounded rate.
//!
//! Level-triggered: whenever log or controller have changed, every webhook whose numbers differ from those last written is looked at.
//! One is written at most once a second, its first change at once; a write that fails is retried with back-off, from the then
//! current truth, and holds up no other.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
};
use roadstead_api::{
    RegistryWebhook, RegistryWebhookStatus,
    names::event_name,
    registry_webhook::{LastDelivery, State},
};
use roadstead_reconcile::{
    Backoff, Recorder,
    conditions::{self, Wanted},
    recorder::Severity,
};
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::registry::{Entry, Key, Registry, status_of};
use crate::{
    log::{DeliveryLog, Stats},
    poll::Report,
};

/// At most one write of a webhook's status in this time.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often, at most, all webhooks are looked through.
const PASS: Duration = Duration::from_millis(100);
/// Writes under way at once.
const CONCURRENCY: usize = 16;
/// How long the control plane may take to answer a write.
const ANSWER: Duration = Duration::from_secs(10);

/// Condition of a webhook of which messages were given up because too many were pending.
const OVERFLOWED: &str = "Overflowed";

/// The status that a webhook should have. `previous` keeps transition times. Pure.
fn desired(entry: &Entry, stats: &Stats, previous: &RegistryWebhookStatus, now: Timestamp) -> RegistryWebhookStatus {
    let state = match (&stats.disabled, stats.failures) {
        (Some(_), _) => State::Disabled,
        (None, 0) => State::Active,
        _ => State::Failing,
    };
    let reason = match (&stats.disabled, &stats.last) {
        (Some((_, reason)), _) => Some(reason.clone()),
        (None, Some(last)) if state == State::Failing => Some(last.text.clone()),
        _ => None,
    };
    let given_up = format!(
        "{} messages were given up because too many were pending; `roadstead notify recover` sends them again",
        stats.overflowed
    );
    let mut conditions = previous.conditions.clone();
    let mut set = |wanted| conditions::set(&mut conditions, &wanted, Some(entry.generation), now);
    match &entry.ready {
        Some(Ok(())) => set(Wanted::new("Ready", true, "Registered", "what happens from now on is told")),
        Some(Err(problem)) => set(Wanted::new("Ready", false, problem.reason, &problem.message)),
        None => false,
    };
    let why = reason.as_deref().unwrap_or_default();
    match (state, &stats.last) {
        (State::Disabled, _) => set(Wanted::new("Delivering", false, "Disabled", why)),
        (State::Failing, _) => set(Wanted::new("Delivering", false, "Failing", why)),
        (State::Active, Some(last)) if !last.success => {
            let message = "it was enabled again and waits for its next attempt";
            set(Wanted { kind: "Delivering", status: None, reason: "Waiting", message })
        }
        (State::Active, Some(_)) => {
            set(Wanted::new("Delivering", true, "Delivering", "the last attempt was answered 2xx"))
        }
        (State::Active, None) => {
            let message = "nothing has been sent yet";
            set(Wanted { kind: "Delivering", status: None, reason: "NothingSent", message })
        }
    };
    if stats.overflowed > 0 {
        set(Wanted::new(OVERFLOWED, true, "TooManyPending", &given_up));
    }
    match entry.polled.as_ref().map(|report| &report.reachable) {
        Some(Ok(message)) => drop(set(Wanted::new("RegistryReachable", true, "Compared", message))),
        Some(Err((reason, message))) => drop(set(Wanted::new("RegistryReachable", false, reason, message))),
        None => {}
    }
    // After a start what was found last stays until there is news.
    if !entry.polls {
        conditions::remove(&mut conditions, "RegistryReachable");
    }
    if stats.overflowed == 0 {
        conditions::remove(&mut conditions, OVERFLOWED);
    }
    RegistryWebhookStatus {
        state: Some(state),
        reason,
        delivered: stats.delivered,
        failed: stats.dead_letters,
        pending: stats.pending,
        oldest_pending: stats.oldest_pending.map(seconds),
        failing_since: stats.failing_since.map(seconds),
        last_delivery: stats.last.as_ref().map(|last| LastDelivery {
            name: event_name(&stats.name, last.number),
            at: seconds(last.at),
            success: last.success,
            message: last.text.clone(),
        }),
        observed: Some(entry.observed.clone()),
        last_poll: match &entry.polled {
            _ if !entry.polls => None,
            Some(Report { at: Some(at), .. }) => Some(at.clone()),
            _ => previous.last_poll.clone(),
        },
        conditions,
        observed_generation: Some(entry.generation),
    }
}

/// RFC 3339, UTC.
fn seconds(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// The Event that is due when a status follows another.
fn news(before: &RegistryWebhookStatus, after: &RegistryWebhookStatus) -> Option<(Severity, &'static str, String)> {
    let why = after.reason.clone().unwrap_or_default();
    let was = before.state.unwrap_or_default();
    match after.state? {
        now if now == was => None,
        State::Failing if was == State::Disabled => None,
        State::Failing => Some((Severity::Warning, "DeliveryFailing", format!("{why}; it is tried again"))),
        State::Disabled => Some((
            Severity::Warning,
            "Disabled",
            format!("{why}; nothing is sent any more: mend the receiver, then run `roadstead notify recover`"),
        )),
        State::Active => {
            Some((Severity::Normal, "Recovered", "deliveries are answered 2xx or wait to be sent again".into()))
        }
    }
}

/// What is told when a webhook begins to lose its oldest messages. Pure.
fn overflowed(before: &RegistryWebhookStatus, after: &RegistryWebhookStatus) -> Option<String> {
    let find = |status: &RegistryWebhookStatus| {
        status
            .conditions
            .iter()
            .find(|condition| condition.type_ == OVERFLOWED)
            .map(|condition| condition.message.clone())
    };
    find(after).filter(|_| find(before).is_none())
}

/// The marking half: cheap, never waits.
#[derive(Clone)]
pub(crate) struct Writer {
    touched: Arc<Notify>,
    recorder: Arc<Recorder>,
}

impl Writer {
    /// One that writes Events through this client.
    pub(crate) fn new(client: &Client) -> Self {
        Self { touched: Arc::default(), recorder: Arc::new(Recorder::new(client.clone(), "roadstead-notify")) }
    }

    /// Says that a status may have changed otherwise than by the log.
    pub(crate) fn touch(&self) {
        self.touched.notify_one();
    }

    pub(super) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Writes until `stop`.
    pub(crate) async fn run(self, client: Client, registry: Registry, log: Arc<DeliveryLog>, stop: CancellationToken) {
        let mut positions = log.positions();
        let mut known: HashMap<Key, Known> = HashMap::new();
        let mut writes: JoinSet<(Key, bool)> = JoinSet::new();
        let mut again = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = positions.changed() => if changed.is_err() { return },
                () = self.touched.notified() => {}
                () = tokio::time::sleep_until(again) => {}
                Some(done) = writes.join_next() => {
                    if let Ok((key, success)) = done {
                        known.entry(key).or_default().end(success);
                    }
                }
            }
            // What comes meanwhile is seen by the same pass.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PASS) => {}
            }
            positions.mark_unchanged();
            while let Some(Ok((key, success))) = writes.try_join_next() {
                known.entry(key).or_default().end(success);
            }
            let now = Instant::now();
            again = now + Duration::from_secs(60);
            let told = registry.told();
            let keys: HashSet<&Key> = told.iter().map(|(key, ..)| key).collect();
            known.retain(|key, state| state.writing || keys.contains(key));
            for (key, entry, object) in told {
                let Some(stats) = log.stats(&entry.uid) else { continue };
                let state = known.entry(key.clone()).or_default();
                if state.writing || state.is_current(&entry, &stats, &object) {
                    continue;
                }
                if state.earliest.is_some_and(|earliest| earliest > now) || writes.len() >= CONCURRENCY {
                    again = again.min(state.earliest.unwrap_or(now).max(now + PASS));
                    continue;
                }
                state.begin(&entry, &stats, &object, now);
                let (client, registry, recorder) = (client.clone(), registry.clone(), self.recorder.clone());
                writes.spawn(async move {
                    let writing = write(&client, &registry, &recorder, &key, &entry, &stats, &object);
                    let error = match tokio::time::timeout(ANSWER, writing).await {
                        Ok(Ok(())) => return (key, true),
                        Ok(Err(error)) => error.to_string(),
                        Err(_) => format!("no answer within {} s", ANSWER.as_secs()),
                    };
                    tracing::warn!(webhook = %key, error, "failed to write the webhook's status; will retry");
                    (key, false)
                });
            }
        }
    }
}

/// What the writer remembers of a webhook.
struct Known {
    /// From what the last status was made.
    from: Option<(Entry, Stats, Option<String>)>,
    writing: bool,
    earliest: Option<Instant>,
    backoff: Backoff,
}

impl Default for Known {
    fn default() -> Self {
        let backoff = Backoff::new(INTERVAL, Duration::from_secs(60));
        Self { from: None, writing: false, earliest: None, backoff }
    }
}

impl Known {
    fn is_current(&self, entry: &Entry, stats: &Stats, object: &RegistryWebhook) -> bool {
        let Some((old, written, version)) = &self.from else { return false };
        written == stats
            && (old.generation, &old.ready, &old.observed) == (entry.generation, &entry.ready, &entry.observed)
            && (old.polls, &old.polled) == (entry.polls, &entry.polled)
            && *version == object.metadata.resource_version
    }

    fn begin(&mut self, entry: &Entry, stats: &Stats, object: &RegistryWebhook, now: Instant) {
        self.from = Some((entry.clone(), stats.clone(), object.metadata.resource_version.clone()));
        self.writing = true;
        self.earliest = Some(now + INTERVAL);
    }

    fn end(&mut self, success: bool) {
        self.writing = false;
        if success {
            self.backoff.reset();
        } else {
            self.from = None;
            self.earliest = Some(Instant::now() + self.backoff.next_delay());
        }
    }
}

async fn write(
    client: &Client,
    registry: &Registry,
    recorder: &Recorder,
    key: &Key,
    entry: &Entry,
    stats: &Stats,
    object: &RegistryWebhook,
) -> Result<(), kube::Error> {
    let previous = status_of(object);
    let status = desired(entry, stats, &previous, Timestamp::now());
    if status == previous {
        return Ok(());
    }
    let api: Api<RegistryWebhook> = Api::namespaced(client.clone(), &key.namespace);
    // The uid makes sure that a namesake made meanwhile is not written to.
    let patch = json!({"metadata": {"uid": entry.uid}, "status": explicit(&status, &previous)});
    match api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(written) => {
            if let Some((severity, reason, message)) = news(&previous, &status) {
                let about: ObjectReference = written.object_ref(&());
                recorder.record(&about, severity, reason, &message).await;
            }
            if let Some(message) = overflowed(&previous, &status) {
                let about: ObjectReference = written.object_ref(&());
                recorder.record(&about, Severity::Warning, "TooManyPending", &message).await;
            }
            registry.written(key, written);
            Ok(())
        }
        // Gone: the watch will say so.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

/// The status as a merge patch: fields that went away are null, at every depth.
fn explicit(status: &RegistryWebhookStatus, previous: &RegistryWebhookStatus) -> Value {
    let value = |status| serde_json::to_value(status).unwrap_or_default();
    let mut patch = value(status);
    null_gone(&mut patch, &value(previous));
    patch
}

fn null_gone(patch: &mut Value, before: &Value) {
    if let (Value::Object(patch), Value::Object(before)) = (patch, before) {
        for (key, before) in before {
            null_gone(patch.entry(key).or_insert(Value::Null), before);
        }
    }
}

#[cfg(test)]
mod tests {
    use roadstead_api::registry_webhook::{ObservedRequests, RefusedRequests};

    use super::super::compile::Problem;
    use super::*;
    use crate::log::LastAttempt;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn stats(failures: u32, last: Option<bool>, disabled: Option<&str>) -> Stats {
        Stats {
            key: 1,
            uid: "u".into(),
            namespace: "default".into(),
            name: "shop".into(),
            pending: 3,
            oldest_pending: Some(at(0)),
            delivered: 5,
            dead_letters: 2,
            failures,
            failing_since: (failures > 0).then(|| at(1)),
            failing: Duration::ZERO,
            overflowed: 0,
            disabled: disabled.map(|reason| (at(2), reason.into())),
            last: last.map(|success| LastAttempt {
                number: 7,
                at: at(3),
                success,
                text: if success { "answered 200" } else { "answered 500" }.into(),
            }),
            forgotten: false,
        }
    }

    fn entry(ready: Option<Result<(), Problem>>) -> Entry {
        Entry {
            uid: "u".into(),
            generation: 2,
            ready,
            observed: ObservedRequests::default(),
            polls: false,
            polled: None,
        }
    }

    fn condition<'a>(status: &'a RegistryWebhookStatus, kind: &str) -> (&'a str, &'a str) {
        let found = status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        (&found.status, &found.reason)
    }

    #[test]
    fn the_status_says_how_it_is() {
        for (stats, state, delivering) in [
            (stats(0, None, None), State::Active, ("Unknown", "NothingSent")),
            (stats(0, Some(true), None), State::Active, ("True", "Delivering")),
            // Enabled again after its last attempt failed.
            (stats(0, Some(false), None), State::Active, ("Unknown", "Waiting")),
            (stats(4, Some(false), None), State::Failing, ("False", "Failing")),
            (stats(4, Some(false), Some("answered 410")), State::Disabled, ("False", "Disabled")),
        ] {
            let status = desired(&entry(Some(Ok(()))), &stats, &RegistryWebhookStatus::default(), at(9));
            assert_eq!(status.state, Some(state));
            assert_eq!(condition(&status, "Delivering"), delivering);
            assert_eq!(condition(&status, "Ready"), ("True", "Registered"));
            assert_eq!(status.conditions[0].type_, "Ready");
            assert_eq!((status.delivered, status.failed, status.pending), (5, 2, 3));
        }
        let problem = Problem::new("SecretMissing", "there is no Secret \"client\"");
        let failing = stats(1, Some(false), None);
        let status = desired(&entry(Some(Err(problem))), &failing, &RegistryWebhookStatus::default(), at(9));
        assert_eq!(condition(&status, "Ready"), ("False", "SecretMissing"));
        assert_eq!(status.reason.as_deref(), Some("answered 500"));
        assert_eq!(status.last_delivery.unwrap().name, "shop-00000000000000000007");
    }

    #[test]
    fn messages_that_were_given_up_are_told_until_recovered() {
        let with = |overflowed| Stats { overflowed, ..stats(0, None, None) };
        let status = |overflowed, before: &_| desired(&entry(Some(Ok(()))), &with(overflowed), before, at(9));
        let none = status(0, &RegistryWebhookStatus::default());
        let some = status(7, &none);
        assert_eq!(condition(&some, OVERFLOWED), ("True", "TooManyPending"));
        assert!(overflowed(&none, &some).is_some_and(|message| message.starts_with("7 messages")));
        assert_eq!(overflowed(&some, &status(9, &some)), None, "once");
        assert_eq!(status(0, &some).conditions, none.conditions, "recovered");
    }

    #[test]
    fn transitions_are_told_once() {
        let status = |state| RegistryWebhookStatus { state, ..RegistryWebhookStatus::default() };
        let reason = |before, after| news(&status(before), &status(Some(after))).map(|(_, reason, _)| reason);
        for (before, after, expected) in [
            (None, State::Active, None),
            (None, State::Failing, Some("DeliveryFailing")),
            (Some(State::Active), State::Failing, Some("DeliveryFailing")),
            (Some(State::Failing), State::Failing, None),
            (Some(State::Failing), State::Disabled, Some("Disabled")),
            (Some(State::Disabled), State::Failing, None),
            (Some(State::Disabled), State::Active, Some("Recovered")),
            (Some(State::Failing), State::Active, Some("Recovered")),
        ] {
            assert_eq!(reason(before, after), expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn what_went_away_is_removed() {
        let before = RegistryWebhookStatus { reason: Some("x".into()), ..RegistryWebhookStatus::default() };
        assert_eq!(explicit(&RegistryWebhookStatus::default(), &before).get("reason"), Some(&Value::Null));
        let refused = RefusedRequests { test: Some("no".into()), ..RefusedRequests::default() };
        let observed = |refused| RegistryWebhookStatus {
            observed: Some(ObservedRequests { test: Some("1".into()), refused, ..ObservedRequests::default() }),
            ..RegistryWebhookStatus::default()
        };
        let patch = explicit(&observed(None), &observed(Some(refused)));
        assert_eq!(patch["observed"], json!({"test": "1", "refused": null}));
    }

    #[test]
    fn what_was_polled_is_told_until_polling_ends() {
        let at_all = |polls, polled: Option<Report>| Entry { polls, polled, ..entry(Some(Ok(()))) };
        let said =
            |entry: &Entry, previous: &RegistryWebhookStatus| desired(entry, &stats(0, None, None), previous, at(9));
        let report = Report { at: Some("2026-11-20T09:00:00Z".into()), reachable: Ok("compared".into()) };
        let polled = said(&at_all(true, Some(report)), &RegistryWebhookStatus::default());
        assert_eq!(condition(&polled, "RegistryReachable"), ("True", "Compared"));
        let restarted = said(&at_all(true, None), &polled);
        assert_eq!((&restarted.last_poll, &restarted.conditions), (&polled.last_poll, &polled.conditions));
        let ended = said(&at_all(false, None), &polled);
        assert_eq!(ended.last_poll, None);
        assert!(ended.conditions.iter().all(|condition| condition.type_ != "RegistryReachable"));
    }
}
