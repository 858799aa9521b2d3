//! Secrets at rest: AES-256-GCM under a key that lives in a file of its own, possibly elsewhere than the store.
//!
//! A sealed body is `0x01`, a random 96-bit nonce, the ciphertext and the tag (NIST SP 800-38D). The resource, namespace and
//! name are bound in as associated data, so that a body cannot be moved to another object. Random nonces are safe for far
//! more writes (2^32) than a store of this size sees. Plain bodies are JSON and start with `{`, so the two are told apart.

use std::{fs, io::ErrorKind, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};

use super::error::OpenError;
use crate::files;

/// First byte of a sealed body.
const SEALED: u8 = 1;
/// First word of the key file.
const KEY_MARK: &str = "roadstead-store-key-1";

/// Seals and opens bodies.
pub struct Cipher {
    key: LessSafeKey,
    random: SystemRandom,
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher")
    }
}

impl Cipher {
    /// Reads the key from `path`; with `create`, makes a new one (mode 0600) if the file is not there.
    pub fn from_file(path: &Path, create: bool) -> Result<Self, OpenError> {
        let refuse = |reason: &str| OpenError::Key { path: path.into(), reason: reason.into() };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && create => create_key(path)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(refuse("it is missing; put back the one that the store was made with"));
            }
            Err(source) => return Err(OpenError::Io { path: path.into(), source }),
        };
        let key = text
            .trim()
            .strip_prefix(KEY_MARK)
            .and_then(|key| STANDARD.decode(key.trim()).ok())
            .and_then(|key| UnboundKey::new(&AES_256_GCM, &key).ok())
            .ok_or_else(|| refuse("it is not a key file, or is cut off"))?;
        Ok(Self { key: LessSafeKey::new(key), random: SystemRandom::new() })
    }

    /// Seals `plain` for the object named by `context`. `None` only if the system has no random numbers.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut body = plain.to_vec();
        let tag = self
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut body)
            .ok()?;
        Some([&[SEALED], &nonce[..], &body, tag.as_ref()].concat())
    }

    /// Opens a sealed body. `None`: another key, another object, or damage.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.strip_prefix(&[SEALED])?.split_at_checked(NONCE_LEN)?;
        let mut body = body.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = self.key.open_in_place(nonce, Aad::from(context), &mut body).ok()?.len();
        body.truncate(length);
        Some(body)
    }
}

/// Whether a body must be opened before use.
pub fn is_sealed(body: &[u8]) -> bool {
    body.first() == Some(&SEALED)
}

fn create_key(path: &Path) -> Result<String, OpenError> {
    let mut key = [0; 32];
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_| OpenError::Key { path: path.into(), reason: "the system has no random numbers".into() })?;
    let text = format!("{KEY_MARK} {}\n", STANDARD.encode(key));
    // Half a key would refuse every later start.
    files::write_private(path, text.as_bytes()).map_err(OpenError::io(path))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn bodies_open_only_with_their_key_and_for_their_object() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a.key"), dir.path().join("b.key"));
        let cipher = Cipher::from_file(&path, true).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let sealed = cipher.seal("secrets/a/x", b"{\"hunter\":2}").unwrap();
        assert!(is_sealed(&sealed) && !sealed.windows(6).any(|w| w == b"hunter"));
        let again = Cipher::from_file(&path, false).unwrap();
        assert_eq!(again.open("secrets/a/x", &sealed).unwrap(), b"{\"hunter\":2}");
        assert_eq!(again.open("secrets/a/y", &sealed), None);
        assert_eq!(Cipher::from_file(&other, true).unwrap().open("secrets/a/x", &sealed), None);
        for cut in [0, 1, 12, sealed.len() - 1] {
            assert_eq!(again.open("secrets/a/x", &sealed[..cut]), None);
        }
    }

    #[test]
    fn a_missing_or_broken_key_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        assert!(matches!(Cipher::from_file(&path, false), Err(OpenError::Key { .. })));
        fs::write(&path, "roadstead-store-key-1 AAAA\n").unwrap();
        assert!(matches!(Cipher::from_file(&path, true), Err(OpenError::Key { .. })));
    }
}
