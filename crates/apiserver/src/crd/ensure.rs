//! The CRDs that must be there when the control plane opens: created, or brought to the given form.

use futures::future::try_join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use roadstead_kubewire::{ApiError, ApiResult, Catalog, Context, Key, Payload, Resource, User, WriteOptions};
use serde_json::Value;

use crate::registry::meta;

/// Writes what differs, through the resource in `catalog`.
///
/// # Errors
/// When one is refused.
pub async fn ensure(catalog: &Catalog, wanted: Vec<CustomResourceDefinition>) -> ApiResult<()> {
    let snapshot = catalog.snapshot();
    let resource = snapshot
        .find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        .ok_or_else(|| ApiError::internal("CustomResourceDefinitions are not served"))?;
    try_join_all(wanted.into_iter().map(|crd| one(resource.as_ref(), crd))).await.map(drop)
}

async fn one(resource: &dyn Resource, wanted: CustomResourceDefinition) -> ApiResult<()> {
    let wanted = serde_json::to_value(wanted).map_err(|error| ApiError::internal(error.to_string()))?;
    let cx = Context::new(User::system(), "ensure-definitions");
    let options = WriteOptions { field_manager: "roadstead".into(), ..WriteOptions::default() };
    let send = |object: &Value| Payload { bytes: object.to_string().into(), ..Payload::default() };
    let key = Key::new("", meta::text(&wanted, "name"));
    match resource.get(&cx, &key).await {
        Err(error) if error.code == 404 => resource.create(&cx, None, send(&wanted), &options).await.map(drop),
        Err(error) => Err(error),
        Ok(live) => {
            let mut next: Value = serde_json::from_slice(&live).map_err(|e| ApiError::internal(e.to_string()))?;
            next["spec"] = wanted["spec"].clone();
            // What changes nothing is not written.
            resource.update(&cx, &key, None, send(&next), &options).await.map(drop)
        }
    }
}
