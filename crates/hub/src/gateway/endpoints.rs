//! `WebhookEndpoint`s for a subscriber: those in its scope, read-only, without the URL that senders post to.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt,
    future::ready,
    stream::{BoxStream, once, select_all},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, ResourceExt, api::WatchParams, core::WatchEvent as Change};
use roadstead_api::WebhookEndpoint;
use roadstead_kubewire::{
    ApiError, ApiResult, Column, Context, EventKind, Key as ObjectKey, List, ListOptions, Resource, ResourceInfo, Verb,
    WatchEvent, WatchOptions, WatchStream,
};
use roadstead_reconcile::Namespaces;
use serde_json::Map;

use crate::control::{
    endpoints::{Key, Registry},
    subscribers::Subscribers,
};

use super::auth::shown;

/// The resource.
pub(super) struct PermittedEndpoints {
    client: Client,
    namespaces: Namespaces,
    registry: Registry,
    subscribers: Subscribers,
    info: ResourceInfo,
}

impl PermittedEndpoints {
    pub(super) fn new(
        client: &Client,
        namespaces: &Namespaces,
        registry: &Registry,
        subscribers: &Subscribers,
    ) -> Self {
        let info = ResourceInfo {
            verbs: vec![Verb::Get, Verb::List, Verb::Watch],
            subresources: Vec::new(),
            ..info_of(&<WebhookEndpoint as kube::CustomResourceExt>::crd())
        };
        Self {
            client: client.clone(),
            namespaces: namespaces.clone(),
            registry: registry.clone(),
            subscribers: subscribers.clone(),
            info,
        }
    }

    fn scope(&self, cx: &Context) -> BTreeSet<Key> {
        shown(&self.subscribers, &cx.user).map(|(_, token)| token.grant.scope.clone()).unwrap_or_default()
    }
}

#[async_trait]
impl Resource for PermittedEndpoints {
    fn info(&self) -> &ResourceInfo {
        &self.info
    }

    async fn get(&self, cx: &Context, key: &ObjectKey) -> ApiResult<Bytes> {
        let wanted = Key { namespace: key.namespace.clone(), name: key.name.clone() };
        let object = self.registry.object(&wanted).filter(|_| self.scope(cx).contains(&wanted));
        object
            .map(shown_to_subscribers)
            .ok_or_else(|| ApiError::not_found(&self.info.group, &self.info.plural, &key.name))?
    }

    async fn list(&self, cx: &Context, namespace: Option<&str>, options: &ListOptions) -> ApiResult<List> {
        let scope = self.scope(cx);
        // The version is the control plane's own, so that a watch can go on from it.
        let Some(api) = self.apis(namespace).into_iter().next() else { return Ok(List::default()) };
        let all = api.list_metadata(&kube::api::ListParams::default().limit(1)).await.map_err(refused)?;
        let mut objects = Vec::new();
        self.registry.for_each(|key, object| {
            if scope.contains(key) && namespace.is_none_or(|n| n == key.namespace) && selected(object, options) {
                objects.push(object.clone());
            }
        });
        let items = objects.into_iter().map(shown_to_subscribers).collect::<ApiResult<_>>()?;
        Ok(List { items, resource_version: all.metadata.resource_version.unwrap_or_default(), ..List::default() })
    }

    async fn watch(&self, cx: &Context, namespace: Option<&str>, options: &WatchOptions) -> ApiResult<WatchStream> {
        let scope = self.scope(cx);
        let name = options.fields.exact("metadata.name").map(str::to_string);
        let mut params = WatchParams::default().timeout(290);
        if let Some(name) = &name {
            params = params.fields(&format!("metadata.name={name}"));
        }
        let version = if options.resource_version.is_empty() { "0" } else { &options.resource_version };
        let mut changes = Vec::new();
        for api in self.apis(namespace) {
            changes.push(api.watch(&params, version).await.map_err(refused)?.boxed());
        }
        let labels = options.labels.clone();
        let namespace = namespace.map(str::to_string);
        // Whichever ends first ends all: the client asks again from what it has seen.
        Ok(ended_by_any(changes)
            .filter_map(move |change| {
                let event = frame(change, |object| {
                    let key = Key { namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
                    scope.contains(&key)
                        && namespace.as_ref().is_none_or(|own| *own == key.namespace)
                        && labels.matches(object.labels())
                });
                async move { event }
            })
            .boxed())
    }
}

impl PermittedEndpoints {
    /// The ways to ask the control plane for `namespace`, or for all that the hub knows. In a namespace that it does not know there
    /// is nothing to see; then any other one tells the version.
    fn apis(&self, namespace: Option<&str>) -> Vec<Api<WebhookEndpoint>> {
        match namespace.filter(|namespace| self.namespaces.include(namespace)) {
            Some(namespace) => vec![Api::namespaced(self.client.clone(), namespace)],
            None => self.namespaces.apis(&self.client),
        }
    }
}

/// All streams as one that ends as soon as one of them does.
fn ended_by_any<T: Send + 'static>(streams: Vec<BoxStream<'static, T>>) -> BoxStream<'static, T> {
    let streams = streams.into_iter().map(|stream| stream.map(Some).chain(once(ready(None))).boxed());
    select_all(streams).take_while(|item| ready(item.is_some())).filter_map(ready).boxed()
}

fn selected(object: &WebhookEndpoint, options: &ListOptions) -> bool {
    options.labels.matches(object.labels())
        && options.fields.matches(|path| match path {
            "metadata.name" => Some(object.name_any().into()),
            "metadata.namespace" => Some(object.namespace().unwrap_or_default().into()),
            _ => None,
        })
}

/// One change of the control plane's watch, for a subscriber; `None` if it is not its business.
fn frame(
    change: Result<Change<WebhookEndpoint>, kube::Error>,
    permitted: impl Fn(&WebhookEndpoint) -> bool,
) -> Option<WatchEvent> {
    let (kind, object) = match change {
        Ok(Change::Added(object)) => (EventKind::Added, object),
        Ok(Change::Modified(object)) => (EventKind::Modified, object),
        Ok(Change::Deleted(object)) => (EventKind::Deleted, object),
        Ok(Change::Bookmark(bookmark)) => {
            let types = bookmark.types;
            return Some(WatchEvent::bookmark(
                &types.api_version,
                &types.kind,
                &bookmark.metadata.resource_version,
                false,
            ));
        }
        Ok(Change::Error(status)) => {
            let reason = if status.code == 410 { "Expired" } else { "InternalError" };
            return Some(WatchEvent::error(&ApiError {
                code: status.code,
                reason,
                message: status.message,
                details: None,
                warnings: Vec::new(),
            }));
        }
        Err(_) => return Some(WatchEvent::error(&ApiError::unavailable("the control plane's watch broke off", 1))),
    };
    if !permitted(&object) {
        return None;
    }
    Some(WatchEvent::new(kind, &shown_to_subscribers(object).ok()?))
}

/// The object without its URL, its rules for senders and the names of its Secrets.
fn shown_to_subscribers(mut object: WebhookEndpoint) -> ApiResult<Bytes> {
    object.metadata.managed_fields = None;
    object.metadata.annotations = None;
    object.spec.secrets.clear();
    object.spec.registry = None;
    if let Some(status) = &mut object.status {
        status.url = None;
    }
    serde_json::to_vec(&object).map(Bytes::from).map_err(|error| ApiError::internal(error.to_string()))
}

/// What the control plane refused, as our own refusal.
pub(super) fn refused(error: kube::Error) -> ApiError {
    match error {
        kube::Error::Api(status) if status.code == 404 => ApiError::no_such_path(),
        kube::Error::Api(status) if status.code == 422 => ApiError::bad_request(status.message),
        // A conflict passes: what is written here carries no version of its own.
        kube::Error::Api(status) if status.code == 409 => ApiError::unavailable(status.message, 1),
        other => {
            tracing::warn!(error = %other, "the control plane did not do what a subscriber asked for");
            ApiError::unavailable("the hub's control plane did not do it", 1)
        }
    }
}

/// Discovery, columns and schema of one of our kinds, from its definition.
pub(super) fn info_of(crd: &CustomResourceDefinition) -> ResourceInfo {
    let names = &crd.spec.names;
    let Some(version) = crd.spec.versions.first() else { return ResourceInfo::default() };
    let schema = version.schema.as_ref().and_then(|s| s.open_api_v3_schema.as_ref());
    let schema_name = format!("dev.roadstead.{}.{}", version.name, names.kind);
    let mut definitions = Map::new();
    if let Some(mut schema) = schema.and_then(|schema| serde_json::to_value(schema).ok()) {
        schema["x-kubernetes-group-version-kind"] =
            serde_json::json!([{"group": crd.spec.group, "version": version.name, "kind": names.kind}]);
        definitions.insert(schema_name.clone(), schema);
    }
    let columns = version.additional_printer_columns.iter().flatten().map(|column| Column {
        name: column.name.clone(),
        kind: column.type_.clone(),
        format: column.format.clone().unwrap_or_default(),
        description: column.description.clone().unwrap_or_default(),
        priority: column.priority.unwrap_or_default(),
        json_path: column.json_path.clone(),
    });
    ResourceInfo {
        group: crd.spec.group.clone(),
        version: version.name.clone(),
        kind: names.kind.clone(),
        list_kind: names.list_kind.clone().unwrap_or_else(|| format!("{}List", names.kind)),
        plural: names.plural.clone(),
        singular: names.singular.clone().unwrap_or_default(),
        short_names: names.short_names.clone().unwrap_or_default(),
        categories: names.categories.clone().unwrap_or_default(),
        namespaced: crd.spec.scope == "Namespaced",
        columns: columns.collect(),
        schema_name,
        definitions: std::sync::Arc::new(definitions),
        ..ResourceInfo::default()
    }
}
