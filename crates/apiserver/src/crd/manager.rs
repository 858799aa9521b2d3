//! The loop that makes what is served agree with the stored CRDs.
//!
//! In: the store's CRDs, whenever one changes. Out: the catalog with a registry for each served version, the CRDs' statuses, and the
//! deletion of a closing CRD's objects. What is to be done is decided by [`plan`]; a round reads everything anew.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use jiff::Timestamp;
use roadstead_kubewire::{Catalog, Context, DeleteOptions, ListOptions, Resource, User};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{CLEANUP, RESOURCE, compile, plan};
use crate::{
    apply, builtin,
    registry::{Registry, meta, resource_name},
    store::{Action, Draft, Expect, Object, Store, Write, WriteError},
};

/// How long a writer of a CRD waits for the catalog to show it; it is shown later all the same.
const SETTLE: Duration = Duration::from_secs(5);
/// The name of the schema of CRDs.
const DEFINITION: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition";
/// How soon to look again at what takes its time.
const RECHECK: Duration = Duration::from_millis(200);

/// Serves what CRDs define. Shared.
pub struct Crds {
    store: Store,
    catalog: Catalog,
    fixed: Mutex<Vec<Arc<dyn Resource>>>,
    served: Mutex<BTreeMap<String, Served>>,
    /// The store's version up to which CRDs have been looked at.
    done: watch::Sender<u64>,
}

/// What is served for one CRD.
struct Served {
    uid: Box<str>,
    generation: i64,
    closing: bool,
    registries: Vec<Arc<Registry>>,
}

impl Crds {
    /// Will publish into `catalog`: `fixed`, and what the CRDs in `store` define. Nothing happens before [`run`](Self::run).
    pub fn new(store: Store, catalog: Catalog) -> Arc<Self> {
        let (fixed, served) = (Mutex::default(), Mutex::default());
        Arc::new(Self { store, catalog, fixed, served, done: watch::Sender::new(0) })
    }

    /// Adds resources that no CRD defines.
    pub fn plug(&self, more: impl IntoIterator<Item = Arc<dyn Resource>>) {
        self.fixed.lock().unwrap_or_else(PoisonError::into_inner).extend(more);
        self.publish();
    }

    /// Waits until the CRDs of the store's `version` are served, for a few seconds at most.
    pub async fn settled(&self, version: u64) {
        let mut done = self.done.subscribe();
        let settled = done.wait_for(|done| *done >= version);
        if tokio::time::timeout(SETTLE, settled).await.is_err() {
            tracing::warn!(version, "a change of a CustomResourceDefinition takes long to be served");
        }
    }

    /// Works until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut cursor = self.store.feed(RESOURCE).cursor(0, None);
        loop {
            // Only a wake-up; what is done follows from the state alone.
            let _ = cursor.ready(0);
            let again = self.sync().await;
            tokio::select! {
                () = shutdown.cancelled() => return,
                open = cursor.changed() => if !open { return },
                () = tokio::time::sleep(RECHECK), if again => {}
            }
        }
    }

    /// Looks at all CRDs once and does what is missing. `true`: look again soon, without a change: some are going and their
    /// objects are not gone yet, or something could not be written.
    async fn sync(&self) -> bool {
        let state = self.store.state();
        let table = state.table(RESOURCE);
        let crds: Vec<(Arc<Object>, Arc<Value>)> =
            table.values().filter_map(|object| Some((object.clone(), Arc::new(object.value().ok()?)))).collect();
        let values: Vec<_> = crds.iter().map(|(_, crd)| crd.clone()).collect();
        let now = meta::time(Timestamp::now());
        let verdicts = plan::plan(&values, self.taken(), now.as_str().unwrap_or_default());
        self.serve(&crds, &verdicts);
        // What is written here wakes this loop again.
        self.done.send_replace(state.version);
        // All at once, so that they share a commit.
        let work = crds.iter().map(async |(object, crd)| {
            let verdict = verdicts.iter().find(|verdict| *verdict.name == *object.key.name);
            match verdict.and_then(|verdict| verdict.status.clone()) {
                Some(status) => {
                    let mut next = (**crd).clone();
                    next["status"] = status;
                    track(crd, &mut next);
                    self.write(object, Action::Put(Draft::new(&next))).await
                }
                None if meta::deleting(crd) && meta::finalizers(crd).contains(&CLEANUP) => {
                    self.clean_up(object, crd).await
                }
                None => true,
            }
        });
        !join_all(work).await.into_iter().all(|done| done)
    }

    /// Names that are in use by what no CRD defines.
    fn taken(&self) -> plan::Taken {
        let fixed = self.fixed.lock().unwrap_or_else(PoisonError::into_inner);
        let names = fixed.iter().flat_map(|resource| {
            let info = resource.info();
            let names =
                [&info.plural, &info.singular, &info.kind, &info.list_kind].into_iter().chain(&info.short_names);
            names.map(|name| (info.group.clone(), name.clone())).collect::<Vec<_>>()
        });
        names.filter(|(_, name)| !name.is_empty()).collect()
    }

    /// Brings the registries up to what is to be served.
    fn serve(&self, crds: &[(Arc<Object>, Arc<Value>)], verdicts: &[plan::Verdict]) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        let wanted = |name: &str| verdicts.iter().any(|verdict| verdict.served && verdict.name == name);
        served.retain(|name, old| {
            let stays =
                crds.iter().any(|(object, _)| object.key.name == *name && object.uid == old.uid) && wanted(name);
            if !stays {
                old.registries.iter().for_each(|registry| registry.retire());
                changed = true;
            }
            stays
        });
        for (object, crd) in crds.iter().filter(|(object, _)| wanted(&object.key.name)) {
            let generation = crd["metadata"]["generation"].as_i64().unwrap_or(0);
            let closing = meta::deleting(crd);
            let old = served.get(&object.key.name);
            if old.is_some_and(|old| old.generation == generation && old.closing == closing) {
                continue;
            }
            match compile::kinds(crd, closing) {
                Ok(kinds) => {
                    let before = old.map(|old| old.registries.clone()).unwrap_or_default();
                    let registries: Vec<_> = kinds
                        .into_iter()
                        .map(|kind| match before.iter().find(|old| old.info().version == kind.info.version) {
                            Some(old) => old.successor(kind),
                            None => Registry::new(kind, self.store.clone()),
                        })
                        .collect();
                    let gone =
                        |old: &&Arc<Registry>| !registries.iter().any(|new| new.info().version == old.info().version);
                    before.iter().filter(gone).for_each(|old| old.retire());
                    let now = Served { uid: object.uid.clone(), generation, closing, registries };
                    served.insert(object.key.name.clone(), now);
                    changed = true;
                }
                // It was checked before it was stored: this is a store from a release with other rules.
                Err(error) => tracing::error!(crd = object.key.name, %error, "a stored definition cannot be served"),
            }
        }
        drop(served);
        if changed {
            self.publish();
        }
    }

    fn publish(&self) {
        // Held to the end, so that of two who publish the later one has seen all.
        let fixed = self.fixed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = fixed.clone();
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(served.values().flat_map(|one| one.registries.iter().map(|r| r.clone() as Arc<dyn Resource>)));
        self.catalog.publish(all);
    }

    /// Deletes the objects of a CRD that is going; when none is left, lets it go. `false`: it has to be tried again.
    async fn clean_up(&self, object: &Arc<Object>, crd: &Value) -> bool {
        let resource =
            resource_name(crate::objects::text(crd, "/spec/group"), crate::objects::text(crd, "/spec/names/plural"));
        // A name that was never accepted has no objects: those there belong to whoever has it.
        let registry = {
            let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
            served.get(&object.key.name).and_then(|served| served.registries.first().cloned())
        };
        if let Some(registry) = registry.filter(|_| !self.store.state().table(&resource).is_empty()) {
            let cx = Context::new(User::system(), "crd-cleanup");
            let (all, options) = (ListOptions::default(), DeleteOptions::default());
            if let Err(error) = registry.delete_collection(&cx, None, &all, &options).await {
                tracing::warn!(crd = object.key.name, %error, "objects could not be deleted; trying again");
            }
            if !self.store.state().table(&resource).is_empty() {
                return false;
            }
        }
        let left: Vec<_> = meta::finalizers(crd).into_iter().filter(|name| *name != CLEANUP).collect();
        if left.is_empty() {
            return self.write(object, Action::Delete).await;
        }
        let mut next = crd.clone();
        meta::set(&mut next, "finalizers", Some(json!(left)));
        self.write(object, Action::Put(Draft::new(&next))).await
    }

    /// Writes one of the CRDs as it was seen. If it has changed since, that change wakes the loop. `false`: the store failed.
    async fn write(&self, object: &Object, action: Action) -> bool {
        let (key, expect) = ((*object.key).clone(), Expect::Version(object.version));
        let write = Write { resource: RESOURCE.into(), key, expect, guard: None, action };
        match self.store.write(write).await {
            Ok(_) | Err(WriteError::Refused(_)) => true,
            Err(error) => {
                tracing::warn!(crd = object.key.name, %error, "a definition could not be written; trying again");
                false
            }
        }
    }
}

/// Notes in `managedFields` whose the status is: kube-apiserver's, as it calls itself there.
fn track(before: &Value, next: &mut Value) {
    let Ok(schema) = builtin::schema(DEFINITION) else { return };
    let request = apply::Request {
        manager: "kube-apiserver".into(),
        force: true,
        subresource: "status".into(),
        api_version: "apiextensions.k8s.io/v1".into(),
        resets: &["/spec", "/metadata"],
        blank: json!({"status": {"conditions": null, "acceptedNames": {}, "storedVersions": null}}),
        now: Timestamp::now(),
    };
    apply::track_update(Some(before), next, &request, &schema);
}
