//! Writes what [`bootstrap`] says must exist, and keeps the shown rules of aggregated roles up to date.
//!
//! In: objects, and the resources to write through. Out: namespaces, roles and bindings. [`ensure`] runs once before anything
//! is served, all writes at once so that they share a commit; [`keep_aggregates`] follows the ClusterRoles from then on.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use roadstead_kubewire::{
    ApiError, ApiResult, Catalog, Context, Key, Payload, Resource, User, WriteOptions, options::Media,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{bootstrap, index::GROUP};
use crate::{namespaces::rules::SYSTEM, objects::Objects, objects::text};

/// How long a failed write waits.
const RETRY: Duration = Duration::from_secs(1);
/// Writes under way at a time.
const CONCURRENCY: usize = 32;

/// Makes sure that the default namespaces, roles and bindings are there and complete. Errors: a write failed.
pub async fn ensure(objects: &dyn Objects, catalog: &Catalog) -> ApiResult<()> {
    let namespaces = SYSTEM.map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    // What is new is shown with its rules from the start.
    let roles = bootstrap::cluster_roles();
    let complete = bootstrap::stale_aggregates(&roles.iter().cloned().map(Arc::new).collect::<Vec<_>>());
    let with_rules = |role: Value| {
        let found = complete.iter().find(|complete| complete["metadata"]["name"] == role["metadata"]["name"]);
        found.cloned().unwrap_or(role)
    };
    let wanted = namespaces
        .into_iter()
        .map(|namespace| ("", "namespaces", namespace))
        .chain(roles.into_iter().map(|role| (GROUP, "clusterroles", with_rules(role))))
        .chain(bootstrap::cluster_role_bindings().into_iter().map(|binding| (GROUP, "clusterrolebindings", binding)));
    let writes = wanted.map(|(group, plural, wanted)| one(objects, catalog, group, plural, wanted));
    stream::iter(writes).buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    refresh_aggregates(objects, catalog).await
}

async fn one(objects: &dyn Objects, catalog: &Catalog, group: &str, plural: &str, wanted: Value) -> ApiResult<()> {
    let resource = find(catalog, group, plural)?;
    let name = text(&wanted, "/metadata/name");
    let written = match objects.get(group, plural, &Key::new("", name)) {
        None => resource.create(&context(), None, payload(&wanted), &options()).await,
        Some(stored) => match bootstrap::reconciled(&stored, &wanted) {
            None => return Ok(()),
            Some(next) => resource.update(&context(), &Key::new("", name), None, payload(&next), &options()).await,
        },
    };
    written.map(drop)
}

/// Writes the rules of aggregated roles where they are not what they aggregate to.
async fn refresh_aggregates(objects: &dyn Objects, catalog: &Catalog) -> ApiResult<()> {
    let resource = find(catalog, GROUP, "clusterroles")?;
    for role in bootstrap::stale_aggregates(&objects.list(GROUP, "clusterroles", None)) {
        let key = Key::new("", text(&role, "/metadata/name"));
        match resource.update(&context(), &key, None, payload(&role), &options()).await {
            // Changed or gone since, which is a change that is looked at in its turn.
            Err(error) if !matches!(error.code, 404 | 409) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Refreshes after every change of a ClusterRole, until `shutdown`.
pub async fn keep_aggregates(objects: Arc<dyn Objects>, catalog: Catalog, shutdown: CancellationToken) {
    let mut changes = objects.changes(GROUP, "clusterroles");
    loop {
        changes.mark_unchanged();
        let patience = match refresh_aggregates(&*objects, &catalog).await {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(%error, "the rules of aggregated roles could not be written; trying again");
                Some(RETRY)
            }
        };
        let wait = async {
            match patience {
                Some(patience) => drop(tokio::time::timeout(patience, changes.changed()).await),
                None if changes.changed().await.is_err() => shutdown.cancel(),
                None => {}
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = wait => {}
        }
    }
}

fn find(catalog: &Catalog, group: &str, plural: &str) -> ApiResult<Arc<dyn Resource>> {
    let found = catalog.snapshot().find(group, "v1", plural).cloned();
    found.ok_or_else(|| ApiError::internal(format!("{plural} are not served")))
}

fn context() -> Context {
    Context::new(User::system(), "bootstrap")
}

fn payload(object: &Value) -> Payload {
    Payload { bytes: object.to_string().into(), media: Media::Json }
}

fn options() -> WriteOptions {
    WriteOptions { field_manager: "roadstead-bootstrap".into(), ..WriteOptions::default() }
}
