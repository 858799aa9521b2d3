//! One of several processes acts: leader election with a `Lease` (coordination.k8s.io/v1), as client-go's does it.
//!
//! In: a client, the Lease's name, and an identity that no other process has. Out: the work runs while this process leads, with a
//! [`Lead`] in its hand that everything it does hangs on. What to do next is decided by `plan`, which knows neither clock nor
//! network; `elector` asks it, talks to the API server, and starts and ends the work; `lease` is the object.
//!
//! Why two never lead, whatever their clocks say: nobody compares a time that another wrote. A candidate takes the Lease only
//! once it has itself seen the same version of it for the whole lease duration, and then only if that version is still there. The
//! leader counts from when it *sent* its last confirmed renewal, which is before anybody can have seen it, and gives up after the
//! renew deadline, which is shorter. Only the rates of the clocks matter: they may differ by the ratio of the two times.
//! A process that was stopped for longer than that (suspended, SIGSTOP) finds out when it wakes: [`Lead::holds`] compares with the
//! clock and does not wait for the task that watches it.

mod elector;
mod health;
mod lease;
mod options;
mod plan;
#[cfg(test)]
mod simulation;

pub use elector::Elector;
pub use health::Health;
pub use options::{Options, OptionsError, identity};

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

/// How often to look again whether a lease in doubt is lost or was renewed.
const DOUBT: Duration = Duration::from_millis(50);

/// What work that needs a single actor holds while it may act. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lead {
    lost: CancellationToken,
    stopping: CancellationToken,
    until: Arc<Until>,
}

/// When leadership ends unless it is renewed: milliseconds after `start`; `u64::MAX` is never.
#[derive(Debug)]
struct Until {
    start: Instant,
    millis: AtomicU64,
}

impl Lead {
    /// For work that needs no election: it leads until `stopping`, and never loses.
    pub fn unelected(stopping: CancellationToken) -> Self {
        Self::until(CancellationToken::new(), stopping)
    }

    /// For work that somebody else decides about: it leads until `lost`.
    pub fn until(lost: CancellationToken, stopping: CancellationToken) -> Self {
        let until = Until { start: Instant::now(), millis: AtomicU64::new(u64::MAX) };
        Self { lost, stopping, until: Arc::new(until) }
    }

    /// Leads for `left` from now on, and longer when it is extended.
    fn elected(left: Duration, stopping: CancellationToken) -> Self {
        let until = Until { start: Instant::now(), millis: AtomicU64::new(0) };
        let lead = Self { lost: CancellationToken::new(), stopping, until: Arc::new(until) };
        lead.extend(left);
        lead
    }

    /// Leads for `left` from now on.
    fn extend(&self, left: Duration) {
        let end = self.until.start.elapsed() + left;
        self.until.millis.store(u64::try_from(end.as_millis()).unwrap_or(u64::MAX - 1), Ordering::Release);
    }

    /// Cancelled when the lease is lost. Everything ends at once then; nothing more is written.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Cancelled when the process is asked to stop. The lease is still held: what was begun may be finished, and written.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Whether an action may begin now. Asked before each, because a process that was suspended learns of the time that
    /// passed only when it looks.
    pub fn holds(&self) -> bool {
        let until = self.until.millis.load(Ordering::Acquire);
        !self.lost.is_cancelled() && (until == u64::MAX || self.until.start.elapsed() < Duration::from_millis(until))
    }

    /// Does `action` as long as the lease is held; `None` if it is lost before or meanwhile, and the action is abandoned. Where it
    /// is in doubt, the action does not begin before it is clear.
    pub async fn hold<F: Future>(&self, action: F) -> Option<F::Output> {
        while !self.holds() {
            // Somebody who looks at the clock before the elector does: that one decides within moments.
            self.lost.run_until_cancelled(tokio::time::sleep(DOUBT)).await?;
        }
        self.lost.run_until_cancelled(action).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_hangs_on_a_lost_lease_neither_begins_nor_ends() {
        let lead = Lead::elected(Duration::from_secs(60), CancellationToken::new());
        assert_eq!(lead.hold(async { 1 }).await, Some(1));
        let cancelled = lead.lost.clone();
        let under_way = lead.hold(async {
            cancelled.cancel();
            std::future::pending::<()>().await;
        });
        assert_eq!(under_way.await, None);
        assert_eq!(lead.hold(async { panic!("must not begin") }).await, None::<()>);
    }

    #[test]
    fn time_that_is_over_is_seen_without_anybody_telling() {
        let lead = Lead::elected(Duration::ZERO, CancellationToken::new());
        assert!(!lead.lost.is_cancelled() && !lead.holds());
        lead.extend(Duration::from_secs(60));
        assert!(lead.holds());
        assert!(Lead::unelected(CancellationToken::new()).holds());
    }
}
