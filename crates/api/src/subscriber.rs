//! `Subscriber`: a cluster, device or application that may watch endpoints.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Says which endpoints may be watched, and with which tokens.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "roadstead.dev",
    version = "v1alpha1",
    kind = "Subscriber",
    namespaced,
    shortname = "sub",
    category = "roadstead",
    status = "SubscriberStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A cluster, device or application that may watch the events of some endpoints through the hub.",
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Connected","type":"boolean","jsonPath":".status.connected"}"#,
    printcolumn = r#"{"name":"Last-Seen","type":"date","jsonPath":".status.lastSeen"}"#,
    printcolumn = r#"{"name":"Agent","type":"string","jsonPath":".status.agentVersion"}"#,
    printcolumn = r#"{"name":"Lag","type":"integer","jsonPath":".status.positions[0].lag"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct SubscriberSpec {
    /// Endpoints by name. One of another namespace counts only if that endpoint allows it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointRef>,
    /// Endpoints of the subscriber's own namespace by label, beside those named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Tokens that authenticate it, as hashes; written by `roadstead subscriber add|rotate|revoke`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(validation = Rule::new("self.size() <= 8").message("at most 8 tokens"))]
    pub tokens: Vec<TokenHash>,
}

/// An endpoint by name.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointRef {
    /// Namespace; default: the subscriber's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

/// One token, as a hash.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TokenHash {
    /// Lower-case hex SHA-256 of the whole token.
    pub sha256: String,
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// From when on it is refused, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// What is known about the subscriber.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SubscriberStatus {
    /// Whether a watch is open. Written by the hub.
    #[serde(default)]
    pub connected: bool,
    /// When it was last heard of, RFC 3339. Written by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// Version of its agent. Written by the subscriber.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// The agents that use this identity, by a random id of each process. More than one is possible, but each acts on every event.
    /// Written by the subscriber.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub agents: BTreeMap<String, AgentSeen>,
    /// How far it is. Written by the subscriber, at most once a second.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<Position>,
    /// `Ready` first; `EventsMissed` when events were removed before they were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// One running agent.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AgentSeen {
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// When it last reported, RFC 3339.
    #[serde(default)]
    pub last_seen: String,
}

/// How far a subscriber is with one endpoint.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct Position {
    /// `namespace/name` of the endpoint.
    pub endpoint: String,
    /// Sequence of the last event that is done.
    pub sequence: u64,
    /// Events of the endpoint that are not done yet, as last known.
    #[serde(default)]
    pub lag: u64,
}
