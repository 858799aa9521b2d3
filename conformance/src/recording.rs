//! A sequence with the real server's answers, in a file: what a run writes of a difference, what `--replay` reads, and what
//! the regression tests check the embedded server against, without a real one.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::time::{Duration, Instant, sleep};

use crate::{
    compare::{Difference, differences},
    memory::Memory,
    normalise::Answer,
    operation::{Mode, Operation},
    pair::{Session, Step},
    prepare::Run,
    side::Side,
};

/// How long what follows from earlier operations may take.
const SETTLED: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(20);

/// A sequence as it was answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// What was wrong.
    pub comment: String,
    /// In order.
    pub steps: Vec<Recorded>,
}

/// One operation and the real answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// The operation.
    pub operation: Operation,
    /// The real server's answer in normal form.
    pub answer: Answer,
}

impl Recording {
    /// Of steps that were just played.
    pub fn of(comment: String, steps: &[Step]) -> Self {
        let step = |step: &Step| Recorded { operation: step.operation.clone(), answer: step.real.clone() };
        Self { comment, steps: steps.iter().map(step).collect() }
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no recording", path.display()))
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The operations alone.
    pub fn operations(&self) -> Vec<Operation> {
        self.steps.iter().map(|step| step.operation.clone()).collect()
    }

    /// Plays the sequence on a server, in new namespaces that `attempt` numbers, and compares with what was recorded.
    ///
    /// # Errors
    /// When the namespaces cannot be made.
    pub async fn check(&self, side: &Side, run: &Run, attempt: u64) -> Result<Vec<(Operation, Vec<Difference>)>> {
        run.open(side, attempt).await?;
        let mut session = Session::new(side.clone(), Memory::new(run.names(attempt)));
        let mut found = Vec::new();
        for Recorded { operation, answer } in &self.steps {
            let deadline = Instant::now() + SETTLED;
            let differences = loop {
                let mut next = session.clone();
                let embedded = next.send(operation).await;
                let differences = differences(operation, answer, &embedded);
                if operation.mode != Mode::Settle || differences.is_empty() || Instant::now() > deadline {
                    session = next;
                    break differences;
                }
                sleep(STEP).await;
            };
            if !differences.is_empty() {
                found.push((operation.clone(), differences));
            }
        }
        Ok(found)
    }
}
