//! What deliveries tell the healer of their endpoint, and what it tells the endpoint's status.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Shared by deliveries, healer and status writer; outlives recompilation of the endpoint.
#[derive(Debug, Default)]
pub struct Signals {
    woken: Notify,
    instance: Mutex<String>,
    report: Mutex<Report>,
}

/// What the last comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether the registry could be asked, with a message; or why not: reason and message. None: nobody has asked yet.
    pub reachable: Option<Result<String, (&'static str, String)>>,
    /// When the last comparison was complete, RFC 3339.
    pub reconciled_at: Option<String>,
}

impl Signals {
    /// Asks for a comparison; several at once are one.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Takes note of which process of the registry a delivery came from; another one than before has lost what the earlier one had not
    /// delivered.
    pub fn instance(&self, id: &str) {
        let mut known = lock(&self.instance);
        if !id.is_empty() && *known != id {
            id.clone_into(&mut known);
            self.wake();
        }
    }

    /// What the last comparison came to.
    pub fn report(&self) -> Report {
        lock(&self.report).clone()
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Report)) {
        change(&mut lock(&self.report));
    }

    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn only_another_process_of_the_registry_asks_for_a_look() {
        let signals = Signals::default();
        let mut woken = |id: &str| {
            signals.instance(id);
            signals.woken().now_or_never().is_some()
        };
        assert_eq!(["", "a", "a", "b", "", "b", "a"].map(&mut woken), [false, true, false, true, false, false, true]);
    }
}
