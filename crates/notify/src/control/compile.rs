//! Decides, without doing anything, how a webhook is sent to and what is missing: spec, Secrets and endpoint in, a [`Route`] or a
//! [`Problem`] out.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{HeaderMap, Uri};
use k8s_openapi::api::core::v1::Secret as Object;
use roadstead_api::{RegistryWebhookSpec, endpoint::Provider};
use roadstead_outbound::{guard, headers};
use roadstead_reconcile::{Secret, Targets, parse};

use super::registry::Endpoint;
use crate::{
    queue::{Limits, Rate},
    send::OUR_HEADERS,
    sign::Signer,
    table::Route,
};

/// What `spec.timeout` may be.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

/// Why a webhook is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Reason of the condition.
    pub reason: &'static str,
    /// For people; without secrets.
    pub message: String,
}

impl Problem {
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// What a webhook's environment offers.
pub(super) struct Around<'a> {
    /// The Secrets that the spec names, as far as they exist.
    pub secrets: &'a HashMap<String, Object>,
    /// Private addresses that may be reached.
    pub targets: &'a Targets,
    /// The client without authorities of its own.
    pub http: &'a guard::Client,
    /// How the webhook has been sent to: its connections are kept if its authorities are the same.
    pub previous: Option<&'a Route>,
}

/// How to send, or what is missing for that.
pub(super) fn route(spec: &RegistryWebhookSpec, around: &Around<'_>) -> Result<Arc<Route>, Problem> {
    let url = target(&spec.url, around.targets)?;
    let timeout = parse::duration(&spec.timeout)
        .map_err(|error| Problem::new("InvalidTimeout", format!("spec.timeout: {error}")))?;
    if !TIMEOUTS.contains(&timeout) {
        return Err(Problem::new("InvalidTimeout", "spec.timeout must be between 1s and 60s"));
    }
    let (name, key) = (&spec.secret_ref.name, &spec.secret_ref.key);
    let value = value(around.secrets, name, key)?;
    let signer = Signer::new(&Secret::new(value))
        .map_err(|error| Problem::new("InvalidSecret", format!("Secret {name:?}, key {key:?}: {error}")))?;
    let headers = match &spec.headers_from {
        None => HeaderMap::new(),
        Some(from) => {
            let name = &from.secret_ref.name;
            let secret = around.secrets.get(name);
            let secret = secret.ok_or_else(|| missing(format!("there is no Secret {name:?}")))?;
            headers::from_secret(secret, name, &OUR_HEADERS)
                .map_err(|error| Problem::new("InvalidHeaders", format!("spec.headersFrom: {error}")))?
        }
    };
    let ca = spec.ca_ref.as_ref().map(|secret| self::value(around.secrets, &secret.name, "ca.crt")).transpose()?;
    let client = match (&ca, around.previous) {
        (None, _) => around.http.clone(),
        (Some(ca), Some(previous)) if previous.ca.as_ref() == Some(ca) => previous.client.clone(),
        (Some(ca), _) => {
            let options = guard::Options { ca: Some(ca), ..guard::Options::new(around.targets.clone()) };
            guard::Client::new(options).map_err(|error| Problem::new("InvalidCA", format!("spec.caRef: {error}")))?
        }
    };
    Ok(Arc::new(Route { url, signer, headers, timeout, format: spec.format, ca, client }))
}

/// Whether the source is one that tells of images.
pub(super) fn source(spec: &RegistryWebhookSpec, endpoint: Endpoint) -> Option<Result<(), Problem>> {
    let Some(name) = &spec.source.endpoint else {
        return Some(Err(Problem::new("PollingUnavailable", "this release asks no registries: name an endpoint")));
    };
    match endpoint {
        Endpoint::Unknown => None,
        Endpoint::Missing => Some(Err(Problem::new(
            "EndpointNotFound",
            format!("there is no WebhookEndpoint {name:?} in this namespace"),
        ))),
        // GitHub tells of images in its own registry.
        Endpoint::Of(provider) if provider.is_registry() || provider == Provider::Github => Some(Ok(())),
        Endpoint::Of(provider) => Some(Err(Problem::new(
            "NotARegistry",
            format!("WebhookEndpoint {name:?} is of provider {}, which tells of no images", provider.as_str()),
        ))),
    }
}

/// How fast to send; nothing while something is missing.
pub(super) fn limits(spec: &RegistryWebhookSpec, routed: bool) -> Limits {
    let rate = spec.rate_limit.as_ref().map(|limit| {
        let per_second = limit.per_second.max(1);
        Rate { per_second, burst: limit.burst.unwrap_or(per_second).max(1) }
    });
    Limits { concurrency: spec.concurrency.clamp(1, 64), rate, suspended: spec.suspend || !routed }
}

/// The URL, if requests may go there. What a name stands for is judged at each connection.
fn target(text: &str, targets: &Targets) -> Result<Uri, Problem> {
    let url = guard::url(text).map_err(|error| Problem::new("InvalidURL", format!("spec.url: {error}")))?;
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    match host.parse() {
        Ok(address) if !targets.permits(address) => {
            Err(Problem::new("TargetNotAllowed", format!("spec.url: {}", guard::Error::Forbidden)))
        }
        _ => Ok(url),
    }
}

fn missing(message: String) -> Problem {
    Problem::new("SecretMissing", message)
}

fn value(secrets: &HashMap<String, Object>, name: &str, key: &str) -> Result<Vec<u8>, Problem> {
    let data = secrets.get(name).ok_or_else(|| missing(format!("there is no Secret {name:?}")))?.data.as_ref();
    let value = data.and_then(|data| data.get(key));
    value.map(|value| value.0.clone()).ok_or_else(|| missing(format!("Secret {name:?} has no key {key:?}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(change: serde_json::Value) -> RegistryWebhookSpec {
        let mut spec = json!({
            "source": {"endpoint": "registry"}, "url": "https://client.example.com/images",
            "secretRef": {"name": "client", "key": "secret"},
        });
        json_patch::merge(&mut spec, &change);
        serde_json::from_value(spec).unwrap()
    }

    fn secrets() -> HashMap<String, Object> {
        let secret = |data: serde_json::Value| serde_json::from_value(json!({"data": data})).unwrap();
        // whsec_ and 24 zeros; no key; a header; one of ours; no certificate.
        HashMap::from([
            (
                "client".into(),
                secret(
                    json!({"secret": "d2hzZWNfQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=", "bad": "aHVudGVyMg=="}),
                ),
            ),
            ("headers".into(), secret(json!({"authorization": "QmVhcmVyIHg="}))),
            ("ours".into(), secret(json!({"webhook-id": "eA=="}))),
            ("ca".into(), secret(json!({"ca.crt": "eA=="}))),
        ])
    }

    fn compiled(change: serde_json::Value) -> Result<Arc<Route>, Problem> {
        let targets = Targets::new([]);
        let http = guard::Client::new(guard::Options { ca: None, ..guard::Options::new(targets.clone()) }).unwrap();
        let around = Around { secrets: &secrets(), targets: &targets, http: &http, previous: None };
        route(&spec(change), &around)
    }

    #[test]
    fn what_is_missing_is_told_without_secrets() {
        for (change, reason) in [
            (json!({"url": "ftp://x/"}), "InvalidURL"),
            (json!({"url": "https://user:hunter2@x/"}), "InvalidURL"),
            (json!({"url": "https://127.0.0.1/"}), "TargetNotAllowed"),
            (json!({"url": "https://[::ffff:10.0.0.1]/"}), "TargetNotAllowed"),
            (json!({"url": "http://169.254.169.254/latest"}), "TargetNotAllowed"),
            (json!({"timeout": "0s"}), "InvalidTimeout"),
            (json!({"timeout": "2m"}), "InvalidTimeout"),
            (json!({"secretRef": {"name": "none"}}), "SecretMissing"),
            (json!({"secretRef": {"key": "none"}}), "SecretMissing"),
            (json!({"secretRef": {"key": "bad"}}), "InvalidSecret"),
            (json!({"headersFrom": {"secretRef": {"name": "none"}}}), "SecretMissing"),
            (json!({"headersFrom": {"secretRef": {"name": "ours"}}}), "InvalidHeaders"),
            (json!({"caRef": {"name": "ca"}}), "InvalidCA"),
        ] {
            let problem = compiled(change.clone()).unwrap_err();
            assert_eq!(problem.reason, reason, "{change}: {}", problem.message);
            assert!(!problem.message.contains("hunter2"), "{}", problem.message);
        }
        let route = compiled(json!({"headersFrom": {"secretRef": {"name": "headers"}}})).unwrap();
        assert_eq!(route.headers["authorization"], "Bearer x");
        assert_eq!(route.timeout, Duration::from_secs(15));
    }

    #[test]
    fn sources_are_registries_of_the_namespace() {
        let spec = spec(json!({}));
        let reason = |endpoint| source(&spec, endpoint).map(|result| result.map_err(|problem| problem.reason));
        assert_eq!(reason(Endpoint::Unknown), None);
        assert_eq!(reason(Endpoint::Missing), Some(Err("EndpointNotFound")));
        assert_eq!(reason(Endpoint::Of(Provider::Gitlab)), Some(Err("NotARegistry")));
        assert_eq!(reason(Endpoint::Of(Provider::Distribution)), Some(Ok(())));
        assert_eq!(reason(Endpoint::Of(Provider::Github)), Some(Ok(())));
        let polled =
            self::spec(json!({"source": {"endpoint": null, "poll": {"url": "https://r", "repositories": ["a"]}}}));
        assert!(source(&polled, Endpoint::Missing).is_some_and(|result| result.is_err()));
    }

    #[test]
    fn nothing_is_sent_while_suspended_or_not_routed() {
        for (suspend, routed, suspended) in [(false, true, false), (true, true, true), (false, false, true)] {
            assert_eq!(limits(&spec(json!({"suspend": suspend})), routed).suspended, suspended);
        }
        let limits = limits(&spec(json!({"rateLimit": {"perSecond": 5}})), true);
        assert_eq!(limits.rate, Some(Rate { per_second: 5, burst: 5 }));
    }
}
