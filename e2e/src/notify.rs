//! Registry webhooks as tests use them: made with their Secret, told through an endpoint, and what arrives verified by the official
//! library.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, ListParams, PostParams};
use kube::core::{GroupVersionKind, Object};
use kube::{Api, Client};
use roadstead_api::endpoint::{Provider, SecretKeyRef};
use roadstead_api::names::{LOG_GROUP, VERSION};
use roadstead_api::registry_webhook::{Source, WebhookDeliverySpec, WebhookDeliveryStatus};
use roadstead_api::{RegistryWebhook, RegistryWebhookSpec, RegistryWebhookStatus, WebhookEndpointSpec};
use serde_json::{Value, json};

use crate::endpoint::Hook;
use crate::http::post;
use crate::platform::Platform;
use crate::receiver::Received;
use crate::wait::eventually;

/// What messages are signed with.
pub const SIGNING: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// What the registry proves itself with.
pub const TOKEN: &str = "registry-token";

/// A message and what became of it.
pub type Delivery = Object<WebhookDeliverySpec, WebhookDeliveryStatus>;

/// A webhook on an endpoint of its own.
pub struct Registered {
    /// Its name.
    pub name: String,
    /// The endpoint that it is told of.
    pub hook: Hook,
    client: Client,
}

impl Registered {
    /// Registers `url`, with `change` merged into the spec, and waits until it is ready.
    pub async fn new(up: &Platform, name: &str, url: &str, change: Value) -> Result<Registered> {
        let client = up.client().await?;
        let spec = WebhookEndpointSpec { provider: Provider::Distribution, ..Default::default() };
        let hook = Hook::create(up, &format!("{name}-source"), TOKEN, spec).await?;
        let mut secret =
            Secret { data: Some(BTreeMap::from([("secret".into(), ByteString(SIGNING.into()))])), ..Secret::default() };
        secret.metadata.name = Some(format!("{name}-key"));
        Api::<Secret>::default_namespaced(client.clone()).create(&PostParams::default(), &secret).await?;
        let mut spec = serde_json::to_value(RegistryWebhookSpec {
            source: Source { endpoint: Some(hook.name.clone()), poll: None },
            url: url.into(),
            secret_ref: SecretKeyRef { name: format!("{name}-key"), key: "secret".into() },
            timeout: "15s".into(),
            concurrency: 8,
            ..RegistryWebhookSpec::default()
        })?;
        if let (Value::Object(spec), Value::Object(change)) = (&mut spec, change) {
            spec.extend(change);
        }
        let webhook = RegistryWebhook::new(name, serde_json::from_value(spec)?);
        let this = Registered { name: name.into(), hook, client };
        this.api().create(&PostParams::default(), &webhook).await?;
        Ok(this)
    }

    /// The same, ready.
    pub async fn ready(up: &Platform, name: &str, url: &str, change: Value) -> Result<Registered> {
        let this = Registered::new(up, name, url, change).await?;
        this.condition("Ready", "True").await?;
        Ok(this)
    }

    /// Its API.
    pub fn api(&self) -> Api<RegistryWebhook> {
        Api::default_namespaced(self.client.clone())
    }

    /// Its status now.
    pub async fn status(&self) -> Result<RegistryWebhookStatus> {
        Ok(self.api().get(&self.name).await?.status.unwrap_or_default())
    }

    /// Waits until a condition has this status; gives its reason.
    pub async fn condition(&self, kind: &str, status: &str) -> Result<String> {
        eventually(&format!("{} is {kind}={status}", self.name), async || {
            let conditions = self.status().await?.conditions;
            let found = conditions.iter().find(|condition| condition.type_ == kind);
            ensure!(found.is_some_and(|condition| condition.status == status), "it has {conditions:?}");
            Ok(found.map(|condition| condition.reason.clone()))
        })
        .await
    }

    /// The registry posts a push of `repository:tag`, with this event id.
    pub async fn push(&self, id: &str, repository: &str, tag: &str) -> Result<()> {
        let event = json!({
            "id": id, "timestamp": "2026-11-20T09:00:00Z", "action": "push",
            "target": {
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "repository": repository, "tag": tag,
                "digest": format!("sha256:{}", "0".repeat(64)),
            },
            "request": {"host": "registry.example.com"},
        });
        let headers = [("authorization".into(), format!("Bearer {TOKEN}"))];
        let answer = post(&self.hook.url, &headers, json!({"events": [event]}).to_string()).await?;
        ensure!(answer.is_success(), "the hub answered {}", answer.status);
        Ok(())
    }

    /// Its messages, oldest first.
    pub async fn deliveries(&self) -> Result<Vec<Delivery>> {
        let kind = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk(LOG_GROUP, VERSION, "WebhookDelivery"),
            "webhookdeliveries",
        );
        let api: Api<Delivery> = Api::default_namespaced_with(self.client.clone(), &kind);
        Ok(api.list(&ListParams::default().fields(&format!("spec.webhook={}", self.name))).await?.items)
    }
}

/// What a request tells, once the official library has verified it.
pub fn verified(received: &Received) -> Result<Value> {
    let webhook = standardwebhooks::Webhook::new(SIGNING)?;
    webhook.verify(&received.body, &received.headers).context("the signature does not verify")?;
    Ok(serde_json::from_slice(&received.body)?)
}

/// `type repository tag digest` of a verified message.
pub fn told(received: &Received) -> Result<String> {
    let body = verified(received)?;
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_string();
    Ok(format!("{} {} {} {}", text("/type"), text("/data/repository"), text("/data/tag"), text("/data/digest")))
}
