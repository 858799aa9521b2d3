//! Programs built from checked-in Go modules, kept outside the checkout.
//!
//! In: a module below `xtask` that pins what is built. Out: programs in a directory of the cache whose name holds the version and a
//! hash of the module, so that a changed pin is built anew and nothing is built twice. A program appears under its name only when
//! it is complete. `GOPROXY`, `GOFLAGS` and the like are the user's. A `go` that is missing or too old is no hindrance: one is
//! fetched as what Go's own toolchains are, a module.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use ring::digest::{Context as Digest, SHA256};

use crate::step::{hex, on_path, output, root, step};
use crate::tools;

/// What is fetched where the machine's `go` cannot fetch what it needs. See <https://go.dev/ref/mod#goproxy-protocol>, toolchains.
const TOOLCHAIN: &str = "go1.26.0";
/// From this release on, `go` fetches newer toolchains by itself.
const FETCHES: (u32, u32) = (1, 21);

/// A module and what is built from it.
pub struct Module {
    /// Its directory below `xtask`; its programs are in a directory of the cache that is named alike.
    pub directory: &'static str,
    /// The requirement whose version names the whole.
    pub main: &'static str,
    /// Gives the variables that are set by the linker, to a value made of that version.
    pub stamps: fn(&str) -> Vec<(&'static str, String)>,
    /// Programs: name, package, the requirement that tells its version.
    pub programs: &'static [(&'static str, &'static str, &'static str)],
}

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
        let flags = linker_flags(&(self.stamps)(&required(&go_mod, self.main)?));
        let directory = cache.join(self.key(&go_mod, &flags)?);
        let path = directory.join(name);
        if path.is_file() {
            return Ok(Built { path, version });
        }
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        step(&format!("build {name} {version} (once)"), || {
            let partial = directory.join(format!(".{name}.partial"));
            let mut build = go(cache, &go_mod)?;
            build.args(["build", "-trimpath", "-ldflags", &flags, "-o"]).arg(&partial).arg(package);
            output(build.current_dir(&source).env("CGO_ENABLED", "0"))?;
            Ok(fs::rename(&partial, &path)?)
        })?;
        Ok(Built { path, version })
    }

    /// The unpacked source of the main requirement, from the module cache.
    pub fn unpacked(&self) -> Result<PathBuf> {
        download(go(&tools::cache_directory()?, &self.go_mod()?)?.current_dir(self.source()), self.main)
    }

    fn source(&self) -> PathBuf {
        root().join("xtask").join(self.directory)
    }

    fn go_mod(&self) -> Result<String> {
        let path = self.source().join("go.mod");
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// `cluster/kubernetes-v1.34.4-0123456789ab`.
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
    hex(&digest.finish().as_ref()[..6])
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

/// Strips, and sets variables.
fn linker_flags(stamps: &[(&str, String)]) -> String {
    let stamps = stamps.iter().map(|(variable, value)| format!(" -X {variable}={value}"));
    format!("-s -w{}", stamps.collect::<String>())
}

/// Downloads a module with `go`; gives its directory.
fn download(go: &mut Command, module: &str) -> Result<PathBuf> {
    let json = output(go.args(["mod", "download", "-json", module]))?;
    let answer: serde_json::Value = serde_json::from_str(&json)?;
    let directory = answer["Dir"].as_str().with_context(|| format!("go tells no directory of {module}"))?;
    Ok(directory.into())
}

/// A `go` that is new enough or can fetch one that is.
fn go(cache: &Path, go_mod: &str) -> Result<Command> {
    if !on_path("go") {
        tools::install(&["golang-go"]).context("install Go (https://go.dev/doc/install)")?;
    }
    let found = output(Command::new("go").arg("version").current_dir("/"))?;
    let (Some(release), Some(wanted)) = (go_release(&found), wanted(go_mod)) else { bail!("`go version`: {found}") };
    let mut command = Command::new("go");
    if release < wanted && release < FETCHES {
        command = Command::new(toolchain(cache)?);
        command.env_remove("GOROOT");
    }
    if release < wanted && std::env::var_os("GOTOOLCHAIN").is_none() {
        // Distributions forbid the fetching of toolchains by default; where it is needed, it is what is wanted.
        command.env("GOTOOLCHAIN", "auto");
    }
    Ok(command)
}

/// A `go` in the cache, which an older one has fetched.
fn toolchain(cache: &Path) -> Result<PathBuf> {
    let home = cache.join(TOOLCHAIN);
    if !home.is_dir() {
        step(&format!("fetch {TOOLCHAIN} (once)"), || {
            let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
            let module = format!("golang.org/toolchain@v0.0.1-{TOOLCHAIN}.linux-{architecture}");
            let unpacked = download(Command::new("go").current_dir("/"), &module)?;
            let partial = home.with_extension("partial");
            if partial.exists() {
                fs::remove_dir_all(&partial)?;
            }
            copy_toolchain(&unpacked, &partial, false)?;
            Ok(fs::rename(&partial, &home)?)
        })?;
    }
    Ok(home.join("bin/go"))
}

/// Copies a toolchain out of its module. A module cannot hold what can be run, nor a second `go.mod`, which is `_go.mod` there.
fn copy_toolchain(from: &Path, to: &Path, programs: bool) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            copy_toolchain(&entry.path(), &to.join(&name), programs || name == "bin" || name == "tool")?;
            continue;
        }
        let target = to.join(if name == "_go.mod" { "go.mod".as_ref() } else { name.as_os_str() });
        fs::write(&target, fs::read(entry.path())?)?;
        fs::set_permissions(&target, Permissions::from_mode(if programs { 0o755 } else { 0o644 }))?;
    }
    Ok(())
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
    fn variables_are_set() {
        let stamps = [("a.b", "v1".to_string()), ("c", "2".to_string())];
        assert_eq!(linker_flags(&stamps), "-s -w -X a.b=v1 -X c=2");
    }

    #[test]
    fn a_toolchain_s_programs_can_be_run_and_its_modules_are_modules() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        for (file, run) in [("bin/go", true), ("pkg/tool/linux/link", true), ("src/_go.mod", false)] {
            fs::create_dir_all(from.join(file).parent().unwrap()).unwrap();
            fs::write(from.join(file), "x").unwrap();
            copy_toolchain(&from, &to, false).unwrap();
            let mode = fs::metadata(to.join(file.replace("_go", "go"))).unwrap().permissions().mode();
            assert_eq!(mode & 0o111 != 0, run, "{file}");
        }
        assert!(!to.join("src/_go.mod").exists());
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
        use crate::{clients, cluster};
        let clients = [&clients::KUBECTL.module, &clients::HELM.module];
        for module in cluster::MODULES.into_iter().chain(clients) {
            let go_mod = module.go_mod().unwrap();
            let key = module.key(&go_mod, "").unwrap();
            assert!(key.starts_with(&format!("{}-v", module.directory)), "{key}");
            for (name, _, requirement) in module.programs {
                assert!(required(&go_mod, requirement).is_ok(), "{name}");
            }
        }
    }
}
