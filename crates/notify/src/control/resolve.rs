//! Brings one webhook in line with what is observed: its row in the log, its place in the table, its limits in the queue, and what
//! its annotations ask for. Each step can be repeated; a crash between any two is mended by the next run.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{Api, Resource, ResourceExt};
use roadstead_api::{RegistryWebhook, RegistryWebhookSpec, event::ImageChange};
use roadstead_reconcile::{recorder::Severity, scope::Listing};

use super::{
    ANSWER, Controller, Error,
    compile::{self, Around, Problem},
    registry::{Endpoint, Entry, Key, secrets_of, status_of},
    requests::{self, Asked, Request},
};
use crate::{
    delivery::{Event, NewMessage},
    log::LogError,
    matching::Wants,
    table::Webhook,
};

/// Under which name the log keeps which control plane it is of.
const PLANE: &str = "control-plane";

impl Controller {
    /// Idempotent.
    pub(super) async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let object = self.registry.object(key);
        let uid = object.as_ref().and_then(|object| object.uid()).unwrap_or_default();
        let known = self.registry.entry(key);
        if let Some(gone) = known.as_ref().filter(|entry| object.is_none() || entry.uid != uid) {
            self.forget(&gone.uid).await?;
            self.registry.put(key, None);
        }
        let Some(object) = object else { return Ok(()) };
        let known = known.filter(|entry| entry.uid == uid);
        let previous = self.table.get(&uid);

        // What it is told of needs no Secret: published first, and with how it was sent to so far.
        // While its filters cannot be read, the last that could be are kept: what is passed over is never told.
        let wants = Wants::compile(&key.namespace, &object.spec);
        let told = wants.as_ref().ok().or(previous.as_ref().and_then(|webhook| webhook.wants.as_ref())).cloned();
        let route = previous.as_ref().and_then(|webhook| webhook.route.clone());
        let webhook = |wants: Option<Wants>, route: Option<_>| Webhook {
            uid: uid.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            wants,
            limits: compile::limits(&object.spec, route.is_some()),
            route,
        };
        self.log.register(&uid, &key.namespace, &key.name).await?;
        self.table.put(&uid, Some(Arc::new(webhook(told.clone(), route.clone()))));
        let generation = object.meta().generation.unwrap_or_default();
        let observed = || status_of(&object).observed.unwrap_or_default();
        let mut entry = known.unwrap_or_else(|| Entry {
            uid: uid.clone(),
            generation,
            ready: None,
            observed: observed(),
            polls: false,
            polled: None,
        });
        self.registry.put(key, Some(entry.clone()));

        let secrets = self.secrets(&key.namespace, &object.spec).await?;
        let previous = route;
        let around =
            Around { secrets: &secrets, targets: &self.targets, http: &self.http, previous: previous.as_deref() };
        let route = compile::route(&object.spec, &around);
        let polled = compile::polled(&uid, &object.spec, &around, self.poller.polled(&uid));
        let published = Arc::new(webhook(told, route.as_ref().ok().cloned()));
        self.queue.configure(&uid, Some(published.limits));
        self.table.put(&uid, Some(published));
        entry.generation = generation;
        entry.polls = object.spec.source.poll.is_some();
        let asked = match polled {
            // Asked while it is suspended too: what is found is queued.
            Some(Ok(polled)) => {
                self.poller.configure(&uid, Some(polled));
                Ok(())
            }
            Some(Err(problem)) => {
                self.poller.pause(&uid);
                self.registry.polled(&uid, None);
                Err(problem)
            }
            None => {
                self.poller.configure(&uid, None);
                self.registry.polled(&uid, None);
                Ok(())
            }
        };
        entry.ready = self.judge(key, &object.spec, wants.map(drop), asked.and(route.map(drop)));
        self.registry.put(key, Some(entry.clone()));
        let requested = self.act(key, &object, &mut entry).await;
        self.registry.put(key, Some(entry));
        self.writer.touch();
        requested
    }

    /// What the condition Ready says; `None` while that is not known.
    fn judge(
        &self,
        key: &Key,
        spec: &RegistryWebhookSpec,
        wants: Result<(), String>,
        route: Result<(), Problem>,
    ) -> Option<Result<(), Problem>> {
        let name = spec.source.endpoint.as_deref();
        let endpoint = name.map_or(Endpoint::Missing, |name| self.registry.endpoint(&key.namespace, name));
        let source = compile::source(spec, endpoint)?;
        let suspended = || match spec.suspend {
            true => Err(Problem::new("Suspended", "spec.suspend is true: what happens is queued and not sent")),
            false => Ok(()),
        };
        let wants = wants.map_err(|message| Problem::new("InvalidFilter", message));
        Some(wants.and(source).and(route).and_then(|()| suspended()))
    }

    /// Does what annotations ask for. What was done is in `entry` even if a later one fails.
    async fn act(&self, key: &Key, object: &RegistryWebhook, entry: &mut Entry) -> Result<(), Error> {
        let ready = entry.ready == Some(Ok(()));
        for (request, asked) in requests::plan(&key.name, object.annotations(), &entry.observed, ready) {
            let result = match request {
                Request::Test(id) => self.log.enqueue(vec![test(&entry.uid, id)]).await.map(drop),
                Request::Redeliver(number) => self.log.redeliver(&entry.uid, number).await,
                Request::Recover(since) => self.log.recover(&entry.uid, since).await.map(drop),
                Request::Refuse(why) => {
                    self.refuse(object, entry, &asked, why).await;
                    continue;
                }
            };
            match result {
                Ok(()) => asked.note(&mut entry.observed, None),
                // Asking again would not help.
                Err(error @ (LogError::Unknown(_) | LogError::Disabled)) => {
                    self.refuse(object, entry, &asked, error.to_string()).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn refuse(&self, object: &RegistryWebhook, entry: &mut Entry, asked: &Asked, why: String) {
        let about = object.object_ref(&());
        self.writer.recorder().record(&about, Severity::Warning, "RequestRefused", &why).await;
        asked.note(&mut entry.observed, Some(why));
    }

    async fn forget(&self, uid: &str) -> Result<(), Error> {
        self.table.put(uid, None);
        self.queue.configure(uid, None);
        self.poller.configure(uid, None);
        self.registry.polled(uid, None);
        Ok(self.log.forget(uid).await?)
    }

    /// Takes down which webhooks were deleted while nobody looked, unless the log seems to be of another control plane.
    pub(super) async fn drop_orphans(&self, listing: &Listing<RegistryWebhook>) {
        let listed: HashSet<String> = listing.objects.iter().filter_map(ResourceExt::uid).collect();
        let mut kept = self.log.webhooks();
        kept.retain(|stats| !stats.forgotten && listing.covers(&stats.namespace));
        let gone: Vec<_> = kept.iter().filter(|stats| !listed.contains(&stats.uid)).collect();
        let (known, here) = (self.log.cursor(PLANE), self.plane().await);
        if !is_ours(known, here, kept.len(), gone.len()) {
            tracing::warn!(
                webhooks = gone.len(),
                "none of the webhooks that the delivery log knows is on this control plane: nothing is cancelled; is it the right one?"
            );
            return;
        }
        if let Some(here) = here.filter(|here| known != Some(*here))
            && let Err(error) = self.log.set_cursors(vec![(PLANE.into(), Some(here))]).await
        {
            tracing::warn!(%error, "failed to note the control plane; the next list tries again");
        }
        for stats in gone {
            tracing::info!(webhook = %format!("{}/{}", stats.namespace, stats.name), "cancelling the deliveries of a deleted webhook");
            if let Err(error) = self.forget(&stats.uid).await {
                tracing::warn!(%error, "failed to cancel the deliveries of a deleted webhook; the next list tries again");
            }
        }
    }

    /// A number that stands for the control plane: made of the uid of a namespace that lives as long as it does. `None` where that may
    /// not be read, or is not answered.
    async fn plane(&self) -> Option<u64> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let uid = match tokio::time::timeout(ANSWER, api.get_metadata("kube-system")).await {
            Ok(Ok(namespace)) => namespace.uid()?,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the control plane's identity cannot be read");
                return None;
            }
            Err(_) => return None,
        };
        let digest = ring::digest::digest(&ring::digest::SHA256, uid.as_bytes());
        let head = digest.as_ref().first_chunk().copied().map(u64::from_be_bytes)?;
        // The log's numbers have a sign.
        Some(head >> 1)
    }

    /// Reads the Secrets that the spec names; a missing one is absent from the answer, as is one that can't be there.
    async fn secrets(&self, namespace: &str, spec: &RegistryWebhookSpec) -> Result<HashMap<String, Secret>, Error> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let mut found = HashMap::new();
        for name in secrets_of(spec).filter(|name| is_name(name)).collect::<HashSet<_>>() {
            if let Some(secret) = api.get_opt(name).await? {
                found.insert(name.to_string(), secret);
            }
        }
        Ok(found)
    }
}

/// Whether the log is of the control plane that is asked. Where that was not noted or cannot be known, a list that has none of the
/// webhooks in the log is of another.
fn is_ours(known: Option<u64>, here: Option<u64>, kept: usize, gone: usize) -> bool {
    here.is_some() && known == here || gone < kept || kept == 0
}

/// A test: an image that nobody has.
fn test(uid: &str, id: String) -> NewMessage {
    let image = ImageChange {
        registry: "registry.example.com".into(),
        repository: "example/app".into(),
        tag: "v1".into(),
        digest: format!("sha256:{}", "0".repeat(64)),
        action: "push".into(),
        actor: String::new(),
    };
    let event =
        Event { id, kind: "test".into(), image, at: Timestamp::now(), reconciled: false, origin: "roadstead".into() };
    NewMessage { webhook: uid.into(), key: None, event: Arc::new(event) }
}

/// Whether an object can have this name. What can't goes into no request's path.
fn is_name(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253
        && name.starts_with(edge)
        && name.ends_with(edge)
        && name.chars().all(|c| edge(c) || "-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_webhooks_of_the_same_control_plane_are_orphans() {
        for (known, here, kept, gone, ours) in [
            (Some(7), Some(7), 1, 1, true),
            (Some(7), Some(7), 3, 3, true),
            (Some(7), Some(8), 1, 1, false),
            (Some(7), None, 1, 1, false),
            (None, None, 1, 1, false),
            (None, Some(7), 1, 1, false),
            (None, Some(7), 2, 1, true),
            (None, Some(7), 0, 0, true),
            (Some(7), Some(8), 2, 1, true),
        ] {
            assert_eq!(is_ours(known, here, kept, gone), ours, "{known:?} {here:?} {gone} of {kept}");
        }
    }

    #[test]
    fn what_cannot_be_a_name_is_asked_for_nowhere() {
        assert!(["a", "shop-hook", "v1.2"].into_iter().all(is_name));
        assert!(["", "a b", "A", "..", "../../a/secrets/b", "a/b", "a?b", "-a"].into_iter().all(|name| !is_name(name)));
    }
}
