//! `cargo xtask image`: Roadstead as a container image, from nothing but its own static binary; and the small images of tests.
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
use oci_spec::image::{
    ANNOTATION_CREATED, ANNOTATION_DESCRIPTION, ANNOTATION_LICENSES, ANNOTATION_REVISION, ANNOTATION_TITLE,
    ANNOTATION_VERSION, Arch,
};

use crate::step::{cargo, output, root, run, step};
use archive::Settings;
pub use archive::reference_in;

/// The only target: on others the archive's platform would not be true.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The user `nobody` of most distributions.
const NOBODY: u64 = 65534;

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

impl Default for Args {
    fn default() -> Self {
        Self { binary: None, output: root().join("target/roadstead-image.tar"), tag: None }
    }
}

/// Builds, packs, and prints the image's digest.
pub fn image(args: &Args) -> Result<()> {
    println!("{}", make(args)?);
    Ok(())
}

/// Builds and packs Roadstead as it is; gives the archive.
pub fn provide() -> Result<PathBuf> {
    let args = Args::default();
    make(&args)?;
    Ok(args.output)
}

/// Packs another static program, alone and as nobody, for this machine's processor.
pub fn of_program(archive: &Path, reference: &str, name: &'static str, program: &Path) -> Result<()> {
    let program = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let architecture = if std::env::consts::ARCH == "aarch64" { Arch::ARM64 } else { Arch::Amd64 };
    let settings = Settings {
        reference: reference.into(),
        architecture,
        entrypoint: format!("/{name}"),
        user: NOBODY,
        labels: Vec::new(),
        created: Timestamp::UNIX_EPOCH,
    };
    write(archive, &[rootfs::layer(rootfs::program(name, &program), 0)?], &settings).map(drop)
}

fn make(args: &Args) -> Result<String> {
    let binary = match &args.binary {
        Some(file) => file.clone(),
        None => step("static binary", build)?,
    };
    let program = fs::read(&binary).with_context(|| binary.display().to_string())?;
    static_elf::check(&program).with_context(|| binary.display().to_string())?;
    let version = env!("CARGO_PKG_VERSION");
    let reference = args.tag.clone().unwrap_or_else(|| format!("roadstead:{version}"));
    let revision = output(git().args(["describe", "--always", "--abbrev=40", "--dirty"]))?;
    let settings = settings(reference, version.into(), revision, created()?);
    let digest = step("archive", || pack(&program, &settings, &args.output))?;
    eprintln!("{}: {} as {}", args.output.display(), settings.reference, settings.platform());
    Ok(digest)
}

/// What Roadstead's own image says about itself.
fn settings(reference: String, version: String, revision: String, created: Timestamp) -> Settings {
    let labels = vec![
        (ANNOTATION_TITLE, "roadstead".into()),
        (ANNOTATION_DESCRIPTION, "Webhooks for clusters that nobody can reach".into()),
        (ANNOTATION_LICENSES, "Apache-2.0".into()),
        (ANNOTATION_VERSION, version),
        (ANNOTATION_REVISION, revision),
        (ANNOTATION_CREATED, created.to_string()),
    ];
    let entrypoint = "/roadstead".into();
    Settings { reference, architecture: Arch::Amd64, entrypoint, user: rootfs::USER, labels, created }
}

/// Packs the program; gives the image's digest.
fn pack(program: &[u8], settings: &Settings, target: &Path) -> Result<String> {
    let time = u64::try_from(settings.created.as_second()).context("a commit from before 1970")?;
    // The program last and alone: what is under it stays when it changes.
    let layers = [rootfs::layer(rootfs::ground(), time)?, rootfs::layer(rootfs::program("roadstead", program), time)?];
    write(target, &layers, settings)
}

fn write(target: &Path, layers: &[Vec<u8>], settings: &Settings) -> Result<String> {
    let (bytes, digest) = archive::archive(layers, settings)?;
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
        super::settings(reference.into(), "1.2.3".into(), "abc".into(), Timestamp::from_second(1_700_000_000).unwrap())
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

    #[test]
    fn a_small_image_says_what_runs_and_under_which_name() {
        let directory = tempfile::tempdir().unwrap();
        let (program, archive) = (directory.path().join("p"), directory.path().join("image.tar"));
        fs::write(&program, "a program").unwrap();
        of_program(&archive, "localhost/x:1", "hello", &program).unwrap();
        assert_eq!(reference_in(&archive).unwrap(), "localhost/x:1");
        let source = format!("docker-archive:{}", archive.display());
        let config = output(Command::new("skopeo").args(["inspect", "--config", &source])).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config["config"]["Entrypoint"][0], "/hello");
        assert_eq!(config["config"]["User"], "65534:65534");
        assert!(reference_in(&program).is_err());
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
