//! One attempt: the message rendered, signed and posted through the guarded client, and what the answer means.
//!
//! In: a message and the webhook's [`Route`]. Out: an [`Attempt`]. Only 2xx is success; redirects are answers like others and never
//! followed. Of an answer little more than [`SNIPPET`] bytes are read, and at most those of a failure kept, without what is secret in
//! the request. What the request's headers are is ours: a Secret with headers can add some, and replace none of them.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use jiff::Timestamp;
use roadstead_outbound::{
    guard::{self, Limits, Oversize, retry_after},
    headers,
};

use crate::{
    delivery::{Attempt, Message, Verdict},
    format::{self, Body},
    queue::Deliver,
    table::{Route, Table},
};

/// Most bytes of an answer that are kept.
pub const SNIPPET: usize = 1024;

/// The message's id, the same at each attempt.
pub const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// Time of the attempt, seconds since 1970.
pub const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// The signatures.
pub const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Headers that a Secret cannot replace, beside those of the connection.
pub const OUR_HEADERS: [HeaderName; 5] =
    [WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE, header::CONTENT_TYPE, header::USER_AGENT];

/// Who we are.
const USER_AGENT: &str = concat!("roadstead/", env!("CARGO_PKG_VERSION"));

/// Sends to the webhooks of a table.
#[derive(Clone, Debug)]
pub struct Sender {
    table: Table,
}

impl Sender {
    /// Sends to these.
    pub fn new(table: Table) -> Self {
        Self { table }
    }
}

#[async_trait]
impl Deliver for Sender {
    async fn deliver(&self, message: &Message) -> Attempt {
        let (at, started) = (Timestamp::now(), Instant::now());
        let route = self.table.get(&message.webhook).and_then(|webhook| webhook.route.clone());
        let Some(route) = route else {
            // It was paused or deleted in this very moment.
            return told(at, started.elapsed(), Err("the webhook is not ready".into()));
        };
        let max_body = SNIPPET + margin(&route.headers);
        let limits = Limits { deadline: route.timeout, max_body, on_oversize: Oversize::Truncate };
        let result = match request(&route, message, at) {
            Ok(request) => route.client.send(request, limits).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        told(at, started.elapsed(), result.map(|answer| Answered::new(answer, &route, at)))
    }
}

/// The request of one attempt.
fn request(route: &Route, message: &Message, at: Timestamp) -> Result<Request<Bytes>, http::Error> {
    let Body { content_type, bytes } = format::render(route.format, message);
    let seconds = at.as_second();
    let mut headers = route.headers.clone();
    headers.insert(WEBHOOK_ID, HeaderValue::try_from(&message.id)?);
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
    headers.insert(WEBHOOK_SIGNATURE, HeaderValue::try_from(route.signer.sign(&message.id, seconds, &bytes))?);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    let mut request = Request::new(bytes);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = route.url.clone();
    *request.headers_mut() = headers;
    Ok(request)
}

/// What is kept of an answer.
struct Answered {
    status: StatusCode,
    after: Option<Duration>,
    snippet: String,
}

impl Answered {
    fn new(answer: guard::Answer, route: &Route, now: Timestamp) -> Self {
        let snippet = match answer.status.is_success() {
            true => String::new(),
            false => snippet(&answer.body, &route.headers),
        };
        Self { status: answer.status, after: retry_after(&answer.headers, now), snippet }
    }
}

/// How many bytes are read beyond those that are kept: a secret at their end is cut off in the middle, and not recognised.
fn margin(secrets: &HeaderMap) -> usize {
    // Bytes that are no text become three.
    secrets.values().map(HeaderValue::len).max().unwrap_or_default() + 4
}

/// The beginning of an answer, on one line, without secrets, in at most [`SNIPPET`] bytes. `body` is as much of it as was read.
fn snippet(body: &[u8], secrets: &HeaderMap) -> String {
    let margin = margin(secrets);
    let mut text = headers::redact(headers::snippet(body), secrets);
    let whole = body.len() < SNIPPET + margin;
    let end = if whole { SNIPPET } else { SNIPPET.min(text.len().saturating_sub(margin)) };
    text.truncate(text.floor_char_boundary(end));
    text
}

/// What an attempt came to. Pure.
fn told(at: Timestamp, duration: Duration, result: Result<Answered, String>) -> Attempt {
    let (status, error, snippet, verdict) = match result {
        Err(error) => (None, Some(error), String::new(), Verdict::Retry { after: None }),
        Ok(Answered { status, after, snippet }) => {
            let error = match status {
                status if status.is_success() => None,
                status if status.is_redirection() => {
                    Some(format!("answered {}: redirects are not followed", status.as_u16()))
                }
                status => Some(format!("answered {}", status.as_u16())),
            };
            (Some(status.as_u16()), error, snippet, verdict(status, after))
        }
    };
    Attempt { at, duration, status, error, snippet, verdict }
}

/// What a status means, by the rules of Standard Webhooks.
fn verdict(status: StatusCode, after: Option<Duration>) -> Verdict {
    match status.as_u16() {
        200..=299 => Verdict::Delivered,
        410 => Verdict::Gone,
        429 | 502..=504 => Verdict::Throttle { after },
        _ => Verdict::Retry { after },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_mean_what_standard_webhooks_says() {
        let after = Some(Duration::from_secs(7));
        for (code, expected) in [
            (200, Verdict::Delivered),
            (202, Verdict::Delivered),
            (204, Verdict::Delivered),
            (301, Verdict::Retry { after }),
            (307, Verdict::Retry { after }),
            (400, Verdict::Retry { after }),
            (404, Verdict::Retry { after }),
            (410, Verdict::Gone),
            (429, Verdict::Throttle { after }),
            (500, Verdict::Retry { after }),
            (502, Verdict::Throttle { after }),
            (503, Verdict::Throttle { after }),
            (504, Verdict::Throttle { after }),
        ] {
            assert_eq!(verdict(StatusCode::from_u16(code).unwrap(), after), expected, "{code}");
        }
    }

    #[test]
    fn no_part_of_a_secret_is_kept_wherever_the_answer_is_cut() {
        let secret = "hunter2-hunter2-hunter2";
        let mut secrets = HeaderMap::new();
        secrets.insert("x-api-key", secret.parse().unwrap());
        for before in 0..SNIPPET + 64 {
            for repeated in [1, 60] {
                let body = [&"é ".repeat(before / 3), &".".repeat(before % 3), &secret.repeat(repeated)[..]].concat();
                let read = &body.as_bytes()[..body.len().min(SNIPPET + margin(&secrets))];
                let kept = snippet(read, &secrets);
                assert!(kept.len() <= SNIPPET && !kept.contains("hu"), "{before}: {kept}");
            }
        }
        assert_eq!(snippet(b"no such\nhunter2-hunter2-hunter2", &secrets), "no such ***");
        assert_eq!(snippet(&[b'x'; 2000], &HeaderMap::new()).len(), SNIPPET);
    }

    #[test]
    fn an_attempt_tells_what_happened() {
        let at = "2026-11-20T09:00:00Z".parse().unwrap();
        let answered = |code, snippet: &str| {
            let status = StatusCode::from_u16(code).unwrap();
            told(at, Duration::from_millis(5), Ok(Answered { status, after: None, snippet: snippet.into() }))
        };
        let good = answered(204, "");
        assert_eq!((good.status, good.error, good.verdict), (Some(204), None, Verdict::Delivered));
        let moved = answered(302, "");
        assert!(moved.error.unwrap().contains("not followed"));
        let broken = answered(500, "oops");
        assert_eq!((broken.error.as_deref(), broken.snippet.as_str()), (Some("answered 500"), "oops"));
        let none = told(at, Duration::ZERO, Err("the connection was refused".into()));
        assert_eq!((none.status, none.verdict), (None, Verdict::Retry { after: None }));
    }
}
