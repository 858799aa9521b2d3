//! One delivery as it came off the wire, before anybody trusts it, and what of its headers may be recorded.
//!
//! Verification (`verify`) and reading (`providers`) both look at an [`Incoming`]; neither changes it nor does any I/O. The
//! body is the raw bytes that the sender signed and is never re-serialised.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, Method};
use percent_encoding::percent_decode;
use roadstead_api::event::Header;

use crate::verify::{Policy, Rejection};

/// A delivery: the whole body is there, and nothing in it has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Method of the request.
    pub method: &'a Method,
    /// Headers of the request.
    pub headers: &'a HeaderMap,
    /// Query string without the `?`.
    pub query: Option<&'a str>,
    /// The body, exactly as sent.
    pub body: &'a Bytes,
}

impl<'a> Incoming<'a> {
    /// The first value of a header, trimmed. None if it is absent, empty or not visible ASCII.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let value = self.headers.get(name)?.to_str().ok()?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// The value of a header that proves something: absent and empty are one thing, and two of them would be two opinions on
    /// one question, so that is refused.
    pub(crate) fn sole(&self, name: &str) -> Result<&'a str, Rejection> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().ok_or(Rejection::MissingSignature)?;
        if values.next().is_some() {
            return Err(Rejection::Malformed("a header that authenticates is there more than once"));
        }
        let value =
            value.to_str().map_err(|_| Rejection::Malformed("a header that authenticates is not ASCII"))?.trim();
        if value.is_empty() { Err(Rejection::MissingSignature) } else { Ok(value) }
    }

    /// Media type of the body without parameters, e.g. `application/json`; empty if not told.
    pub fn media_type(&self) -> &'a str {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim()
    }

    /// Whether the body has this media type.
    pub fn is(&self, media_type: &str) -> bool {
        self.media_type().eq_ignore_ascii_case(media_type)
    }
}

/// Media type of a form.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// The field `payload` of a form, decoded; the first one, if there are several.
pub(crate) fn form_payload(body: &[u8]) -> Option<Vec<u8>> {
    let field = body.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(b"payload="))?;
    let spaces: Vec<u8> = field.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    Some(match Cow::from(percent_decode(&spaces)) {
        Cow::Owned(decoded) => decoded,
        Cow::Borrowed(_) => spaces,
    })
}

/// The headers that go into the log: in the order received, names in lower case, without those that carry a credential in
/// clear (`Authorization`, `Proxy-Authorization`, `Cookie`, `X-Gitlab-Token`, and the endpoint's token header). Signatures
/// stay: they prove the body and give nothing away. Bytes that are not UTF-8 become U+FFFD, since a resource can only hold
/// text.
pub fn recorded_headers(headers: &HeaderMap, policy: &Policy) -> Vec<Header> {
    headers
        .iter()
        .filter(|(name, _)| {
            *name != AUTHORIZATION
                && *name != PROXY_AUTHORIZATION
                && *name != COOKIE
                && name.as_str() != "x-gitlab-token"
                && policy.token_header() != Some(*name)
        })
        .map(|(name, value)| Header {
            name: name.as_str().to_owned(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use roadstead_api::endpoint::{Algorithm, Provider, Verify, WebhookEndpointSpec};

    use super::*;
    use crate::verify::Secret;

    #[test]
    fn finds_the_payload_of_a_form() {
        for (body, payload) in [
            ("payload=%7B%22a%22%3A1%7D", Some("{\"a\":1}")),
            ("a=b&payload=x+y%2Bz&payload=2", Some("x y+z")),
            ("payload=", Some("")),
            ("payload=%zz%4", Some("%zz%4")),
            ("payloads=1", None),
            ("", None),
        ] {
            assert_eq!(form_payload(body.as_bytes()).as_deref(), payload.map(str::as_bytes), "{body}");
        }
    }

    #[test]
    fn credentials_are_not_recorded_and_odd_bytes_do_no_harm() {
        let spec = WebhookEndpointSpec {
            provider: Provider::Generic,
            verify: Some(Verify { header: "X-My-Token".into(), algorithm: Algorithm::Token, ..Verify::default() }),
            ..WebhookEndpointSpec::default()
        };
        let policy = Policy::compile(&spec, vec![Secret::new("s3cret")]).unwrap();
        let mut headers = HeaderMap::new();
        for name in ["Authorization", "proxy-authorization", "COOKIE", "X-GitLab-Token", "X-My-Token"] {
            let name: http::HeaderName = name.parse().unwrap();
            headers.insert(name, HeaderValue::from_static("s3cret"));
        }
        headers.append("X-Hub-Signature-256", HeaderValue::from_static("sha256=00"));
        headers.append("x-odd", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        headers.append("x-odd", HeaderValue::from_static("second"));
        let recorded = recorded_headers(&headers, &policy);
        let lines: Vec<_> = recorded.iter().map(|h| format!("{}: {}", h.name, h.value)).collect();
        assert_eq!(lines, ["x-hub-signature-256: sha256=00", "x-odd: caf\u{fffd}", "x-odd: second"]);
    }
}
