//! Runs commands as named steps: each tells what it does, how long it took, and stops the run when it fails.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Says on stderr what is being done, does it, and says how long it took.
pub fn step<T>(title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {title}");
    let started = Instant::now();
    let result = work().with_context(|| title.to_string());
    let outcome = if result.is_ok() { "ok" } else { "FAILED" };
    eprintln!("    {outcome} after {:.1} s: {title}", started.elapsed().as_secs_f64());
    result
}

/// Runs a command with this process' own output; fails unless it exits with 0.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// Runs a command and gives what it wrote to stdout, trimmed; what it writes to stderr is shown only if it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// Whether a program of this name is on PATH.
pub fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// This cargo, so that a step uses the same toolchain as the one that runs it.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Root of the checkout.
pub fn root() -> std::path::PathBuf {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named() {
        let error = run(Command::new("false").arg("--why")).unwrap_err().to_string();
        assert!(error.contains("`false --why` failed"), "{error}");
    }

    #[test]
    fn stderr_is_shown_on_failure_only() {
        let mut fails = Command::new("sh");
        fails.args(["-c", "echo reason >&2; exit 3"]);
        assert!(output(&mut fails).unwrap_err().to_string().contains("reason"));
        let mut works = Command::new("sh");
        works.args(["-c", "echo noise >&2; echo answer"]);
        assert_eq!(output(&mut works).unwrap(), "answer");
    }

    #[test]
    fn programs_are_found_on_path() {
        assert!(on_path("sh"));
        assert!(!on_path("no-such-program-anywhere"));
    }
}
