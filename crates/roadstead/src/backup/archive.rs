//! The archive: what is in it, how it is written beside a running platform, and how it is unpacked.
//!
//! | entry | what |
//! |---|---|
//! | `roadstead-backup.json` | format version, program version, time; the first entry |
//! | `log/...` | the event log, closed |
//! | `deliveries/...` | the delivery log of registry webhooks, closed |
//! | `store.db` | the store |
//! | `pki/...` | certificate authority, and the key that signs tokens of service accounts |
//! | `secrets.key` | the key of Secrets, if it lives in the data directory |

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use roadstead_apiserver::{
    self as apiserver,
    files::{private_dir, sync_parent},
};
use roadstead_hub::log::{self, LocalLog};
use roadstead_notify::log::{self as notify, DeliveryLog};
use serde::{Deserialize, Serialize};

/// Version of the archive's layout.
const FORMAT: u32 = 1;
/// First entry.
const MANIFEST: &str = "roadstead-backup.json";
/// Files of the data directory that are copied as they are.
const FILES: [&str; 4] = ["pki/ca.crt", "pki/ca.key", "pki/service-accounts.key", "secrets.key"];

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    format: u32,
    roadstead: String,
    created_at: String,
    /// Whether the key of Secrets is inside.
    secrets_key: bool,
}

/// What is backed up.
#[derive(Clone)]
pub struct Source {
    /// The control plane.
    pub handle: apiserver::Handle,
    /// The event log.
    pub log: Arc<LocalLog>,
    /// The delivery log.
    pub deliveries: Arc<DeliveryLog>,
    /// Where all are kept.
    pub data_dir: PathBuf,
}

impl Source {
    /// Writes the archive to the new file `to` (mode 0600); its size in bytes. The file appears when it is complete and on disk.
    ///
    /// # Errors
    /// When the file exists, or something can't be read or written; nothing is left behind then.
    pub async fn backup(&self, to: PathBuf) -> Result<u64> {
        if to.exists() {
            bail!("{} exists already; a backup never overwrites", to.display());
        }
        // Beside the data, on the same disk: copies of closed files are cheap there, and private.
        let staging = tempfile::Builder::new()
            .prefix(".backup-")
            .tempdir_in(&self.data_dir)
            .context("can't make room for the copies")?;
        // The delivery log first: its position in the event log must not lie beyond that one's copy. What it has not taken up yet is
        // then told after a restore, and what it has is not told twice.
        self.deliveries.backup_to(&staging.path().join("deliveries")).await.context("the delivery log")?;
        // Then the event log: an endpoint that is younger than its copy just has no events in it, but an event whose endpoint is not
        // in the store's copy would be taken for a deleted endpoint's.
        self.log.backup_to(&staging.path().join("log")).await.context("the event log")?;
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            this.handle.backup(&staging.path().join("store.db")).context("the store")?;
            this.write(staging.path(), &to)
        })
        .await
        .context("the backup panicked")?
    }

    fn write(&self, staging: &Path, to: &Path) -> Result<u64> {
        let draft = to.with_file_name(format!(".{}.part", to.file_name().unwrap_or_default().to_string_lossy()));
        let write = || {
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            let mut archive = tar::Builder::new(io::BufWriter::new(file));
            let files: Vec<&str> = FILES.into_iter().filter(|name| self.data_dir.join(name).is_file()).collect();
            let manifest = Manifest {
                format: FORMAT,
                roadstead: env!("CARGO_PKG_VERSION").into(),
                created_at: jiff::Timestamp::now().to_string(),
                secrets_key: files.contains(&"secrets.key"),
            };
            let text = serde_json::to_vec_pretty(&manifest).map_err(io::Error::other)?;
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            header.set_cksum();
            archive.append_data(&mut header, MANIFEST, text.as_slice())?;
            archive.append_dir_all("log", staging.join("log"))?;
            archive.append_dir_all("deliveries", staging.join("deliveries"))?;
            archive.append_path_with_name(staging.join("store.db"), "store.db")?;
            for name in files {
                archive.append_path_with_name(self.data_dir.join(name), name)?;
            }
            let file = archive.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            let size = file.metadata()?.len();
            fs::hard_link(&draft, to)?;
            fs::remove_file(&draft)?;
            sync_parent(to)?;
            Ok(size)
        };
        write().map_err(|error: io::Error| {
            let _ = fs::remove_file(&draft);
            anyhow::Error::new(error).context(format!("can't write {}", to.display()))
        })
    }
}

/// Unpacks `archive` into the new data directory `data_dir`. All or nothing: the directory appears when it is complete.
///
/// # Errors
/// When the archive is damaged, newer or not a backup; when the directory exists and holds anything; when the key of Secrets is
/// neither inside nor given.
pub fn restore(archive: &Path, data_dir: &Path, key_file: Option<&Path>) -> Result<()> {
    if fs::read_dir(data_dir).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} holds data already: restore into a new directory", data_dir.display());
    }
    let parent = data_dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let staging = tempfile::Builder::new().prefix(".roadstead-restore-").tempdir_in(parent)?;
    let unpacked = staging.path().join("unpacked");
    let manifest = unpack(archive, &unpacked).with_context(|| format!("can't read {}", archive.display()))?;
    if !manifest.secrets_key && key_file.is_none() {
        bail!("the key of Secrets is not in this backup, because it lived elsewhere: give it with --key-file");
    }
    let fresh = staging.path().join("data");
    private_dir(&fresh)?;
    private_dir(&fresh.join("pki"))?;
    for name in FILES {
        if unpacked.join(name).is_file() {
            fs::rename(unpacked.join(name), fresh.join(name))?;
        }
    }
    apiserver::restore(&unpacked.join("store.db"), &fresh, key_file).context("the store")?;
    log::restore(&unpacked.join("log"), &fresh.join("log")).context("the event log")?;
    // Backups of releases before registry webhooks have none.
    if unpacked.join("deliveries").is_dir() {
        notify::restore(&unpacked.join("deliveries"), &fresh.join("deliveries")).context("the delivery log")?;
    }
    // An empty directory may stand there; it gives way.
    let _ = fs::remove_dir(data_dir);
    fs::rename(&fresh, data_dir).with_context(|| format!("can't make {}", data_dir.display()))?;
    Ok(sync_parent(data_dir)?)
}

/// Unpacks known entries only, and no path that leads out.
fn unpack(archive: &Path, to: &Path) -> Result<Manifest> {
    let mut archive = tar::Archive::new(io::BufReader::new(File::open(archive)?));
    let mut manifest: Option<Manifest> = None;
    for entry in archive.entries()? {
        let mut entry = entry.context("it is damaged or not a backup")?;
        let path = entry.path()?.into_owned();
        let Some(known) = &manifest else {
            if path != Path::new(MANIFEST) {
                bail!("it is not a backup: its first entry is not {MANIFEST}");
            }
            let mut text = String::new();
            entry.by_ref().take(64 << 10).read_to_string(&mut text)?;
            let read: Manifest = serde_json::from_str(&text).context(MANIFEST)?;
            if read.format > FORMAT {
                bail!(
                    "it was made by roadstead {}, whose backups this one can't read: use that version or a later one",
                    read.roadstead
                );
            }
            private_dir(to)?;
            manifest = Some(read);
            continue;
        };
        let is_log = ["log", "deliveries"].iter().any(|log| path.parent() == Some(Path::new(log)));
        let in_log = is_log && entry.header().entry_type().is_file();
        let is_file = FILES.iter().chain(&["store.db"]).any(|name| path == Path::new(name));
        if entry.header().entry_type().is_dir() {
            continue;
        }
        if !(in_log || is_file) {
            bail!("it holds {}, which no backup of roadstead {} does", path.display(), known.roadstead);
        }
        let target = to.join(&path);
        if let Some(parent) = target.parent() {
            private_dir(parent)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target)?;
        let size = entry.size();
        let copied = io::copy(&mut entry, &mut file).context("it is damaged")?;
        if copied != size {
            bail!("it is cut short within {}", path.display());
        }
        file.flush()?;
        file.sync_all()?;
    }
    manifest.context("it is empty")
}
