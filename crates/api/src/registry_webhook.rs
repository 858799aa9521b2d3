//! `RegistryWebhook`: an endpoint that is told when an image changes; and `WebhookDelivery`, one such message and its attempts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    endpoint::{RateLimit, SecretKeyRef, SecretRef},
    event::ImageChange,
};

/// Registers a URL that is told, signed and retried, when an image changes.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "roadstead.dev", version = "v1alpha1", kind = "RegistryWebhook", namespaced, shortname = "rwh",
    category = "roadstead", status = "RegistryWebhookStatus", derive = "PartialEq", derive = "Default",
    doc = "A URL that is told, signed and retried, when an image changes.",
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Delivered","type":"integer","jsonPath":".status.delivered"}"#,
    printcolumn = r#"{"name":"Pending","type":"integer","jsonPath":".status.pending"}"#,
    printcolumn = r#"{"name":"Failed","type":"integer","jsonPath":".status.failed"}"#,
    printcolumn = r#"{"name":"Last","type":"date","jsonPath":".status.lastDelivery.at"}"#,
    printcolumn = r#"{"name":"URL","type":"string","jsonPath":".spec.url","priority":1}"#,
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name may have at most 63 characters"),
)]
#[serde(rename_all = "camelCase")]
pub struct RegistryWebhookSpec {
    /// Where changes come from.
    pub source: Source,
    /// Where to post, e.g. `https://client.example.com/images`. Private addresses only if the administrator allows them.
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@]+([/?#].*)?$')").message("must be an http or https URL with a host and without a user"))]
    #[schemars(length(max = 2048))]
    pub url: String,
    /// Secret of this namespace that messages are signed with, as Standard Webhooks has it: `whsec_` and the base64 of 24 to 64
    /// random bytes, or `whsk_` and that of an ed25519 key. Several, separated by spaces or lines, all sign: that is how one is
    /// rotated. One that ends in `;until=` and an RFC 3339 time signs until then.
    pub secret_ref: SecretKeyRef,
    /// What to tell: `push`, `delete`; both if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(validation = Rule::new("self.all(e, e in ['push', 'delete'])").message("events are push and delete"))]
    #[schemars(length(max = 2))]
    pub events: Vec<String>,
    /// Repositories as globs: `*` stands for anything but a slash, `**` for slashes too, `?` for one character. All if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 255), regex(pattern = r"^(\*{0,2}[A-Za-z0-9._/?-])*\*{0,2}$"))
    )]
    pub repositories: Vec<String>,
    /// Tags as globs. All if empty, and then also changes that have a digest alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 255), regex(pattern = r"^(\*{0,2}[A-Za-z0-9._?-])*\*{0,2}$"))
    )]
    pub tags: Vec<String>,
    /// Form of the body. Default roadstead.
    #[serde(default)]
    pub format: Format,
    /// Secret whose keys are names of headers to send along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_from: Option<HeadersFrom>,
    /// Secret with the CA certificate of the URL's host under `ca.crt`. Default: the machine's authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<SecretRef>,
    /// Deadline of one attempt, answer included; 1s to 60s. Default 15s.
    #[serde(default = "default_timeout")]
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m))+$"))]
    pub timeout: String,
    /// Most requests at the same time. Default 8.
    #[serde(default = "default_concurrency")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 64").message("must be between 1 and 64"))]
    pub concurrency: u32,
    /// Most attempts a second. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// What keeps its order: a message waits until the one before it with the same key is delivered or given up. Default repository.
    #[serde(default)]
    pub order_by: OrderBy,
    /// Nothing is sent while true; what happens is queued.
    #[serde(default)]
    pub suspend: bool,
}

fn default_timeout() -> String {
    "15s".into()
}

fn default_concurrency() -> u32 {
    8
}

/// Where changes come from: exactly one of both.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq, Eq)]
#[x_kube(validation = Rule::new("has(self.endpoint) != has(self.poll)").message("give exactly one of endpoint and poll"))]
pub struct Source {
    /// Name of a WebhookEndpoint of a registry provider, in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// A registry that is asked again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<Poll>,
}

/// A registry that tells nothing by itself.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Poll {
    /// Base URL, e.g. `https://registry.example.com`.
    pub url: String,
    /// Repositories by name; a glob asks the registry for its catalog.
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 255), regex(pattern = r"^(\*{0,2}[A-Za-z0-9._/?-])*\*{0,2}$"))
    )]
    pub repositories: Vec<String>,
    /// How often, at least 30s. Default 5m.
    #[serde(default = "default_interval")]
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(s|m|h))+$"))]
    pub interval: String,
    /// Secret with `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Secret with the CA certificate under `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<SecretRef>,
}

fn default_interval() -> String {
    "5m".into()
}

/// Form of a message's body.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `{type, timestamp, data}` as Standard Webhooks has it.
    #[default]
    Roadstead,
    /// CloudEvents 1.0, structured.
    Cloudevents,
    /// The envelope that CNCF Distribution posts.
    Distribution,
}

/// Headers from a Secret.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HeadersFrom {
    /// The Secret.
    pub secret_ref: SecretRef,
}

/// What keeps its order.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OrderBy {
    /// Changes of one repository.
    #[default]
    Repository,
    /// All changes.
    Source,
    /// None: each is sent as soon as it can be.
    None,
}

/// Whether a webhook is told.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[expect(missing_docs, reason = "the comments of status.state say it")]
pub enum State {
    #[default]
    Active,
    Failing,
    Disabled,
}

/// What is said about the webhook.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RegistryWebhookStatus {
    /// Active; Failing: the last attempt failed, it is tried again; Disabled: nothing is sent until `notify recover`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Why it is failing or disabled; without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Messages that were answered 2xx.
    #[serde(default)]
    pub delivered: u64,
    /// Messages that were given up: dead letters.
    #[serde(default)]
    pub failed: u64,
    /// Messages that wait for their first or next attempt.
    #[serde(default)]
    pub pending: u64,
    /// When the oldest of them was accepted, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_pending: Option<String>,
    /// Since when every attempt has failed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<String>,
    /// The last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_delivery: Option<LastDelivery>,
    /// Last value of each request annotation that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservedRequests>,
    /// When a polled registry was last compared, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_poll: Option<String>,
    /// `Ready` first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The last attempt, in brief.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LastDelivery {
    /// Name of the WebhookDelivery.
    pub name: String,
    /// When, RFC 3339.
    pub at: String,
    /// Whether it was answered 2xx.
    pub success: bool,
    /// What was answered, or why there was no answer; without secrets.
    #[serde(default)]
    pub message: String,
}

/// What was asked for by annotation (see [`names`](crate::names)) and has been looked at: done, unless `refused` says why not.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct ObservedRequests {
    /// Of `roadstead.dev/test-delivery`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// Of `roadstead.dev/redeliver`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeliver: Option<String>,
    /// Of `roadstead.dev/recover`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recover: Option<String>,
    /// Of those values, the ones that were refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedRequests>,
}

/// Why what was asked for last by an annotation was not done. Absent for what was.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct RefusedRequests {
    /// Of `roadstead.dev/test-delivery`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// Of `roadstead.dev/redeliver`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeliver: Option<String>,
    /// Of `roadstead.dev/recover`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recover: Option<String>,
}

/// One message to one webhook. Read-only: group `log.roadstead.dev`, served from the delivery log, never stored as a resource.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WebhookDelivery {
    /// `log.roadstead.dev/v1alpha1`.
    pub api_version: String,
    /// `WebhookDelivery`.
    pub kind: String,
    /// Name `<webhook>-<number, 20 digits>`.
    pub metadata: ObjectMeta,
    /// The message.
    pub spec: WebhookDeliverySpec,
    /// What became of it.
    pub status: WebhookDeliveryStatus,
}

/// A message.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WebhookDeliverySpec {
    /// Name of the RegistryWebhook, in the delivery's namespace.
    pub webhook: String,
    /// Header `webhook-id`: the same for each attempt.
    pub id: String,
    /// Id of the event; for one that an endpoint received, that of its WebhookEvent.
    pub event: String,
    /// `push`, `delete`, or `test`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageChange>,
    /// Whether a comparison with the registry found it, not a message of the registry.
    #[serde(default)]
    pub reconciled: bool,
    /// When it was accepted, RFC 3339.
    pub accepted_at: String,
}

/// What became of a message.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WebhookDeliveryStatus {
    /// Pending, Delivered, DeadLetter or Cancelled.
    pub state: DeliveryState,
    /// When it is tried next, RFC 3339, while it is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<String>,
    /// Attempts made, beyond those listed too.
    #[serde(default)]
    pub attempt: u32,
    /// The last attempts, oldest first, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<DeliveryAttempt>,
}

/// Where a message is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Waits for its first or next attempt.
    #[default]
    Pending,
    /// Was answered 2xx.
    Delivered,
    /// Was given up; can be sent again.
    DeadLetter,
    /// The webhook was deleted or no longer wants it.
    Cancelled,
}

/// One attempt.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryAttempt {
    /// When it began, RFC 3339.
    pub at: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Status of the answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was none, or why it does not count; without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The answer's first 1024 bytes, unless it was 2xx; without what is secret in the request.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub response_snippet: String,
}
