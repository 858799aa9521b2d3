//! What a trigger can do, one file for each kind of action, all behind one trait.
//!
//! An action gets one event and answers what it did, that nothing was needed, or why it failed. It must be idempotent:
//! after a crash the same event comes again. What is written to the API server is written as the trigger's service
//! account, in the trigger's namespace, with the event's id in the annotation `roadstead.dev/event`.

pub mod annotate;
pub mod forward;
pub mod image;
pub mod run;
pub mod set_image;
pub mod template;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use kube::{Client, ResourceExt};
use roadstead_api::Trigger;
use roadstead_reconcile::patch;

use crate::{allow::Allowed, event::Event, impersonate, kinds::Kinds, plan::retry::FailureKind};

/// Something that is done for an event.
#[async_trait]
pub trait Action: Send + Sync + 'static {
    /// Whether [`perform`](Self::perform) needs the event's body.
    fn needs_body(&self) -> bool {
        false
    }

    /// How long [`perform`](Self::perform) may take.
    fn deadline(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Does it. `body` is empty where it is not needed.
    async fn perform(&self, event: &Event, body: Bytes) -> Result<Done, Failure>;
}

/// What came of it, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was done, just now or before.
    Acted(String),
    /// Nothing was to be done for this event.
    Unneeded(String),
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether trying again may help.
    pub kind: FailureKind,
    /// For people; holds no secret.
    pub message: String,
    /// How long the other side asked to wait.
    pub asked: Option<Duration>,
}

impl Failure {
    /// A failure that may go away by itself.
    pub fn transient(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Transient, message: message.into(), asked: None }
    }

    /// A failure that somebody has to do something about.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Refused, message: message.into(), asked: None }
    }

    /// What the API server said about `what`.
    pub fn api(what: &str, error: &kube::Error) -> Self {
        let message = match error {
            kube::Error::Api(status) => format!("{what}: {}", status.message),
            other => format!("{what}: {other}"),
        };
        if patch::is_transient(error) { Self::transient(message) } else { Self::refused(message) }
    }
}

/// Why a trigger cannot work as it is written: reason and message of its `Ready` condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// One word in CamelCase.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Invalid {
    /// The spec itself is wrong.
    pub fn spec(message: impl Into<String>) -> Self {
        Self { reason: "InvalidSpec", message: message.into() }
    }
}

/// What the actions of one agent share.
pub struct Tools {
    /// The agent's own client: reads Secrets, asks discovery.
    pub own: Client,
    /// Kinds of the API server.
    pub kinds: Kinds,
    /// Where `forward` may send.
    pub allowed: Allowed,
    /// Whether triggers may act in other namespaces.
    pub allow_cross_namespace: bool,
    /// Connections to receivers with publicly trusted certificates, or none.
    pub http: forward::Http,
}

/// What an action knows of its trigger.
#[derive(Clone)]
pub struct Site {
    /// Namespace of the trigger.
    pub namespace: String,
    /// Name of the trigger.
    pub trigger: String,
    /// `hub/namespace/name` of the endpoint.
    pub source: String,
    /// Client that acts as the trigger's service account.
    pub acting: Client,
    /// What the agent's actions share.
    pub tools: Arc<Tools>,
}

impl Site {
    /// The namespace to act in, where the spec says `asked`.
    pub fn target_namespace(&self, asked: Option<&str>) -> Result<String, Invalid> {
        match asked {
            Some(other) if other != self.namespace && !self.tools.allow_cross_namespace => Err(Invalid {
                reason: "CrossNamespaceNotAllowed",
                message: format!("namespace {other} is not the trigger's own; the agent needs --allow-cross-namespace"),
            }),
            asked => Ok(asked.unwrap_or(&self.namespace).to_string()),
        }
    }
}

/// `hub/namespace/name` of the endpoint that a trigger watches.
pub fn source_of(trigger: &Trigger) -> String {
    let endpoint = &trigger.spec.endpoint;
    format!("{}/{}/{}", endpoint.hub, endpoint.namespace, endpoint.name)
}

/// The action of a trigger. Errors: it cannot work as it is written.
pub fn build(trigger: &Trigger, tools: &Arc<Tools>) -> Result<Box<dyn Action>, Invalid> {
    let spec = &trigger.spec;
    let namespace = trigger.namespace().unwrap_or_default();
    let account = spec.service_account_name.as_deref().unwrap_or("default");
    let acting = impersonate::client(&tools.own, &namespace, account)
        .map_err(|error| Invalid::spec(format!("serviceAccountName {account:?}: {error}")))?;
    let site =
        Site { trigger: trigger.name_any(), source: source_of(trigger), acting, tools: tools.clone(), namespace };
    match (&spec.forward, &spec.annotate, &spec.set_image, &spec.run) {
        (Some(forward), None, None, None) => Ok(Box::new(forward::Forward::new(forward, site)?)),
        (None, Some(annotate), None, None) => Ok(Box::new(annotate::Annotate::new(annotate, site)?)),
        (None, None, Some(set_image), None) => Ok(Box::new(set_image::SetImage::new(set_image, site)?)),
        (None, None, None, Some(run)) => Ok(Box::new(run::Run::new(run, site)?)),
        _ => Err(Invalid::spec("exactly one of forward, annotate, setImage and run must be given")),
    }
}
