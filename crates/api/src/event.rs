//! `WebhookEvent`: one recorded delivery, as the log serves it, and the normalised form that filters see.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One recorded event. Read-only: group `log.roadstead.dev`, served from the log, never stored as a resource.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WebhookEvent {
    /// `log.roadstead.dev/v1alpha1`.
    pub api_version: String,
    /// `WebhookEvent`.
    pub kind: String,
    /// Name `<endpoint>-<sequence, 20 digits>`; resourceVersion is the position in the log.
    pub metadata: ObjectMeta,
    /// The event.
    pub spec: WebhookEventSpec,
}

/// What was received.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WebhookEventSpec {
    /// Name of the endpoint, in the event's namespace.
    pub endpoint: String,
    /// Number within the endpoint, from 1, without gaps.
    pub sequence: u64,
    /// The provider's delivery id; unique within the endpoint.
    pub id: String,
    /// Who sent it.
    pub provider: String,
    /// The provider's event type, e.g. `push`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When the hub had read it: RFC 3339, UTC, microseconds.
    pub received_at: String,
    /// Whether a signature or token proved the sender, or, for a registry, the registry confirmed it.
    pub verified: bool,
    /// Whether nobody told this: a comparison with the registry found it. What happened in between is not known then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reconciled: bool,
    /// What a git host told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitChange>,
    /// What a registry told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageChange>,
    /// The request as it came.
    #[serde(default)]
    pub request: RecordedRequest,
}

/// A change in a git repository.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct GitChange {
    /// Full name, e.g. `octo/shop`.
    #[serde(default)]
    pub repository: String,
    /// Full ref, e.g. `refs/heads/main`.
    #[serde(default, rename = "ref")]
    pub reference: String,
    /// Commit before; zeros for a new ref.
    #[serde(default)]
    pub before: String,
    /// Commit after; zeros for a deleted ref.
    #[serde(default)]
    pub after: String,
    /// Who pushed.
    #[serde(default)]
    pub author: String,
    /// Commits that the payload lists, at most 20.
    #[serde(default)]
    pub commits: Vec<GitCommit>,
    /// Where a person can look at it.
    #[serde(default)]
    pub url: String,
}

/// One commit of a push.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct GitCommit {
    /// Full hash.
    #[serde(default)]
    pub id: String,
    /// First line of the message, at most 200 characters.
    #[serde(default)]
    pub message: String,
    /// Author's name.
    #[serde(default)]
    pub author: String,
}

/// A change in a registry.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct ImageChange {
    /// Host of the registry, e.g. `registry.example.com:5000`.
    #[serde(default)]
    pub registry: String,
    /// Repository without the registry, e.g. `team-a/shop`.
    #[serde(default)]
    pub repository: String,
    /// Tag; empty when only a digest is known. For the deletion of a manifest with several tags: one event per known tag.
    #[serde(default)]
    pub tag: String,
    /// Digest, e.g. `sha256:...`; empty when not told and not confirmed.
    #[serde(default)]
    pub digest: String,
    /// What happened: `push`, `delete`, `pull`, or the provider's own word.
    #[serde(default)]
    pub action: String,
    /// Who did it, if told.
    #[serde(default)]
    pub actor: String,
}

/// A request as it came, less the headers that carry a credential in clear.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct RecordedRequest {
    /// `POST`.
    #[serde(default)]
    pub method: String,
    /// In the order received.
    #[serde(default)]
    pub headers: Vec<Header>,
    /// Base64; absent above 64 KiB: then read the subresource `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// One header.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct Header {
    /// Name, lower case.
    pub name: String,
    /// Value.
    pub value: String,
}

impl WebhookEventSpec {
    /// What the event is about, for people: `octo/shop refs/heads/main`, `team-a/shop:v1`.
    pub fn subject(&self) -> String {
        if let Some(git) = &self.git {
            return [git.repository.as_str(), git.reference.as_str()]
                .into_iter()
                .filter(|s| !s.is_empty())
                .collect::<Vec<_>>()
                .join(" ");
        }
        match &self.image {
            Some(image) if !image.tag.is_empty() => format!("{}:{}", image.repository, image.tag),
            Some(image) if !image.digest.is_empty() => format!("{}@{}", image.repository, image.digest),
            Some(image) => image.repository.clone(),
            None => String::new(),
        }
    }

    /// The repository, of either kind; the key of ordered handling.
    pub fn repository(&self) -> &str {
        match (&self.git, &self.image) {
            (Some(git), _) => &git.repository,
            (_, Some(image)) => &image.repository,
            _ => "",
        }
    }

    /// The value of the CEL variable `event`: every field exists, empty where it does not apply. Bodies and headers are not
    /// part of it.
    pub fn filter_view(&self) -> Value {
        let git = self.git.clone().unwrap_or_default();
        let image = self.image.clone().unwrap_or_default();
        json!({
            "endpoint": self.endpoint,
            "id": self.id,
            "provider": self.provider,
            "type": self.kind,
            "receivedAt": self.received_at,
            "verified": self.verified,
            "reconciled": self.reconciled,
            "subject": self.subject(),
            "git": git,
            "image": image,
        })
    }
}
