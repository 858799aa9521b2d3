//! What needs a single actor: a list of controllers that run while a process leads, and only then.
//!
//! In: controllers, and the [`Lead`] that they hang on. Out: nothing but what each writes. One that ends or breaks is started again
//! after a while, and does not disturb the others.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::FutureExt;
use tokio::{task::JoinSet, time::Instant};

use crate::{Backoff, Lead};

/// First and longest wait before a controller that ended is started again. One that ran for longer than the longest counts as
/// mended: its next wait is the first again.
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
        let began = Instant::now();
        let ended = AssertUnwindSafe(controller.run(lead.clone())).catch_unwind().await;
        if lead.stopping().is_cancelled() {
            return;
        }
        if began.elapsed() > AGAIN.1 {
            backoff.reset();
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

    /// Runs for as long as it is told to each time, and tells how long it was left alone before.
    struct Lasts {
        times: Vec<Duration>,
        pauses: std::sync::Mutex<Vec<Duration>>,
        ended: std::sync::Mutex<Option<Instant>>,
    }

    #[async_trait]
    impl Controller for Lasts {
        fn name(&self) -> &'static str {
            "lasts"
        }

        async fn run(&self, lead: Lead) {
            let turn = self.pauses.lock().unwrap().len();
            let pause = self.ended.lock().unwrap().map_or(Duration::ZERO, |at| at.elapsed());
            self.pauses.lock().unwrap().push(pause);
            match self.times.get(turn) {
                Some(time) => tokio::time::sleep(*time).await,
                None => lead.stopping().cancelled().await,
            }
            *self.ended.lock().unwrap() = Some(Instant::now());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_ran_for_long_is_started_again_soon() {
        let (short, long) = (Duration::from_secs(1), AGAIN.1 * 2);
        let stop = CancellationToken::new();
        let times = vec![short, short, short, long];
        let controller = Arc::new(Lasts { times, pauses: Default::default(), ended: Default::default() });
        let all = tokio::spawn(run_all(vec![controller.clone()], Lead::unelected(stop.clone())));
        while controller.pauses.lock().unwrap().len() < 5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let pauses = controller.pauses.lock().unwrap().clone();
        assert!(pauses[3] > AGAIN.0 * 3, "the third in a row: {pauses:?}");
        assert!(pauses[4] < AGAIN.0 * 2, "after a long run: {pauses:?}");
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(60), all).await.unwrap().unwrap();
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
