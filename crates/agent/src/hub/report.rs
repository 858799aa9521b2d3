//! The subscriber's own status at the hub: which agents use it and how far they are, at most once a second and at least
//! twice a minute.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use roadstead_api::subscriber::{AgentSeen, Position};
use roadstead_reconcile::{Backoff, Pace};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{Hub, HubError, Identity};
use crate::metrics::Metrics;

/// Reports at most this often.
const INTERVAL: Duration = Duration::from_secs(1);
/// Reports at least this often.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// An agent that has not reported for so long is taken off the list.
const STALE: Duration = Duration::from_secs(600);

/// How far the triggers of one hub are.
pub struct Positions {
    triggers: Mutex<BTreeMap<String, Position>>,
    changed: Notify,
    shared: watch::Sender<bool>,
}

impl Default for Positions {
    fn default() -> Self {
        Self { triggers: Mutex::default(), changed: Notify::new(), shared: watch::Sender::new(false) }
    }
}

impl Positions {
    /// Notes how far a trigger (`namespace/name`) is; `None` when it is gone.
    pub(crate) fn set(&self, trigger: &str, position: Option<Position>) {
        let mut triggers = self.triggers.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let old = match position.clone() {
            Some(position) => triggers.insert(trigger.to_string(), position),
            None => triggers.remove(trigger),
        };
        if old != position {
            self.changed.notify_one();
        }
    }

    /// Tells whether another agent uses the same identity.
    pub(crate) fn shared(&self) -> watch::Receiver<bool> {
        self.shared.subscribe()
    }

    /// One position for each endpoint: that of the trigger that is furthest behind.
    fn merged(&self) -> Vec<Position> {
        let triggers = self.triggers.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut endpoints: BTreeMap<String, Position> = BTreeMap::new();
        for position in triggers.values() {
            let slot = endpoints.entry(position.endpoint.clone()).or_insert_with(|| position.clone());
            slot.sequence = slot.sequence.min(position.sequence);
            slot.lag = slot.lag.max(position.lag);
        }
        endpoints.into_values().collect()
    }
}

/// The other agents of this identity, as this one has seen them report.
#[derive(Default)]
struct Others(HashMap<String, (String, Instant, bool)>);

impl Others {
    /// Looks at the status that came back. Answers whether another agent is alive (it has reported since this one first
    /// looked) and which entries are stale.
    fn judge(&mut self, agents: &BTreeMap<String, AgentSeen>, me: &str, now: Instant) -> (bool, Vec<String>) {
        self.0.retain(|id, _| agents.contains_key(id));
        for (id, agent) in agents.iter().filter(|(id, _)| *id != me) {
            match self.0.get_mut(id) {
                None => {
                    self.0.insert(id.clone(), (agent.last_seen.clone(), now, false));
                }
                Some(known) if known.0 != agent.last_seen => *known = (agent.last_seen.clone(), now, true),
                Some(_) => {}
            }
        }
        let silent = |since: &Instant| now.duration_since(*since);
        let alive = self.0.values().any(|(_, since, moved)| *moved && silent(since) < 3 * HEARTBEAT);
        let stale = self.0.iter().filter(|(_, (_, since, _))| silent(since) >= STALE);
        (alive, stale.map(|(id, _)| id.clone()).collect())
    }
}

/// Reports until cancelled, and then once more to take itself off the list.
pub async fn run(hub: Arc<Hub>, instance: String, metrics: Metrics, cancel: CancellationToken) {
    let mut reporter =
        Reporter { hub, instance, metrics, others: Others::default(), stale: Vec::new(), backoff: failures() };
    let mut pace = Pace::new(INTERVAL);
    pace.touch();
    loop {
        let due = pace.due(Instant::now()).unwrap_or_else(|| Instant::now() + HEARTBEAT);
        tokio::select! {
            () = cancel.cancelled() => break,
            () = reporter.hub.positions.changed.notified() => {
                pace.touch();
                continue;
            }
            () = tokio::time::sleep_until(due.into()) => {}
        }
        pace.begin(Instant::now());
        let success = reporter.report(false).await;
        pace.end(true, Instant::now());
        if !success {
            let delay = reporter.backoff.next_delay();
            tokio::select! {
                () = cancel.cancelled() => break,
                () = tokio::time::sleep(delay) => pace.touch(),
            }
        }
    }
    reporter.report(true).await;
}

fn failures() -> Backoff {
    Backoff::new(Duration::from_secs(1), Duration::from_secs(60))
}

struct Reporter {
    hub: Arc<Hub>,
    instance: String,
    metrics: Metrics,
    others: Others,
    stale: Vec<String>,
    backoff: Backoff,
}

impl Reporter {
    async fn report(&mut self, leaving: bool) -> bool {
        let Some(identity) = self.hub.identity() else { return true };
        match self.write(&identity, leaving).await {
            Ok(()) => {
                self.backoff.reset();
                self.metrics.reported(self.hub.name());
                true
            }
            Err(error) => {
                // Once is enough for the log: the triggers' conditions tell that a hub is away.
                if self.backoff.failures() == 0 {
                    tracing::warn!(hub = self.hub.name(), %error, "the subscriber's status cannot be written");
                }
                false
            }
        }
    }

    async fn write(&mut self, identity: &Identity, leaving: bool) -> Result<(), HubError> {
        let version = env!("CARGO_PKG_VERSION");
        let mut agents: BTreeMap<&str, Value> = self.stale.iter().map(|id| (id.as_str(), Value::Null)).collect();
        let seen = AgentSeen { version: version.into(), last_seen: Timestamp::now().to_string() };
        agents.insert(&self.instance, if leaving { Value::Null } else { json!(seen) });
        let status = json!({
            "agentVersion": version,
            "agents": agents,
            "positions": self.hub.positions.merged(),
        });
        let answer = self.hub.report(identity, &status).await?;
        let agents = answer.status.unwrap_or_default().agents;
        let (alive, stale) = self.others.judge(&agents, &self.instance, Instant::now());
        self.stale = stale;
        if alive && !*self.hub.positions.shared.borrow() {
            tracing::warn!(
                hub = self.hub.name(),
                subscriber = format!("{}/{}", identity.namespace, identity.name),
                "another agent uses the same subscriber: both act on every event"
            );
        }
        self.hub.positions.shared.send_if_modified(|shared| std::mem::replace(shared, alive) != alive);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agents(entries: &[(&str, &str)]) -> BTreeMap<String, AgentSeen> {
        let seen = |last: &str| AgentSeen { version: "1".into(), last_seen: last.into() };
        entries.iter().map(|(id, last)| (id.to_string(), seen(last))).collect()
    }

    #[test]
    fn another_agent_is_one_that_reports_while_this_one_looks() {
        let start = Instant::now();
        let mut others = Others::default();
        let judge = |others: &mut Others, list: &[(&str, &str)], after: u64| {
            others.judge(&agents(list), "me", start + Duration::from_secs(after))
        };
        assert_eq!(judge(&mut others, &[("me", "1"), ("old", "1")], 0), (false, vec![]), "may be of an earlier life");
        assert_eq!(judge(&mut others, &[("me", "2"), ("old", "1")], 30), (false, vec![]));
        assert_eq!(judge(&mut others, &[("me", "3"), ("old", "2")], 40), (true, vec![]), "it lives");
        assert_eq!(judge(&mut others, &[("me", "4"), ("old", "2")], 200), (false, vec![]), "it has stopped");
        assert_eq!(judge(&mut others, &[("me", "5"), ("old", "2")], 700), (false, vec!["old".to_string()]));
        assert_eq!(judge(&mut others, &[("me", "6")], 701), (false, vec![]));
    }

    #[test]
    fn an_endpoint_is_as_far_as_its_slowest_trigger() {
        let positions = Positions::default();
        let at = |endpoint: &str, sequence, lag| Some(Position { endpoint: endpoint.into(), sequence, lag });
        positions.set("ns/a", at("default/shop", 10, 0));
        positions.set("ns/b", at("default/shop", 4, 6));
        positions.set("ns/c", at("default/other", 1, 0));
        positions.set("ns/d", at("default/gone", 1, 0));
        positions.set("ns/d", None);
        let merged = positions.merged();
        assert_eq!(merged, [at("default/other", 1, 0), at("default/shop", 4, 6)].map(Option::unwrap));
    }
}
