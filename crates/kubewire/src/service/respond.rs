//! Responses: status codes, the headers that clients look at, pretty printing, compression.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, Version, header, request::Parts};
use serde_json::Value;

use crate::{body::Body, error::ApiError, query::Query};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Warnings together may take this many bytes, and then each only the second many: headers have limits on the way.
const WARNINGS: (usize, usize) = (4096, 256);

/// A JSON response.
pub(super) fn json(code: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// A small document.
pub(super) fn document(value: &Value) -> Response<Body> {
    json(StatusCode::OK, Body::from(format!("{value}\n")))
}

/// The response for an error. Connections whose request body was given up on are closed.
pub(super) fn error(error: &ApiError, version: Version) -> Response<Body> {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, Body::from(format!("{}\n", error.to_status())));
    if let Some(seconds) = error.details.as_ref().and_then(|details| details.retry_after_seconds) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    warnings(&mut response, error.warnings.clone());
    let gave_up = matches!(code, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT);
    if gave_up && version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Adds warnings as headers (RFC 7234, code 299).
pub(super) fn warnings(response: &mut Response<Body>, warnings: Vec<String>) {
    let cut = if warnings.iter().map(String::len).sum::<usize>() > WARNINGS.0 { WARNINGS.1 } else { WARNINGS.0 };
    let mut left = WARNINGS.0;
    for warning in warnings {
        let text: String = warning.chars().filter(|c| !c.is_control()).flat_map(escaped).take(cut).collect();
        if text.len() > left {
            break;
        }
        left -= text.len();
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{text}\"").as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

/// A character inside a quoted header text.
fn escaped(c: char) -> impl Iterator<Item = char> {
    matches!(c, '"' | '\\').then_some('\\').into_iter().chain(std::iter::once(c))
}

/// Whether the client is a person at a terminal or browser, or asks for `pretty`.
pub(super) fn wants_pretty(parts: &Parts) -> bool {
    let asked = Query::parse(parts.uri.query()).and_then(|query| query.flag("pretty"));
    let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let is_person = || ["curl/", "Wget/", "Mozilla/"].iter().any(|prefix| agent.starts_with(prefix));
    asked.ok().flatten().unwrap_or_else(is_person)
}

/// What every response has.
pub(super) fn finish(response: Response<Body>, request_id: &str, pretty: bool) -> Response<Body> {
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|media| media.as_bytes().starts_with(b"application/json"));
    let mut response = if pretty && is_json { response.map(Body::prettier) } else { response };
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("audit-id", id);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    response
}

/// The same with gzip.
pub(super) fn compress(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.remove(header::CONTENT_LENGTH);
    response.map(Body::compressed)
}

/// A response of a resource's own, e.g. an event's body.
pub(super) fn own(response: Response<Bytes>) -> Response<Body> {
    response.map(Body::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_and_bounded() {
        let mut response = document(&Value::Null);
        warnings(&mut response, vec!["a \"quoted\"\nword".into()]);
        assert_eq!(response.headers()[header::WARNING], r#"299 - "a \"quoted\"word""#);
        let mut response = document(&Value::Null);
        warnings(&mut response, vec!["x".repeat(1000); 100]);
        let total: usize = response.headers().get_all(header::WARNING).iter().map(HeaderValue::len).sum();
        assert!(total < 2 * WARNINGS.0, "{total}");
    }
}
