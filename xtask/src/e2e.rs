//! `cargo xtask e2e`: the end-to-end tests and the comparison with a real API server, on a real Kubernetes.
//!
//! With `--node` pods run: Roadstead's image is packed and loaded, and the scenario of pods is played too.
//!
//! Without `--kubeconfig` a cluster is brought up from nothing and taken down again, whatever happens in between. It has a
//! directory for each checkout; what a killed run left there is cleared away by the next one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use ring::digest::{SHA256, digest};

use crate::checks::target_directory;
use crate::cluster::{self, UpOptions, Which};
use crate::interrupt::Interrupt;
use crate::step::{cargo, hex, root, step};
use crate::{image, tools};

/// Operations of the comparison, unless said otherwise.
const OPERATIONS: u32 = 2_000;

/// What is run, and where.
#[derive(Args)]
pub struct E2e {
    /// A cluster that is there already, instead of one that is brought up for this run.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// With a node in the cluster, so that pods run. Needs root.
    #[arg(long, conflicts_with = "kubeconfig")]
    node: bool,
    /// An archive of Roadstead's image that is there already, for --node; default: one is built and packed (some minutes).
    #[arg(long, value_name = "FILE.tar", requires = "node")]
    image: Option<PathBuf>,
    /// How many random operations are compared with the embedded control plane; 0 leaves that out.
    #[arg(long, default_value_t = OPERATIONS)]
    operations: u32,
    /// Where the random operations start [default: the time].
    #[arg(long)]
    seed: Option<u64>,
    /// A family of operations to compare; repeatable [default: all].
    #[arg(long = "family", value_name = "FAMILY")]
    families: Vec<String>,
    /// Arguments for `cargo test`, e.g. a test's name.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Runs all of it.
pub fn run(e2e: &E2e) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let tools = tools::provide()?;
    if let Some(file) = &e2e.kubeconfig {
        let which = Which { kubeconfig: Some(file.clone()), ..Which::default() };
        let kubeconfig = step("cluster", || cluster::up(&UpOptions::default(), &which))?;
        return tests(e2e, &tools, &kubeconfig, None, &interrupt);
    }
    let directory = tools::cache_directory()?.join("cluster");
    std::fs::create_dir_all(&directory)?;
    let name = checkout();
    let lock = std::fs::File::create(directory.join(format!("{name}.lock")))?;
    lock.try_lock().context("the end-to-end tests of this checkout are running already")?;
    let which = Which { state: Some(directory.join(name)), ..Which::default() };
    // Old data makes the first seconds different, so each run starts from nothing; nothing here must outlast the machine.
    step("clear away what an earlier run left", || cluster::down(true, &which))?;
    let image = match &e2e.image {
        _ if !e2e.node => None,
        Some(archive) => Some(archive.clone()),
        None => Some(step("image", image::provide)?),
    };
    let options = UpOptions { node: e2e.node, unsafe_no_fsync: true, ..UpOptions::default() };
    let result = step("cluster up", || cluster::up(&options, &which)).and_then(|kubeconfig| {
        let image = image.map(|archive| load(archive, &which)).transpose()?;
        tests(e2e, &tools, &kubeconfig, image.as_ref(), &interrupt)
    });
    let down = step("cluster down", || cluster::down(true, &which));
    result.and(down)
}

/// An image that the node has.
struct Loaded {
    /// What pods know it by.
    name: String,
    archive: PathBuf,
}

fn load(archive: PathBuf, which: &Which) -> Result<Loaded> {
    cluster::load(&archive, which)?;
    // The tests run in a directory of their own.
    Ok(Loaded { name: image::reference_in(&archive)?, archive: archive.canonicalize()? })
}

fn tests(
    e2e: &E2e,
    tools: &tools::Tools,
    kubeconfig: &Path,
    image: Option<&Loaded>,
    interrupt: &Interrupt,
) -> Result<()> {
    interrupt.check()?;
    step("cargo build roadstead", || interrupt.run(cargo().args(["build", "--locked", "-p", "roadstead"])))?;
    step("cargo test roadstead-e2e", || {
        let mut test = cargo();
        test.args(["test", "--locked", "-p", "roadstead-e2e", "--no-fail-fast"]);
        test.args(tools.test_arguments(&e2e.arguments));
        test.envs(tools.env()).env("ROADSTEAD_BIN", target_directory().join("debug/roadstead"));
        test.env("ROADSTEAD_E2E_KUBECONFIG", kubeconfig).env("RUST_LIB_BACKTRACE", "0");
        if let Some(image) = image {
            test.env("ROADSTEAD_E2E_IMAGE", &image.name).env("ROADSTEAD_E2E_IMAGE_ARCHIVE", &image.archive);
        }
        interrupt.run(&mut test)
    })?;
    if e2e.operations == 0 {
        return Ok(());
    }
    let seed = e2e.seed.unwrap_or_else(now);
    step(&format!("compare {} operations with seed {seed}", e2e.operations), || {
        let mut compare = cargo();
        compare.args(["run", "--locked", "-p", "roadstead-conformance", "--", "--kubeconfig"]).arg(kubeconfig);
        compare.args(["--operations", &e2e.operations.to_string(), "--seed", &seed.to_string()]);
        compare.args(e2e.families.iter().flat_map(|family| ["--family", family]));
        interrupt.run(&mut compare)
    })
}

/// The directory's name for this checkout.
fn checkout() -> String {
    let root = root();
    let hash = digest(&SHA256, root.as_os_str().as_encoded_bytes());
    format!("e2e-{}", hex(&hash.as_ref()[..4]))
}

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}
