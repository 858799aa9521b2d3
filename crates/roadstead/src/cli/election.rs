//! Leader election as arguments, with the names that Kubernetes' own components use, and how a role runs under it.

use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};
use kube::Client;
use prometheus_client::registry::Registry;
use roadstead_reconcile::{
    Elector, Lead,
    leader::{Health, Options, identity},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::roles;

/// How long work may take to finish once a stop was asked for.
const DRAIN: Duration = Duration::from_secs(25);

/// Arguments of an election.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Leader election")]
pub struct Election {
    /// Act only while holding a Lease, so that of several replicas one acts [default: true in a cluster or where the role needs
    /// it, else false].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    leader_elect: Option<bool>,
    /// Namespace of the Lease [default: the system namespace].
    #[arg(long, value_name = "NAME")]
    leader_elect_resource_namespace: Option<String>,
    /// Name of the Lease [default: roadstead-ROLE]. Replicas that stand in for each other share it; others must not.
    #[arg(long, value_name = "NAME")]
    leader_elect_resource_name: Option<String>,
    /// A standby takes over this long after the leader's last sign of life; whole seconds.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = roles::duration)]
    leader_elect_lease_duration: Duration,
    /// The leader stops acting when it could not renew for this long.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = roles::duration)]
    leader_elect_renew_deadline: Duration,
    /// Time between two requests, give or take a fifth.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = roles::duration)]
    leader_elect_retry_period: Duration,
}

/// A role's work under way.
pub struct Running {
    /// How the election goes; `None` where there is none.
    pub health: Option<Health>,
    stop: CancellationToken,
    /// Cancelled when the task has ended, however it did.
    over: CancellationToken,
    task: JoinHandle<()>,
}

impl Election {
    /// Runs `work` while leading, or right away where no election is wanted. `role` is e.g. `roadstead-operator`.
    ///
    /// # Errors
    /// When the times do not fit together.
    pub fn run<W, F>(
        self,
        by_default: bool,
        client: Client,
        (role, namespace): (&str, &str),
        metrics: &mut Registry,
        mut work: W,
    ) -> Result<Running>
    where
        W: FnMut(Lead) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = CancellationToken::new();
        if !self.leader_elect.unwrap_or(by_default) {
            let work = work(Lead::unelected(stop.clone()));
            return Ok(Running::spawn(None, stop, work));
        }
        let namespace = self.leader_elect_resource_namespace.as_deref().unwrap_or(namespace);
        let options = Options {
            duration: self.leader_elect_lease_duration,
            renew_deadline: self.leader_elect_renew_deadline,
            retry: self.leader_elect_retry_period,
            ..Options::new(namespace, self.leader_elect_resource_name.as_deref().unwrap_or(role), identity())
        };
        let elector = Elector::new(client, options, role, metrics).context("leader election (--leader-elect-...)")?;
        let health = Some(elector.health());
        Ok(Running::spawn(health, stop.clone(), elector.run(stop, work)))
    }
}

impl Running {
    fn spawn(health: Option<Health>, stop: CancellationToken, work: impl Future<Output = ()> + Send + 'static) -> Self {
        let over = CancellationToken::new();
        let guard = over.clone().drop_guard();
        let task = tokio::spawn(async move {
            let _guard = guard;
            work.await;
        });
        Self { health, stop, over, task }
    }

    /// Resolves when the work has ended or broken, told to or not. Where nobody told it to, nothing would be done any more: the
    /// process ends, and whoever started it can start it again.
    pub fn ended(&self) -> impl Future<Output = Error> + use<> {
        let over = self.over.clone();
        async move {
            over.cancelled().await;
            anyhow!("the work has ended by itself; the log above says why")
        }
    }

    /// For probes: whether the process gets on, and whether it stops.
    pub fn probes(&self) -> (impl Fn() -> Result<(), String> + use<>, impl Fn() -> Result<(), String> + use<>) {
        let (alive, ready, stop) = (self.health.clone(), self.health.clone(), self.stop.clone());
        let alive = move || alive.as_ref().map_or(Ok(()), Health::alive);
        let ready = move || match stop.is_cancelled() {
            true => Err("stopping".to_string()),
            false => ready.as_ref().map_or(Ok(()), Health::ready),
        };
        (alive, ready)
    }

    /// Finishes what was begun and gives the lease back; gives up after 25 s.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(DRAIN, &mut self.task).await.is_err() {
            tracing::warn!("not finished within {} s", DRAIN.as_secs());
            self.task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_ends_or_panics_is_noticed_and_work_under_way_is_not() {
        let stop = CancellationToken::new();
        let ends = Running::spawn(None, stop.clone(), async {});
        let breaks = Running::spawn(None, stop.clone(), async { panic!("as the test wants it") });
        let lasts = Running::spawn(None, stop.clone(), stop.clone().cancelled_owned());
        assert!(ends.ended().await.to_string().contains("ended"));
        assert!(breaks.ended().await.to_string().contains("ended"));
        assert!(futures::poll!(std::pin::pin!(lasts.ended())).is_pending());
        for running in [ends, breaks, lasts] {
            tokio::time::timeout(DRAIN, running.stop()).await.expect("nothing is left to wait for");
        }
    }
}
