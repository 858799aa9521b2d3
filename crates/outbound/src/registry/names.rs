//! Names that may stand in a registry's URL. They come from payloads: what is not one by the OCI distribution specification never
//! reaches a URL.

use ring::digest;

use super::RegistryError;

/// A repository: parts of lower-case letters and digits, joined by `.`, `_`, `__` or dashes, separated by `/`.
pub(super) fn check_repository(name: &str) -> Result<&str, RegistryError> {
    let part = |part: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        edge(part.as_bytes().first())
            && edge(part.as_bytes().last())
            && part.bytes().all(inner)
            && !["..", "___", "._", "_.", ".-", "-.", "_-", "-_"].iter().any(|pair| part.contains(pair))
    };
    let good = name.len() <= 255 && name.split('/').all(part);
    if good { Ok(name) } else { Err(bad(name, "repository")) }
}

/// A tag, or a digest.
pub(super) fn check_reference(reference: &str) -> Result<&str, RegistryError> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let tag = reference.len() <= 128
        && reference.bytes().next().is_some_and(word)
        && reference.bytes().all(|byte| word(byte) || b".-".contains(&byte));
    if tag || is_digest(reference) { Ok(reference) } else { Err(bad(reference, "tag or digest")) }
}

/// Whether a name is one that a tag can have.
pub(crate) fn is_tag(name: &str) -> bool {
    !name.contains(':') && check_reference(name).is_ok()
}

/// `sha256:` and 64 digits, or another algorithm and at least 32.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, encoded)) = text.split_once(':') else { return false };
    let name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+._-".contains(&byte);
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match algorithm {
        "sha256" => encoded.len() == 64 && encoded.bytes().all(digit),
        _ => {
            !algorithm.is_empty()
                && algorithm.bytes().all(name)
                && (32..=256).contains(&encoded.len())
                && encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=_-".contains(&byte))
        }
    }
}

/// Digest of a manifest's bytes.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(digest::digest(&digest::SHA256, bytes).as_ref()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bad(name: &str, what: &'static str) -> RegistryError {
    RegistryError::BadName(format!("{:?}", name.chars().take(80).collect::<String>()), what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_specification_are_taken_and_others_never() {
        for good in ["a", "hello-world", "library/busybox", "a/b/c/d", "a.b_c__d-e", "a--b", "0"] {
            assert!(check_repository(good).is_ok(), "{good}");
        }
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a b", "a/..", "../a", ".", "a..b", "-a", "a-", "a?b", "a#b", "a%2fb",
            "é", "a._b",
        ] {
            assert!(check_repository(bad).is_err(), "{bad}");
        }
        assert!(check_repository(&"a/".repeat(128)).is_err());
        let digest = format!("sha256:{}", "0a".repeat(32));
        for good in ["latest", "v1.2.3", "_x", "1-2", &digest, &format!("sha512:{}", "0".repeat(128))] {
            assert!(check_reference(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".x",
            "-x",
            "a/b",
            "a b",
            "sha256:",
            "sha256:00",
            &digest.to_uppercase(),
            ":x",
            "a?b",
            &"x".repeat(129),
        ] {
            assert!(check_reference(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn digests_bytes() {
        // FIPS 180-4, the empty message.
        assert_eq!(digest_of(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
