//! When a registry wants peace, and that it gets it.
//!
//! A registry that is asked too often says 429, or counts down in a header before it does. Either is obeyed by everybody in this process who
//! asks it at the same URL with the same credentials, which is what registries count by: until the time is over a question fails at
//! once, and nothing is sent. It outlives the client that was told: an endpoint that is compiled anew does not begin anew. Sources: RFC 9110 (`Retry-After`), the IETF's draft "RateLimit header
//! fields for HTTP" in the forms that Docker Hub (`ratelimit-remaining: 76;w=21600`) and GitHub (`x-ratelimit-remaining`) send.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode, Uri};
use jiff::Timestamp;
use roadstead_reconcile::Secret;

use super::names::digest_of;
use crate::guard::retry_after;

/// Longest wait that is granted: a registry cannot put us off for good.
const MAX_WAIT: Duration = Duration::from_secs(3600);
/// Wait where the registry gives no time.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);

/// Of each URL, with a digest of the credentials. One that nobody has and that waits for nothing is dropped.
static SHARED: LazyLock<Mutex<Shared>> = LazyLock::new(Mutex::default);

type Shared = HashMap<(String, String), Arc<Pace>>;

/// Until when nothing is asked.
#[derive(Debug, Default)]
pub(super) struct Pace {
    quiet_until: Mutex<Option<Instant>>,
}

impl Pace {
    /// That of everybody who asks the registry at `base` with these credentials.
    pub(super) fn of(base: &Uri, credentials: Option<&(String, Secret)>) -> Arc<Pace> {
        let who = credentials.map(|(user, password)| digest_of(&[user.as_bytes(), b":", password.bytes()].concat()));
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, pace| Arc::strong_count(pace) > 1 || pace.wait().is_some());
        shared.entry((base.to_string(), who.unwrap_or_default())).or_default().clone()
    }

    /// How long to wait still.
    pub(super) fn wait(&self) -> Option<Duration> {
        let until = *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.and_then(|until| until.checked_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Takes note of an answer.
    pub(super) fn observe(&self, status: StatusCode, headers: &HeaderMap) {
        if let Some(wait) = wanted(status, headers, Timestamp::now()) {
            let until = Instant::now() + wait;
            *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        }
    }
}

/// How long an answer asks not to be asked again.
fn wanted(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let told = retry_after(headers, now);
    let wait = match status {
        StatusCode::TOO_MANY_REQUESTS => told.unwrap_or(DEFAULT_WAIT),
        StatusCode::SERVICE_UNAVAILABLE => told?,
        _ if number(headers, "remaining") == Some(0) => reset(headers, now).unwrap_or(DEFAULT_WAIT),
        _ => return None,
    };
    Some(wait.min(MAX_WAIT))
}

/// `ratelimit-<what>` or `x-ratelimit-<what>`, without parameters.
fn number(headers: &HeaderMap, what: &str) -> Option<u64> {
    ["ratelimit-", "x-ratelimit-"].iter().find_map(|prefix| {
        let text = headers.get(format!("{prefix}{what}"))?.to_str().ok()?;
        text.split(';').next()?.trim().parse().ok()
    })
}

/// Time to the reset: in seconds, or as a Unix time, which no sensible number of seconds is as large as.
fn reset(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let told = number(headers, "reset")?;
    let now = u64::try_from(now.as_second()).unwrap_or(0);
    Some(Duration::from_secs(if told > 1_000_000_000 { told.saturating_sub(now) } else { told }))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn peace_is_given_when_it_is_asked_for() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        for (status, headers, expected) in [
            (200, &[][..], None),
            (200, &[("ratelimit-remaining", "76;w=21600")], None),
            (200, &[("ratelimit-remaining", "0;w=21600")], Some(60)),
            (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000030")], Some(30)),
            (200, &[("ratelimit-remaining", "0"), ("ratelimit-reset", "5")], Some(5)),
            (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1600000000")], Some(0)),
            (200, &[("ratelimit-remaining", "none")], None),
            (429, &[], Some(60)),
            (429, &[("retry-after", "7")], Some(7)),
            (429, &[("retry-after", "999999999")], Some(3600)),
            (503, &[], None),
            (503, &[("retry-after", "3")], Some(3)),
            (404, &[("ratelimit-remaining", "0")], Some(60)),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            let wait = wanted(StatusCode::from_u16(status).unwrap(), &map, now);
            assert_eq!(wait, expected.map(Duration::from_secs), "{status} {headers:?}");
        }
    }

    #[test]
    fn a_past_wait_is_over() {
        let pace = Pace::default();
        assert_eq!(pace.wait(), None);
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static("3000"));
        pace.observe(StatusCode::TOO_MANY_REQUESTS, &headers);
        assert!(pace.wait().is_some_and(|wait| wait > Duration::from_secs(2000)));
        headers.insert("retry-after", HeaderValue::from_static("0"));
        pace.observe(StatusCode::TOO_MANY_REQUESTS, &headers);
        assert_eq!(pace.wait(), None);
    }
}
