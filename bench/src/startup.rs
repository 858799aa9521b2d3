//! Start on an empty directory, and memory at rest.

use std::{path::Path, time::Duration};

use anyhow::Result;

use crate::{
    machine::resident,
    platform::Platform,
    report::{Report, Samples, ms},
};

/// Measures five starts, and the memory of the last after five idle seconds.
pub async fn run(binary: &Path, report: &mut Report) -> Result<()> {
    let mut starts = Vec::new();
    let mut idle = 0;
    for round in 0..5 {
        let platform = Platform::start(binary, &[]).await?;
        starts.push(platform.ready_after);
        if round == 4 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            idle = resident(platform.pid());
        }
    }
    let starts = Samples::new(starts);
    report.add(
        "`up` ready on an empty directory",
        format!("{} (slowest of 5: {})", ms(starts.at(0.5)), ms(starts.at(1.0))),
        "-",
        "< 500 ms",
    );
    report.add("`up` idle, resident", format!("{:.1} MB", idle as f64 / 1e6), "-", "< 60 MB");
    Ok(())
}
