//! `roadstead-conformance`: finds out where the embedded control plane answers differently from a real kube-apiserver.
//!
//! Differences go to stdout, progress to stderr. It ends with 0 if there was none, 1 if there was one, 2 if it could not run.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, bail};
use clap::Parser;
use roadstead_conformance::{
    families::{FAMILIES, Family},
    generate::sequence,
    operation::Operation,
    pair::{Pair, SETTLED, Step},
    prepare::Run,
    recording::Recording,
    report,
    shrink::shrink,
    side::{Embedded, Side},
};

/// How long making one sequence short may take; what is left by then is told.
const SHRINKING: Duration = Duration::from_secs(60);
/// How long each side may take to settle while a sequence is made shorter.
const HASTE: Duration = Duration::from_secs(3);

/// Sends the same random operations to a real kube-apiserver and to the embedded one, and compares the answers.
#[derive(Parser)]
#[command(name = "roadstead-conformance", disable_version_flag = true)]
struct Arguments {
    /// The real cluster's. What is made there is deleted at the end.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// How many operations.
    #[arg(long, default_value_t = 2000)]
    operations: usize,
    /// The seed: the same one gives the same operations. Default: the time.
    #[arg(long)]
    seed: Option<u64>,
    /// Only these families.
    #[arg(long)]
    family: Vec<String>,
    /// Go on after a difference with the next sequence; each kind of difference is told once.
    #[arg(long)]
    keep_going: bool,
    /// Operations in a sequence.
    #[arg(long, default_value_t = 40)]
    length: usize,
    /// Begin with the sequence of this number.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Write each difference as a recording into this directory.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Play recorded sequences on both servers instead of random ones, and write the real answers into them anew.
    #[arg(long)]
    replay: Vec<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> Result<usize> {
    let families = chosen(&arguments.family)?;
    let real = Side::from_file(&arguments.kubeconfig).await?;
    let embedded = Embedded::open().await?;
    let pair = Pair { real: real.clone(), embedded: embedded.side.clone(), run: Run::new(), patience: SETTLED };
    pair.run.quiet(&pair.real).await?;
    for side in [&pair.real, &pair.embedded] {
        pair.run.define(side).await?;
    }
    let mut work = Work { pair, attempt: 0, found: BTreeMap::new(), arguments };
    let outcome = if work.arguments.replay.is_empty() { work.explore(&families).await } else { work.replay().await };
    work.pair.run.close(&real, work.attempt + 1).await?;
    outcome?;
    Ok(work.found.len())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Family>> {
    if names.is_empty() {
        return Ok(FAMILIES.iter().collect());
    }
    let mut found = Vec::new();
    for name in names {
        match FAMILIES.iter().find(|family| family.name == name) {
            Some(family) => found.push(family),
            None => {
                let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
                bail!("no family {name}; there are {}", known.join(", "));
            }
        }
    }
    Ok(found)
}

/// A run under way.
struct Work {
    pair: Pair,
    attempt: u64,
    /// How often each kind of difference was found.
    found: BTreeMap<String, usize>,
    arguments: Arguments,
}

impl Work {
    async fn play(&mut self, operations: &[Operation]) -> Result<Vec<Step>> {
        self.attempt += 1;
        self.pair.play(operations, self.attempt).await
    }

    async fn explore(&mut self, families: &[&'static Family]) -> Result<()> {
        let seed = self
            .arguments
            .seed
            .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs()));
        eprintln!("seed {seed}");
        let (started, mut sent, mut number) = (Instant::now(), 0, self.arguments.first);
        while sent < self.arguments.operations {
            let sequence =
                sequence(seed, number, families, self.arguments.length.min(self.arguments.operations - sent));
            let steps = self.play(&sequence.operations).await?;
            sent += steps.len();
            if let Some(title) = failed(&steps) {
                let known = self.found.entry(title.clone()).or_default();
                *known += 1;
                if *known == 1 {
                    let origin = format!("seed {seed}, sequence {number}, family {}", sequence.family);
                    self.tell(&title, &origin, &steps).await?;
                    if !self.arguments.keep_going {
                        break;
                    }
                }
            }
            number += 1;
            if number % 10 == 0 {
                let rate = sent as f64 / started.elapsed().as_secs_f64();
                eprintln!("{sent} operations, {rate:.0}/s, {} kinds of difference", self.found.len());
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{sent} operations in {seconds:.1} s ({:.0}/s), seed {seed}, {} kinds of difference",
            sent as f64 / seconds,
            self.found.len()
        );
        for (title, count) in &self.found {
            println!("{count:6}  {title}");
        }
        Ok(())
    }

    /// Makes the sequence short, and prints it.
    async fn tell(&mut self, title: &str, origin: &str, steps: &[Step]) -> Result<()> {
        let operations = steps.iter().map(|step| step.operation.clone()).collect();
        let mut broken = None;
        eprintln!("{title} ({origin}); making it short");
        // A difference that lasts is there at once; the last word is said with all patience.
        self.pair.patience = HASTE;
        let until = Instant::now() + SHRINKING;
        let short = shrink(operations, async |candidate: &[Operation]| {
            if Instant::now() > until {
                return false;
            }
            match self.play(candidate).await {
                Ok(steps) => failed(&steps).as_deref() == Some(title),
                Err(error) => {
                    broken = Some(error);
                    false
                }
            }
        })
        .await;
        self.pair.patience = SETTLED;
        if let Some(error) = broken {
            return Err(error);
        }
        let mut played = self.play(&short).await?;
        if failed(&played).is_none() {
            println!("## {title}\n{origin}; it did not come up again in the shortened sequence:");
            played = steps.to_vec();
        } else {
            println!("## {title}\n{origin}");
        }
        println!("{}", report::whole(&played));
        if let Some(directory) = &self.arguments.out {
            std::fs::create_dir_all(directory)?;
            let name: String =
                title.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(80).collect();
            Recording::of(format!("{title} ({origin})"), &played).write(&directory.join(format!("{name}.json")))?;
        }
        Ok(())
    }

    async fn replay(&mut self) -> Result<()> {
        for path in self.arguments.replay.clone() {
            let mut recording = Recording::read(&path)?;
            let steps = self.play(&recording.operations()).await?;
            match failed(&steps) {
                Some(title) => {
                    println!("## {}: {title}\n{}", path.display(), report::whole(&steps));
                    self.found.insert(path.display().to_string(), 1);
                }
                None => {
                    println!("{}: both agree", path.display());
                    recording.steps = Recording::of(String::new(), &steps).steps;
                    recording.write(&path)?;
                }
            }
        }
        Ok(())
    }
}

fn failed(steps: &[Step]) -> Option<String> {
    steps.last().filter(|step| !step.differences.is_empty()).map(report::title)
}
