//! `/healthz`, `/livez` and `/readyz`: asked by load balancers, supervisors and `kubectl get --raw`. What is checked is plugged in.

use async_trait::async_trait;
use http::{Response, StatusCode, header};

use crate::{body::Body, route::Probe};

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Name, e.g. `store`.
    pub name: String,
    /// Fine, or what is wrong: shown to whoever may ask, so nothing secret.
    pub result: Result<(), String>,
}

impl Check {
    /// A check that passed.
    pub fn ok(name: impl Into<String>) -> Self {
        Self { name: name.into(), result: Ok(()) }
    }

    /// A check that failed.
    pub fn failed(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: name.into(), result: Err(why.into()) }
    }
}

/// Knows how the process is.
#[async_trait]
pub trait Health: Send + Sync + 'static {
    /// All checks that belong to `probe`. Must answer within a second or so.
    async fn check(&self, probe: Probe) -> Vec<Check>;
}

/// Healthy as long as it answers.
pub struct AlwaysHealthy;

#[async_trait]
impl Health for AlwaysHealthy {
    async fn check(&self, _probe: Probe) -> Vec<Check> {
        vec![Check::ok("ping")]
    }
}

/// The answer of a probe: `ok`, or a line for each check where one failed or `verbose` is asked for. 500 where one failed.
pub(crate) fn answer(probe: Probe, checks: &[Check], verbose: bool) -> Response<Body> {
    let healthy = checks.iter().all(|check| check.result.is_ok());
    let text = if healthy && !verbose {
        "ok".to_string()
    } else {
        let mut lines: String = checks
            .iter()
            .map(|check| match &check.result {
                Ok(()) => format!("[+]{} ok\n", check.name),
                Err(why) => format!("[-]{} failed: {why}\n", check.name),
            })
            .collect();
        let name = match probe {
            Probe::Health => "healthz",
            Probe::Live => "livez",
            Probe::Ready => "readyz",
        };
        lines.push_str(&format!("{name} check {}\n", if healthy { "passed" } else { "failed" }));
        lines
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = if healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    response
}
