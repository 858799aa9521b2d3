//! The loop behind namespaces: empties those that are being deleted, and gives each of the others its service account.
//!
//! In: states of the store. Out: deletes, statuses and service accounts, through the same resources that clients use. Each
//! round reads everything it decides on from one state, so it may be cut off anywhere.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use imbl::OrdMap;
use jiff::Timestamp;
use roadstead_kubewire::{
    ApiError, ApiResult, Catalog, Context, DeleteOptions, Key, Payload, User, WriteOptions,
    options::{Media, Propagation},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::plan::{Content, Step, is_terminating, plan};
use crate::{
    gc::Kinds,
    objects::text,
    store::{State, Store, Table},
};

/// Deletes under way at a time.
const CONCURRENCY: usize = 16;
/// Objects that one round deletes; the rest has its turn in the next.
const ROUND: usize = 1000;
/// How long to wait before trying again what failed.
const RETRY: Duration = Duration::from_secs(1);
/// How long to wait when there is nothing to do; a change ends the wait.
const IDLE: Duration = Duration::from_secs(60);
/// Between two rounds, so that a namespace that empties slowly is not looked at for every object that goes.
const PAUSE: Duration = Duration::from_millis(20);

/// The namespace controller.
pub struct Controller {
    store: Store,
    catalog: Catalog,
    cx: Context,
}

impl Controller {
    /// A controller of the namespaces in `store`, through the resources of `catalog`, which must be complete by now.
    pub fn new(store: Store, catalog: Catalog) -> Self {
        let user = User { name: "system:serviceaccount:kube-system:namespace-controller".into(), ..User::system() };
        Self { store, catalog, cx: Context::new(user, "namespace-controller") }
    }

    /// Works until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut seen: [Table; 2] = [OrdMap::new(), OrdMap::new()];
        let mut terminating = false;
        while !shutdown.is_cancelled() {
            let state = self.store.state();
            let tables = ["namespaces", "serviceaccounts"].map(|resource| state.table(resource));
            let changed = tables.iter().zip(&seen).any(|(now, seen)| !now.ptr_eq(seen));
            let mut outcome = Outcome::default();
            if changed || terminating {
                outcome = self.round(&state).await;
                terminating = outcome.terminating;
            }
            // What failed is not taken as seen.
            seen = if outcome.failed { [OrdMap::new(), OrdMap::new()] } else { tables };
            let patience = if outcome.failed || outcome.more { RETRY } else { IDLE };
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = self.store.reached(state.version + 1, patience) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn round(&self, state: &State) -> Outcome {
        let kinds = Kinds::new(&self.catalog.snapshot());
        let mut outcome = Outcome::default();
        for namespace in state.table("namespaces").values() {
            let Ok(value) = namespace.value() else { continue };
            let result = if is_terminating(&value) {
                outcome.terminating = true;
                self.terminate(state, &kinds, &value, &mut outcome).await
            } else {
                self.ensure_account(state, &kinds, &namespace.key.name).await
            };
            match result {
                Ok(()) => {}
                // Somebody was faster, which is a change that wakes us.
                Err(error) if matches!(error.code, 404 | 409) => {}
                Err(error) => {
                    outcome.failed = true;
                    tracing::warn!(namespace = namespace.key.name, %error, "the namespace controller will try again");
                }
            }
        }
        outcome
    }

    async fn terminate(&self, state: &State, kinds: &Kinds, namespace: &Value, outcome: &mut Outcome) -> ApiResult<()> {
        let name = text(namespace, "/metadata/name");
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut steps = plan(namespace, contents(state, kinds, name), &now);
        if steps.len() > ROUND {
            steps.truncate(ROUND);
            outcome.more = true;
        }
        let work = steps.into_iter().map(|step| self.step(kinds, namespace, step));
        let results: Vec<ApiResult<()>> = stream::iter(work).buffer_unordered(CONCURRENCY).collect().await;
        results.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }

    async fn step(&self, kinds: &Kinds, namespace: &Value, step: Step) -> ApiResult<()> {
        let key = Key::new("", text(namespace, "/metadata/name"));
        let namespaces = resource(kinds, "namespaces")?;
        match step {
            Step::Delete(content) => {
                let options = DeleteOptions {
                    uid: Some(content.uid),
                    propagation: Some(Propagation::Background),
                    ..DeleteOptions::default()
                };
                match resource(kinds, &content.resource)?.delete(&self.cx, &content.key, &options).await {
                    // Gone already, or another object by now, which the next round finds.
                    Err(error) if !matches!(error.code, 404 | 409) => Err(error),
                    _ => Ok(()),
                }
            }
            Step::Status(status) => {
                let mut next = namespace.clone();
                next["status"] = status;
                namespaces.update(&self.cx, &key, Some("status"), payload(&next), &options()).await.map(drop)
            }
            Step::Finalize(next) => {
                namespaces.update(&self.cx, &key, Some("finalize"), payload(&next), &options()).await.map(drop)
            }
        }
    }

    async fn ensure_account(&self, state: &State, kinds: &Kinds, namespace: &str) -> ApiResult<()> {
        if state.get("serviceaccounts", &Key::new(namespace, "default")).is_some() {
            return Ok(());
        }
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let accounts = resource(kinds, "serviceaccounts")?;
        accounts.create(&self.cx, Some(namespace), payload(&account), &options()).await.map(drop)
    }
}

/// What a round leaves.
#[derive(Default)]
struct Outcome {
    /// A namespace is being deleted, so that a change of any object may matter.
    terminating: bool,
    /// Something failed that may pass.
    failed: bool,
    /// There was more to do than fits into one round.
    more: bool,
}

/// All objects in a namespace whose kinds are served.
fn contents(state: &State, kinds: &Kinds, namespace: &str) -> Vec<Content> {
    let mut contents = Vec::new();
    for served in kinds.iter().filter(|served| served.namespaced) {
        let Some(table) = state.tables.get(&served.name) else { continue };
        let from = Arc::new(Key::new(namespace, ""));
        for (key, object) in table.range(from..).take_while(|(key, _)| key.namespace == namespace) {
            let value = object.value().unwrap_or_default();
            contents.push(Content {
                resource: served.name.clone(),
                key: (**key).clone(),
                uid: object.uid.to_string(),
                deleting: is_terminating(&value),
                finalizers: crate::objects::texts(&value, "/metadata/finalizers").map(str::to_string).collect(),
            });
        }
    }
    contents
}

fn resource<'a>(kinds: &'a Kinds, name: &str) -> ApiResult<&'a Arc<dyn roadstead_kubewire::Resource>> {
    let served = kinds.by_name(name).map(|served| &served.resource);
    served.ok_or_else(|| ApiError::unavailable(format!("{name} are not served now"), 1))
}

fn payload(object: &Value) -> Payload {
    Payload { bytes: object.to_string().into(), media: Media::Json }
}

fn options() -> WriteOptions {
    WriteOptions { field_manager: "namespace-controller".into(), ..WriteOptions::default() }
}
