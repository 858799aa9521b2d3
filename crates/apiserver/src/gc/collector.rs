//! The collector's loop: look at what changed, plan for what that affects, act, wait.
//!
//! It compares two immutable states of the store, so it sees all kinds as of one moment, misses nothing however late it is,
//! and needs no watch for each kind. The first state is compared with nothing: everything is looked at once after a start. An
//! action that failed is planned again shortly; one that came too late changes nothing, and the change that overtook it is
//! looked at in its turn.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use imbl::ordmap::DiffItem;
use roadstead_kubewire::{
    ApiError, ApiResult, Catalog, Context, DeleteOptions, Key, Payload, User, WriteOptions,
    options::{Media, PatchKind},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    graph::{Graph, Id, Node, Owner},
    kinds::Kinds,
    plan::{Action, OwnerState, Owners, plan},
};
use crate::store::{Object, State, Store};

/// Actions under way at a time.
const CONCURRENCY: usize = 16;
/// How long a failed action waits.
const RETRY: Duration = Duration::from_secs(1);
/// How often the served kinds are looked at without a change of any object.
const KINDS_REFRESH: Duration = Duration::from_secs(10);
/// After how many idle refreshes everything is planned anew, in case of a mistake here.
const RESYNC_AFTER: u32 = 30;

/// The garbage collector.
pub struct Collector {
    store: Store,
    catalog: Catalog,
    cx: Context,
    seen: Arc<State>,
    graph: Graph,
    kinds: Kinds,
    generation: u64,
    /// What is to be planned for.
    open: BTreeSet<Id>,
}

impl Collector {
    /// A collector of what is in `store`, through the resources of `catalog`, which must be complete by now.
    pub fn new(store: Store, catalog: Catalog) -> Self {
        let user =
            User { name: "system:serviceaccount:kube-system:generic-garbage-collector".into(), ..User::system() };
        Self {
            store,
            catalog,
            cx: Context::new(user, "garbage-collector"),
            seen: Arc::default(),
            graph: Graph::default(),
            kinds: Kinds::default(),
            generation: 0,
            open: BTreeSet::new(),
        }
    }

    /// Collects until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut idle = 0;
        while !shutdown.is_cancelled() {
            self.look();
            self.act().await;
            let patience = if self.open.is_empty() { KINDS_REFRESH } else { RETRY };
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = self.store.reached(self.seen.version + 1, patience) => idle = if changed { 0 } else { idle + 1 },
            }
            if idle >= RESYNC_AFTER {
                self.open.extend(self.graph.ids().cloned());
                idle = 0;
            }
        }
    }

    /// Takes in what changed since the last look.
    fn look(&mut self) {
        let snapshot = self.catalog.snapshot();
        if snapshot.generation != self.generation {
            self.kinds = Kinds::new(&snapshot);
            self.generation = snapshot.generation;
            // An owner that could not be judged may be one that can.
            self.open.extend(self.graph.ids().cloned());
        }
        let now = self.store.state();
        let before = std::mem::replace(&mut self.seen, now.clone());
        for (name, table) in &now.tables {
            let old = before.tables.get(name).cloned().unwrap_or_default();
            for item in old.diff(table) {
                let (old, new) = match &item {
                    DiffItem::Add(_, new) => (None, Some(*new)),
                    DiffItem::Update { old: (_, old), new: (_, new) } => (Some(*old), Some(*new)),
                    DiffItem::Remove(_, old) => (Some(*old), None),
                };
                self.change(name, old, new);
            }
        }
    }

    fn change(&mut self, resource: &Arc<str>, old: Option<&Arc<Object>>, new: Option<&Arc<Object>>) {
        let Some(key) = old.or(new).map(|object| (*object.key).clone()) else { return };
        let id = Id { resource: resource.clone(), key };
        let owners_before: Vec<String> = self
            .graph
            .get(&id)
            .map(|node| node.owners.iter().map(|owner| owner.uid.clone()).collect())
            .unwrap_or_default();
        match new.and_then(|new| Some((new, new.value().ok()?))) {
            Some((new, value)) => self.graph.insert(Node::read(id.clone(), new.version, &value)),
            None => self.graph.remove(&id),
        }
        let uids: Vec<&str> = old.into_iter().chain(new).map(|object| &*object.uid).collect();
        self.open.extend(self.graph.affected(&id, &uids, &owners_before));
    }

    /// Does what is planned for everything that is open; what fails stays open.
    async fn act(&mut self) {
        let open = std::mem::take(&mut self.open);
        let view = View { state: &self.seen, kinds: &self.kinds };
        let actions: Vec<Action> = open.iter().flat_map(|id| plan(&self.graph, &view, id)).collect();
        let attempts = actions.into_iter().map(|action| self.attempt(action));
        let failed: Vec<Option<Id>> = stream::iter(attempts).buffer_unordered(CONCURRENCY).collect().await;
        self.open.extend(failed.into_iter().flatten());
    }

    /// Executes; the object if that failed for a reason that may pass.
    async fn attempt(&self, action: Action) -> Option<Id> {
        match self.execute(&action).await {
            Ok(()) => tracing::debug!(?action, "collected"),
            // Somebody was faster; their change is looked at in its turn.
            Err(error) if matches!(error.code, 404 | 409) => {}
            Err(error) => {
                let Id { resource, key } = action.id();
                let (namespace, name) = (&key.namespace, &key.name);
                tracing::warn!(%resource, namespace, name, %error, "garbage collection will try again");
                return Some(action.id().clone());
            }
        }
        None
    }

    async fn execute(&self, action: &Action) -> ApiResult<()> {
        match action {
            Action::Delete { id, uid, version, propagation } => {
                let options = DeleteOptions {
                    uid: Some(uid.clone()),
                    resource_version: Some(version.to_string()),
                    propagation: Some(*propagation),
                    ..DeleteOptions::default()
                };
                self.resource(id)?.delete(&self.cx, &id.key, &options).await.map(drop)
            }
            Action::RemoveOwners { id, uid, owners } => {
                let stays = |owner: &&Value| !owners.iter().any(|gone| owner["uid"] == gone.as_str());
                self.patch(id, uid, |metadata| {
                    let references = metadata["ownerReferences"].as_array().into_iter().flatten();
                    json!({"ownerReferences": references.filter(stays).collect::<Vec<_>>()})
                })
                .await
            }
            Action::Unblock { id, uid } => {
                self.patch(id, uid, |metadata| {
                    let mut references = metadata["ownerReferences"].clone();
                    for reference in references.as_array_mut().into_iter().flatten() {
                        reference["blockOwnerDeletion"] = json!(false);
                    }
                    json!({"ownerReferences": references})
                })
                .await
            }
            Action::RemoveFinalizer { id, uid, finalizer } => {
                self.patch(id, uid, |metadata| {
                    let finalizers = metadata["finalizers"].as_array().into_iter().flatten();
                    json!({"finalizers": finalizers.filter(|given| *given != finalizer).collect::<Vec<_>>()})
                })
                .await
            }
        }
    }

    /// Changes metadata of the object as it is now, if it still is the same object.
    async fn patch(&self, id: &Id, uid: &str, change: impl FnOnce(&Value) -> Value) -> ApiResult<()> {
        let Some(object) = self.store.get(&id.resource, &id.key).filter(|object| &*object.uid == uid) else {
            return Ok(());
        };
        let value = object.value().map_err(|_| ApiError::internal("a stored object is not JSON"))?;
        let mut metadata = change(&value["metadata"]);
        metadata["resourceVersion"] = json!(object.version.to_string());
        let payload = Payload { bytes: json!({"metadata": metadata}).to_string().into(), media: Media::Json };
        let options = WriteOptions { field_manager: "garbage-collector".into(), ..WriteOptions::default() };
        let resource = self.resource(id)?;
        resource.patch(&self.cx, &id.key, None, PatchKind::Merge, payload, &options).await.map(drop)
    }

    fn resource(&self, id: &Id) -> ApiResult<&Arc<dyn roadstead_kubewire::Resource>> {
        let served = self.kinds.by_name(&id.resource).map(|served| &served.resource);
        served.ok_or_else(|| ApiError::unavailable(format!("{} are not served now", id.resource), 1))
    }
}

/// Owners as of one state.
struct View<'a> {
    state: &'a State,
    kinds: &'a Kinds,
}

impl Owners for View<'_> {
    fn state(&self, dependent: &Id, owner: &Owner) -> OwnerState {
        let Some(kind) = self.kinds.by_kind(owner.group(), &owner.kind) else { return OwnerState::Unknown };
        let namespace = match (kind.namespaced, dependent.key.namespace.as_str()) {
            (false, _) => "",
            (true, "") => return OwnerState::Unknown,
            (true, namespace) => namespace,
        };
        let key = Key::new(namespace, &owner.name);
        let Some(found) = self.state.get(&kind.name, &key).filter(|found| *found.uid == *owner.uid) else {
            return OwnerState::Gone;
        };
        let id = Id { resource: kind.name.clone(), key };
        let node = found.value().map(|value| Node::read(id, found.version, &value));
        if node.is_ok_and(|node| node.waits_for_dependents()) { OwnerState::Waiting } else { OwnerState::Live }
    }
}
