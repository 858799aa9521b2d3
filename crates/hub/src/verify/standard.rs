//! Standard Webhooks: `webhook-id`, `webhook-timestamp` and a list of signatures over `<id>.<timestamp>.<body>`.
//!
//! Source: the specification, version 1.0.0 (github.com/standard-webhooks/standard-webhooks). `v1` is HMAC-SHA256 under a
//! secret `whsec_<base64>`, `v1a` is Ed25519 under a public key `whpk_<base64>`. A sender that rotates signs with both keys and
//! sends both signatures, so one that verifies is enough, and unknown versions are passed over.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::{hmac, signature};

use super::compare::Expected;
use super::hmac::check_time;
use super::{DEFAULT_TOLERANCE_SECONDS, PolicyError, Rejection, Secret};
use crate::incoming::Incoming;

/// Signatures looked at in one delivery; a sender in rotation sends two.
const MAX_SIGNATURES: usize = 16;

/// Keys of one endpoint.
pub(super) struct StandardWebhooks {
    symmetric: Vec<hmac::Key>,
    public: Vec<signature::UnparsedPublicKey<Vec<u8>>>,
}

impl StandardWebhooks {
    /// Secrets as the specification writes them: `whsec_` and base64 (or the base64 alone, as its libraries also take it), or
    /// `whpk_` and base64 of a public key.
    pub(super) fn strict(secrets: &[Secret]) -> Result<StandardWebhooks, PolicyError> {
        let mut keys = StandardWebhooks { symmetric: Vec::new(), public: Vec::new() };
        for (index, secret) in secrets.iter().enumerate() {
            let bytes = secret.bytes();
            if let Some(text) = bytes.strip_prefix(b"whpk_") {
                let key = STANDARD.decode(text).ok().filter(|key| key.len() == 32);
                let expected = "whpk_ and the base64 of 32 bytes";
                let key = key.ok_or(PolicyError::BadSecret { index, expected })?;
                keys.public.push(signature::UnparsedPublicKey::new(&signature::ED25519, key));
            } else {
                let text = bytes.strip_prefix(b"whsec_").unwrap_or(bytes);
                let key = STANDARD.decode(text).ok().filter(|key| !key.is_empty());
                let expected = "whsec_ and the base64 of the key, or whpk_ and the base64 of a public key";
                let key = key.ok_or(PolicyError::BadSecret { index, expected })?;
                keys.symmetric.push(hmac::Key::new(hmac::HMAC_SHA256, &key));
            }
        }
        Ok(keys)
    }

    /// For senders that borrow the scheme but let people choose any secret: its bytes are a key, and, where it is written like
    /// one of the specification's keys, so is what that decodes to.
    pub(super) fn lenient(secrets: &[Secret]) -> StandardWebhooks {
        let mut keys = StandardWebhooks { symmetric: Vec::new(), public: Vec::new() };
        for secret in secrets {
            keys.symmetric.push(hmac::Key::new(hmac::HMAC_SHA256, secret.bytes()));
            if secret.bytes().starts_with(b"whsec_") || secret.bytes().starts_with(b"whpk_") {
                let decoded = Self::strict(&[Secret::new(secret.bytes())]);
                if let Ok(decoded) = decoded {
                    keys.symmetric.extend(decoded.symmetric);
                    keys.public.extend(decoded.public);
                }
            }
        }
        keys
    }

    pub(super) fn check(&self, incoming: &Incoming<'_>, now: Timestamp) -> Result<(), Rejection> {
        let signatures = incoming.sole("webhook-signature")?;
        let id = incoming.sole("webhook-id")?;
        let time = incoming.sole("webhook-timestamp")?;
        if id.contains('.') {
            return Err(Rejection::Malformed("webhook-id contains a full stop"));
        }
        check_time(time, now, DEFAULT_TOLERANCE_SECONDS)?;
        let mut known = false;
        let mut tags = Vec::new();
        for (version, text) in signatures.split_whitespace().take(MAX_SIGNATURES).filter_map(|s| s.split_once(',')) {
            let list = match version {
                "v1" => Version::Symmetric,
                "v1a" => Version::Public,
                _ => continue,
            };
            known = true;
            if let Ok(tag) = STANDARD.decode(text) {
                tags.push((list, tag));
            }
        }
        if !known {
            return Err(Rejection::Malformed("webhook-signature has no v1 or v1a signature"));
        }
        if self.symmetric(id, time, incoming.body, &tags) || self.public(id, time, incoming.body, &tags) {
            Ok(())
        } else {
            Err(Rejection::BadSignature)
        }
    }

    fn symmetric(&self, id: &str, time: &str, body: &[u8], tags: &[(Version, Vec<u8>)]) -> bool {
        let sent: Vec<_> = tags.iter().filter(|(version, _)| *version == Version::Symmetric).collect();
        // The body is hashed once for each key, however many signatures there are.
        !sent.is_empty()
            && self.symmetric.iter().any(|key| {
                let mut context = hmac::Context::with_key(key);
                for part in [id.as_bytes(), b".", time.as_bytes(), b".", body] {
                    context.update(part);
                }
                let expected = Expected::new(context.sign().as_ref());
                sent.iter().any(|(_, tag)| expected.is(tag))
            })
    }

    fn public(&self, id: &str, time: &str, body: &[u8], tags: &[(Version, Vec<u8>)]) -> bool {
        let sent: Vec<_> = tags.iter().filter(|(version, _)| *version == Version::Public).collect();
        if sent.is_empty() || self.public.is_empty() {
            return false;
        }
        let message = [id.as_bytes(), b".", time.as_bytes(), b".", body].concat();
        self.public.iter().any(|key| sent.iter().any(|(_, tag)| key.verify(&message, tag).is_ok()))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Symmetric,
    Public,
}

impl fmt::Debug for StandardWebhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StandardWebhooks")
    }
}
