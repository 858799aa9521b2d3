//! The handler that is plugged into `kubewire`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_api::names::{LOG_GROUP, parse_event_name};
use roadstead_kubewire::{
    ApiError, ApiResult, Context, Key, List, ListOptions, Resource, ResourceInfo, WatchOptions, WatchStream,
};
use serde_json::Value;

use super::{info, list, object, select::Filter, watch};
use crate::log::{Delivery, DeliveryLog, LogError};

/// `WebhookDelivery`s over a log. Who may ask has been decided by the authoriser.
pub struct DeliveriesResource {
    log: Arc<DeliveryLog>,
    info: ResourceInfo,
}

impl DeliveriesResource {
    /// Shows what the log has.
    pub fn new(log: Arc<DeliveryLog>) -> Self {
        Self { log, info: info::resource_info() }
    }

    async fn find(&self, namespace: &str, name: &str) -> ApiResult<Option<Delivery>> {
        let Some((webhook, number)) = parse_event_name(name) else { return Ok(None) };
        self.log.get(namespace, webhook, number).await.map_err(api_error)
    }
}

#[async_trait]
impl Resource for DeliveriesResource {
    fn info(&self) -> &ResourceInfo {
        &self.info
    }

    async fn get(&self, _: &Context, key: &Key) -> ApiResult<Bytes> {
        let found = self.find(&key.namespace, &key.name).await?;
        serialised(&found.ok_or_else(|| ApiError::not_found(LOG_GROUP, &self.info.plural, &key.name))?)
    }

    async fn list(&self, _: &Context, namespace: Option<&str>, options: &ListOptions) -> ApiResult<List> {
        let filter = Filter::new(namespace, &options.labels, &options.fields);
        // By name: found at once, whatever else the log has.
        if let (Some(namespace), Some(name)) = (filter.namespace(), options.fields.exact("metadata.name")) {
            let head = self.log.head();
            let found = self.find(namespace, name).await?.filter(|delivery| filter.matches(delivery));
            let items = found.iter().map(serialised).collect::<ApiResult<_>>()?;
            return Ok(List { items, resource_version: head.to_string(), ..List::default() });
        }
        list::list(&self.log, &filter, options).await
    }

    async fn watch(&self, _: &Context, namespace: Option<&str>, options: &WatchOptions) -> ApiResult<WatchStream> {
        let filter = Filter::new(namespace, &options.labels, &options.fields);
        watch::watch(self.log.clone(), filter, options)
    }

    fn table_cells(&self, object: &Value) -> Option<Vec<Value>> {
        Some(info::cells(object))
    }
}

/// A message as it goes over the wire.
pub(super) fn serialised(delivery: &Delivery) -> ApiResult<Bytes> {
    let json = serde_json::to_vec(&object::object(delivery)).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(json.into())
}

/// An error of the log as the wire knows it.
pub(super) fn api_error(error: LogError) -> ApiError {
    match error {
        LogError::Full(_) | LogError::Closed => ApiError::unavailable(error.to_string(), 1),
        other => ApiError::internal(other.to_string()),
    }
}
