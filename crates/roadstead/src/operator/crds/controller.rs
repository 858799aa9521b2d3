//! Looks at each definition, asks the plan, does the step, and keeps what came of it for probes and metrics.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, Resource, ResourceExt};
use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use roadstead_reconcile::{
    Backoff, Controller, Lead, Recorder,
    backoff::{dice, jitter},
    patch,
    recorder::Severity,
};
use semver::Version;

use super::plan::{Step, plan};
use crate::operator::MANAGER;

/// How often to look when all is well.
const CALM: Duration = Duration::from_secs(60);
/// How often to look while the API server takes one up.
const SOON: Duration = Duration::from_millis(500);
/// First and longest wait after an error.
const TROUBLE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));
/// The resource, as RBAC names it.
const RESOURCE: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// How one definition is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Ours, and served.
    Current,
    /// From this newer version, and left alone.
    Newer(Version),
    /// Applied, and not served yet, for this reason.
    Pending(String),
    /// It cannot be read or applied.
    Failed(String),
}

impl State {
    fn label(&self) -> &'static str {
        match self {
            State::Current => "current",
            State::Newer(_) => "newer",
            State::Pending(_) => "pending",
            State::Failed(_) => "failed",
        }
    }
}

/// Keeps the definitions.
pub struct Crds {
    api: Api<CustomResourceDefinition>,
    wanted: Vec<CustomResourceDefinition>,
    own: Version,
    recorder: Recorder,
    states: Mutex<BTreeMap<String, State>>,
    counts: Family<Vec<(&'static str, &'static str)>, Gauge>,
}

impl Crds {
    /// Keeps `wanted`; registers `roadstead_crds{state}`.
    pub fn new(client: Client, wanted: Vec<CustomResourceDefinition>, metrics: &mut Registry) -> Self {
        let counts = Family::default();
        let help =
            "CustomResourceDefinitions of Roadstead on the cluster: current, newer (left alone), pending, failed";
        metrics.register("roadstead_crds", help, counts.clone());
        Self {
            api: Api::all(client.clone()),
            wanted,
            // The definitions are labelled with the version of the workspace, which is ours too.
            own: Version::parse(env!("CARGO_PKG_VERSION")).unwrap_or(Version::new(0, 0, 0)),
            recorder: Recorder::new(client, MANAGER),
            states: Mutex::default(),
            counts,
        }
    }

    /// Brings one definition a step further. Answers how it is, and the resourceVersion if it was applied.
    async fn step(&self, wanted: &CustomResourceDefinition, applied: Option<&str>) -> (State, Option<String>) {
        let name = wanted.name_any();
        let live = match patch::persist(|| self.api.get_opt(&name)).await {
            Ok(live) => live,
            Err(error) => return (State::Failed(explain("get", &error)), None),
        };
        match plan(&self.own, live.as_ref(), applied) {
            Step::Done => (State::Current, applied.map(String::from)),
            Step::Wait(why) => (State::Pending(why), applied.map(String::from)),
            Step::Leave(theirs) => (State::Newer(theirs), None),
            Step::Apply => match patch::apply(&self.api, &name, wanted, MANAGER).await {
                Ok(applied) => {
                    let version = applied.metadata.resource_version.clone();
                    match plan(&self.own, Some(&applied), version.as_deref()) {
                        Step::Done => (State::Current, version),
                        _ => (State::Pending("it was applied just now".into()), version),
                    }
                }
                Err(error) => (State::Failed(explain("patch", &error)), None),
            },
        }
    }

    /// Notes how a definition is, and tells if that is news.
    async fn note(&self, crd: &CustomResourceDefinition, state: State) {
        let name = crd.name_any();
        let old = self.with(|states| states.insert(name.clone(), state.clone()));
        if old.as_ref() == Some(&state) {
            return;
        }
        self.count();
        match state {
            State::Current => tracing::info!(crd = name, version = %self.own, "current"),
            State::Pending(why) => tracing::info!(crd = name, why, "waiting for the API server"),
            State::Failed(why) => tracing::warn!(crd = name, why, "cannot be kept"),
            State::Newer(theirs) => {
                let message = format!("it is from version {theirs}; this operator is {} and leaves it alone", self.own);
                tracing::warn!(crd = name, %theirs, own = %self.own, "from a newer version: left alone");
                self.recorder.record(&crd.object_ref(&()), Severity::Warning, "NewerVersion", &message).await;
            }
        }
    }

    fn count(&self) {
        let states: Vec<&str> = self.with(|states| states.values().map(State::label).collect());
        for label in ["current", "newer", "pending", "failed"] {
            let count = states.iter().filter(|state| **state == label).count();
            self.counts.get_or_create(&vec![("state", label)]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, State>) -> T) -> T {
        work(&mut self.states.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Controller for Crds {
    fn name(&self) -> &'static str {
        "crds"
    }

    async fn run(&self, lead: Lead) {
        let _forget = Forget(self);
        let mut applied: BTreeMap<String, String> = BTreeMap::new();
        let mut backoff = Backoff::new(TROUBLE.0, TROUBLE.1);
        while !lead.stopping().is_cancelled() {
            for crd in &self.wanted {
                let name = crd.name_any();
                let before = applied.remove(&name);
                let Some((state, version)) = lead.hold(self.step(crd, before.as_deref())).await else { return };
                applied.extend(version.map(|version| (name, version)));
                self.note(crd, state).await;
            }
            let states: Vec<State> = self.with(|states| states.values().cloned().collect());
            let pause = if states.iter().any(|state| matches!(state, State::Failed(_))) {
                backoff.next_delay()
            } else if states.iter().any(|state| matches!(state, State::Pending(_))) {
                SOON
            } else {
                backoff.reset();
                jitter(CALM, dice())
            };
            tokio::select! {
                () = lead.stopping().cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn ready(&self) -> Result<(), String> {
        self.with(|states| {
            // On a standby there is none.
            if (1..self.wanted.len()).contains(&states.len()) {
                return Err("not all have been looked at yet".into());
            }
            states.iter().try_for_each(|(name, state)| match state {
                State::Current | State::Newer(_) => Ok(()),
                State::Pending(why) | State::Failed(why) => Err(format!("{name}: {why}")),
            })
        })
    }
}

/// What was seen in one term says nothing about the time after it.
struct Forget<'a>(&'a Crds);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.with(BTreeMap::clear);
        self.0.count();
    }
}

/// What an error means for whoever can mend it. A missing permission is named as RBAC names it: `verb` is that of the request;
/// applying what is not there needs another one too, which the API server names.
fn explain(verb: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            let named = status.message.split(" cannot ").nth(1).and_then(|rest| rest.split(' ').next());
            let verb = named.unwrap_or(verb);
            format!("missing permission: verb {verb} on {RESOURCE}: {}", status.message)
        }
        kube::Error::Api(status) => format!("{verb}: {}", status.message),
        other => format!("{verb}: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_permission_names_verb_resource_and_cause() {
        let status = |message: &str| {
            let status = kube::core::Status { code: 403, message: message.into(), ..Default::default() };
            explain("patch", &kube::Error::Api(status.boxed()))
        };
        let said =
            status(r#"x is forbidden: User "system:serviceaccount:a:b" cannot create resource "x" in API group"#);
        assert!(said.starts_with("missing permission: verb create on customresourcedefinitions.apiextensions.k8s.io"));
        assert!(said.contains("system:serviceaccount:a:b"));
        assert!(status("no").starts_with("missing permission: verb patch on "));
    }
}
