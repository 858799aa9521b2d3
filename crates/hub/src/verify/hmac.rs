//! An HMAC of the body in a header: GitHub, Bitbucket, Gitea, Forgejo, and what a generic sender is configured to do.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use ring::hmac;
use roadstead_api::endpoint::{Algorithm, Encoding, Verify};

use super::compare::Expected;
use super::{DEFAULT_TOLERANCE_SECONDS, PolicyError, Rejection, Secret, header_name};
use crate::hex;
use crate::incoming::{FORM, Incoming, form_payload};

/// The headers to look at, in order, and the keys. The first header that is there decides.
pub(super) struct BodyHmac {
    headers: Vec<(String, String)>,
    encoding: Encoding,
    timestamp: Option<SignedTime>,
    content: Content,
    keys: Vec<hmac::Key>,
}

/// What the HMAC is over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// The body as it came.
    Body,
    /// The body as it came, or, when it is a form, its field `payload` after decoding: Gitea and Forgejo sign the document,
    /// not the form that they send it in.
    BodyOrFormPayload,
}

/// A time in a header that is signed as `<time>.<body>`.
struct SignedTime {
    header: String,
    tolerance: i64,
}

impl BodyHmac {
    /// HMAC-SHA256 in hex, in the first of these headers (name, prefix).
    pub(super) fn fixed(headers: &[(&str, &str)], content: Content, secrets: &[Secret]) -> BodyHmac {
        BodyHmac {
            headers: headers.iter().map(|(name, prefix)| ((*name).to_owned(), (*prefix).to_owned())).collect(),
            encoding: Encoding::Hex,
            timestamp: None,
            content,
            keys: secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.bytes())).collect(),
        }
    }

    /// As `spec.verify` says.
    pub(super) fn custom(verify: &Verify, secrets: &[Secret]) -> Result<BodyHmac, PolicyError> {
        let header = header_name("header", &verify.header)?;
        let algorithm = match verify.algorithm {
            Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha384 => hmac::HMAC_SHA384,
            Algorithm::Sha512 => hmac::HMAC_SHA512,
            // A token is never compiled to this; the default serves as well as any.
            Algorithm::Sha256 | Algorithm::Token => hmac::HMAC_SHA256,
        };
        let timestamp = match &verify.timestamp_header {
            None => None,
            Some(name) => Some(SignedTime {
                header: header_name("timestampHeader", name)?.as_str().to_owned(),
                tolerance: tolerance(verify.tolerance.as_deref())?,
            }),
        };
        Ok(BodyHmac {
            headers: vec![(header.as_str().to_owned(), verify.prefix.clone())],
            encoding: verify.encoding,
            timestamp,
            content: Content::Body,
            keys: secrets.iter().map(|secret| hmac::Key::new(algorithm, secret.bytes())).collect(),
        })
    }

    pub(super) fn check(&self, incoming: &Incoming<'_>, now: Timestamp) -> Result<(), Rejection> {
        let (name, prefix) = self
            .headers
            .iter()
            .find(|(name, _)| incoming.headers.contains_key(name))
            .ok_or(Rejection::MissingSignature)?;
        let text = incoming.sole(name)?;
        let text =
            text.strip_prefix(prefix.trim()).ok_or(Rejection::Malformed("the signature lacks its prefix"))?.trim();
        if text.is_empty() {
            return Err(Rejection::MissingSignature);
        }
        let tag = match self.encoding {
            Encoding::Hex => hex::decode(text),
            Encoding::Base64 => STANDARD.decode(text).ok(),
        };
        let tag = tag.ok_or(Rejection::Malformed("the signature is not in its encoding"))?;
        let time = match &self.timestamp {
            None => None,
            Some(time) => {
                let text = incoming.sole(&time.header)?;
                check_time(text, now, time.tolerance)?;
                Some(text)
            }
        };
        if self.signed(time, incoming.body, &tag) {
            return Ok(());
        }
        let form = self.content == Content::BodyOrFormPayload && incoming.is(FORM);
        match form.then(|| form_payload(incoming.body)).flatten() {
            Some(payload) if self.signed(time, &payload, &tag) => Ok(()),
            _ => Err(Rejection::BadSignature),
        }
    }

    fn signed(&self, time: Option<&str>, content: &[u8], tag: &[u8]) -> bool {
        self.keys.iter().any(|key| match time {
            None => hmac::verify(key, content, tag).is_ok(),
            Some(time) => {
                let mut context = hmac::Context::with_key(key);
                context.update(time.as_bytes());
                context.update(b".");
                context.update(content);
                Expected::new(context.sign().as_ref()).is(tag)
            }
        })
    }
}

impl fmt::Debug for BodyHmac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyHmac").field("headers", &self.headers).finish_non_exhaustive()
    }
}

/// Whether a time in Unix seconds is at most `tolerance` seconds away from now, either way.
pub(super) fn check_time(text: &str, now: Timestamp, tolerance: i64) -> Result<(), Rejection> {
    let time: i64 = text.parse().map_err(|_| Rejection::Malformed("the signed time is not in Unix seconds"))?;
    if time.abs_diff(now.as_second()) <= tolerance.unsigned_abs() { Ok(()) } else { Err(Rejection::StaleTimestamp) }
}

fn tolerance(text: Option<&str>) -> Result<i64, PolicyError> {
    let Some(text) = text else { return Ok(DEFAULT_TOLERANCE_SECONDS) };
    let duration: Option<SignedDuration> = text.parse().ok();
    duration
        .map(|duration| duration.as_secs())
        .filter(|seconds| (1..=86_400).contains(seconds))
        .ok_or_else(|| PolicyError::BadTolerance(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_within_its_tolerance_both_ways() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (text, expected) in [
            ("1000000", Ok(())),
            ("999700", Ok(())),
            ("1000300", Ok(())),
            ("999699", Err(Rejection::StaleTimestamp)),
            ("1000301", Err(Rejection::StaleTimestamp)),
            ("-9223372036854775808", Err(Rejection::StaleTimestamp)),
            ("9223372036854775807", Err(Rejection::StaleTimestamp)),
        ] {
            assert_eq!(check_time(text, now, 300), expected, "{text}");
        }
        for text in ["", "1000000.5", "1e6", "9223372036854775808", "now"] {
            assert!(matches!(check_time(text, now, 300), Err(Rejection::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn reads_tolerances() {
        assert_eq!(tolerance(None), Ok(300));
        assert_eq!(tolerance(Some("5m")), Ok(300));
        assert_eq!(tolerance(Some("24h")), Ok(86_400));
        for bad in ["", "0s", "-5m", "25h", "soon", "5"] {
            assert_eq!(tolerance(Some(bad)), Err(PolicyError::BadTolerance(bad.into())), "{bad}");
        }
    }
}
