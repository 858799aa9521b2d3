//! What the tests need beside Rust: programs of the system, kubectl, helm, npm packages with recorded deliveries, and the official
//! libraries that verify registry webhooks.
//!
//! In: a bare Debian machine. Out: the environment for the tests (`ROADSTEAD_TOOLS`, `KUBECTL`, `HELM`). What is fetched or built goes to
//! a cache outside the checkout, so that cleaning the checkout costs nothing. Every step looks first and does only what is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::clients;
use crate::step::{on_path, output, root, run, step};

/// Programs and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 12] = [
    ("cc", "build-essential"),
    ("c++", "build-essential"),
    ("git", "git"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("python3", "python3"),
    ("pip", "python3-pip"),
    ("nginx", "nginx-light"),
];

/// What the tests are told about their tools.
pub struct Tools {
    /// The cache: `npm/node_modules` is in it, and what had to be built.
    pub directory: PathBuf,
    /// A kubectl that is new enough.
    pub kubectl: PathBuf,
    /// A helm that is new enough. Where none can be had, the chart's tests are left out, and that is said.
    pub helm: Option<PathBuf>,
}

impl Tools {
    /// Environment variables for the tests.
    pub fn env(&self) -> Vec<(&'static str, &Path)> {
        let helm = self.helm.as_deref().map(|helm| (clients::HELM.variable, helm));
        [("ROADSTEAD_TOOLS", self.directory.as_path()), (clients::KUBECTL.variable, &self.kubectl)]
            .into_iter()
            .chain(helm)
            .collect()
    }

    /// Arguments for `cargo test`: those given, and what leaves out the tests whose tools are not there.
    pub fn test_arguments(&self, given: &[String]) -> Vec<String> {
        let mut arguments = given.to_vec();
        if self.helm.is_none() {
            eprintln!("    LEFT OUT: chart_* and e2e_pods, because there is no helm");
            if !given.iter().any(|argument| argument == "--") {
                arguments.push("--".into());
            }
            arguments.extend(["--skip=chart_", "--skip=e2e_pods"].map(String::from));
        }
        arguments
    }
}

/// Makes sure that everything is there. The cache is `$ROADSTEAD_TOOLS`, or `~/.cache/roadstead-tools`.
pub fn provide() -> Result<Tools> {
    let directory = cache_directory()?;
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    step("programs of the system", || system_packages(&PROGRAMS))?;
    let kubectl = step("kubectl", || clients::KUBECTL.provide(&directory))?;
    // It is built from many modules of others: that one of them cannot be fetched must not keep everything else from being tested.
    let helm = step("helm", || clients::HELM.provide(&directory))
        .inspect_err(|error| eprintln!("    the chart's tests will be left out: {error:#}"))
        .ok();
    step("npm packages", || npm_packages(&directory))?;
    step("Python packages", || python_packages(&directory))?;
    Ok(Tools { directory, kubectl, helm })
}

/// `$ROADSTEAD_TOOLS`, or `~/.cache/roadstead-tools`.
pub fn cache_directory() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("ROADSTEAD_TOOLS") {
        return Ok(std::path::absolute(directory)?);
    }
    let home =
        std::env::var_os("HOME").context("neither ROADSTEAD_TOOLS nor HOME is set: no place for the tools' cache")?;
    Ok(Path::new(&home).join(".cache/roadstead-tools"))
}

/// Installs the packages whose programs are missing; says what to install where that is not allowed.
fn system_packages(programs: &[(&str, &str)]) -> Result<()> {
    let missing = packages_for(programs, on_path);
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// Installs Debian packages; says what to install where that is not allowed.
pub fn install(missing: &[&str]) -> Result<()> {
    let list = missing.join(" ");
    let is_root = output(Command::new("id").arg("-u")).is_ok_and(|id| id == "0");
    if !is_root || !on_path("apt-get") {
        bail!("programs are missing. As root, run: apt-get install {list}");
    }
    eprintln!("    installing {list}");
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        // Packages with a service must not start it: the tests start their own, on free ports.
        run(command.args(args).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1"))
    };
    apt(&["update", "-qq"])?;
    let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
    args.extend(missing);
    apt(&args)
}

fn packages_for<'a>(programs: &[(&str, &'a str)], present: impl Fn(&str) -> bool) -> Vec<&'a str> {
    let mut packages: Vec<&str> =
        programs.iter().filter(|(name, _)| !present(name)).map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

/// Installs the packages of `xtask/npm` into the cache, as its lock file says; a stamp tells when that was done.
fn npm_packages(directory: &Path) -> Result<()> {
    let (source, target) = (root().join("xtask/npm"), directory.join("npm"));
    let lock = std::fs::read_to_string(source.join("package-lock.json"))?;
    let stamp = target.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    std::fs::create_dir_all(&target)?;
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(source.join(file), target.join(file))?;
    }
    run(Command::new("npm")
        .args(["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&target))?;
    std::fs::write(stamp, lock)?;
    Ok(())
}

/// Installs the packages of `xtask/python/requirements.txt` into the cache; a stamp tells when that was done.
fn python_packages(directory: &Path) -> Result<()> {
    let (list, target) = (root().join("xtask/python/requirements.txt"), directory.join("python"));
    let wanted = std::fs::read_to_string(&list)?;
    let stamp = target.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let mut pip = Command::new("pip");
    pip.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
        "--upgrade",
        "--target",
    ]);
    run(pip.arg(&target).arg("-r").arg(&list))?;
    std::fs::write(stamp, wanted)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_package_is_named_once() {
        let programs = [("cc", "build-essential"), ("c++", "build-essential"), ("git", "git")];
        assert_eq!(packages_for(&programs, |_| false), ["build-essential", "git"]);
        assert_eq!(packages_for(&programs, |name| name == "git"), ["build-essential"]);
        assert!(packages_for(&programs, |_| true).is_empty());
    }

    #[test]
    fn without_helm_the_charts_tests_are_left_out() {
        let tools = |helm| Tools { directory: "/d".into(), kubectl: "kubectl".into(), helm };
        let text = |tools: Tools, given: &str| {
            let given: Vec<String> = given.split_whitespace().map(String::from).collect();
            tools.test_arguments(&given).join(" ")
        };
        assert_eq!(text(tools(Some("helm".into())), "a -- --b"), "a -- --b");
        assert_eq!(text(tools(None), "a"), "a -- --skip=chart_ --skip=e2e_pods");
        assert_eq!(text(tools(None), "a -- --b"), "a -- --b --skip=chart_ --skip=e2e_pods");
        assert_eq!((tools(None).env().len(), tools(Some("helm".into())).env().len()), (2, 3));
    }

    #[test]
    fn the_lock_file_names_no_host() {
        let lock = std::fs::read_to_string(root().join("xtask/npm/package-lock.json")).unwrap();
        assert!(!lock.contains("://"), "run npm with --omit-lockfile-registry-resolved");
    }
}
