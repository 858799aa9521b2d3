//! The parts of a node that are Debian packages: downloaded by apt and unpacked beside the host's own files, which stay as they are.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::{on_path, output, run, step};

/// What is unpacked: the runtime, the network plugins, iptables for kube-proxy, and the libraries of these.
const PACKAGES: [&str; 13] = [
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iptables",
    "conntrack",
    "libip4tc2",
    "libip6tc2",
    "libxtables12",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnftnl11",
    "libmnl0",
    "libseccomp2",
];
/// Names that one program of the iptables package answers to.
const IPTABLES: [&str; 6] =
    ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"];

/// The unpacked packages.
#[derive(Clone, Debug)]
pub struct Packages {
    root: PathBuf,
}

impl Packages {
    /// Those below a directory.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Downloads and unpacks them into the cache unless that was done.
    pub fn provide(cache: &Path) -> Result<Self> {
        if !on_path("apt-get") || !on_path("dpkg") {
            bail!("a node is made of Debian packages: there is no apt-get or dpkg here");
        }
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let root = cache.join("cluster").join(format!("debian-{}", codename(&release)));
        if root.is_dir() {
            return Ok(Self { root });
        }
        step("download and unpack containerd, runc, network plugins and iptables (once)", || {
            let partial = root.with_extension("partial");
            if partial.exists() {
                fs::remove_dir_all(&partial)?;
            }
            let archives = partial.join("archives");
            fs::create_dir_all(&archives)?;
            let download = || output(Command::new("apt-get").arg("download").args(PACKAGES).current_dir(&archives));
            if download().is_err() {
                run(Command::new("apt-get").args(["update", "-qq"]))?;
                download()?;
            }
            for archive in fs::read_dir(&archives)? {
                run(Command::new("dpkg").arg("-x").arg(archive?.path()).arg(&partial))?;
            }
            fs::remove_dir_all(&archives)?;
            fs::create_dir(partial.join("path"))?;
            for name in IPTABLES {
                symlink("../usr/sbin/xtables-legacy-multi", partial.join("path").join(name))?;
            }
            fs::rename(&partial, &root).context("cannot put the packages in place")
        })?;
        Ok(Self { root })
    }

    /// A file or directory of them.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Where they are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The environment in which their programs find each other, their libraries and plugins.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let path = std::env::var("PATH").unwrap_or_default();
        let ours = ["path", "usr/bin", "usr/sbin"].map(|part| self.path(part).display().to_string()).join(":");
        vec![
            ("PATH", format!("{ours}:{path}")),
            ("LD_LIBRARY_PATH", self.path(&libraries).display().to_string()),
            ("XTABLES_LIBDIR", self.path(&libraries).join("xtables").display().to_string()),
        ]
    }

    /// One of their programs, to be run now.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.path(program));
        command.envs(self.environment());
        command
    }
}

/// `bookworm`, from /etc/os-release.
fn codename(release: &str) -> &str {
    let line = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.map_or("unknown", |name| name.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_read() {
        assert_eq!(codename("NAME=Debian\nVERSION_CODENAME=bookworm\n"), "bookworm");
        assert_eq!(codename(""), "unknown");
    }

    #[test]
    fn their_own_programs_are_found_first() {
        let environment = Packages::at("/packages".into()).environment();
        assert!(environment[0].1.starts_with("/packages/path:/packages/usr/bin:/packages/usr/sbin:"));
    }
}
