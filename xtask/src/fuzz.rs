//! Fuzzing for a bounded time, on the stable toolchain.
//!
//! The targets of `fuzz/` are ordinary binaries with libFuzzer's main. Coverage comes from an LLVM pass that stable rustc has; the
//! address sanitizer, which it has not, would find little in code without `unsafe`.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::{cargo, root, run, step};

const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions";

/// Builds all targets, then runs those named (all if none is), each for `seconds`. They start from
/// `fuzz/seeds`; corpora are kept in `fuzz/corpus`, findings in `fuzz/artifacts`.
pub fn fuzz(names: &[String], seconds: u64) -> Result<()> {
    let directory = root().join("fuzz");
    let all = targets(&directory)?;
    if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
        bail!("no fuzz target `{unknown}`; there are: {}", all.join(", "));
    }
    // A target triple keeps the flags away from build scripts and macros.
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    step("build fuzz targets", || {
        run(cargo()
            .args(["build", "--release", "--bins", "--target", &triple])
            .current_dir(&directory)
            .env("RUSTFLAGS", FLAGS))
    })?;
    for name in all.iter().filter(|name| names.is_empty() || names.contains(name)) {
        step(&format!("fuzz {name} for {seconds} s"), || {
            let (corpus, artifacts) = (directory.join("corpus").join(name), directory.join("artifacts").join(name));
            std::fs::create_dir_all(&corpus)?;
            std::fs::create_dir_all(&artifacts)?;
            let seeds = directory.join("seeds").join(name);
            run(Command::new(directory.join("target").join(&triple).join("release").join(name))
                .arg(&corpus)
                .args(seeds.is_dir().then_some(seeds))
                .arg(format!("-max_total_time={seconds}"))
                .arg(format!("-artifact_prefix={}/", artifacts.display()))
                .args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0"]))
        })?;
    }
    Ok(())
}

fn targets(directory: &std::path::Path) -> Result<Vec<String>> {
    let sources = directory.join("fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&sources).with_context(|| format!("no fuzz targets in {}", sources.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
