//! Comparing two byte strings without telling, by time, where they differ or how long they are.
//!
//! Both are put through an HMAC under one fixed key, and the tags are compared in constant time: equal tags mean equal
//! strings. The key need not be secret, since the tags are never shown.

use std::sync::LazyLock;

use ring::hmac;

static KEY: LazyLock<hmac::Key> = LazyLock::new(|| hmac::Key::new(hmac::HMAC_SHA256, b"roadstead compare"));

/// One side of a comparison, kept as a tag.
pub(super) struct Expected(hmac::Tag);

impl Expected {
    pub(super) fn new(bytes: &[u8]) -> Expected {
        Expected(hmac::sign(&KEY, bytes))
    }

    pub(super) fn is(&self, candidate: &[u8]) -> bool {
        hmac::verify(&KEY, candidate, self.0.as_ref()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_are_the_same() {
        let long = [7u8; 200];
        for (a, b, same) in [
            (&b"abc"[..], &b"abc"[..], true),
            (b"", b"", true),
            (b"abc", b"abd", false),
            (b"abc", b"abc\0", false),
            (b"abc", b"ab", false),
            (b"abc", b"", false),
            (&long, &long[..199], false),
        ] {
            assert_eq!(Expected::new(a).is(b), same, "{a:?} {b:?}");
        }
    }
}
