//! Which path a kind has: asked of discovery, remembered for a while.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use kube::{
    Client,
    core::{ApiResource, GroupVersionKind},
    discovery::{self, Scope},
};

/// How long an answer is believed: a CRD's scope and plural do not change while it exists.
const FRESH: Duration = Duration::from_secs(300);

/// A kind as the API server serves it.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Its paths.
    pub resource: ApiResource,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
}

/// The kinds of one API server.
pub struct Kinds {
    client: Client,
    known: Mutex<HashMap<GroupVersionKind, (Instant, Kind)>>,
}

impl Kinds {
    /// Nothing known yet.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// Finds a kind. Errors: the API server cannot be asked, or serves no such kind.
    pub async fn find(&self, api_version: &str, kind: &str) -> Result<Kind, kube::Error> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let known = self.known.lock().ok().and_then(|known| known.get(&gvk).cloned());
        if let Some((since, kind)) = known
            && since.elapsed() < FRESH
        {
            return Ok(kind);
        }
        let (resource, capabilities) = discovery::pinned_kind(&self.client, &gvk).await?;
        let kind = Kind { resource, namespaced: capabilities.scope == Scope::Namespaced };
        if let Ok(mut known) = self.known.lock() {
            known.insert(gvk, (Instant::now(), kind.clone()));
        }
        Ok(kind)
    }
}
