//! What needs a single actor: a list of controllers that run while a process leads, and only then.
//!
//! In: controllers, and the [`Lead`] that they hang on. Out: nothing but what each writes. One that ends or breaks is started again
//! after a while, and does not disturb the others.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::FutureExt;
use tokio::task::JoinSet;

use crate::{Backoff, Lead};

/// First and longest wait before a controller that ended is started again.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Something that brings the world to where resources say, and of which only one may act.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// Name for logs and probes, e.g. `crds`.
    fn name(&self) -> &'static str;

    /// Works until [`Lead::stopping`] is cancelled, and then ends, having finished what it began. Asks [`Lead::holds`] before each
    /// action, or does it in [`Lead::hold`]. It is dropped at any await once the lease is lost, and run again in the next term.
    async fn run(&self, lead: Lead);

    /// Whether it can do its work; asked by `/readyz`, also on a standby. Errors: for people, without secrets.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Runs all of them for one term.
pub async fn run_all(controllers: Vec<Arc<dyn Controller>>, lead: Lead) {
    let mut running = JoinSet::new();
    for controller in controllers {
        running.spawn(keep_running(controller, lead.clone()));
    }
    tokio::select! {
        biased;
        // Dropping the set aborts what is in it.
        () = lead.lost().cancelled() => {}
        () = async { while running.join_next().await.is_some() {} } => {}
    }
}

async fn keep_running(controller: Arc<dyn Controller>, lead: Lead) {
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    loop {
        let ended = AssertUnwindSafe(controller.run(lead.clone())).catch_unwind().await;
        if lead.stopping().is_cancelled() {
            return;
        }
        let delay = backoff.next_delay();
        let how = if ended.is_ok() { "ended" } else { "panicked; this is a bug" };
        tracing::error!(controller = controller.name(), how, again_in = ?delay, "a controller does not run");
        tokio::select! {
            () = lead.stopping().cancelled() => return,
            () = tokio::time::sleep(delay) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio_util::sync::CancellationToken;

    use super::*;

    #[derive(Default)]
    struct Breaks {
        started: AtomicUsize,
    }

    #[async_trait]
    impl Controller for Breaks {
        fn name(&self) -> &'static str {
            "breaks"
        }

        async fn run(&self, lead: Lead) {
            if self.started.fetch_add(1, Ordering::SeqCst) == 0 {
                panic!("the first time");
            }
            lead.stopping().cancelled().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_breaks_is_started_again_and_all_end_with_the_process() {
        let stop = CancellationToken::new();
        let controller = Arc::new(Breaks::default());
        let all = tokio::spawn(run_all(vec![controller.clone()], Lead::unelected(stop.clone())));
        while controller.started.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(60), all).await.unwrap().unwrap();
    }
}
