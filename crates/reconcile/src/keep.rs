//! Tasks that others count on for as long as the process runs: one that panics is run again, and the log says so.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;

use crate::Backoff;

/// Between two runs of a task that panics again and again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Runs what `run` gives to its end, anew after each panic. `what` is for the log: the task, and whose it is.
pub async fn keep<F: Future<Output = ()>>(what: &str, mut run: impl FnMut() -> F) {
    let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
    while AssertUnwindSafe(async { run().await }).catch_unwind().await.is_err() {
        tracing::error!(what, "a task panicked; it will be run again");
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_run_again_until_it_ends() {
        let runs = AtomicUsize::new(0);
        keep("a test", || {
            let run = runs.fetch_add(1, Ordering::SeqCst);
            assert!(run != 0, "before its future is there");
            async move { assert!(run != 1, "while it runs") }
        })
        .await;
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }
}
