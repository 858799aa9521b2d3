//! Developer commands: `cargo xtask test` is the one test command. Each command is a module; this file only names them.

mod chart;
mod checks;
mod clients;
mod cluster;
mod e2e;
mod fuzz;
mod golang;
mod image;
mod interrupt;
mod openapi;
mod step;
mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::step::{cargo, run, step};

/// Developer commands of Roadstead.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_version_flag = true)]
enum Xtask {
    /// Install what the tests need, then check form, lints and dependencies, and run every test.
    Test {
        /// Arguments for `cargo test`, e.g. a test's name.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Install what the tests need, and print the environment that they want, for `eval`.
    Tools,
    /// Check dependencies: banned crates, licences, sources, and advisories if they can be fetched.
    Deny {
        /// Install cargo-deny first if it is missing (some minutes).
        #[arg(long)]
        install: bool,
    },
    /// A real Kubernetes for tests, on this machine.
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Run the end-to-end tests, and compare random operations, on a real Kubernetes.
    E2e(e2e::E2e),
    /// Build and run the benchmarks.
    Bench {
        /// Arguments for the benchmark program.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Write the schemas of the built-in kinds from Kubernetes' published OpenAPI.
    Openapi,
    /// Pack the container image, from a static binary that is built first.
    Image(image::Args),
    /// Write what in the Helm chart is made of something else: definitions of kinds, the table of values.
    Chart,
    /// Build the fuzz targets and run each for a bounded time.
    Fuzz {
        /// Targets; all if none is named.
        names: Vec<String>,
        /// Seconds for each.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    match run_command(Xtask::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_command(command: Xtask) -> Result<()> {
    match command {
        Xtask::Test { arguments } => checks::test(&arguments),
        Xtask::Tools => {
            for (name, value) in tools::provide()?.env() {
                println!("export {name}='{}'", value.display());
            }
            Ok(())
        }
        Xtask::Deny { install } => {
            if install {
                checks::install_deny()?;
            }
            checks::deny()
        }
        Xtask::Cluster(command) => cluster::run(command),
        Xtask::E2e(e2e) => e2e::run(&e2e),
        Xtask::Bench { arguments } => {
            step("build roadstead", || run(cargo().args(["build", "--release", "-p", "roadstead"])))?;
            let kubernetes = cluster::api_server_programs()?;
            step("bench", || {
                let mut bench = cargo();
                bench.args(["run", "--release", "-p", "roadstead-bench", "--", "--kubernetes"]).arg(&kubernetes);
                run(bench.args(&arguments))
            })
        }
        Xtask::Openapi => openapi::run(&step::root()),
        Xtask::Image(args) => image::image(&args),
        Xtask::Chart => chart::chart(),
        Xtask::Fuzz { names, seconds } => fuzz::fuzz(&names, seconds),
    }
}
