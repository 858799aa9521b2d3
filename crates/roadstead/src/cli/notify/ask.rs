//! Asking for something by annotation: the value goes out, and comes back in `status.observed` with what became of it.

use anyhow::Result;
use kube::api::{Patch, PatchParams};
use roadstead_api::RegistryWebhook;
use roadstead_api::names::{ANNOTATION_RECOVER, ANNOTATION_REDELIVER, ANNOTATION_TEST_DELIVERY};
use serde_json::json;

use super::webhooks_api;
use crate::cli::change::{Patience, Progress, readiness};
use crate::cli::connect::Plane;
use crate::cli::failure::Failure;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A test message. Waits until the webhook is ready.
    Test,
    /// A message once more.
    Redeliver,
    /// That the webhook is enabled.
    Recover,
}

impl Request {
    fn annotation(self) -> &'static str {
        match self {
            Request::Test => ANNOTATION_TEST_DELIVERY,
            Request::Redeliver => ANNOTATION_REDELIVER,
            Request::Recover => ANNOTATION_RECOVER,
        }
    }

    /// What became of `value`; `None` while it has not been looked at.
    fn outcome(self, hook: &RegistryWebhook, value: &str) -> Option<Result<(), String>> {
        let observed = hook.status.as_ref()?.observed.as_ref()?;
        let refused = observed.refused.as_ref();
        let (seen, why) = match self {
            Request::Test => (&observed.test, refused.and_then(|refused| refused.test.clone())),
            Request::Redeliver => (&observed.redeliver, refused.and_then(|refused| refused.redeliver.clone())),
            Request::Recover => (&observed.recover, refused.and_then(|refused| refused.recover.clone())),
        };
        (seen.as_deref() == Some(value)).then(|| why.map_or(Ok(()), Err))
    }

    fn progress(self, hook: &RegistryWebhook, value: &str) -> Progress {
        let status = hook.status.clone().unwrap_or_default();
        match (self.outcome(hook, value), self) {
            (Some(_), _) => Progress::Done,
            (None, Request::Test) => {
                match readiness(&status.conditions, status.observed_generation, hook.metadata.generation) {
                    stuck @ Progress::Stuck { .. } => stuck,
                    _ => Progress::Pending,
                }
            }
            (None, _) => Progress::Pending,
        }
    }
}

/// Asks, and waits until it was done; `None` if the user does not want to wait.
///
/// # Errors
/// It was refused, it cannot be done until somebody changes something, or nobody looked at it in time.
pub async fn ask(
    plane: &Plane,
    name: &str,
    request: Request,
    value: &str,
    patience: Patience,
) -> Result<Option<RegistryWebhook>> {
    let api = webhooks_api(plane);
    let patch = Patch::Merge(json!({"metadata": {"annotations": {request.annotation(): value}}}));
    api.patch(name, &PatchParams::default(), &patch).await?;
    let hook = patience.until(&api, name, "has taken it up", |hook| request.progress(hook, value)).await?;
    match hook.as_ref().and_then(|hook| request.outcome(hook, value)) {
        Some(Err(why)) => Err(Failure::Stuck(format!("{name} refused it: {why}")).into()),
        _ => Ok(hook),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(status: serde_json::Value) -> RegistryWebhook {
        let mut hook = RegistryWebhook::new("shop", Default::default());
        hook.metadata.generation = Some(2);
        hook.status = Some(serde_json::from_value(status).unwrap());
        hook
    }

    #[test]
    fn a_refusal_is_no_success() {
        let refused =
            hook(json!({"observed": {"redeliver": "a", "recover": "b", "refused": {"redeliver": "disabled"}}}));
        assert_eq!(Request::Redeliver.outcome(&refused, "a"), Some(Err("disabled".into())));
        assert_eq!(Request::Redeliver.outcome(&refused, "other"), None);
        assert_eq!(Request::Recover.outcome(&refused, "b"), Some(Ok(())));
        assert_eq!(Request::Test.outcome(&refused, "a"), None);
    }

    #[test]
    fn a_test_ends_where_nothing_can_be_sent() {
        let condition = json!({
            "type": "Ready", "status": "False", "reason": "Suspended", "message": "spec.suspend is true",
            "lastTransitionTime": "2026-11-20T09:00:00Z", "observedGeneration": 2,
        });
        let suspended = hook(json!({"observedGeneration": 2, "conditions": [condition]}));
        assert!(matches!(Request::Test.progress(&suspended, "1"), Progress::Stuck { .. }));
        assert_eq!(Request::Recover.progress(&suspended, "1"), Progress::Pending, "needs no readiness");
        assert_eq!(Request::Test.progress(&hook(json!({})), "1"), Progress::Pending);
        assert_eq!(Request::Test.progress(&hook(json!({"observed": {"test": "1"}})), "1"), Progress::Done);
    }
}
