//! The two grounds that scenarios run on, which scenarios belong to one alone, and the count of both.
//!
//! `$ROADSTEAD_E2E_KUBECONFIG` names the administrator's kubeconfig of a real cluster; without it everything runs on the embedded
//! control plane. What is left out is said where it is left out, and counted: the lines go to the real stderr, past the test
//! runner, which would hide them.

use std::{
    collections::BTreeMap,
    io::Write,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// Where a scenario runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// `roadstead up`: one process.
    Embedded,
    /// `roadstead hub` and `roadstead agent` beside a real Kubernetes.
    Kubernetes,
}

impl Ground {
    /// That of this run.
    pub fn here() -> Ground {
        if cluster_kubeconfig().is_some() { Ground::Kubernetes } else { Ground::Embedded }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Ground::Embedded => "the embedded control plane",
            Ground::Kubernetes => "Kubernetes",
        }
    }
}

/// The administrator's kubeconfig of the real cluster, if there is one.
pub fn cluster_kubeconfig() -> Option<PathBuf> {
    std::env::var_os("ROADSTEAD_E2E_KUBECONFIG").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Whether the calling scenario, which makes sense on `ground` alone, runs here; the reason is told where it does not.
pub fn only_on(ground: Ground, reason: &str) -> bool {
    if Ground::here() == ground {
        return true;
    }
    leave_out(reason);
    false
}

/// Tells and counts that the calling scenario does not run here, because of something else than the ground.
pub fn leave_out(reason: &str) {
    let name = scenario();
    say(&format!("left out on {}: {name}: {reason}", Ground::here().name()));
    with(|tally| {
        tally.left_out.insert(name, reason.to_string());
        tally.tell();
    });
}

/// A scenario under way. A [`Platform`](crate::Platform) holds one; scenarios without a platform hold one themselves.
pub struct Open(());

impl Open {
    /// Counts the calling scenario.
    #[expect(clippy::new_without_default, reason = "it counts, which is no default")]
    pub fn new() -> Open {
        with(|tally| {
            tally.open += 1;
            *tally.ran.entry(scenario()).or_default() += 1;
        });
        Open(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        with(|tally| {
            tally.open -= 1;
            tally.tell();
        });
    }
}

#[derive(Default)]
struct Tally {
    open: usize,
    ran: BTreeMap<String, usize>,
    left_out: BTreeMap<String, String>,
}

impl Tally {
    /// Tells the count whenever nothing is under way, and so at the end.
    fn tell(&self) {
        if self.open == 0 {
            let (ran, left_out) = (self.ran.len(), self.left_out.len());
            say(&format!("so far {ran} scenarios ran on {}, {left_out} left out", Ground::here().name()));
        }
    }
}

fn with<T>(work: impl FnOnce(&mut Tally) -> T) -> T {
    static TALLY: Mutex<Option<Tally>> = Mutex::new(None);
    let mut tally = TALLY.lock().unwrap_or_else(PoisonError::into_inner);
    work(tally.get_or_insert_default())
}

/// The test's name, which the runner gives to its thread.
fn scenario() -> String {
    std::thread::current().name().unwrap_or("?").to_string()
}

fn say(line: &str) {
    // Nobody to tell is no reason to fail.
    let _ = writeln!(std::io::stderr(), "e2e: {line}");
}
