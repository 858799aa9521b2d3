//! Signed tokens: JSON Web Tokens with one algorithm, one key and nothing to choose.
//!
//! In: claims. Out: a token in JWS compact form (RFC 7515), signed with Ed25519 (`EdDSA`, RFC 8037), and back. Written out here
//! because so little is needed: the header of a token must be, byte for byte, the one that this key writes, so there is no
//! algorithm, key id or critical extension for a token to pick, and no parsing before the signature is verified.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use serde::{Serialize, de::DeserializeOwned};

/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 8 << 10;

/// A key pair that signs and verifies tokens.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    /// The encoded header of every token of this key.
    header: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SigningKey").field("header", &self.header).finish_non_exhaustive()
    }
}

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The system gave no randomness.
    #[error("no random numbers for a signing key")]
    Random,
    /// Not a PKCS #8 document with an Ed25519 key pair.
    #[error("not an Ed25519 key in PKCS #8 form")]
    Malformed,
}

impl SigningKey {
    /// A new key: the pair in PKCS #8 form, to be kept secret.
    pub fn generate() -> Result<Vec<u8>, KeyError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
        Ok(document.as_ref().to_vec())
    }

    /// Reads what [`generate`](Self::generate) made.
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(document).map_err(|_| KeyError::Malformed)?;
        let fingerprint = digest(&SHA256, pair.public_key().as_ref());
        let id = URL_SAFE_NO_PAD.encode(&fingerprint.as_ref()[..12]);
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"EdDSA","kid":"{id}","typ":"JWT"}}"#));
        Ok(Self { pair, header })
    }

    /// Signs `claims`.
    pub fn sign(&self, claims: &impl Serialize) -> serde_json::Result<String> {
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims)?);
        let signed = format!("{}.{payload}", self.header);
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        Ok(format!("{signed}.{signature}"))
    }

    /// The claims of a token that this key signed; `None` for everything else. Says nothing about time or audience.
    pub fn verify<T: DeserializeOwned>(&self, token: &str) -> Option<T> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let payload = signed.strip_prefix(&self.header)?.strip_prefix('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public = UnparsedPublicKey::new(&ED25519, self.pair.public_key().as_ref());
        public.verify(signed.as_bytes(), &signature).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap()
    }

    #[test]
    fn what_was_signed_verifies_with_the_same_key_alone() {
        let (one, other) = (key(), key());
        let claims = json!({"sub": "x", "aud": ["a"]});
        let token = one.sign(&claims).unwrap();
        assert_eq!(one.verify::<Value>(&token), Some(claims));
        assert_eq!(other.verify::<Value>(&token), None);
    }

    #[test]
    fn whatever_is_changed_is_refused() {
        let key = key();
        let token = key.sign(&json!({"sub": "x"})).unwrap();
        for position in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            assert_eq!(key.verify::<Value>(std::str::from_utf8(&bytes).unwrap()), None, "byte {position}");
        }
        let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!() };
        let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        for forged in [
            format!("{unsigned}.{payload}."),
            format!("{unsigned}.{payload}.{signature}"),
            format!("{header}.{payload}."),
            format!("{header}.{payload}"),
            format!("{header}.{payload}.{signature}="),
            format!("{header}.{payload}.{signature}.x"),
            format!(" {token}"),
            "x".repeat(MAX_TOKEN + 1),
            String::new(),
        ] {
            assert_eq!(key.verify::<Value>(&forged), None, "{forged}");
        }
    }
}
