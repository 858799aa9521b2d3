//! Signatures as Standard Webhooks has them: `v1` (HMAC-SHA256) and `v1a` (Ed25519) over `<id>.<timestamp>.<body>`.
//!
//! In: the value of a Secret's key, which may hold several keys while one is rotated. Out: the header `webhook-signature`, one
//! signature for each key, separated by spaces, so that a receiver that knows any of them is content. A key may have an end,
//! `whsec_...;until=2026-11-21T09:00:00Z`, after which it signs no more. Source: the specification, version 1.0.0
//! (github.com/standard-webhooks/standard-webhooks).

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{hmac, signature::Ed25519KeyPair};
use roadstead_reconcile::Secret;

/// Most keys that sign at once; rotating needs two.
const MAX_KEYS: usize = 4;

/// Why a Secret's value signs nothing. Never tells the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no key in it.
    #[error("it is empty")]
    Empty,
    /// There are too many.
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    /// All of them have an end.
    #[error("every key in it has an end; one must not")]
    AllEnd,
    /// One of them cannot be read.
    #[error(
        "key {0} is neither whsec_ and the base64 of 24 to 64 bytes nor whsk_ and the base64 of an ed25519 private key"
    )]
    Bad(usize),
}

/// The keys of one webhook. `Debug` tells nothing of them.
pub struct Signer(Vec<Dated>);

/// A key and, in seconds since 1970, its end.
struct Dated {
    key: Key,
    until: Option<i64>,
}

enum Key {
    Symmetric(hmac::Key),
    Private(Ed25519KeyPair),
}

impl Signer {
    /// Reads keys that are separated by white space. A private key is its 32 byte seed, or that and the 32 byte public key.
    ///
    /// # Errors
    /// Which key cannot be used, counted from 1.
    pub fn new(secret: &Secret) -> Result<Self, KeyError> {
        let texts = secret.bytes().split(u8::is_ascii_whitespace).filter(|text| !text.is_empty());
        let mut keys = Vec::new();
        for (index, text) in texts.enumerate() {
            if index == MAX_KEYS {
                return Err(KeyError::TooMany);
            }
            keys.push(Dated::read(text).ok_or(KeyError::Bad(index + 1))?);
        }
        match keys.iter().any(|key| key.until.is_none()) {
            true => Ok(Self(keys)),
            false if keys.is_empty() => Err(KeyError::Empty),
            false => Err(KeyError::AllEnd),
        }
    }

    /// The header `webhook-signature` for a message. `timestamp` is in seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let head = format!("{id}.{timestamp}.");
        let mut header = String::with_capacity(self.0.len() * 92);
        for Dated { key, .. } in self.0.iter().filter(|key| key.until.is_none_or(|until| timestamp < until)) {
            if !header.is_empty() {
                header.push(' ');
            }
            let (version, tag) = key.sign(head.as_bytes(), body);
            header.push_str(version);
            STANDARD.encode_string(tag, &mut header);
        }
        header
    }
}

impl Dated {
    fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (key, until) = match text.split_once(";until=") {
            Some((key, until)) => (key, Some(until.parse::<jiff::Timestamp>().ok()?.as_second())),
            None => (text, None),
        };
        Some(Self { key: Key::read(key.as_bytes())?, until })
    }
}

impl Key {
    fn read(text: &[u8]) -> Option<Self> {
        if let Some(text) = text.strip_prefix(b"whsk_") {
            let bytes = STANDARD.decode(text).ok()?;
            let pair = match bytes.len() {
                32 => Ed25519KeyPair::from_seed_unchecked(&bytes),
                64 => Ed25519KeyPair::from_seed_and_public_key(&bytes[..32], &bytes[32..]),
                _ => return None,
            };
            return pair.ok().map(Self::Private);
        }
        let bytes = STANDARD.decode(text.strip_prefix(b"whsec_")?).ok()?;
        (24..=64).contains(&bytes.len()).then(|| Self::Symmetric(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The version's name with its comma, and the bytes of the signature.
    fn sign(&self, head: &[u8], body: &[u8]) -> (&'static str, Vec<u8>) {
        match self {
            Self::Symmetric(key) => {
                let mut context = hmac::Context::with_key(key);
                context.update(head);
                context.update(body);
                ("v1,", context.sign().as_ref().to_vec())
            }
            Self::Private(pair) => ("v1a,", pair.sign(&[head, body].concat()).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ring::signature::{ED25519, KeyPair, UnparsedPublicKey};

    use super::*;

    fn signer(text: &str) -> Result<Signer, KeyError> {
        Signer::new(&Secret::new(text))
    }

    /// The vector of the specification's own libraries.
    #[test]
    fn the_published_vector_comes_out() {
        let signer = signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let header = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(header, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn private_keys_are_a_seed_or_the_pair_and_their_public_key_verifies() {
        let seed = [7u8; 32];
        let public = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap().public_key().as_ref().to_vec();
        let pair = [&seed[..], &public].concat();
        for key in [&seed[..], &pair] {
            let header = signer(&format!("whsk_{}", STANDARD.encode(key))).unwrap().sign("msg_1", 5, b"{}");
            let tag = STANDARD.decode(header.strip_prefix("v1a,").unwrap()).unwrap();
            UnparsedPublicKey::new(&ED25519, &public).verify(b"msg_1.5.{}", &tag).unwrap();
        }
        let foreign = [&seed[..], &[9; 32]].concat();
        assert_eq!(signer(&format!("whsk_{}", STANDARD.encode(foreign))).unwrap_err(), KeyError::Bad(1));
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_told() {
        let good = format!("whsec_{}", STANDARD.encode([1; 24]));
        let many = [good.as_str(); MAX_KEYS + 1].join(" ");
        let short = format!("whsec_{}", STANDARD.encode([1; 23]));
        let long = format!("whsec_{}", STANDARD.encode([1; 65]));
        let second = format!("{good} hunter2hunter2");
        for (text, error) in [
            ("", KeyError::Empty),
            (" \n", KeyError::Empty),
            ("hunter2hunter2", KeyError::Bad(1)),
            (&second, KeyError::Bad(2)),
            (&short, KeyError::Bad(1)),
            (&long, KeyError::Bad(1)),
            ("whsk_AAAA", KeyError::Bad(1)),
            (&many, KeyError::TooMany),
        ] {
            let found = signer(text).unwrap_err();
            assert_eq!(found, error, "{text}");
            assert!(!found.to_string().contains("hunter2"));
        }
        assert_eq!(format!("{:?}", signer(&good).unwrap()), "Signer");
    }

    #[test]
    fn a_key_signs_until_its_end() {
        let key = |byte: u8| format!("whsec_{}", STANDARD.encode([byte; 24]));
        let both = signer(&format!("{} {};until=1970-01-01T00:01:40Z", key(1), key(2))).unwrap();
        assert_eq!(both.sign("m", 99, b"{}").split(' ').count(), 2);
        assert_eq!(both.sign("m", 100, b"{}"), signer(&key(1)).unwrap().sign("m", 100, b"{}"));
        let ends = format!("{};until=1970-01-01T00:01:40Z", key(2));
        assert_eq!(signer(&ends).unwrap_err(), KeyError::AllEnd);
        assert_eq!(signer(&format!("{};until=soon", key(2))).unwrap_err(), KeyError::Bad(1));
    }

    proptest! {
        /// The crate of the specification's authors takes what we sign with any of the keys, and nothing that was changed.
        #[test]
        fn the_official_library_verifies(
            first in proptest::collection::vec(any::<u8>(), 24..64),
            second in proptest::collection::vec(any::<u8>(), 24..64),
            text in ".{0,100}",
        ) {
            let secret = |key: &[u8]| format!("whsec_{}", STANDARD.encode(key));
            let (body, now) = (text.as_bytes(), jiff::Timestamp::now().as_second());
            let header = signer(&format!("{}\n{}", secret(&first), secret(&second))).unwrap().sign("msg_x", now, body);
            let mut headers = http::HeaderMap::new();
            headers.insert("webhook-id", "msg_x".parse().unwrap());
            headers.insert("webhook-timestamp", now.to_string().parse().unwrap());
            headers.insert("webhook-signature", header.parse().unwrap());
            for key in [&first, &second] {
                let theirs = standardwebhooks::Webhook::new(&secret(key)).unwrap();
                theirs.verify(body, &headers).unwrap();
                let changed = format!("{text} ");
                prop_assert!(theirs.verify(changed.as_bytes(), &headers).is_err());
            }
        }
    }
}
