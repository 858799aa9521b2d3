//! The key that signs service accounts' tokens, in a file.
//!
//! In: a path in the data directory. Out: the key; made at the first start, PEM (`PRIVATE KEY`, PKCS #8), mode 0600. A file that
//! is there but cannot be read is an error and never replaced: a new key would silently end every token.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::jwt::{KeyError, SigningKey};
use crate::files;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error("the signing key {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no key.
    #[error(
        "the signing key {path}: {source}; restore it from a backup, or remove it, which ends all tokens of service accounts"
    )]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
}

/// The key at `path`, made if there is none.
pub fn open(path: &Path) -> Result<SigningKey, KeyFileError> {
    let at = |source| KeyFileError::Io { path: path.into(), source };
    let bad = |source| KeyFileError::Key { path: path.into(), source };
    match fs::read_to_string(path) {
        Ok(text) => decode(&text).and_then(|document| SigningKey::from_pkcs8(&document)).map_err(bad),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let document = SigningKey::generate().map_err(bad)?;
            path.parent().map_or(Ok(()), files::private_dir).map_err(at)?;
            files::write_private(path, encode(&document).as_bytes()).map_err(at)?;
            SigningKey::from_pkcs8(&document).map_err(bad)
        }
        Err(error) => Err(at(error)),
    }
}

fn encode(document: &[u8]) -> String {
    format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(document))
}

fn decode(text: &str) -> Result<Vec<u8>, KeyError> {
    let body = text.trim().strip_prefix(BEGIN).and_then(|text| text.strip_suffix(END)).ok_or(KeyError::Malformed)?;
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(body).map_err(|_| KeyError::Malformed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn made_once_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pki/sa.key");
        let token = open(&path).unwrap().sign(&json!({"a": 1})).unwrap();
        assert_eq!(open(&path).unwrap().verify::<Value>(&token), Some(json!({"a": 1})));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sa.key");
        for broken in ["", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            fs::write(&path, broken).unwrap();
            assert!(matches!(open(&path), Err(KeyFileError::Key { .. })), "{broken:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), broken);
        }
    }
}
