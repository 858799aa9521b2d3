//! One request as data, so that it can be generated, sent to both sides, dropped, written to a file and read again.
//!
//! Paths and bodies are templates: what differs between two servers (a uid, a resourceVersion) or between two runs (the name of a
//! namespace) stands there as a placeholder, which [`crate::memory`] fills in for each side by itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How an operation is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Once: one request, one answer.
    #[default]
    Once,
    /// What follows from earlier operations takes its time (garbage collection, a definition's way to the handlers): the
    /// request is repeated until both sides agree and stay so, or time is up.
    Settle,
    /// A read that may be answered from a cache that is behind: repeated until both sides agree, or time is up.
    Cached,
    /// A watch: the answer is what comes until the object in `body` appears, which is created in the watched collection once
    /// the watch is open (and deleted afterwards), or else until the stream ends.
    Stream,
}

/// One request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operation {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// Path and query, with placeholders.
    pub path: String,
    /// Media type of the body; JSON if there is a body and nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Media types wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept: Option<String>,
    /// The body as JSON, with placeholders in its strings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// The body as text, where it is not JSON or must be byte for byte as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The user in whose name it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impersonate: Option<String>,
    /// How it is answered.
    #[serde(default, skip_serializing_if = "is_once")]
    pub mode: Mode,
}

fn is_once(mode: &Mode) -> bool {
    *mode == Mode::Once
}

impl Operation {
    /// A request without a body.
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        Self { method: method.into(), path: path.into(), ..Self::default() }
    }

    /// `GET`.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    /// `POST` of an object.
    pub fn create(path: impl Into<String>, body: Value) -> Self {
        Self::new("POST", path).json(body)
    }

    /// `PUT` of an object.
    pub fn update(path: impl Into<String>, body: Value) -> Self {
        Self::new("PUT", path).json(body)
    }

    /// `DELETE`.
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new("DELETE", path)
    }

    /// `PATCH` in the given format: `json-patch+json`, `merge-patch+json`, `strategic-merge-patch+json`, `apply-patch+yaml`.
    pub fn patch(path: impl Into<String>, format: &str, body: Value) -> Self {
        let content_type = Some(format!("application/{format}"));
        Self { content_type, ..Self::new("PATCH", path).json(body) }
    }

    /// With a body.
    #[must_use]
    pub fn json(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    /// With a body that is sent as it stands.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..self }
    }

    /// Repeated until both sides agree.
    #[must_use]
    pub fn settled(self) -> Self {
        Self { mode: Mode::Settle, ..self }
    }

    /// What a read that takes any version calls for: the real server answers it from its watch cache.
    #[must_use]
    pub fn patient(self) -> Self {
        let (_, query) = self.path.split_once('?').unwrap_or_default();
        let any_version = query.split('&').any(|parameter| parameter == "resourceVersion=0");
        let mode =
            if any_version && self.method == "GET" && self.mode == Mode::Once { Mode::Cached } else { self.mode };
        Self { mode, ..self }
    }

    /// With one more query parameter.
    #[must_use]
    pub fn with(mut self, parameter: &str) -> Self {
        if !parameter.is_empty() {
            self.path.push(if self.path.contains('?') { '&' } else { '?' });
            self.path.push_str(parameter);
        }
        self
    }

    /// With another Accept header.
    #[must_use]
    pub fn accepting(self, accept: &str) -> Self {
        Self { accept: Some(accept.into()), ..self }
    }

    /// What kind of request this is, without names: `PATCH deployments/status apply-patch+yaml`.
    pub fn shape(&self) -> String {
        let target = Target::of(&self.path);
        let sub = if target.sub.is_empty() { String::new() } else { format!("/{}", target.sub) };
        let format = self.content_type.as_deref().and_then(|kind| kind.strip_prefix("application/"));
        let format = format.map_or_else(String::new, |format| format!(" {format}"));
        let watch = if self.mode == Mode::Stream { " watch" } else { "" };
        format!("{} {}{sub}{format}{watch}", self.method, target.plural)
    }
}

/// What a path names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The plural name of the resource.
    pub plural: String,
    /// The namespace as the template has it, without the braces: `ns0`.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The subresource.
    pub sub: String,
}

impl Target {
    /// Reads a path: `/api/v1/namespaces/${ns0}/configmaps/a/status?x=y`.
    pub fn of(path: &str) -> Self {
        let path = path.split('?').next().unwrap_or_default();
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let skipped = if path.starts_with("/apis/") { 3 } else { 2 };
        let mut parts: Vec<&str> = parts.by_ref().skip(skipped).collect();
        let mut namespace = "";
        if parts.len() > 2 && parts[0] == "namespaces" {
            namespace = parts[1];
            parts.drain(..2);
        }
        let part = |at: usize| parts.get(at).copied().unwrap_or_default().trim_matches(['$', '{', '}']).to_string();
        Self { plural: part(0), namespace: namespace.trim_matches(['$', '{', '}']).into(), name: part(1), sub: part(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        for (path, expected) in [
            ("/api/v1/namespaces/${ns0}/configmaps/a?dryRun=All", ["configmaps", "ns0", "a", ""]),
            ("/apis/apps/v1/namespaces/${ns1}/deployments/a/status", ["deployments", "ns1", "a", "status"]),
            ("/apis/${group}/v1/namespaces/${ns1}/widgets", ["widgets", "ns1", "", ""]),
            ("/api/v1/namespaces/${ns0}", ["namespaces", "", "ns0", ""]),
        ] {
            let [plural, namespace, name, sub] = expected.map(str::to_string);
            assert_eq!(Target::of(path), Target { plural, namespace, name, sub }, "{path}");
        }
    }

    #[test]
    fn an_operation_is_read_as_it_was_written() {
        let operation = Operation::patch("/api/v1/x", "json-patch+json", serde_json::json!([])).with("a=b").settled();
        let text = serde_json::to_string(&operation).unwrap();
        assert_eq!(serde_json::from_str::<Operation>(&text).unwrap(), operation);
        assert_eq!(operation.path, "/api/v1/x?a=b");
    }
}
