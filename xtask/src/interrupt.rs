//! Ctrl-C and SIGTERM as something to look at: a command that has started processes must end them before it ends itself.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::signal::unix::{SignalKind, signal};

/// How long an interrupted command may take to end.
const GRACE: Duration = Duration::from_secs(10);
/// How often is looked.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether this process was told to end. From the first `Interrupt` on, such a signal does nothing else.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on, in a thread of its own.
    pub fn listen() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut interrupt, mut terminate) = {
            let _context = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let told = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&told);
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                tell.store(true, Ordering::SeqCst);
                // Signals that come while things are being ended are not heard: that has deadlines.
                std::future::pending::<()>().await;
            });
        });
        Ok(Self(told))
    }

    /// Fails if this process was told to end.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::SeqCst) {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Runs a command; an interrupt ends it and all that it started.
    pub fn run(&self, command: &mut Command) -> Result<()> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child =
            command.stdin(Stdio::null()).process_group(0).spawn().with_context(|| format!("cannot start {program}"))?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if self.check().is_err() {
                end(&mut child)?;
                break self.check().map(|()| ExitStatus::default())?;
            }
            std::thread::sleep(PAUSE);
        };
        if !status.success() {
            bail!("{program} failed: {status}");
        }
        Ok(())
    }
}

/// Ends a process group: politely at first, and whoever of it outlives the command is killed.
fn end(child: &mut Child) -> Result<()> {
    let Some(group) = Pid::from_raw(i32::try_from(child.id())?) else { return Ok(()) };
    // The child is waited for last, so that the group's number stays its own. An error means that nobody is left in it.
    kill_process_group(group, Signal::TERM).ok();
    let told = Instant::now();
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while told.elapsed() < GRACE && waitid(WaitId::Pid(group), look)?.is_none() {
        std::thread::sleep(PAUSE);
    }
    kill_process_group(group, Signal::KILL).ok();
    child.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_command_is_ended_with_what_it_started() {
        let told = Interrupt(Arc::new(AtomicBool::new(false)));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        // A shell makes what it starts in the background deaf to Ctrl-C; this one is deaf to SIGTERM too.
        let script = format!(
            "(trap '' TERM; exec sleep 600) >/dev/null 2>&1 & echo $! > {0}.new; mv {0}.new {0}; wait",
            file.display()
        );
        let (waiter, interrupt) = (file.clone(), told.clone());
        let interrupter = std::thread::spawn(move || {
            let started = Instant::now();
            while !waiter.exists() && started.elapsed() < Duration::from_secs(30) {
                std::thread::sleep(PAUSE);
            }
            interrupt.0.store(true, Ordering::SeqCst);
        });
        let error = told.run(Command::new("sh").args(["-c", &script])).unwrap_err();
        interrupter.join().unwrap();
        assert_eq!(error.to_string(), "interrupted");
        let pid = std::fs::read_to_string(file).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let started = Instant::now();
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(started.elapsed() < Duration::from_secs(30), "it still runs");
            std::thread::sleep(PAUSE);
        }
    }

    #[test]
    fn a_command_that_is_left_alone_ends_as_it_likes() {
        let told = Interrupt(Arc::new(AtomicBool::new(false)));
        told.run(&mut Command::new("true")).unwrap();
        assert!(told.run(&mut Command::new("false")).unwrap_err().to_string().contains("false failed"));
    }
}
