//! What a cluster leaves on disk: its directory's layout, and the settings that survive from `up` to `up`.
//!
//! Everything of one cluster is below one directory, so that several can run side by side and `down --wipe` knows what to
//! remove. Files are replaced by renaming: a kill in between leaves the old one or the new one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Version of the layout and of `settings.json`.
const FORMAT: u32 = 1;

/// Where the parts of one cluster are.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below an absolute path.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file or directory below it.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("admin.kubeconfig")
    }

    /// Certificates and keys.
    pub fn pki(&self, file: &str) -> PathBuf {
        self.root.join("pki").join(file)
    }

    /// The log of a process.
    pub fn log(&self, process: &str) -> PathBuf {
        self.root.join("log").join(format!("{process}.log"))
    }

    /// The record of a process.
    pub fn record(&self, process: &str) -> PathBuf {
        self.root.join("pids").join(format!("{process}.json"))
    }

    /// Makes the directories, readable by their owner only.
    pub fn create(&self) -> Result<()> {
        for directory in ["pki", "log", "pids", "etcd"] {
            private_directory(&self.path(directory))?;
        }
        Ok(())
    }

    /// Keeps a second `up` or `down` of the same cluster out while the returned file is open.
    pub fn lock(&self) -> Result<File> {
        private_directory(&self.root)?;
        let path = self.path("lock");
        let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        if file.try_lock().is_err() {
            bail!("another command is at work on the cluster in {}: wait for it", self.root.display());
        }
        Ok(file)
    }
}

/// What was decided at the first `up` and holds while the cluster exists.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    format: u32,
    /// With kubelet and container runtime.
    pub node: bool,
    /// Whether etcd syncs its log before it answers.
    pub fsync: bool,
    /// Version of each program.
    pub versions: BTreeMap<String, String>,
    /// Where each program is.
    pub programs: BTreeMap<String, PathBuf>,
    /// The port of each listener.
    pub ports: BTreeMap<String, u16>,
}

impl Settings {
    /// Settings of a new cluster.
    pub fn new(node: bool, fsync: bool) -> Self {
        let (versions, programs, ports) = Default::default();
        Self { format: FORMAT, node, fsync, versions, programs, ports }
    }

    /// Those of the cluster in a directory; none if there never was one.
    pub fn load(layout: &Layout) -> Result<Option<Self>> {
        let path = layout.path("settings.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let settings: Self =
            serde_json::from_str(&text).with_context(|| format!("{} is not understood", path.display()))?;
        if settings.format != FORMAT {
            bail!("{} has format {}, this is for {FORMAT}: remove that cluster", path.display(), settings.format);
        }
        Ok(Some(settings))
    }

    /// Keeps them.
    pub fn save(&self, layout: &Layout) -> Result<()> {
        write_private(&layout.path("settings.json"), &serde_json::to_string_pretty(self)?)
    }

    /// The port of a listener. Every listener was given one when the settings were made.
    pub fn port(&self, listener: &str) -> u16 {
        self.ports.get(listener).copied().unwrap_or_default()
    }
}

/// Makes a directory (mode 0700) with its parents.
pub fn private_directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot create {}", path.display()))
}

/// Writes a file (mode 0600) in full or not at all.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let partial = path.with_extension("partial");
    let write = || -> std::io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&partial, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("state"));
        (directory, layout)
    }

    #[test]
    fn settings_come_back_as_they_were() {
        let (_directory, layout) = layout();
        layout.create().unwrap();
        assert_eq!(Settings::load(&layout).unwrap(), None);
        let mut settings = Settings::new(true, false);
        settings.ports.insert("etcd".into(), 4001);
        settings.save(&layout).unwrap();
        assert_eq!(Settings::load(&layout).unwrap().as_ref(), Some(&settings));
        assert_eq!((settings.port("etcd"), settings.port("nobody")), (4001, 0));
    }

    #[test]
    fn a_format_of_another_time_is_refused() {
        let (_directory, layout) = layout();
        layout.create().unwrap();
        let mut settings = Settings::new(false, true);
        settings.format = 99;
        settings.save(&layout).unwrap();
        assert!(Settings::load(&layout).unwrap_err().to_string().contains("format 99"));
    }

    #[test]
    fn what_is_written_is_for_its_owner_only() {
        let (_directory, layout) = layout();
        layout.create().unwrap();
        write_private(&layout.kubeconfig(), "secret").unwrap();
        assert_eq!(fs::metadata(layout.kubeconfig()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(layout.path("pki")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn two_commands_do_not_work_on_one_cluster() {
        let (_directory, layout) = layout();
        let held = layout.lock().unwrap();
        assert!(layout.lock().unwrap_err().to_string().contains("another command"));
        drop(held);
        layout.lock().unwrap();
    }
}
