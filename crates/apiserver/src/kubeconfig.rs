//! The administrator's way in: a token made at the first start, and the kubeconfig that carries it.
//!
//! The token is in the kubeconfig alone (mode 0600); beside it only its hash is kept. Whoever removes the kubeconfig gets a
//! new one with a new token at the next start, and the old token is no longer good.

use std::{fs, io, path::Path};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};

use crate::files;

/// Prefix of the administrator's token, so that it is recognised where it should not be.
const TOKEN_PREFIX: &str = "radm_";

/// A token in clear; shown to nobody but the kubeconfig.
#[derive(Clone)]
pub struct AdminToken(String);

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken")
    }
}

impl AdminToken {
    /// The token of the kubeconfig in `dir` if its hash is the one kept there, else a new one, whose hash is kept from now on.
    ///
    /// # Errors
    /// When the files cannot be read or written.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let hash_path = dir.join("admin-token.sha256");
        if let (Some(config), Some(hash)) = (read(&dir.join("kubeconfig"))?, read(&hash_path)?)
            && let Some(token) = token_of(&config)
            && hex(&token.sha256()) == hash.trim()
        {
            return Ok(token);
        }
        let token = Self::random()?;
        files::write_private(&hash_path, format!("{}\n", hex(&token.sha256())).as_bytes())?;
        Ok(token)
    }

    /// A new token: 256 random bits.
    ///
    /// # Errors
    /// Only if the system has no random numbers.
    pub fn random() -> io::Result<Self> {
        let mut secret = [0; 32];
        SystemRandom::new().fill(&mut secret).map_err(|_| io::Error::other("the system has no random numbers"))?;
        Ok(Self(format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(secret))))
    }

    /// What may be kept of it.
    pub fn sha256(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, self.0.as_bytes()).as_ref());
        hash
    }
}

/// A kubeconfig for `server` (an https URL) that trusts `ca` (PEM).
pub fn render(server: &str, ca: &str, token: &AdminToken) -> String {
    let ca = STANDARD.encode(ca);
    let token = &token.0;
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: roadstead
  cluster:
    server: {server}
    certificate-authority-data: {ca}
users:
- name: admin
  user:
    token: {token}
contexts:
- name: roadstead
  context:
    cluster: roadstead
    user: admin
    namespace: default
current-context: roadstead
"
    )
}

/// Writes the kubeconfig to `path`, mode 0600, whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, server: &str, ca: &str, token: &AdminToken) -> io::Result<()> {
    let text = render(server, ca, token);
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    files::write_private(path, text.as_bytes())
}

fn token_of(config: &str) -> Option<AdminToken> {
    let mut tokens = config.lines().filter_map(|line| line.trim().strip_prefix("token: "));
    tokens.find(|token| token.starts_with(TOKEN_PREFIX)).map(|token| AdminToken(token.trim().into()))
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_lasts_as_long_as_its_kubeconfig() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        let first = AdminToken::open(dir.path()).unwrap();
        write(&path, "https://127.0.0.1:1", "CA", &first).unwrap();
        assert_eq!(AdminToken::open(dir.path()).unwrap().0, first.0);
        let kept = fs::read_to_string(dir.path().join("admin-token.sha256")).unwrap();
        assert!(!kept.contains(&first.0));
        fs::remove_file(&path).unwrap();
        let second = AdminToken::open(dir.path()).unwrap();
        assert_ne!(second.0, first.0);
        write(&path, "https://127.0.0.1:1", "CA", &first).unwrap();
        assert_ne!(AdminToken::open(dir.path()).unwrap().0, first.0, "an old kubeconfig is not good any more");
    }

    #[test]
    fn clients_can_read_it() {
        let token = AdminToken::random().unwrap();
        let config: kube::config::Kubeconfig =
            kube::config::Kubeconfig::from_yaml(&render("https://127.0.0.1:1", "CA", &token)).unwrap();
        assert_eq!(config.current_context.as_deref(), Some("roadstead"));
        assert!(config.auth_infos[0].auth_info.as_ref().unwrap().token.is_some());
    }
}
