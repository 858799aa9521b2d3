//! `Trigger`: what an agent does with an event, and `DeadLetter`: an event that it gave up on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::SecretRef;

/// Says which events lead to which action. Lives where the action happens: the agent's own control plane.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "roadstead.dev",
    version = "v1alpha1",
    kind = "Trigger",
    namespaced,
    shortname = "trg",
    category = "roadstead",
    status = "TriggerStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "An action that an agent takes for each event of a hub's endpoint.",
    printcolumn = r#"{"name":"Hub","type":"string","jsonPath":".spec.endpoint.hub"}"#,
    printcolumn = r#"{"name":"Endpoint","type":"string","jsonPath":".spec.endpoint.name"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Succeeded","type":"integer","jsonPath":".status.succeeded"}"#,
    printcolumn = r#"{"name":"Failed","type":"integer","jsonPath":".status.failed"}"#,
    printcolumn = r#"{"name":"Dead","type":"integer","jsonPath":".status.deadLetters"}"#,
    printcolumn = r#"{"name":"Last","type":"string","jsonPath":".status.lastResult.message","priority":1}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.forward) ? 1 : 0) + (has(self.annotate) ? 1 : 0) + (has(self.setImage) ? 1 : 0) + (has(self.run) ? 1 : 0) == 1").message("exactly one of forward, annotate, setImage and run must be given"))]
pub struct TriggerSpec {
    /// Which endpoint of which hub.
    pub endpoint: HubEndpoint,
    /// CEL expression over `event`; only events for which it is true are acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Sends the original request on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
    /// Writes an annotation, e.g. to make Flux or Argo CD look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotate: Option<Annotate>,
    /// Sets the image of a workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_image: Option<SetImage>,
    /// Creates a resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// Service account of the trigger's namespace that is impersonated for what is written. Default: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Which events must keep their order.
    #[serde(default)]
    pub order_by: OrderBy,
    /// How long a failing action is tried.
    #[serde(default)]
    pub retry: Retry,
    /// Events that are acted on at the same time; those that must keep their order never are. Default 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 64").message("must be between 1 and 64"))]
    pub concurrency: Option<u32>,
    /// Where a new trigger starts: `now` (default) or `earliest` retained event.
    #[serde(default)]
    pub start: Start,
    /// Does nothing while true; events wait in the hub's log.
    #[serde(default)]
    pub suspend: bool,
}

/// An endpoint of a hub.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HubEndpoint {
    /// Name of the hub, as given to the agent. Default: `main`.
    #[serde(default = "default_hub")]
    pub hub: String,
    /// Namespace of the endpoint, on the hub.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Name of the endpoint.
    pub name: String,
}

fn default_hub() -> String {
    "main".into()
}

fn default_namespace() -> String {
    "default".into()
}

/// Sends the original method, headers and raw body to a service.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Forward {
    /// Where to; must be on the agent's `--allow-forward` list.
    pub url: String,
    /// How long to wait for the answer, e.g. `10s` (the default).
    #[serde(default = "default_timeout")]
    pub timeout: String,
    /// Headers to add or replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_from: Option<HeadersFrom>,
    /// Secret of the trigger's namespace with the receiver's CA certificates under `ca.crt`. Default: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<SecretRef>,
}

fn default_timeout() -> String {
    "10s".into()
}

/// Headers from a Secret.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HeadersFrom {
    /// Secret of the trigger's namespace: keys are header names.
    pub secret_ref: SecretRef,
}

/// Writes an annotation whose value changes with each event.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Annotate {
    /// `flux`: annotation `reconcile.fluxcd.io/requestedAt`. `argocd`: kind Application, annotation
    /// `argocd.argoproj.io/refresh: normal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<AnnotatePreset>,
    /// apiVersion of the object; may be left out with preset `argocd`.
    #[serde(default)]
    pub api_version: String,
    /// Kind of the object.
    #[serde(default)]
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Namespace; another than the trigger's needs `--allow-cross-namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Annotation to write; its value is the event's time and id.
    #[serde(default)]
    pub annotation: String,
}

/// A well-known annotation.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "described at the field")]
pub enum AnnotatePreset {
    Flux,
    Argocd,
}

/// Sets a container's image to what a registry event names.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct SetImage {
    /// Kind with a pod template: Deployment (default), StatefulSet or DaemonSet.
    #[serde(default = "default_workload")]
    pub kind: String,
    /// Name of the workload.
    pub name: String,
    /// Namespace; another than the trigger's needs `--allow-cross-namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Container whose image is set.
    pub container: String,
    /// Which tags count.
    pub policy: ImagePolicy,
}

fn default_workload() -> String {
    "Deployment".into()
}

/// Which tags count: exactly one of the fields.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct ImagePolicy {
    /// A version range, e.g. `>=1.2`; only ever moves up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semver: Option<String>,
    /// A glob, e.g. `v*`; the last pushed wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glob: Option<String>,
    /// A tag whose digest is followed, e.g. `latest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Creates a resource for each event; its name is derived from the event, so that it is created once.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
pub struct Run {
    /// The resource. In its strings, `${...}` is a CEL expression over `event`.
    #[schemars(schema_with = "any_object")]
    pub template: serde_json::Value,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Which events keep their order.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OrderBy {
    /// Events of one repository.
    #[default]
    Repository,
    /// All events of the endpoint.
    Endpoint,
    /// None.
    None,
}

/// Where a new trigger starts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the next event.
    #[default]
    Now,
    /// With the oldest event that is retained.
    Earliest,
}

/// When to give up.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct Retry {
    /// Attempts, the first included. Default 10.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// Time since the first attempt, e.g. `24h` (the default).
    #[serde(default = "default_retry_timeout")]
    pub timeout: String,
}

fn default_attempts() -> u32 {
    10
}

fn default_retry_timeout() -> String {
    "24h".into()
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: default_attempts(), timeout: default_retry_timeout() }
    }
}

/// What the agent says about the trigger.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TriggerStatus {
    /// `hub/namespace/name` of the endpoint that the position belongs to; with another one the trigger starts as new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Position in the hub's log up to which every event is done (acted on, filtered or dead-lettered).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// Positions after it that are done already, as ranges: `88124-88190,88195`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_ahead: Option<String>,
    /// Sequence of the last event up to which every event is done.
    #[serde(default)]
    pub sequence: u64,
    /// Actions that succeeded.
    #[serde(default)]
    pub succeeded: u64,
    /// Attempts that failed.
    #[serde(default)]
    pub failed: u64,
    /// Events that needed nothing: not matched by the filter, or nothing to change.
    #[serde(default)]
    pub skipped: u64,
    /// Events given up on that are there as DeadLetters now.
    #[serde(default)]
    pub dead_letters: u64,
    /// DeadLetters that were removed because the trigger had too many; the oldest go first.
    #[serde(default)]
    pub dead_letters_dropped: u64,
    /// Events that the hub had removed before they were read.
    #[serde(default)]
    pub missed: u64,
    /// Events that have been read and are not done yet.
    #[serde(default)]
    pub lag: u64,
    /// The last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_result: Option<TriggerResult>,
    /// `Ready` first; `EventsMissed` when the hub no longer had events that were not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// One attempt, in brief.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TriggerResult {
    /// Id of the event.
    pub event: String,
    /// Whether it succeeded.
    pub success: bool,
    /// What was done, or why not; without secrets.
    pub message: String,
    /// RFC 3339.
    pub at: String,
}

/// An event that a trigger gave up on. `roadstead trigger replay` asks for another try.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "roadstead.dev",
    version = "v1alpha1",
    kind = "DeadLetter",
    namespaced,
    shortname = "dl",
    category = "roadstead",
    status = "DeadLetterStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "An event that a trigger gave up on.",
    printcolumn = r#"{"name":"Trigger","type":"string","jsonPath":".spec.trigger"}"#,
    printcolumn = r#"{"name":"Event","type":"string","jsonPath":".spec.eventName"}"#,
    printcolumn = r#"{"name":"Attempts","type":"integer","jsonPath":".spec.attempts"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".spec.reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterSpec {
    /// Name of the trigger, in the same namespace.
    pub trigger: String,
    /// Where the event is.
    pub endpoint: HubEndpoint,
    /// Name of the WebhookEvent on the hub.
    pub event_name: String,
    /// Id of the event.
    pub event_id: String,
    /// Attempts made.
    pub attempts: u32,
    /// Why it failed last; without secrets.
    pub reason: String,
    /// The provider's event type, e.g. `push`.
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub event_type: String,
    /// What the event is about, e.g. `octo/shop refs/heads/main`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// When it was given up on, RFC 3339.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failed_at: String,
}

/// What became of a DeadLetter's replays. One that succeeds removes the DeadLetter.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterStatus {
    /// Value of the annotation `roadstead.dev/replay` that was acted on last; another value asks again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_replay: Option<String>,
    /// `Replayed` is False with the reason: `Failed`, or `EventGone` when the hub no longer has the event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}
