//! A webhook endpoint as tests use it: made with its Secret, posted to, and its log read back.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, ListParams, PostParams};
use kube::core::{GroupVersionKind, NotUsed, Object};
use kube::{Api, Client};
use roadstead_api::endpoint::{Provider, SecretKeyRef};
use roadstead_api::names::{LOG_GROUP, VERSION, event_name};
use roadstead_api::{WebhookEndpoint, WebhookEndpointSpec, WebhookEventSpec};

use crate::http::{Answer, post};
use crate::platform::Platform;
use crate::sign;
use crate::wait::eventually;

/// A recorded event.
pub type Event = Object<WebhookEventSpec, NotUsed>;

/// Key of GitHub-like endpoints.
pub const SECRET: &str = "it is a secret to everybody";

/// An endpoint that is ready.
#[derive(Clone)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Where to post, plain HTTP.
    pub url: String,
    client: Client,
    reader: Client,
}

impl Hook {
    /// A GitHub endpoint whose key is [`SECRET`].
    pub async fn github(up: &Platform, name: &str) -> Result<Hook> {
        Hook::create(up, name, SECRET, WebhookEndpointSpec { provider: Provider::Github, ..Default::default() }).await
    }

    /// Any endpoint; its Secret `<name>-hook` is made and put into `spec.secrets`, unless `secret` is empty. Waits for the URL.
    pub async fn create(up: &Platform, name: &str, secret: &str, mut spec: WebhookEndpointSpec) -> Result<Hook> {
        let client = up.client().await?;
        if !secret.is_empty() {
            write_secret(&client, &format!("{name}-hook"), secret).await?;
            spec.secrets = vec![SecretKeyRef { name: format!("{name}-hook"), key: "token".into() }];
        }
        let api: Api<WebhookEndpoint> = Api::default_namespaced(client);
        api.create(&PostParams::default(), &WebhookEndpoint::new(name, spec)).await?;
        Hook::existing(up, name).await
    }

    /// An endpoint that is there already, once it is ready.
    pub async fn existing(up: &Platform, name: &str) -> Result<Hook> {
        let client = up.client().await?;
        let api: Api<WebhookEndpoint> = Api::default_namespaced(client.clone());
        let url = eventually(&format!("endpoint {name} is ready"), async || {
            let status = api.get(name).await?.status.unwrap_or_default();
            let ready =
                status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
            Ok(status.url.filter(|_| ready))
        })
        .await?;
        let (namespace, url, reader) = (up.namespace().to_string(), up.hook_url(&url)?, up.events_client().await?);
        // A subscriber may see it a moment after it is ready.
        eventually(&format!("the events of {name} can be read"), async || events(&reader, name).await.map(Some))
            .await?;
        Ok(Hook { name: name.into(), namespace, url, client, reader })
    }

    /// The resource as it is now.
    pub async fn get(&self) -> Result<WebhookEndpoint> {
        Ok(self.api().get(&self.name).await?)
    }

    /// Its API.
    pub fn api(&self) -> Api<WebhookEndpoint> {
        Api::default_namespaced(self.client.clone())
    }

    /// Posts a signed GitHub delivery.
    pub async fn deliver(&self, event: &str, delivery: &str, body: &[u8]) -> Result<Answer> {
        post(&self.url, &sign::github(SECRET, event, delivery, body), body.to_vec()).await
    }

    /// Everything in its log, oldest first.
    pub async fn events(&self) -> Result<Vec<Event>> {
        events(&self.reader, &self.name).await
    }

    /// Waits until the log holds at least `count` events, and gives all.
    pub async fn wait_for(&self, count: usize) -> Result<Vec<Event>> {
        eventually(&format!("{} has {count} events", self.name), async || {
            let events = self.events().await?;
            anyhow::ensure!(events.len() >= count, "it has {}", events.len());
            Ok(Some(events))
        })
        .await
    }

    /// The recorded body of an event, from the subresource.
    pub async fn body(&self, sequence: u64) -> Result<Bytes> {
        use http_body_util::BodyExt;
        let path = format!(
            "/apis/{LOG_GROUP}/{VERSION}/namespaces/{}/webhookevents/{}/body",
            self.namespace,
            event_name(&self.name, sequence)
        );
        let request = http::Request::get(path).body(kube::client::Body::empty())?;
        let answer = self.reader.send(request).await?;
        anyhow::ensure!(answer.status() == 200, "body answered {}", answer.status());
        Ok(answer.into_body().collect().await?.to_bytes())
    }
}

/// The body that an event carries itself.
pub fn inline_body(event: &Event) -> Result<Vec<u8>> {
    Ok(STANDARD.decode(event.spec.request.body.as_ref().context("no body inline")?)?)
}

/// The kind WebhookEvent.
pub fn event_kind() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(LOG_GROUP, VERSION, "WebhookEvent"), "webhookevents")
}

/// Events of an endpoint of the client's namespace, oldest first, read page by page.
pub async fn events(client: &Client, endpoint: &str) -> Result<Vec<Event>> {
    let api: Api<Event> = Api::default_namespaced_with(client.clone(), &event_kind());
    let (mut all, mut params) =
        (Vec::new(), ListParams::default().fields(&format!("spec.endpoint={endpoint}")).limit(500));
    loop {
        let page = api.list(&params).await?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    all.sort_by_key(|event| event.spec.sequence);
    Ok(all)
}

/// Writes a Secret with key `token`.
pub async fn write_secret(client: &Client, name: &str, token: &str) -> Result<()> {
    let mut secret =
        Secret { data: Some(BTreeMap::from([("token".into(), ByteString(token.into()))])), ..Default::default() };
    secret.metadata.name = Some(name.into());
    Api::<Secret>::default_namespaced(client.clone()).create(&PostParams::default(), &secret).await?;
    Ok(())
}
