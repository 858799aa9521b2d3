//! Decides, without doing anything, how a webhook is sent to and what is missing: spec, Secrets and endpoint in, a [`Route`] or a
//! [`Problem`] out.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{HeaderMap, Uri};
use k8s_openapi::api::core::v1::Secret as Object;
use roadstead_api::{
    RegistryWebhookSpec,
    endpoint::{Provider, SecretRef},
};
use roadstead_outbound::{
    guard, headers,
    registry::{Access, Registry},
};
use roadstead_reconcile::{Secret, Targets, parse};

use super::registry::Endpoint;
use crate::{
    poll::Polled,
    queue::{Limits, Rate},
    send::OUR_HEADERS,
    sign::Signer,
    table::Route,
};

/// However short an interval a spec asks for, its registry is not asked more often.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(30);
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
    let Some(name) = &spec.source.endpoint else { return Some(Ok(())) };
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

/// The registry that a webhook polls, if it does, ready to be asked; or what is missing for that. It is the `present` one if that is still
/// right: its connections are kept.
pub(super) fn polled(
    uid: &str,
    spec: &RegistryWebhookSpec,
    around: &Around<'_>,
    present: Option<Arc<Polled>>,
) -> Option<Result<Arc<Polled>, Problem>> {
    let poll = spec.source.poll.as_ref()?;
    let compile = || {
        let every = parse::duration(&poll.interval)
            .map_err(|error| Problem::new("InvalidInterval", format!("spec.source.poll.interval: {error}")))?
            .max(SHORTEST_INTERVAL);
        let value = |name: &str, key: &str| value(around.secrets, name, key);
        let mut compared = Vec::new();
        let credentials = match &poll.secret_ref {
            None => None,
            Some(SecretRef { name }) => {
                let (user, password) = (value(name, "username")?, value(name, "password")?);
                compared = [&user[..], b"\0", &password, b"\0"].concat();
                let user = String::from_utf8(user)
                    .map_err(|_| Problem::new("InvalidSecret", format!("Secret {name:?}: the username is not text")))?;
                Some((user, Secret::new(password)))
            }
        };
        let ca = poll.ca_ref.as_ref().map(|secret| value(&secret.name, "ca.crt")).transpose()?;
        compared.extend(ca.iter().flatten());
        if let Some(present) = present.filter(|present| present.is(uid, spec, poll, every, &compared)) {
            return Ok(present);
        }
        let access = Access { url: &poll.url, credentials, ca: ca.as_deref(), targets: around.targets.clone() };
        let registry = Registry::new(access)
            .map_err(|error| Problem::new("InvalidRegistry", format!("spec.source.poll: {error}")))?;
        let polled = Polled::new(uid, spec, poll, every, registry, compared);
        polled.map(Arc::new).map_err(|error| {
            Problem::new("InvalidFilter", format!("spec.source.poll.repositories or spec.tags: {error}"))
        })
    };
    Some(compile())
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
        assert_eq!(source(&polled, Endpoint::Missing), Some(Ok(())), "it needs none");
    }

    #[test]
    fn what_is_polled_needs_its_secrets() {
        let (targets, secrets) = (Targets::new([]), secrets());
        let http = guard::Client::new(guard::Options::new(targets.clone())).unwrap();
        let around = Around { secrets: &secrets, targets: &targets, http: &http, previous: None };
        let reason = |poll: serde_json::Value| {
            let mut whole = json!({"url": "https://registry.example.com", "repositories": ["team/*"]});
            json_patch::merge(&mut whole, &poll);
            let spec = spec(json!({"source": {"endpoint": null, "poll": whole}}));
            polled("uid", &spec, &around, None).map(|result| result.map(drop).map_err(|problem| problem.reason))
        };
        for (poll, expected) in [
            (json!({}), Ok(())),
            (json!({"interval": "1s"}), Ok(())),
            (json!({"interval": "soon"}), Err("InvalidInterval")),
            (json!({"url": "registry.example.com"}), Err("InvalidRegistry")),
            (json!({"repositories": ["team/***"]}), Err("InvalidFilter")),
            (json!({"secretRef": {"name": "none"}}), Err("SecretMissing")),
            (json!({"secretRef": {"name": "client"}}), Err("SecretMissing")),
            (json!({"caRef": {"name": "ca"}}), Err("InvalidRegistry")),
        ] {
            assert_eq!(reason(poll.clone()), Some(expected), "{poll}");
        }
        assert!(polled("uid", &spec(json!({})), &around, None).is_none());
        // What is asked already goes on, unless it is another question.
        let registry = |interval: &str| {
            let poll = json!({"url": "https://registry.example.com", "repositories": ["team/*"], "interval": interval});
            spec(json!({"source": {"endpoint": null, "poll": poll}}))
        };
        let first = polled("uid", &registry("5m"), &around, None).unwrap().unwrap();
        for (interval, same) in [("5m", true), ("6m", false)] {
            let next = polled("uid", &registry(interval), &around, Some(first.clone())).unwrap().unwrap();
            assert_eq!(Arc::ptr_eq(&first, &next), same, "{interval}");
        }
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
