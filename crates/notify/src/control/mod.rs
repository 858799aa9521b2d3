//! The controller: `RegistryWebhook`s, the endpoints and Secrets that they name in; the table of compiled webhooks, their rows in the
//! delivery log, and their `status` out.
//!
//! One loop owns the state. A change of a webhook, or of an endpoint or Secret that one names, marks that webhook dirty; a dirty one is
//! resolved anew from what is observed then. One that fails is tried again by itself and holds up no other. What it is told of comes
//! from its spec alone and is published first, so that an unreadable Secret delays messages and loses none.

mod compile;
mod registry;
mod requests;
mod resolve;
mod status;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::{Client, api::PartialObjectMeta};
use roadstead_api::{RegistryWebhook, WebhookEndpoint};
use roadstead_outbound::guard;
use roadstead_reconcile::{
    Namespaces, Targets,
    scope::{Seen, follow},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::registry::{Key, Registry};
pub(crate) use self::status::Writer;
use crate::{feed::Known, log::DeliveryLog, poll::Poller, queue::Handle, table::Table};

pub(crate) use self::registry::Registry as Webhooks;

/// How long until a webhook that could not be resolved is tried again without being woken.
const RETRY: Duration = Duration::from_secs(5);
/// How long control plane and log may take to bring one webhook in line.
const ANSWER: Duration = Duration::from_secs(10);

/// What the controller works with.
pub(crate) struct Controller {
    pub(crate) client: Client,
    pub(crate) namespaces: Namespaces,
    pub(crate) log: Arc<DeliveryLog>,
    pub(crate) table: Table,
    pub(crate) queue: Arc<Handle>,
    pub(crate) registry: Registry,
    pub(crate) writer: Writer,
    /// Asks the registries of those that poll one.
    pub(crate) poller: Poller,
    /// Private addresses that may be reached.
    pub(crate) targets: Targets,
    /// The client of all webhooks without authorities of their own.
    pub(crate) http: guard::Client,
    /// Told which parts of the scope are known.
    pub(crate) known: watch::Sender<Known>,
}

/// Why a webhook could not be taken up.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("{0}")]
    Log(#[from] crate::log::LogError),
    #[error("no answer within {} s", ANSWER.as_secs())]
    Late,
}

impl Controller {
    /// Runs until `stop`, which is heard in the middle of a webhook too: each step can be repeated.
    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow() => {}
        }
    }

    /// Never ends.
    async fn follow(self) {
        let mut webhooks = follow::<RegistryWebhook>(&self.client, &self.namespaces);
        let mut endpoints = follow::<WebhookEndpoint>(&self.client, &self.namespaces);
        // Metadata is enough to know that a Secret changed; its data is read when a webhook needs it.
        let mut secrets = follow::<PartialObjectMeta<Secret>>(&self.client, &self.namespaces);
        let mut retry: HashMap<Key, Instant> = HashMap::new();
        let mut listed = Known::new();
        loop {
            let mut dirty: BTreeSet<Key> = BTreeSet::new();
            let next_retry = retry.values().min().copied();
            tokio::select! {
                Some(event) = webhooks.next() => match event {
                    Ok(Seen::Listed(listing)) => {
                        listed.insert(listing.namespace.clone());
                        self.drop_orphans(&listing).await;
                        dirty.extend(self.registry.replace(listing));
                    }
                    Ok(Seen::Applied(object)) => dirty.extend(self.registry.note(object)),
                    Ok(Seen::Deleted(object)) => dirty.extend(self.registry.remove(&object)),
                    Err(error) => tracing::warn!(%error, "watching RegistryWebhooks failed; will retry"),
                },
                Some(event) = endpoints.next() => match event {
                    Ok(Seen::Listed(listing)) => dirty.extend(self.registry.list_endpoints(&listing)),
                    Ok(Seen::Applied(endpoint)) => dirty.extend(self.registry.note_endpoint(&endpoint)),
                    Ok(Seen::Deleted(endpoint)) => dirty.extend(self.registry.remove_endpoint(&endpoint)),
                    Err(error) => tracing::warn!(%error, "watching WebhookEndpoints failed; will retry"),
                },
                Some(event) = secrets.next() => match event {
                    // One that was deleted while nobody watched is in no list: all that may have been meant are looked at.
                    Ok(Seen::Listed(listing)) => dirty.extend(self.registry.users(|namespace, _| listing.covers(namespace))),
                    Ok(Seen::Applied(secret) | Seen::Deleted(secret)) => {
                        let changed = Key::of(&secret);
                        dirty.extend(self.registry.users(|namespace, name| changed.namespace == namespace && changed.name == name));
                    }
                    Err(error) => tracing::warn!(%error, "watching Secrets failed; will retry"),
                },
                () = sleep_until(next_retry.unwrap_or_else(Instant::now)), if next_retry.is_some() => {
                    let now = Instant::now();
                    dirty.extend(retry.extract_if(|_, at| *at <= now).map(|(key, _)| key));
                }
            }
            for key in dirty {
                retry.remove(&key);
                // All wait for one: an answer that does not come must not hold them for ever.
                let result = tokio::time::timeout(ANSWER, self.reconcile(&key)).await;
                if let Err(error) = result.unwrap_or(Err(Error::Late)) {
                    tracing::warn!(webhook = %key, %error, "failed to take up the registry webhook; will retry");
                    retry.insert(key, Instant::now() + RETRY);
                }
            }
            self.tell_known(&listed);
        }
    }

    /// Lets the feeds of those parts begin of which every webhook is in the log.
    fn tell_known(&self, listed: &Known) {
        let complete = |part: &Option<String>| self.registry.is_complete(part.as_deref());
        let known: Known = listed.iter().filter(|part| complete(part)).cloned().collect();
        // A feed that has begun goes on.
        self.known.send_if_modified(|now| {
            let more = known.difference(now).cloned().collect::<Vec<_>>();
            now.extend(more.iter().cloned());
            !more.is_empty()
        });
    }
}
