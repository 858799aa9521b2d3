//! Programs built from checked-in Go modules, kept outside the checkout.
//!
//! In: a module below `xtask/cluster` that pins what is built. Out: programs in a directory of the cache whose name holds the
//! version and a hash of the module, so that a changed pin is built anew and nothing is built twice. A program appears under its
//! name only when it is complete. `GOPROXY`, `GOFLAGS` and the like are the user's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use ring::digest::{Context as Digest, SHA256};

use crate::step::{on_path, output, root, step};
use crate::tools;

/// A module and what is built from it.
pub struct Module {
    /// Its directory below `xtask/cluster`.
    pub directory: &'static str,
    /// The requirement whose version names the whole.
    pub main: &'static str,
    /// Programs: name, package, the requirement that tells its version.
    pub programs: &'static [(&'static str, &'static str, &'static str)],
}

/// Kubernetes and etcd.
pub const KUBERNETES: Module = Module {
    directory: "kubernetes",
    main: "k8s.io/kubernetes",
    programs: &[
        ("etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3"),
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes"),
        ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", "k8s.io/kubernetes"),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", "k8s.io/kubernetes"),
        ("kubelet", "k8s.io/kubernetes/cmd/kubelet", "k8s.io/kubernetes"),
        ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", "k8s.io/kubernetes"),
    ],
};

/// What a node has beside them: CoreDNS, and what is in the images.
pub const NODE: Module = Module {
    directory: "node",
    main: "github.com/coredns/coredns",
    programs: &[
        ("coredns", "./coredns", "github.com/coredns/coredns"),
        ("pause", "./pause", "github.com/coredns/coredns"),
        ("hello", "./hello", "github.com/coredns/coredns"),
    ],
};

/// A program that was built.
pub struct Built {
    /// Where it is.
    pub path: PathBuf,
    /// Its version, e.g. `v1.34.4`.
    pub version: String,
}

impl Module {
    /// Builds a program unless it is there.
    pub fn provide(&self, cache: &Path, name: &str) -> Result<Built> {
        let (_, package, requirement) = self
            .programs
            .iter()
            .find(|(known, ..)| *known == name)
            .with_context(|| format!("{} has no {name}", self.directory))?;
        let (go_mod, source) = (self.go_mod()?, self.source());
        let version = required(&go_mod, requirement)?;
        let flags = linker_flags(&required(&go_mod, self.main)?);
        let directory = cache.join("cluster").join(self.key(&go_mod, &flags)?);
        let path = directory.join(name);
        if path.is_file() {
            return Ok(Built { path, version });
        }
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        step(&format!("build {name} {version} (once)"), || {
            let partial = directory.join(format!(".{name}.partial"));
            let mut build = go(&go_mod)?;
            build.args(["build", "-trimpath", "-ldflags", &flags, "-o"]).arg(&partial).arg(package);
            output(build.current_dir(&source).env("CGO_ENABLED", "0"))?;
            Ok(fs::rename(&partial, &path)?)
        })?;
        Ok(Built { path, version })
    }

    /// The unpacked source of the main requirement, from the module cache.
    pub fn unpacked(&self) -> Result<PathBuf> {
        let json =
            output(go(&self.go_mod()?)?.args(["mod", "download", "-json", self.main]).current_dir(self.source()))?;
        let answer: serde_json::Value = serde_json::from_str(&json)?;
        let directory = answer["Dir"].as_str().with_context(|| format!("go tells no directory of {}", self.main))?;
        Ok(directory.into())
    }

    fn source(&self) -> PathBuf {
        root().join("xtask/cluster").join(self.directory)
    }

    fn go_mod(&self) -> Result<String> {
        let path = self.source().join("go.mod");
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// `kubernetes-v1.34.4-0123456789ab`.
    fn key(&self, go_mod: &str, flags: &str) -> Result<String> {
        let mut files = files_below(&self.source())?;
        files.sort();
        let mut parts = vec![flags.as_bytes().to_vec()];
        for file in &files {
            parts.push(fs::read(file)?);
        }
        Ok(format!("{}-{}-{}", self.directory, required(go_mod, self.main)?, hash(&parts)))
    }
}

fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// The first twelve digits of the SHA-256 over all parts with their lengths, in hexadecimal.
fn hash(parts: &[Vec<u8>]) -> String {
    let mut digest = Digest::new(&SHA256);
    for part in parts {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finish().as_ref()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The version of a requirement in a go.mod.
fn required(go_mod: &str, requirement: &str) -> Result<String> {
    go_mod
        .lines()
        .map(|line| line.trim().trim_start_matches("require "))
        .find_map(|line| line.strip_prefix(requirement)?.strip_prefix(' ')?.split(' ').next())
        .map(String::from)
        .with_context(|| format!("go.mod does not require {requirement}"))
}

/// Strips, and stamps the version where Kubernetes' programs look for it.
fn linker_flags(version: &str) -> String {
    let minor = version.split('.').nth(1).unwrap_or_default();
    let stamps = [("gitVersion", version), ("gitMajor", "1"), ("gitMinor", minor), ("gitTreeState", "clean")];
    let stamp = |(name, value)| format!(" -X k8s.io/component-base/version.{name}={value}");
    let client = format!(" -X k8s.io/client-go/pkg/version.gitVersion={version}");
    format!("-s -w{}{client}", stamps.map(stamp).concat())
}

/// A `go` that is new enough or can fetch one that is.
fn go(go_mod: &str) -> Result<Command> {
    const HOW: &str = "install Go (https://go.dev/doc/install), 1.21 or newer: it fetches the release that is needed";
    if !on_path("go") {
        tools::install(&["golang-go"]).context(HOW)?;
    }
    let found = output(Command::new("go").arg("version").current_dir("/"))?;
    let (Some(found), Some(wanted)) = (go_release(&found), wanted(go_mod)) else { bail!("`go version`: {found}") };
    if found < (1, 21) {
        bail!("go {}.{} is too old: {HOW}", found.0, found.1);
    }
    let mut command = Command::new("go");
    if found < wanted && std::env::var_os("GOTOOLCHAIN").is_none() {
        // Distributions forbid the fetching of toolchains by default; where it is needed, it is what is wanted.
        command.env("GOTOOLCHAIN", "auto");
    }
    Ok(command)
}

/// Major and minor of `go version go1.24.4 linux/amd64`.
fn go_release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(' ').nth(2)?.strip_prefix("go")?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Major and minor of the line `go 1.24.0`.
fn wanted(go_mod: &str) -> Option<(u32, u32)> {
    let mut numbers = go_mod.lines().find_map(|line| line.strip_prefix("go "))?.trim().split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_read_in_both_forms() {
        let go_mod =
            "module m\n\nrequire k8s.io/kubernetes v1.34.4\n\nrequire (\n\tk8s.io/api v0.34.4 // indirect\n)\n";
        assert_eq!(required(go_mod, "k8s.io/kubernetes").unwrap(), "v1.34.4");
        assert_eq!(required(go_mod, "k8s.io/api").unwrap(), "v0.34.4");
        assert!(required(go_mod, "k8s.io/kube").is_err());
    }

    #[test]
    fn the_version_is_stamped() {
        let flags = linker_flags("v1.34.4");
        assert!(flags.contains("component-base/version.gitVersion=v1.34.4 "), "{flags}");
        assert!(flags.contains("gitMinor=34 "), "{flags}");
    }

    #[test]
    fn any_change_of_the_module_is_another_key() {
        let parts = |texts: &[&str]| hash(&texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>());
        let key = parts(&["ab", "c"]);
        assert_eq!((key.len(), &key), (12, &parts(&["ab", "c"])));
        assert_ne!(key, parts(&["a", "bc"]));
        assert_ne!(key, parts(&["ab", "d"]));
    }

    #[test]
    fn releases_of_go_are_compared() {
        assert_eq!(go_release("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(go_release("go version go1.19 linux/amd64"), Some((1, 19)));
        assert_eq!(go_release("command not found"), None);
        assert_eq!(wanted("module m\n\ngo 1.24.0\n"), Some((1, 24)));
    }

    #[test]
    fn what_is_checked_in_can_be_used() {
        for module in [&KUBERNETES, &NODE, &super::super::gateway::CRDS] {
            let go_mod = module.go_mod().unwrap();
            let key = module.key(&go_mod, "").unwrap();
            assert!(key.starts_with(&format!("{}-v", module.directory)), "{key}");
            for (name, _, requirement) in module.programs {
                assert!(required(&go_mod, requirement).is_ok(), "{name}");
            }
        }
    }
}
