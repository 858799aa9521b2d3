//! What a Kubernetes resource does, over the store: one [`Registry`] serves one kind in one version.
//!
//! What flows in: parsed requests ([`Resource`]). What flows out: serialised objects and watch events, and writes to the
//! store. What becomes of an object is decided by pure functions ([`create`], [`update`], [`delete`]) and written on the
//! condition that the object is still as it was read; where the client did not insist on a version, the decision is made
//! again on the newer object.
//!
//! [`kind`] says how kinds differ; [`mechanics`] is where schemas and patches come in.

pub mod create;
pub mod delete;
pub mod kind;
mod list;
pub mod mechanics;
pub mod meta;
pub mod names;
pub mod scale;
pub mod select;
#[cfg(test)]
pub(crate) mod tests;
pub mod update;
mod watch;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_kubewire::{
    ApiError, ApiResult, Context, DeleteOptions, Key, List, ListOptions, Payload, Resource, ResourceInfo, WatchEvent,
    WatchOptions, WatchStream, WriteOptions, Written, options::PatchKind,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use self::kind::{Hooks, Kind, KindSchema, resource_name};
use crate::store::{Object, Store};

/// One kind in one version, served from the store.
pub struct Registry {
    kind: Kind,
    store: Store,
    /// Ends open watches when the kind is no longer served.
    retired: CancellationToken,
    me: std::sync::Weak<Self>,
}

impl Registry {
    /// Serves `kind` from `store`.
    pub fn new(kind: Kind, store: Store) -> Arc<Self> {
        Arc::new_cyclic(|me| Self { kind, store, retired: CancellationToken::new(), me: me.clone() })
    }

    /// Serves a newer definition of the same kind and version; watches of this one go on until that one is retired.
    pub fn successor(&self, kind: Kind) -> Arc<Self> {
        let (store, retired) = (self.store.clone(), self.retired.clone());
        Arc::new_cyclic(|me| Self { kind, store, retired, me: me.clone() })
    }

    /// Ends all watches: the kind is no longer served.
    pub fn retire(&self) {
        self.retired.cancel();
    }

    fn find(&self, key: &Key) -> ApiResult<Arc<Object>> {
        self.store.get(&self.kind.resource, key).ok_or_else(|| self.not_found(&key.name))
    }

    fn not_found(&self, name: &str) -> ApiError {
        ApiError::not_found(&self.kind.info.group, &self.kind.info.plural, name)
    }

    /// A stored object as this version shows it. Versions differ in their name alone: none is converted.
    fn shown(&self, json: &Bytes) -> Bytes {
        let wanted = format!("{{\"apiVersion\":\"{}\",", self.kind.info.api_version());
        if json.starts_with(wanted.as_bytes()) {
            return json.clone();
        }
        match json.iter().position(|byte| *byte == b',') {
            Some(end) if json.starts_with(b"{\"apiVersion\":") => [wanted.as_bytes(), &json[end + 1..]].concat().into(),
            _ => json.clone(),
        }
    }

    /// A stored object as it is served: in this version, and in the shape of the present schema.
    fn current(&self, object: &Object) -> Bytes {
        self.reshaped(object).unwrap_or_else(|| self.shown(&object.json))
    }

    /// An object that was stored under another schema, as this one would have had it; `None` if that makes no difference.
    fn reshaped(&self, object: &Object) -> Option<Bytes> {
        if object.version > self.kind.since {
            return None;
        }
        let schema = self.kind.schema().ok()?;
        let before: Value = serde_json::from_slice(&self.shown(&object.json)).ok()?;
        let mut now = before.clone();
        schema.prune(&mut now);
        schema.default(&mut now);
        (now != before).then(|| now.to_string().into())
    }

    fn shown_event(&self, event: WatchEvent) -> WatchEvent {
        let object = self.shown(&event.object);
        if object.as_ptr() == event.object.as_ptr() { event } else { WatchEvent::new(event.kind, &object) }
    }
}

#[async_trait]
impl Resource for Registry {
    fn info(&self) -> &ResourceInfo {
        &self.kind.info
    }

    async fn get(&self, _cx: &Context, key: &Key) -> ApiResult<Bytes> {
        Ok(self.current(&*self.find(key)?))
    }

    async fn list(&self, _cx: &Context, namespace: Option<&str>, options: &ListOptions) -> ApiResult<List> {
        list::list(self, namespace, options).await
    }

    async fn watch(&self, _cx: &Context, namespace: Option<&str>, options: &WatchOptions) -> ApiResult<WatchStream> {
        let me = self.me.upgrade().ok_or_else(|| ApiError::unavailable("the server is stopping", 1))?;
        watch::watch(&me, namespace, options)
    }

    async fn create(
        &self,
        cx: &Context,
        namespace: Option<&str>,
        payload: Payload,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        self.do_create(cx, namespace, &payload, options).await
    }

    async fn update(
        &self,
        cx: &Context,
        key: &Key,
        sub: Option<&str>,
        payload: Payload,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        match sub {
            Some("scale") => self.do_scale(cx, key, None, &payload, options).await,
            _ => self.do_update(cx, key, sub, &payload, options).await,
        }
    }

    async fn patch(
        &self,
        cx: &Context,
        key: &Key,
        sub: Option<&str>,
        kind: PatchKind,
        payload: Payload,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        match sub {
            Some("scale") => self.do_scale(cx, key, Some(kind), &payload, options).await,
            _ => self.do_patch(cx, key, sub, kind, &payload, options).await,
        }
    }

    async fn delete(&self, cx: &Context, key: &Key, options: &DeleteOptions) -> ApiResult<Written> {
        self.do_delete(cx, key, options).await
    }

    async fn delete_collection(
        &self,
        cx: &Context,
        namespace: Option<&str>,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> ApiResult<Written> {
        self.do_delete_collection(cx, namespace, list, options).await
    }

    async fn get_subresource(&self, cx: &Context, key: &Key, sub: &str) -> ApiResult<Bytes> {
        match (sub, &self.kind.scale) {
            ("status", _) => self.get(cx, key).await,
            ("scale", Some(paths)) => {
                Ok(scale::show(&self.kind, paths, &self.value(&*self.find(key)?)?)?.to_string().into())
            }
            _ => Err(self.refuse(sub)),
        }
    }

    async fn create_subresource(
        &self,
        cx: &Context,
        key: &Key,
        sub: &str,
        payload: Payload,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        let object = self.value(&*self.find(key)?)?;
        let done = self.kind.hooks.create_subresource(cx, &object, sub, &payload, options).await;
        done.unwrap_or_else(|| Err(self.refuse(sub)))
    }

    fn table_cells(&self, object: &Value) -> Option<Vec<Value>> {
        self.kind.hooks.cells(object)
    }
}
