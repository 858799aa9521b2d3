//! `WebhookEvent`s for a subscriber: the log's own resource, with the subscriber's presence noted while it watches.

use std::{
    pin::Pin,
    task::{Context as Task, Poll},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream::BoxStream};
use http::{Response, request::Parts};
use roadstead_kubewire::{
    ApiResult, Context, EventKind, Key as ObjectKey, List, ListOptions, Resource, ResourceInfo, WatchEvent,
    WatchOptions, WatchStream,
};
use serde_json::Value;

use crate::{
    control::{
        endpoints::Key,
        subscribers::{Connected, Subscribers},
    },
    events::EventsResource,
};

use super::auth::shown;

/// The scoped events, and who watches them.
pub(super) struct ScopedEvents {
    inner: EventsResource,
    subscribers: Subscribers,
}

impl ScopedEvents {
    pub(super) fn new(inner: EventsResource, subscribers: Subscribers) -> Self {
        Self { inner, subscribers }
    }
}

#[async_trait]
impl Resource for ScopedEvents {
    fn info(&self) -> &ResourceInfo {
        self.inner.info()
    }

    async fn get(&self, cx: &Context, key: &ObjectKey) -> ApiResult<Bytes> {
        self.inner.get(cx, key).await
    }

    async fn list(&self, cx: &Context, namespace: Option<&str>, options: &ListOptions) -> ApiResult<List> {
        self.inner.list(cx, namespace, options).await
    }

    async fn watch(&self, cx: &Context, namespace: Option<&str>, options: &WatchOptions) -> ApiResult<WatchStream> {
        let inner = self.inner.watch(cx, namespace, options).await?;
        let Some((_, token)) = shown(&self.subscribers, &cx.user) else { return Ok(inner) };
        let subscriber = token.grant.subscriber.clone();
        let connected = self.subscribers.connected(&subscriber);
        Ok(Present { inner, _connected: connected, subscriber, subscribers: self.subscribers.clone() }.boxed())
    }

    fn table_cells(&self, object: &Value) -> Option<Vec<Value>> {
        self.inner.table_cells(object)
    }

    async fn connect(
        &self,
        cx: &Context,
        key: &ObjectKey,
        sub: &str,
        parts: &Parts,
    ) -> Option<ApiResult<Response<Bytes>>> {
        self.inner.connect(cx, key, sub, parts).await
    }
}

/// A watch that counts as presence, and that tells the subscriber's status when it had to say that events are gone.
struct Present {
    inner: BoxStream<'static, WatchEvent>,
    _connected: Option<Connected>,
    subscriber: Key,
    subscribers: Subscribers,
}

impl Stream for Present {
    type Item = WatchEvent;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<WatchEvent>> {
        let polled = self.inner.poll_next_unpin(task);
        if let Poll::Ready(Some(event)) = &polled
            && event.kind == EventKind::Error
            && let Ok(status) = serde_json::from_slice::<Value>(&event.object)
            && status["code"] == 410
        {
            self.subscribers.missed(&self.subscriber, status["message"].as_str().unwrap_or_default().to_string());
        }
        polled
    }
}
