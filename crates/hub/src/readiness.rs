//! What a hub has got to, for everybody who has to wait for it or to refuse because of it.
//!
//! In: notes from each part as it comes up. Out: what `/readyz` answers, and a wait for the whole. The hub is ready once its
//! endpoints are known, or as many as can be: deliveries must not be kept out because subscribers, or the ConfigMap that only the
//! command line reads, have trouble of their own.

use tokio::sync::watch;

/// How far a hub has come. Cheap to clone; all clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Readiness(watch::Sender<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    /// What is missing, for people.
    endpoints: Result<(), String>,
    subscribers: bool,
    published: bool,
    held: bool,
}

impl Default for Parts {
    fn default() -> Self {
        let endpoints = Err("the control plane has not listed them".into());
        Self { endpoints, subscribers: false, published: false, held: false }
    }
}

impl Readiness {
    /// The answer of `/readyz`. Errors: why not, for people.
    pub fn check(&self) -> Result<(), String> {
        let now = self.0.borrow();
        if now.held {
            return Err("starting or stopping".into());
        }
        now.endpoints.clone().map_err(|missing| format!("the endpoints are not known yet: {missing}"))
    }

    /// Holds `/readyz` back, or no longer.
    pub fn hold(&self, held: bool) {
        self.0.send_modify(|parts| parts.held = held);
    }

    /// Whether `/readyz` is held back: the hub is not up yet, or leaving.
    pub fn is_held(&self) -> bool {
        self.0.borrow().held
    }

    /// Resolves when everything is known and published.
    pub async fn complete(&self) {
        // The sender is this value's own: it can't be gone.
        let _ =
            self.0.subscribe().wait_for(|parts| parts.endpoints.is_ok() && parts.subscribers && parts.published).await;
    }

    /// How far the endpoints are known. Errors: what is missing, for people.
    pub(crate) fn endpoints(&self, known: Result<(), String>) {
        self.0.send_modify(|parts| parts.endpoints = known);
    }

    pub(crate) fn subscribers_known(&self) {
        self.0.send_modify(|parts| parts.subscribers = true);
    }

    pub(crate) fn published(&self) {
        self.0.send_modify(|parts| parts.published = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn endpoints_make_it_ready_and_everything_makes_it_complete() {
        let readiness = Readiness::default();
        assert!(readiness.check().is_err());
        readiness.endpoints(Err("namespace b is missing".into()));
        assert!(readiness.check().is_err_and(|why| why.contains("namespace b")));
        readiness.endpoints(Ok(()));
        assert_eq!(readiness.check(), Ok(()));
        readiness.hold(true);
        assert!(readiness.check().is_err());
        readiness.hold(false);
        readiness.subscribers_known();
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.complete().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        readiness.published();
        waiting.await.unwrap();
    }
}
