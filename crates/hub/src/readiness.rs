//! What a hub has got to, for everybody who has to wait for it or to refuse because of it.
//!
//! In: one note from each part as it comes up. Out: what `/readyz` answers, whether hooks and the gateway may decide yet, and a wait
//! for the whole. The hub is ready once its endpoints are known: deliveries must not be kept out because subscribers, or the
//! ConfigMap that only the command line reads, have trouble of their own.

use tokio::sync::watch;

/// How far a hub has come. Cheap to clone; all clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Readiness(watch::Sender<Parts>);

#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    endpoints: bool,
    subscribers: bool,
    published: bool,
    held: bool,
}

impl Readiness {
    /// The answer of `/readyz`. Errors: why not.
    pub fn check(&self) -> Result<(), &'static str> {
        let now = *self.0.borrow();
        match () {
            () if now.held => Err("starting or stopping"),
            () if !now.endpoints => Err("the endpoints are not known yet: the control plane has not listed them"),
            () => Ok(()),
        }
    }

    /// Whether the endpoints have been taken up once; before that every URL would look unknown.
    pub fn knows_endpoints(&self) -> bool {
        self.0.borrow().endpoints
    }

    /// Whether the subscribers have been read once; before that every token would look unknown.
    pub fn knows_subscribers(&self) -> bool {
        self.0.borrow().subscribers
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
        let _ = self.0.subscribe().wait_for(|parts| parts.endpoints && parts.subscribers && parts.published).await;
    }

    pub(crate) fn endpoints_known(&self) {
        self.0.send_modify(|parts| parts.endpoints = true);
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
        readiness.endpoints_known();
        assert_eq!(readiness.check(), Ok(()));
        readiness.hold(true);
        assert!(readiness.check().is_err() && readiness.knows_endpoints() && !readiness.knows_subscribers());
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
