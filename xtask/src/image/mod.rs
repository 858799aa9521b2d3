//! `cargo xtask image`: Roadstead as a container image, from nothing but its own static binary.
//!
//! In: a binary (built here unless one is given), the commit, the authorities that Mozilla trusts. Out: an archive that containerd
//! (`ctr images import`), skopeo (`oci-archive:`) and docker (`load`) read, and its digest on stdout. The same commit gives the same
//! bytes: every time is the commit's, every list is sorted, nothing is compressed, so that no compressor's version counts.

mod archive;
mod rootfs;
mod static_elf;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::step::{cargo, output, root, run, step};
use archive::Settings;

/// The only target: on others the archive's platform would not be true.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Arguments of `image`.
#[derive(clap::Args)]
pub struct Args {
    /// A static binary that is there already; default: one is built, in release mode (some minutes).
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where the archive goes.
    #[arg(long, value_name = "FILE", default_value = "target/roadstead-image.tar")]
    output: PathBuf,
    /// Name and tag [default: roadstead:VERSION].
    #[arg(long, value_name = "NAME[:TAG]")]
    tag: Option<String>,
}

/// Builds, packs, and prints the image's digest.
pub fn image(args: &Args) -> Result<()> {
    let binary = match &args.binary {
        Some(file) => file.clone(),
        None => step("static binary", build)?,
    };
    let program = fs::read(&binary).with_context(|| binary.display().to_string())?;
    static_elf::check(&program).with_context(|| binary.display().to_string())?;
    let version = env!("CARGO_PKG_VERSION");
    let settings = Settings {
        reference: args.tag.clone().unwrap_or_else(|| format!("roadstead:{version}")),
        version: version.into(),
        revision: output(git().args(["describe", "--always", "--abbrev=40", "--dirty"]))?,
        created: created()?,
    };
    let digest = step("archive", || pack(&program, &settings, &args.output))?;
    eprintln!("{}: {} as {}", args.output.display(), settings.reference, settings.platform());
    println!("{digest}");
    Ok(())
}

/// Packs a program; gives the image's digest.
fn pack(program: &[u8], settings: &Settings, target: &Path) -> Result<String> {
    let time = u64::try_from(settings.created.as_second()).context("a commit from before 1970")?;
    // The program last and alone: what is under it stays when it changes.
    let layers = [rootfs::layer(rootfs::ground(), time)?, rootfs::layer(rootfs::program(program), time)?];
    let (bytes, digest) = archive::archive(&layers, settings)?;
    fs::write(target, bytes).with_context(|| target.display().to_string())?;
    Ok(digest)
}

/// Builds the binary so that it needs no library and tells no path of this machine.
fn build() -> Result<PathBuf> {
    let directory = root().join("target/image");
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo"))).context("no home directory")?;
    let flags = format!(
        "-C target-feature=+crt-static --remap-path-prefix={}=/roadstead --remap-path-prefix={}=/cargo",
        root().display(),
        home.display()
    );
    // Naming the target keeps the flags away from build scripts and macros, which are loaded dynamically.
    run(cargo()
        .args(["build", "--locked", "--release", "-p", "roadstead", "--target", TARGET])
        .arg("--target-dir")
        .arg(&directory)
        .env("CARGO_INCREMENTAL", "0")
        .env("RUSTFLAGS", flags))?;
    Ok(directory.join(TARGET).join("release/roadstead"))
}

/// `$SOURCE_DATE_EPOCH` (reproducible-builds.org), else the commit's time.
fn created() -> Result<Timestamp> {
    let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => seconds,
        Err(_) => output(git().args(["log", "-1", "--format=%ct"]))?,
    };
    let seconds = seconds.trim().parse().with_context(|| format!("{seconds:?} is no time in seconds"))?;
    Ok(Timestamp::from_second(seconds)?)
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.current_dir(root());
    git
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(reference: &str) -> Settings {
        Settings {
            reference: reference.into(),
            version: "1.2.3".into(),
            revision: "abc".into(),
            created: Timestamp::from_second(1_700_000_000).unwrap(),
        }
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one.tar"), directory.path().join("two.tar"));
        // Many times: maps that forget to sort agree by chance now and then.
        let first = pack(b"program", &settings("roadstead:1.2.3"), &one).unwrap();
        for _ in 0..8 {
            assert_eq!(pack(b"program", &settings("roadstead:1.2.3"), &two).unwrap(), first);
            assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap());
        }
        assert_ne!(pack(b"another", &settings("roadstead:1.2.3"), &two).unwrap(), first);
        // The name is beside the image, not in it.
        assert_eq!(pack(b"program", &settings("example.com/x:y"), &two).unwrap(), first);
    }

    /// As skopeo, which shares no code with us, reads it.
    #[test]
    fn others_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("image.tar");
        let digest = pack(b"program", &settings("roadstead:1.2.3"), &file).unwrap();
        for transport in ["oci-archive", "docker-archive"] {
            let source = format!("{transport}:{}", file.display());
            let config = output(Command::new("skopeo").args(["inspect", "--config", &source])).unwrap();
            let config: serde_json::Value = serde_json::from_str(&config).unwrap();
            assert_eq!(config["config"]["User"], "65532:65532", "{transport}");
            assert_eq!(config["config"]["Entrypoint"][0], "/roadstead");
            assert_eq!(config["config"]["Labels"]["org.opencontainers.image.version"], "1.2.3");
            assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        }
        let source = format!("oci-archive:{}", file.display());
        assert_eq!(output(Command::new("skopeo").args(["inspect", "--format={{.Digest}}", &source])).unwrap(), digest);
        // Every layer and its digests are read.
        let copy = format!("dir:{}", directory.path().join("copy").display());
        output(Command::new("skopeo").args(["copy", "--quiet", "--insecure-policy", &source, &copy])).unwrap();
    }
}
