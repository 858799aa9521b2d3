//! Waiting for something to become true: always with a deadline and with what was seen last.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long tests wait for what should take milliseconds, on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks again and again until `look` gives a value, for at most [`PATIENCE`]. An error of `look` counts as "not yet"; the last one
/// is told when time is up.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    within(PATIENCE, what, look).await
}

/// As [`eventually`], with a deadline of its own.
pub async fn within<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        let seen = look().await;
        if let Ok(Some(value)) = seen {
            return Ok(value);
        }
        if started.elapsed() > patience {
            seen.with_context(|| format!("waited {} s until {what}", patience.as_secs()))?;
            bail!("waited {} s in vain until {what}", patience.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
