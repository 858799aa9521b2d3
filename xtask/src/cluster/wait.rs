//! Waiting with a deadline and a reason: what did not come is said together with the end of the log that should tell why.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often is looked.
const PAUSE: Duration = Duration::from_millis(100);
/// How much of a log is shown.
const TAIL_LINES: usize = 15;

/// Asks until `ready` says yes; an error of it ends the wait at once.
pub fn until(what: &str, limit: Duration, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !ready()? {
        if started.elapsed() >= limit {
            bail!("{what}: not after {} s", limit.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// As `until`, for what cannot fail.
pub fn quietly(limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
    until("waiting", limit, || Ok(ready()))
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    if last.is_empty() { format!("({} is empty)", log.display()) } else { last.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_its_condition_its_deadline_or_its_error() {
        let mut asked = 0;
        until("three", Duration::from_secs(60), || {
            asked += 1;
            Ok(asked == 3)
        })
        .unwrap();
        let late = until("the tide", Duration::ZERO, || Ok(false)).unwrap_err().to_string();
        assert!(late.contains("the tide: not after 0 s"), "{late}");
        let broken = until("the tide", Duration::from_secs(60), || bail!("aground")).unwrap_err().to_string();
        assert_eq!(broken, "aground");
    }

    #[test]
    fn only_the_end_of_a_log_is_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(tail(file.path()).contains("is empty"));
        std::fs::write(file.path(), (0..100).map(|n| format!("line {n}\n")).collect::<String>()).unwrap();
        let shown = tail(file.path());
        assert!(shown.starts_with("line 85\n") && shown.ends_with("line 99"), "{shown}");
    }
}
