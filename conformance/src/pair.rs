//! The same operations to both servers, one at a time, and what differs.
//!
//! In: a sequence. Out: each operation with both answers, up to the first that differ: what comes after is a consequence.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use crate::{
    compare::{Difference, differences},
    memory::Memory,
    normalise::{Answer, Normaliser},
    operation::{Mode, Operation},
    prepare::Run,
    side::Side,
};

/// How long what follows from earlier operations may take on either side.
pub const SETTLED: Duration = Duration::from_secs(20);
/// Between two looks.
const STEP: Duration = Duration::from_millis(100);
/// How many looks must agree in a row, at the first operation that waits after one that does not.
const LOOKS: usize = 2;

/// One side in the course of a sequence.
#[derive(Clone)]
pub struct Session {
    side: Side,
    memory: Memory,
    normaliser: Normaliser,
}

impl Session {
    /// Nothing sent yet.
    pub fn new(side: Side, memory: Memory) -> Self {
        let normaliser = Normaliser::new(memory.names().clone());
        Self { side, memory, normaliser }
    }

    /// Sends an operation; gives the answer in normal form.
    pub async fn send(&mut self, operation: &Operation) -> Answer {
        let answer = self.side.send(operation, &self.memory).await;
        self.memory.learn(operation, &answer.body);
        self.normaliser.answer(&answer)
    }
}

/// An operation and what became of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// The operation.
    pub operation: Operation,
    /// The real server's answer.
    pub real: Answer,
    /// The embedded server's.
    pub embedded: Answer,
    /// In what they differ.
    pub differences: Vec<Difference>,
}

impl Step {
    /// Whether one side has done what the other has refused, as some intended differences are: from there on the two have not
    /// the same state, and there is nothing to compare.
    fn parts(&self) -> bool {
        let done = |answer: &Answer| (200..300).contains(&answer.code);
        self.operation.method != "GET" && done(&self.real) != done(&self.embedded)
    }
}

/// Both servers.
#[derive(Clone)]
pub struct Pair {
    /// The real one.
    pub real: Side,
    /// The embedded one.
    pub embedded: Side,
    /// The names on both.
    pub run: Run,
    /// How long what follows from earlier operations may take on either side, as a rule [`SETTLED`].
    pub patience: Duration,
}

impl Pair {
    /// Sends a sequence to both, in new namespaces that `attempt` numbers; ends after the first difference, and where an
    /// intended difference leaves them in different states.
    ///
    /// # Errors
    /// When the namespaces cannot be made.
    pub async fn play(&self, operations: &[Operation], attempt: u64) -> Result<Vec<Step>> {
        let (one, other) = tokio::join!(self.run.open(&self.real, attempt), self.run.open(&self.embedded, attempt));
        one.and(other)?;
        let memory = Memory::new(self.run.names(attempt));
        let mut real = Session::new(self.real.clone(), memory.clone());
        let mut embedded = Session::new(self.embedded.clone(), memory);
        let mut steps = Vec::new();
        let mut before = Mode::Once;
        for operation in operations {
            // What the look before this one has waited for need not be waited for again.
            let looks = if before == Mode::Settle { 1 } else { LOOKS };
            before = operation.mode;
            let step = both(&mut real, &mut embedded, operation, self.patience, looks).await;
            let over = !step.differences.is_empty() || step.parts();
            steps.push(step);
            if over {
                break;
            }
        }
        Ok(steps)
    }
}

async fn both(
    real: &mut Session,
    embedded: &mut Session,
    operation: &Operation,
    patience: Duration,
    looks: usize,
) -> Step {
    let deadline = Instant::now() + patience;
    let mut agreed = 0;
    loop {
        let (mut one, mut other) = (real.clone(), embedded.clone());
        let (answer, beside) = tokio::join!(one.send(operation), other.send(operation));
        let differences = differences(operation, &answer, &beside);
        agreed = if differences.is_empty() { agreed + 1 } else { 0 };
        let over = match operation.mode {
            Mode::Once | Mode::Stream => true,
            Mode::Cached => agreed > 0,
            Mode::Settle => agreed >= looks,
        };
        if over || Instant::now() > deadline {
            (*real, *embedded) = (one, other);
            return Step { operation: operation.clone(), real: answer, embedded: beside, differences };
        }
        sleep(STEP).await;
    }
}
