//! The healer of one endpoint: when it looks at the registry, and what it says of that.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use roadstead_outbound::registry::RegistryError;
use roadstead_outbound::tags::{Obstacle, Scope, TagStore, Walked, walk};
use roadstead_reconcile::backoff::{Backoff, dice, jitter};
use tokio::sync::watch::{self, error::RecvError};
use tokio::time::{Instant, sleep, sleep_until};

use super::comparison::{Comparison, HealError};
use super::{SETTLE, SPACING};
use crate::endpoint::Endpoint;
use crate::journal::{Journal, key};

/// Between attempts at a registry that cannot be asked.
const RETRY: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(600));

pub(super) struct Healer {
    endpoint: watch::Receiver<Arc<Endpoint>>,
    journal: Journal,
    tags: TagStore,
    /// Where the last comparison was broken off; the next one begins behind.
    resume: String,
}

impl Healer {
    pub(super) fn new(endpoint: watch::Receiver<Arc<Endpoint>>, journal: Journal, tags: TagStore) -> Self {
        Healer { endpoint, journal, tags, resume: String::new() }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        // A registry that has waited for the hub delivers first; and many endpoints do not ask all at once.
        let mut due = Some(Instant::now() + jitter(SETTLE, dice()));
        loop {
            let endpoint = self.endpoint.borrow_and_update().clone();
            let live = endpoint.live.clone();
            tokio::select! {
                // Another spec, or other credentials: what could not be asked may be now.
                changed = self.endpoint.changed() => match changed {
                    Ok(()) => {
                        if asks_anew(&endpoint, &self.endpoint.borrow()) {
                            due = Some(Instant::now());
                        }
                        continue;
                    }
                    Err(_) => return,
                },
                () = live.healing.woken() => {
                    let soon = Instant::now() + SETTLE;
                    due = Some(due.map_or(soon, |due| due.min(soon)));
                    continue;
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            let Healer { endpoint: watched, journal, tags, resume } = &mut self;
            let outcome = tokio::select! {
                outcome = compare(&endpoint, journal, tags, resume) => outcome,
                // A walk may wait long for a registry that nobody means any more. It can be cut off anywhere.
                overtaken = overtaken(watched, &endpoint) => match overtaken {
                    Ok(()) => {
                        due = Some(Instant::now() + SPACING);
                        continue;
                    }
                    Err(_) => return,
                },
            };
            let delay = match &outcome {
                Ok(_) => {
                    backoff.reset();
                    endpoint.reconcile_every.map(|every| jitter(every, dice()))
                }
                Err(_) => Some(backoff.next_delay()),
            };
            report(&endpoint, outcome);
            self.journal.touch(&endpoint);
            due = delay.map(|delay| Instant::now() + delay);
            sleep(SPACING).await;
        }
    }
}

/// Compares everything that the registry has with what is known.
async fn compare(
    endpoint: &Endpoint,
    journal: &Journal,
    tags: &TagStore,
    resume: &mut String,
) -> Result<Walked, Obstacle<HealError>> {
    let Some(registry) = &endpoint.registry else { return Ok(Walked::default()) };
    let comparison = Comparison::begin(endpoint, registry, journal, tags).await?;
    walk(registry, tags, &endpoint.stream.uid, &Scope::all(), resume, &comparison).await
}

/// Whether the registry is to be asked anew: another spec, or, if it could not be asked, perhaps other credentials.
fn asks_anew(before: &Endpoint, now: &Endpoint) -> bool {
    now.generation != before.generation || matches!(now.live.healing.report().reachable, Some(Err(_)))
}

/// Waits until the endpoint is another one of which the registry is to be asked anew; an error: it is gone.
async fn overtaken(watched: &mut watch::Receiver<Arc<Endpoint>>, endpoint: &Endpoint) -> Result<(), RecvError> {
    loop {
        watched.changed().await?;
        if asks_anew(endpoint, &watched.borrow()) {
            return Ok(());
        }
    }
}

/// Says in the endpoint's status, and in the log if it is bad, what became of a comparison.
fn report(endpoint: &Endpoint, outcome: Result<Walked, Obstacle<HealError>>) {
    let reachable = match outcome {
        Ok(Walked { repositories, announced, unreadable, why, catalog }) => {
            tracing::debug!(endpoint = %key(endpoint), repositories, announced, "compared with the registry");
            let of = if catalog { "" } else { "; it gives no catalog: only what events told of is compared" };
            let but = why.map_or(String::new(), |why| format!("; {unreadable} not readable: {why}"));
            Ok(format!("{repositories} repositories compared{of}{but}"))
        }
        Err(error) => {
            tracing::warn!(endpoint = %key(endpoint), %error, "failed to compare with the registry; will retry");
            Err(match error {
                Obstacle::Registry(error) => (error.class(), error.to_string()),
                // Its own troubles are none of the tenant's.
                Obstacle::Own(_) => ("HubFailed", "the hub cannot compare at present; its log says why".to_owned()),
            })
        }
    };
    endpoint.live.healing.set(|report| {
        if reachable.is_ok() {
            report.reconciled_at = Some(format!("{:.0}", Timestamp::now()));
        }
        report.reachable = Some(reachable);
    });
}

/// Says that the registry asks to wait.
pub(super) fn waits(endpoint: &Endpoint, journal: &Journal, error: &RegistryError) {
    endpoint.live.healing.set(|report| report.reachable = Some(Err((error.class(), error.to_string()))));
    journal.touch(endpoint);
}
