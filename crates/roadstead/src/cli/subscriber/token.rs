//! Tokens of a subscriber: made here, kept only as hashes, replaced with an overlap.

use std::time::Duration;

use anyhow::{Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use roadstead_api::names::TOKEN_PREFIX;
use roadstead_api::subscriber::TokenHash;

use crate::cli::failure::Failure;

/// Most tokens that a subscriber may have; the schema says the same.
const MOST: usize = 8;

/// A new token, 256 random bits: `rsub_` and 43 characters of base64url.
pub fn new() -> Result<String> {
    let mut random = [0u8; 32];
    SystemRandom::new().fill(&mut random).map_err(|_| anyhow!("the system gives no random numbers"))?;
    Ok(format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// What the control plane keeps of a token.
pub fn hash(token: &str, now: Timestamp, lifetime: Option<Duration>) -> TokenHash {
    TokenHash {
        sha256: digest(&SHA256, token.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
        created_at: Some(now.to_string()),
        expires_at: lifetime.map(|lifetime| after(now, lifetime).to_string()),
    }
}

/// The tokens after a rotation: those that have expired are gone, the others expire after `overlap` at the latest, the new one is last.
pub fn rotate(
    tokens: &[TokenHash],
    new: TokenHash,
    now: Timestamp,
    overlap: Duration,
) -> Result<Vec<TokenHash>, Failure> {
    let end = after(now, overlap);
    let mut kept: Vec<TokenHash> = Vec::with_capacity(tokens.len() + 1);
    for token in tokens {
        let expires = token.expires_at.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        let expires = expires.map_or(end, |expires| expires.min(end));
        if expires > now {
            kept.push(TokenHash { expires_at: Some(expires.to_string()), ..token.clone() });
        }
    }
    if kept.len() >= MOST {
        return Err(Failure::Conflict(format!(
            "it has {MOST} valid tokens already: rotate with --overlap 0s, or revoke them all first"
        )));
    }
    kept.push(new);
    Ok(kept)
}

/// Later by a duration, or the end of time as timestamps know it.
fn after(now: Timestamp, duration: Duration) -> Timestamp {
    now.checked_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn old(expires: Option<&str>) -> TokenHash {
        TokenHash { sha256: "aa".into(), created_at: None, expires_at: expires.map(Into::into) }
    }

    const NOW: &str = "2026-11-20T10:00:00Z";
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn tokens_are_long_random_and_recognisable() {
        let (one, two) = (new().unwrap(), new().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), 5 + 43);
        assert!(one.starts_with("rsub_"));
    }

    #[test]
    fn only_the_hash_is_kept() {
        let kept = hash("rsub_test", at(NOW), Some(DAY));
        // printf rsub_test | sha256sum
        assert_eq!(kept.sha256, "f36d17cdcd413d0c5697158b688f00080085c0d0eee78e3349520a20861bcdbe");
        assert_eq!(kept.expires_at.as_deref(), Some("2026-11-21T10:00:00Z"));
    }

    #[test]
    fn rotation_overlaps_and_forgets_what_expired() {
        let table = [
            (None, DAY, Some("2026-11-21T10:00:00Z")),
            (Some("2026-11-20T11:00:00Z"), DAY, Some("2026-11-20T11:00:00Z")),
            (Some("2026-12-20T11:00:00Z"), DAY, Some("2026-11-21T10:00:00Z")),
            (Some("2026-11-20T09:59:59Z"), DAY, None),
            (None, Duration::ZERO, None),
        ];
        for (expires, overlap, expected) in table {
            let tokens = rotate(&[old(expires)], old(None), at(NOW), overlap).unwrap();
            let kept = tokens.split_last().unwrap().1.first().and_then(|token| token.expires_at.as_deref());
            assert_eq!(kept, expected, "{expires:?} {overlap:?}");
            assert_eq!(tokens.last().unwrap().expires_at, None);
        }
    }

    #[test]
    fn there_is_a_most() {
        let many = vec![old(None); MOST];
        assert!(rotate(&many, old(None), at(NOW), DAY).is_err());
        assert_eq!(rotate(&many, old(None), at(NOW), Duration::ZERO).unwrap().len(), 1);
    }
}
