//! The layout of the data directory.
//!
//! | path | what |
//! |---|---|
//! | `store.db`, `secrets.key`, `pki/`, `audit.log` | the control plane: objects, the key of Secrets, the authority, who did what |
//! | `log/` | the event log |
//! | `deliveries/` | the delivery log of registry webhooks |
//! | `tags.db`, `polled.db` | what is known of the tags of endpoints' and of polled registries; learnt again if it is missing |
//! | `kubeconfig` | the administrator's, mode 0600 |
//! | `addresses.json` | where a running `up` listens |

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// A data directory that exists and belongs to us alone.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Makes the directory (mode 0700), or checks that nobody else may read it.
    pub fn open(path: &Path) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("can't make the data directory {}", path.display()))?;
        let mode =
            fs::metadata(path).with_context(|| format!("can't look at {}", path.display()))?.permissions().mode();
        if mode & 0o077 != 0 {
            let is_new = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
            if !is_new {
                bail!(
                    "{} may be read by others (mode {:o}): it will hold keys; run `chmod 700 {}`",
                    path.display(),
                    mode & 0o777,
                    path.display()
                );
            }
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        }
        Ok(Self(fs::canonicalize(path)?))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The event log's part.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The delivery log's part.
    pub fn deliveries(&self) -> PathBuf {
        self.0.join("deliveries")
    }

    /// What is known of registries' tags.
    pub fn tags(&self) -> PathBuf {
        self.0.join("tags.db")
    }

    /// What is known of the tags of polled registries.
    pub fn polled(&self) -> PathBuf {
        self.0.join("polled.db")
    }

    /// Where data goes if nothing is said: `$XDG_DATA_HOME/roadstead` or `~/.local/share/roadstead`.
    pub fn default_path() -> Result<PathBuf> {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
        let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|p| p.is_absolute()).or_else(home);
        base.map(|base| base.join("roadstead")).context("neither $XDG_DATA_HOME nor $HOME is set: use --data-dir")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_is_private_and_an_open_one_with_content_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b");
        DataDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        DataDir::open(&path).unwrap();
        fs::write(path.join("x"), "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }
}
