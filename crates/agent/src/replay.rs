//! Follows the DeadLetters: keeps their index, and tries again where the annotation `roadstead.dev/replay` asks for it.
//!
//! Each new value of the annotation is one attempt. One that succeeds removes the DeadLetter; one that fails says so in
//! its status.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::StreamExt;
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Preconditions},
};
use roadstead_api::{DeadLetter, Trigger, names::ANNOTATION_REPLAY, trigger::DeadLetterStatus};
use roadstead_reconcile::{
    conditions::{self, Wanted},
    patch,
    scope::{Seen, follow},
};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    actions::Done,
    hub::HubError,
    plan::retry::FailureKind,
    prepare,
    shared::{MANAGER, Shared},
};

/// Replays at the same time.
const CONCURRENCY: usize = 4;

/// Runs until cancelled.
pub async fn run(shared: Arc<Shared>, cancel: CancellationToken) {
    let mut letters = follow::<DeadLetter>(&shared.own, &shared.namespaces);
    let mut replays = Replays::default();
    loop {
        let event = tokio::select! {
            () = cancel.cancelled() => break,
            Some(done) = replays.tasks.join_next() => {
                replays.ended(&shared, done.ok());
                continue;
            }
            event = letters.next() => event,
        };
        match event {
            Some(Ok(Seen::Listed(listing))) => {
                shared.dead_letters.clear(|namespace| listing.covers(namespace));
                for letter in listing.objects {
                    shared.acting(shared.dead_letters.there(&letter)).await;
                    replays.consider(&shared, letter);
                }
            }
            Some(Ok(Seen::Applied(letter))) => {
                shared.acting(shared.dead_letters.there(&letter)).await;
                replays.consider(&shared, letter);
            }
            Some(Ok(Seen::Deleted(letter))) => shared.dead_letters.gone(&letter),
            None => break,
            // The watcher backs off and goes on.
            Some(Err(error)) => tracing::debug!(%error, "DeadLetters cannot be watched"),
        }
    }
}

type Name = (String, String);

/// Replays under way and waiting.
#[derive(Default)]
struct Replays {
    tasks: JoinSet<Name>,
    running: HashSet<Name>,
    waiting: HashMap<Name, DeadLetter>,
}

impl Replays {
    /// Starts a replay if one is asked for that has not been made.
    fn consider(&mut self, shared: &Arc<Shared>, letter: DeadLetter) {
        let name = (letter.namespace().unwrap_or_default(), letter.name_any());
        if !is_asked(&letter) {
            self.waiting.remove(&name);
        } else if self.running.contains(&name) || self.running.len() >= CONCURRENCY {
            self.waiting.insert(name, letter);
        } else {
            self.start(shared, name, letter);
        }
    }

    fn start(&mut self, shared: &Arc<Shared>, name: Name, letter: DeadLetter) {
        self.running.insert(name.clone());
        let shared = shared.clone();
        self.tasks.spawn(async move {
            shared.acting(Box::pin(replay(&shared, &letter))).await;
            name
        });
    }

    fn ended(&mut self, shared: &Arc<Shared>, name: Option<Name>) {
        match name {
            Some(name) => {
                self.running.remove(&name);
            }
            // A task that panicked cannot tell its name: with none left, none is running.
            None if self.tasks.is_empty() => self.running.clear(),
            None => {}
        }
        let next = self.waiting.keys().find(|name| !self.running.contains(*name)).cloned();
        if let Some(name) = next
            && let Some(letter) = self.waiting.remove(&name)
        {
            self.start(shared, name, letter);
        }
    }
}

/// Whether a replay is asked for that has not been made.
fn is_asked(letter: &DeadLetter) -> bool {
    let observed = letter.status.as_ref().and_then(|status| status.observed_replay.as_ref());
    letter.annotations().get(ANNOTATION_REPLAY).is_some_and(|asked| Some(asked) != observed)
}

/// One replay, and what came of it.
async fn replay(shared: &Shared, letter: &DeadLetter) {
    let (namespace, name) = (letter.namespace().unwrap_or_default(), letter.name_any());
    let api: Api<DeadLetter> = Api::namespaced(shared.own.clone(), &namespace);
    let outcome = attempt(shared, letter).await;
    let event = &letter.spec.event_id;
    let written = match &outcome {
        Ok(done) => {
            tracing::info!(namespace, dead_letter = name, event, ?done, "replayed");
            let preconditions = Preconditions { uid: letter.uid(), resource_version: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            patch::persist(|| api.delete(&name, &params)).await.map(|_| ())
        }
        Err((reason, message)) => {
            tracing::info!(namespace, dead_letter = name, event, reason, detail = message, "a replay failed");
            let mut status = DeadLetterStatus {
                observed_replay: letter.annotations().get(ANNOTATION_REPLAY).cloned(),
                observed_generation: letter.metadata.generation,
                conditions: letter.status.clone().unwrap_or_default().conditions,
            };
            let wanted = Wanted::new("Replayed", false, reason, message);
            conditions::set(&mut status.conditions, &wanted, letter.metadata.generation, Timestamp::now());
            patch::merge_status(&api, &name, &json!(status), MANAGER).await.map(|_| ())
        }
    };
    if let Err(error) = written
        && !patch::is_not_found(&error)
    {
        tracing::warn!(namespace, dead_letter = name, %error, "what became of a replay cannot be written");
    }
}

/// Errors: reason and message for the condition.
async fn attempt(shared: &Shared, letter: &DeadLetter) -> Result<Done, (&'static str, String)> {
    let failed = |message: String| ("Failed", message);
    let triggers: Api<Trigger> = Api::namespaced(shared.own.clone(), &letter.namespace().unwrap_or_default());
    let found = patch::persist(|| triggers.get_opt(&letter.spec.trigger)).await;
    let trigger = found
        .map_err(|error| failed(format!("the trigger cannot be read: {error}")))?
        .ok_or_else(|| failed(format!("trigger {} is gone", letter.spec.trigger)))?;
    // What the trigger does now, with the event from where it was.
    let mut work = prepare::work(shared, &trigger).map_err(|invalid| failed(invalid.message))?;
    work.hub = shared.hub(&letter.spec.endpoint).map_err(failed)?;
    work.endpoint = letter.spec.endpoint.clone();
    if let Err(error @ HubError::Unavailable { .. }) = work.admit().await {
        return Err(("EndpointUnavailable", error.to_string()));
    }
    work.attempt(&letter.spec.event_name, &letter.spec.event_id, None).await.map_err(|failure| match failure.kind {
        FailureKind::Gone => ("EventGone", failure.message),
        _ => failed(failure.message),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_new_value_asks_once() {
        let letter = |asked: Option<&str>, observed: Option<&str>| {
            let mut letter = DeadLetter::new("x", Default::default());
            letter.metadata.annotations = asked.map(|value| [(ANNOTATION_REPLAY.into(), value.into())].into());
            let observed_replay = observed.map(String::from);
            letter.status = Some(DeadLetterStatus { observed_replay, ..DeadLetterStatus::default() });
            letter
        };
        for (asked, observed, expected) in
            [(None, None, false), (Some("1"), None, true), (Some("1"), Some("1"), false), (Some("2"), Some("1"), true)]
        {
            assert_eq!(is_asked(&letter(asked, observed)), expected, "{asked:?} {observed:?}");
        }
    }
}
