//! `WebhookEndpoint`: a URL that a provider posts to, bound to this resource.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Asks the hub for a URL, and says who may post to it and what is kept.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "roadstead.dev", version = "v1alpha1", kind = "WebhookEndpoint", namespaced, shortname = "hook",
    category = "roadstead", status = "WebhookEndpointStatus", derive = "PartialEq", derive = "Default",
    doc = "A URL that a git host, a registry or any other sender posts webhooks to.",
    printcolumn = r#"{"name":"Provider","type":"string","jsonPath":".spec.provider"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Events","type":"integer","jsonPath":".status.sequence"}"#,
    printcolumn = r#"{"name":"Last","type":"string","jsonPath":".status.lastEvent.type"}"#,
    printcolumn = r#"{"name":"Received","type":"date","jsonPath":".status.lastEvent.receivedAt"}"#,
    printcolumn = r#"{"name":"URL","type":"string","jsonPath":".status.url","priority":1}"#,
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name may have at most 63 characters"),
)]
#[serde(rename_all = "camelCase")]
pub struct WebhookEndpointSpec {
    /// Who posts: decides signature, headers, ids and how the body is read.
    pub provider: Provider,
    /// Whether a delivery must prove where it comes from. `urlOnly` is for senders that cannot sign: the URL itself is the
    /// only secret, and events say `verified: false`.
    #[serde(default)]
    pub authentication: Authentication,
    /// Secrets of the endpoint's namespace that hold signing keys or tokens. Any of them verifies; rotating them never moves
    /// the URL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(validation = Rule::new("self.size() <= 8").message("at most 8 secrets"))]
    pub secrets: Vec<SecretKeyRef>,
    /// How to verify, for provider `generic`. Registries and cloudevents: only to name another header that carries the secret
    /// (`algorithm: token`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// Where to confirm a registry's events; never taken from a payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<Registry>,
    /// Event types of the provider to keep; all if empty. The rest is answered 2xx and counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// CEL expression over `event`; false drops the event (2xx, counted). One that is wrong or fails keeps the event and is
    /// reported in condition `FilterHealthy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Largest body that is taken, in bytes. Default 25 MiB for github, 1 MiB for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 104857600").message("must be between 1 and 104857600 (100 MiB)"))]
    pub max_body_bytes: Option<i64>,
    /// Limit for verified deliveries. Default: none; they meet only back-pressure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// How long events are kept. Whatever limit is reached first counts.
    #[serde(default)]
    pub retention: Retention,
    /// Namespaces whose subscribers may watch this endpoint, beside its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_subscribers_from: Vec<NamespaceRef>,
    /// Answers every delivery 503 while true.
    #[serde(default)]
    pub suspend: bool,
}

/// A sender's dialect.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it; docs/providers.md has a section on each")]
pub enum Provider {
    #[default]
    Github,
    Gitlab,
    Gitea,
    Forgejo,
    Bitbucket,
    Distribution,
    Harbor,
    Dockerhub,
    Quay,
    Zot,
    Acr,
    /// Standard Webhooks.
    Standard,
    Cloudevents,
    Generic,
}

impl Provider {
    /// All, in the order of the documentation.
    pub const ALL: [Provider; 14] = [
        Provider::Github,
        Provider::Gitlab,
        Provider::Gitea,
        Provider::Forgejo,
        Provider::Bitbucket,
        Provider::Distribution,
        Provider::Harbor,
        Provider::Dockerhub,
        Provider::Quay,
        Provider::Zot,
        Provider::Acr,
        Provider::Standard,
        Provider::Cloudevents,
        Provider::Generic,
    ];

    /// Name as written in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Provider::Github => "github",
            Provider::Gitlab => "gitlab",
            Provider::Gitea => "gitea",
            Provider::Forgejo => "forgejo",
            Provider::Bitbucket => "bitbucket",
            Provider::Distribution => "distribution",
            Provider::Harbor => "harbor",
            Provider::Dockerhub => "dockerhub",
            Provider::Quay => "quay",
            Provider::Zot => "zot",
            Provider::Acr => "acr",
            Provider::Standard => "standard",
            Provider::Cloudevents => "cloudevents",
            Provider::Generic => "generic",
        }
    }

    /// Largest body taken where the spec says nothing, in bytes.
    pub fn default_max_body(self) -> u64 {
        if self == Provider::Github { 25 << 20 } else { 1 << 20 }
    }

    /// Whether the sender is an image registry.
    pub fn is_registry(self) -> bool {
        matches!(
            self,
            Provider::Distribution
                | Provider::Harbor
                | Provider::Dockerhub
                | Provider::Quay
                | Provider::Zot
                | Provider::Acr
        )
    }
}

/// Whether a delivery must be verified.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Authentication {
    /// Signature or token must verify.
    #[default]
    Required,
    /// Whoever knows the URL may post.
    UrlOnly,
}

/// A key of a Secret in the same namespace.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    pub name: String,
    /// Key in its data.
    pub key: String,
}

/// A Secret in the same namespace.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct SecretRef {
    /// Name of the Secret.
    pub name: String,
}

/// A namespace by name.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct NamespaceRef {
    /// Name of the namespace.
    pub namespace: String,
}

/// How a generic sender signs: `<prefix><encoded HMAC of the body>` in a header; with a timestamp header the signed content
/// is `<timestamp>.<body>`. With algorithm `token` the header carries the secret itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Verify {
    /// Header with the signature or token.
    pub header: String,
    /// Algorithm. Default sha256.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// Encoding of the signature. Default hex.
    #[serde(default)]
    pub encoding: Encoding,
    /// What stands before the signature, e.g. `sha256=` or `Bearer `.
    #[serde(default)]
    pub prefix: String,
    /// Header with the Unix time in seconds that is signed too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// How far that time may be off, e.g. `5m`. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<String>,
    /// Header with the delivery's id, for deduplication. Without it every POST is a new event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_header: Option<String>,
    /// Header with the event's type. Default type: `generic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub type_header: Option<String>,
}

/// HMAC hash, or a plain token.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the algorithms'")]
pub enum Algorithm {
    Sha1,
    #[default]
    Sha256,
    Sha384,
    Sha512,
    /// The header carries the secret itself (after the prefix).
    Token,
}

/// Encoding of a signature.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the encodings'")]
pub enum Encoding {
    #[default]
    Hex,
    Base64,
}

/// A registry's address and credentials.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Registry {
    /// Base URL, e.g. `https://registry.example.com`.
    pub url: String,
    /// Secret with `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Secret with the CA certificate under `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<SecretRef>,
    /// How often the registry's tags are compared with what its events have told, to find what they have not; at least 30s, 0 for never.
    /// It is done as well when the hub starts, when the registry has restarted, and when an event shows that one was missed. Default 10m.
    #[serde(default = "default_reconcile_interval")]
    #[schemars(regex(pattern = r"^(0|([0-9]+(\.[0-9]+)?(s|m|h))+)$"))]
    pub reconcile_interval: String,
}

fn default_reconcile_interval() -> String {
    "10m".into()
}

impl Default for Registry {
    fn default() -> Self {
        Self { url: String::new(), secret_ref: None, ca_ref: None, reconcile_interval: default_reconcile_interval() }
    }
}

/// A token bucket.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Deliveries a second.
    pub per_second: u32,
    /// Deliveries at once. Default: one second's worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// How long events are kept.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct Retention {
    /// Age, e.g. `168h`.
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$"))]
    #[serde(default = "default_age")]
    pub age: String,
    /// Size of bodies and headers, as a Kubernetes quantity, e.g. `10Gi`.
    #[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"))]
    #[serde(default = "default_bytes")]
    pub bytes: String,
    /// Number of events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
}

fn default_age() -> String {
    "168h".into()
}

fn default_bytes() -> String {
    "10Gi".into()
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: default_age(), bytes: default_bytes(), events: None }
    }
}

/// What the hub says about the endpoint.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WebhookEndpointStatus {
    /// Where to post. Random, never derived from a secret, never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Sequence of the last recorded event; from 1, without gaps.
    #[serde(default)]
    pub sequence: u64,
    /// The last recorded event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event: Option<EventSummary>,
    /// The last events, newest first; at most 16 and 8 KiB.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<EventSummary>,
    /// When the provider last sent a ping, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ping: Option<String>,
    /// When the registry's tags were last compared with what its events have told: RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reconciled: Option<String>,
    /// What became of the deliveries.
    #[serde(default)]
    pub counters: Counters,
    /// `Ready` first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// One event, in brief.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EventSummary {
    /// Its sequence.
    pub sequence: u64,
    /// Its id.
    pub id: String,
    /// The provider's event type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about: repository and ref, or image and tag.
    #[serde(default)]
    pub subject: String,
    /// RFC 3339, UTC, microseconds.
    pub received_at: String,
}

/// What became of the deliveries since the endpoint was made.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct Counters {
    /// Recorded.
    #[serde(default)]
    pub accepted: u64,
    /// Known already; answered 2xx.
    #[serde(default)]
    pub duplicate: u64,
    /// Not wanted by `events` or `filter`; answered 2xx.
    #[serde(default)]
    pub filtered: u64,
    /// Refused: signature, size, rate, form.
    #[serde(default)]
    pub rejected: u64,
}
