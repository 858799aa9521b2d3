//! A subscriber's own `Subscriber`: it reads it, and writes the part of the status that only it knows.

use async_trait::async_trait;
use bytes::Bytes;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use roadstead_api::Subscriber;
use roadstead_kubewire::{
    ApiError, ApiResult, Context, Key as ObjectKey, Payload, Resource, ResourceInfo, Subresource, Verb, WriteOptions,
    Written, options::PatchKind,
};
use serde_json::{Map, Value, json};

use crate::control::subscribers::Subscribers;

use super::{auth::shown, endpoints::refused};

/// Fields of the status that the subscriber may write; the rest is the hub's.
const WRITABLE: [&str; 3] = ["agentVersion", "agents", "positions"];
/// Most bytes of a patch: some thousand positions.
const MAX_PATCH: usize = 256 << 10;

/// The resource.
pub(super) struct OwnSubscriber {
    client: Client,
    subscribers: Subscribers,
    info: ResourceInfo,
}

impl OwnSubscriber {
    pub(super) fn new(client: Client, subscribers: Subscribers) -> Self {
        let status = Subresource {
            name: "status".into(),
            kind: "Subscriber".into(),
            group_version: None,
            verbs: vec![Verb::Get, Verb::Patch],
        };
        let info = ResourceInfo {
            verbs: vec![Verb::Get, Verb::Patch],
            subresources: vec![status],
            ..super::endpoints::info_of(&<Subscriber as kube::CustomResourceExt>::crd())
        };
        Self { client, subscribers, info }
    }

    /// Whoever asks for another subscriber's object learns nothing.
    fn check(&self, cx: &Context, key: &ObjectKey) -> ApiResult<()> {
        match shown(&self.subscribers, &cx.user) {
            Some((_, token))
                if token.grant.subscriber.namespace == key.namespace && token.grant.subscriber.name == key.name =>
            {
                Ok(())
            }
            _ => Err(ApiError::not_found(&self.info.group, &self.info.plural, &key.name)),
        }
    }
}

#[async_trait]
impl Resource for OwnSubscriber {
    fn info(&self) -> &ResourceInfo {
        &self.info
    }

    async fn get(&self, cx: &Context, key: &ObjectKey) -> ApiResult<Bytes> {
        self.check(cx, key)?;
        let api: Api<Subscriber> = Api::namespaced(self.client.clone(), &key.namespace);
        shown_object(api.get(&key.name).await)
    }

    async fn patch(
        &self,
        cx: &Context,
        key: &ObjectKey,
        sub: Option<&str>,
        kind: PatchKind,
        payload: Payload,
        _options: &WriteOptions,
    ) -> ApiResult<Written> {
        self.check(cx, key)?;
        if sub != Some("status") || kind != PatchKind::Merge {
            return Err(ApiError::unsupported_media_type("only a merge patch of the status is taken here"));
        }
        let status = writable(&payload.bytes)?;
        let api: Api<Subscriber> = Api::namespaced(self.client.clone(), &key.namespace);
        let patch = Patch::Merge(json!({"status": status}));
        shown_object(api.patch_status(&key.name, &PatchParams::default(), &patch).await).map(Written::ok)
    }
}

/// The fields of a merge patch that a subscriber may write. Any other is an error, so that nobody believes it was taken.
fn writable(patch: &[u8]) -> ApiResult<Map<String, Value>> {
    if patch.len() > MAX_PATCH {
        return Err(ApiError::too_large(format!("at most {MAX_PATCH} bytes are taken")));
    }
    let patch: Value = serde_json::from_slice(patch)
        .map_err(|error| ApiError::bad_request(format!("the patch is not JSON: {error}")))?;
    let Some(status) = patch.get("status").and_then(Value::as_object) else {
        return Err(ApiError::bad_request("the patch has no status"));
    };
    if let Some(other) = status.keys().find(|key| !WRITABLE.contains(&key.as_str())) {
        return Err(ApiError::forbidden(format!(
            "status.{other} is not a subscriber's to write; these are: {}",
            WRITABLE.join(", ")
        )));
    }
    Ok(status.clone())
}

/// The object without its token hashes, or the control plane's refusal.
fn shown_object(result: Result<Subscriber, kube::Error>) -> ApiResult<Bytes> {
    let mut object = result.map_err(refused)?;
    object.spec.tokens.clear();
    object.metadata.managed_fields = None;
    serde_json::to_vec(&object).map(Bytes::from).map_err(|error| ApiError::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_subscribers_own_fields_are_written() {
        for (patch, ok) in [
            (json!({"status": {"agentVersion": "0.1.0", "positions": []}}), true),
            (json!({"status": {"connected": true}}), false),
            (json!({"status": {"conditions": []}}), false),
            (json!({"spec": {}}), false),
            (json!({"status": {"positions": vec!["x"; MAX_PATCH]}}), false),
        ] {
            assert_eq!(writable(patch.to_string().as_bytes()).is_ok(), ok, "{patch}");
        }
        assert!(writable(b"{").is_err());
    }
}
