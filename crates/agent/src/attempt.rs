//! One attempt for one event: read what is not at hand, judge, act. Used by triggers and by replays.

use std::sync::Arc;

use bytes::Bytes;
use roadstead_api::trigger::HubEndpoint;
use roadstead_reconcile::filter::Filter;

use crate::{
    actions::{Action, Done, Failure},
    event::Event,
    hub::{Asker, Hub, HubError},
    plan::retry::FailureKind,
};

/// What a trigger does with an event, ready to be done.
pub struct Work {
    /// Where events are read.
    pub hub: Arc<Hub>,
    /// Which endpoint's.
    pub endpoint: HubEndpoint,
    /// In whose name; everything that there is if `None`.
    pub asker: Option<Asker>,
    /// Which of them count; all if `None`.
    pub filter: Option<Filter>,
    /// What is done.
    pub action: Box<dyn Action>,
}

impl Work {
    /// Whether the event is to be acted on. One that cannot be judged is, so that it ends as a dead letter and not in
    /// silence.
    pub fn wants(&self, event: &Event) -> bool {
        self.judge(event).unwrap_or(true)
    }

    /// One attempt for the event of this name and id. `held` is the event if it is in memory.
    pub async fn attempt(&self, name: &str, id: &str, held: Option<Arc<Event>>) -> Result<Done, Failure> {
        let event = match held {
            Some(event) => event,
            None => Arc::new(self.read(name, id).await?),
        };
        match self.judge(&event) {
            Ok(true) => {}
            Ok(false) => return Ok(Done::Unneeded("the filter does not match".into())),
            Err(message) => return Err(Failure { kind: FailureKind::Hopeless, message, asked: None }),
        }
        let body = match self.action.needs_body() {
            false => Bytes::new(),
            true => match event.inline_body() {
                Some(body) => body,
                None => self.read_body(&event).await?,
            },
        };
        let deadline = self.action.deadline();
        match tokio::time::timeout(deadline, self.action.perform(&event, body)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::transient(format!("not done within {} s", deadline.as_secs()))),
        }
    }

    /// Whether the endpoint may be seen now; answers the sequence of its last event.
    pub async fn admit(&self) -> Result<u64, HubError> {
        self.hub.admit(&self.endpoint, self.asker.as_ref()).await
    }

    /// Reads an event. An endpoint that is made anew gives its events the names of earlier ones: one with another id, or
    /// of another endpoint, is not the one that is asked for.
    async fn read(&self, name: &str, id: &str) -> Result<Event, Failure> {
        self.admit().await.map_err(unread)?;
        let event = self.hub.event(&self.endpoint.namespace, name).await.map_err(unread)?;
        if event.spec.id == id && event.spec.endpoint == self.endpoint.name { Ok(event) } else { Err(gone()) }
    }

    /// Reads a body that did not come with its event. The hub knows it by name alone: the name must mean the same event
    /// afterwards, and then it did meanwhile, since positions only move forward.
    async fn read_body(&self, event: &Event) -> Result<Bytes, Failure> {
        let body = self.hub.body(&self.endpoint.namespace, &event.name).await.map_err(unread)?;
        let again = self.read(&event.name, &event.spec.id).await?;
        if again.position == event.position { Ok(body) } else { Err(gone()) }
    }

    fn judge(&self, event: &Event) -> Result<bool, String> {
        let Some(filter) = &self.filter else { return Ok(true) };
        filter.matches(&event.spec.filter_view()).map_err(|error| format!("the filter cannot judge the event: {error}"))
    }
}

/// The event could not be read: for now, or for good.
fn unread(error: HubError) -> Failure {
    match error {
        HubError::NotFound(_) | HubError::Expired(_) => gone(),
        error => Failure { kind: FailureKind::Unread, message: error.to_string(), asked: None },
    }
}

fn gone() -> Failure {
    Failure { kind: FailureKind::Gone, message: "the hub no longer retains the event".into(), asked: None }
}
