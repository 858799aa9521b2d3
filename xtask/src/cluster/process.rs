//! Processes that outlive the command that started them, and their records.
//!
//! In: what to run. Out: a process with its log and a record of pid, start time and boot, by which a later command knows it again.
//! A pid alone is no proof: it may belong to somebody else by then. So a signal goes through a pidfd, and only after the start
//! time behind that pidfd was compared. A process whose record was never written (a kill between the two) is found by its
//! program and by the cluster's directory in its arguments.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::state::{Layout, write_private};
use super::wait;

/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(15);
/// `/proc` counts time in ticks; Linux tells every program that there are 100 a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// What to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The name of its log and record.
    pub name: &'static str,
    /// Absolute path.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What is set in its environment beside what this process has.
    pub environment: Vec<(&'static str, String)>,
}

/// By what a process is known again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its pid.
    pub pid: i32,
    /// When it began, in ticks since boot.
    pub started: u64,
    /// Which boot that was.
    pub boot: String,
}

impl Record {
    /// The record of a process that is there now.
    fn of(pid: i32) -> Option<Self> {
        let stat = parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        (!stat.gone()).then(|| Self { pid, started: stat.started, boot: boot() })
    }

    /// Whether that very process still runs.
    pub fn alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Seconds since it began.
    pub fn age(&self) -> u64 {
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let uptime: f64 = uptime.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or_default();
        (uptime - self.started as f64 / TICKS_PER_SECOND).max(0.0) as u64
    }

    /// Sends a signal to that very process; nothing happens if it is gone.
    fn signal(&self, signal: Signal) -> Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(()) };
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
        if self.alive() && pidfd_send_signal(process, signal).is_err() && self.alive() {
            bail!("process {} cannot be signalled: is it another user's?", self.pid);
        }
        Ok(())
    }
}

/// The record of a process of this cluster if it runs.
pub fn find(layout: &Layout, name: &str, program: Option<&Path>) -> Option<Record> {
    let kept = fs::read_to_string(layout.record(name)).ok();
    let kept = kept.and_then(|text| serde_json::from_str::<Record>(&text).ok()).filter(Record::alive);
    kept.or_else(|| program.and_then(|program| unrecorded(program, layout.root())))
}

/// Starts a program unless it runs; says whether it was started.
pub fn start(layout: &Layout, program: &Program) -> Result<bool> {
    if let Some(record) = find(layout, program.name, Some(&program.path)) {
        write_record(layout, program.name, &record)?;
        return Ok(false);
    }
    let log = layout.log(program.name);
    let open = || File::options().append(true).create(true).open(&log);
    let (out, err) = (open()?, open()?);
    let child = Command::new(&program.path)
        .args(&program.arguments)
        .envs(program.environment.iter().map(|(name, value)| (*name, value)))
        .current_dir(layout.root())
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        // A group of its own: Ctrl-C at the terminal is for the command, not for the cluster.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", program.path.display()))?;
    let pid = i32::try_from(child.id())?;
    let record = Record::of(pid)
        .with_context(|| format!("{} ended at once; its log says:\n{}", program.name, wait::tail(&log)))?;
    write_record(layout, program.name, &record)?;
    Ok(true)
}

/// Ends a process: SIGTERM, and SIGKILL if it stays. Says whether there was one.
pub fn stop(layout: &Layout, name: &str, program: Option<&Path>) -> Result<bool> {
    let found = find(layout, name, program);
    if let Some(record) = &found {
        record.signal(Signal::TERM)?;
        if wait::quietly(GRACE, || !record.alive()).is_err() {
            record.signal(Signal::KILL)?;
            wait::quietly(GRACE, || !record.alive())
                .with_context(|| format!("{name} (pid {}) does not end, even killed", record.pid))?;
        }
    }
    match fs::remove_file(layout.record(name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(found.is_some()),
    }
}

fn write_record(layout: &Layout, name: &str, record: &Record) -> Result<()> {
    write_private(&layout.record(name), &serde_json::to_string(record)?)
}

/// Kills a process; says whether it was gone already.
pub fn kill(pid: i32) -> Result<bool> {
    let Some(record) = Record::of(pid) else { return Ok(true) };
    record.signal(Signal::KILL)?;
    Ok(false)
}

/// The processes of a program with a cluster's directory in their arguments.
pub fn of_program(program: &Path, root: &Path) -> Vec<i32> {
    let ours = format!("{}/", root.display());
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        words.next().is_some_and(|first| OsStr::new(&*first) == program) && words.any(|word| word.contains(&ours))
    })
    .collect()
}

fn unrecorded(program: &Path, root: &Path) -> Option<Record> {
    of_program(program, root).into_iter().find_map(Record::of)
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_string()
}

/// What counts of `/proc/PID/stat` (proc(5)).
#[derive(Debug, PartialEq)]
struct Stat {
    state: char,
    started: u64,
}

impl Stat {
    /// A zombie has ended; only its parent has not asked yet.
    fn gone(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// The program's name is in parentheses and may hold anything, parentheses and spaces too: fields are counted after the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some(Stat { state, started: fields.nth(18)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "4711 (a) b (c) S 1 4711 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 123456 1000 10 18446744073709551615";

    #[test]
    fn the_start_time_is_read_behind_any_name() {
        assert_eq!(parse_stat(STAT), Some(Stat { state: 'S', started: 123_456 }));
        assert!(parse_stat(&STAT.replace(" S ", " Z ")).unwrap().gone());
        assert_eq!(parse_stat("4711 (short) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    fn cluster() -> (tempfile::TempDir, Layout) {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().to_path_buf());
        layout.create().unwrap();
        (directory, layout)
    }

    fn sleeper(layout: &Layout) -> Program {
        // The directory is among the arguments, as it is of every process of a cluster.
        let arguments = ["-c".into(), "exec sleep 600".into(), format!("{}/x", layout.root().display())];
        Program { name: "sleeper", path: "/bin/sh".into(), arguments: arguments.into(), environment: vec![] }
    }

    #[test]
    fn a_process_is_started_once_and_stopped_once() {
        let (_directory, layout) = cluster();
        let program = sleeper(&layout);
        assert!(start(&layout, &program).unwrap());
        assert!(!start(&layout, &program).unwrap());
        let record = find(&layout, "sleeper", None).unwrap();
        assert!(stop(&layout, "sleeper", None).unwrap());
        assert!(!record.alive());
        assert!(!stop(&layout, "sleeper", None).unwrap());
        assert!(!layout.record("sleeper").exists());
    }

    #[test]
    fn a_pid_that_is_somebody_elses_now_is_left_alone() {
        let (_directory, layout) = cluster();
        let mut somebody = Command::new("sleep").arg("600").spawn().unwrap();
        let mut record = Record::of(somebody.id() as i32).unwrap();
        for change in [|record: &mut Record| record.started -= 1, |record: &mut Record| record.boot.push('x')] {
            change(&mut record);
            write_record(&layout, "sleeper", &record).unwrap();
            assert!(!stop(&layout, "sleeper", None).unwrap());
            record.signal(Signal::KILL).unwrap();
        }
        assert_eq!(somebody.try_wait().unwrap(), None, "it still runs");
        somebody.kill().unwrap();
        somebody.wait().unwrap();
    }

    #[test]
    fn a_process_without_a_record_is_found_by_its_arguments() {
        let (_directory, layout) = cluster();
        let program = Program {
            // It keeps its arguments, has no children that look like it, and shrugs at a file that is not there.
            path: "/usr/bin/tail".into(),
            arguments: vec!["-f".into(), "/dev/null".into(), format!("{}/x", layout.root().display())],
            ..sleeper(&layout)
        };
        start(&layout, &program).unwrap();
        let record = find(&layout, "sleeper", None).unwrap();
        fs::remove_file(layout.record("sleeper")).unwrap();
        assert_eq!(find(&layout, "sleeper", None), None);
        // Just after its start the system does not show a process' arguments yet.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let found = loop {
            let found = find(&layout, "sleeper", Some(&program.path));
            if found.is_some() || std::time::Instant::now() > deadline {
                break found;
            }
            std::thread::yield_now();
        };
        assert_eq!(found, Some(record));
        assert!(!start(&layout, &program).unwrap(), "no second one");
        assert!(stop(&layout, "sleeper", Some(&program.path)).unwrap());
    }

    #[test]
    fn a_zombie_counts_as_gone() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        wait::quietly(Duration::from_secs(10), || Record::of(pid).is_none()).unwrap();
        child.wait().unwrap();
    }
}
