//! Whether a user may, asked of the API server with a SubjectAccessReview (authorization.k8s.io/v1) and remembered for seconds.
//!
//! Remembering means that a right that was taken away is used for ten seconds more, and one that was given is missed for five:
//! what kube-apiserver's own delegated authorization does. What cannot be asked is denied, and not remembered.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};
use roadstead_kubewire::{Attributes, Authorizer, Decision, User};

/// How long a yes is remembered.
const ALLOWED: Duration = Duration::from_secs(10);
/// How long a no is.
const DENIED: Duration = Duration::from_secs(5);
/// Answers that are remembered.
const REMEMBERED: usize = 4096;
/// How long the API server may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Asks the API server.
pub struct SubjectAccess {
    api: Api<SubjectAccessReview>,
    memory: Mutex<Memory>,
}

impl SubjectAccess {
    /// The client needs to be allowed to create SubjectAccessReviews (ClusterRole `system:auth-delegator`).
    pub fn new(client: Client) -> Self {
        Self { api: Api::all(client), memory: Mutex::default() }
    }

    async fn ask(&self, spec: &SubjectAccessReviewSpec) -> Result<Decision, String> {
        let review = SubjectAccessReview { spec: spec.clone(), ..SubjectAccessReview::default() };
        let params = PostParams::default();
        let asked = tokio::time::timeout(ANSWER, self.api.create(&params, &review)).await;
        let answer = asked.map_err(|_| format!("no answer within {} s", ANSWER.as_secs()))?;
        let status = answer.map_err(|error| error.to_string())?.status.unwrap_or_default();
        Ok(match (status.allowed, status.denied.unwrap_or_default()) {
            (true, false) => Decision::Allow,
            _ => Decision::Deny(status.reason.unwrap_or_default()),
        })
    }
}

#[async_trait]
impl Authorizer for SubjectAccess {
    async fn authorize(&self, user: &User, attributes: &Attributes) -> Decision {
        let spec = question(user, attributes);
        // The question as text holds all that the answer depends on.
        let Ok(key) = serde_json::to_string(&spec) else { return Decision::Deny("it cannot be asked".into()) };
        let remembered = self.memory.lock().unwrap_or_else(PoisonError::into_inner).recall(&key, Instant::now());
        if let Some(decision) = remembered {
            return decision;
        }
        match self.ask(&spec).await {
            Ok(decision) => {
                let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
                memory.keep(key, decision.clone(), Instant::now());
                decision
            }
            Err(error) => {
                tracing::warn!(%error, "a SubjectAccessReview failed; the request is denied");
                Decision::Deny("whether it is allowed cannot be asked at the moment".into())
            }
        }
    }
}

/// The review that asks whether `user` may.
fn question(user: &User, attributes: &Attributes) -> SubjectAccessReviewSpec {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_string());
    let mut spec = SubjectAccessReviewSpec {
        user: text(&user.name),
        uid: text(&user.uid),
        groups: (!user.groups.is_empty()).then(|| user.groups.clone()),
        extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
        ..SubjectAccessReviewSpec::default()
    };
    if attributes.resource.is_empty() {
        let (path, verb) = (text(&attributes.path), text(&attributes.verb));
        spec.non_resource_attributes = Some(NonResourceAttributes { path, verb });
    } else {
        spec.resource_attributes = Some(ResourceAttributes {
            verb: text(&attributes.verb),
            group: text(&attributes.group),
            version: text(&attributes.version),
            resource: text(&attributes.resource),
            subresource: text(&attributes.subresource),
            namespace: text(&attributes.namespace),
            name: text(&attributes.name),
            ..ResourceAttributes::default()
        });
    }
    spec
}

/// Answers, and until when they count.
#[derive(Default)]
struct Memory(HashMap<String, (Decision, Instant)>);

impl Memory {
    fn recall(&self, key: &str, now: Instant) -> Option<Decision> {
        self.0.get(key).filter(|(_, until)| now < *until).map(|(decision, _)| decision.clone())
    }

    fn keep(&mut self, key: String, decision: Decision, now: Instant) {
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, (_, until)| now < *until);
        }
        if self.0.len() >= REMEMBERED {
            // All of it is younger than ten seconds: asking again costs less than looking for the oldest.
            self.0.clear();
        }
        let time = if decision == Decision::Allow { ALLOWED } else { DENIED };
        self.0.insert(key, (decision, now + time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_forgotten_in_time_and_memory_is_bounded() {
        let start = Instant::now();
        let mut memory = Memory::default();
        memory.keep("yes".into(), Decision::Allow, start);
        memory.keep("no".into(), Decision::Deny("r".into()), start);
        for (after, yes, no) in [(0, true, true), (6, true, false), (11, false, false)] {
            let now = start + Duration::from_secs(after);
            assert_eq!((memory.recall("yes", now).is_some(), memory.recall("no", now).is_some()), (yes, no), "{after}");
        }
        for n in 0..3 * REMEMBERED {
            memory.keep(n.to_string(), Decision::Allow, start);
            assert!(memory.0.len() <= REMEMBERED);
        }
    }

    #[test]
    fn a_question_differs_in_all_that_matters() {
        let user = User { name: "a".into(), groups: vec!["g".into()], ..User::default() };
        let attributes = Attributes { verb: "get".into(), resource: "r".into(), ..Attributes::default() };
        let base = question(&user, &attributes);
        let other = User { groups: vec![], ..user.clone() };
        assert_ne!(question(&other, &attributes), base);
        let elsewhere = Attributes { namespace: "n".into(), ..attributes.clone() };
        assert_ne!(question(&user, &elsewhere), base);
        let path = Attributes { verb: "get".into(), path: "/apis".into(), ..Attributes::default() };
        let asked = question(&user, &path);
        assert!(asked.resource_attributes.is_none() && asked.non_resource_attributes.is_some());
    }
}
