//! The webhooks as compiled: what the controller publishes, and what fan-out, queue and sender read. They never wait for the control
//! plane.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use http::{HeaderMap, Uri};
use roadstead_api::registry_webhook::Format;
use roadstead_outbound::guard::Client;

use crate::{delivery::WebhookUid, matching::Wants, queue::Limits, sign::Signer};

/// One webhook.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its uid.
    pub uid: WebhookUid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it is told of; `None` while that cannot be read from its spec.
    pub wants: Option<Wants>,
    /// How it is sent to; `None` while something is missing: then what it is to be told waits in the queue.
    pub route: Option<Arc<Route>>,
    /// How fast it is sent to.
    pub limits: Limits,
}

/// How a webhook is sent to.
pub struct Route {
    /// Where to.
    pub url: Uri,
    /// Its keys.
    pub signer: Signer,
    /// Headers from a Secret.
    pub headers: HeaderMap,
    /// For one attempt.
    pub timeout: Duration,
    /// Of the body.
    pub format: Format,
    /// Certificates to trust instead of the machine's, PEM.
    pub ca: Option<Vec<u8>>,
    /// The client that trusts them.
    pub client: Client,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("url", &self.url).finish_non_exhaustive()
    }
}

/// All webhooks, by uid. Cheap to clone; clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Table(Arc<RwLock<HashMap<WebhookUid, Arc<Webhook>>>>);

impl Table {
    /// Puts a webhook in, or takes it out.
    pub fn put(&self, uid: &str, webhook: Option<Arc<Webhook>>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match webhook {
            Some(webhook) => all.insert(uid.to_string(), webhook),
            None => all.remove(uid),
        };
    }

    /// One webhook.
    pub fn get(&self, uid: &str) -> Option<Arc<Webhook>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }

    /// Reads all of them; holds nobody else that reads, so keep it short.
    pub fn read<T>(&self, view: impl FnOnce(&HashMap<WebhookUid, Arc<Webhook>>) -> T) -> T {
        view(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
