//! `roadstead trigger show`.

use anyhow::Result;
use kube::ResourceExt;
use roadstead_api::Trigger;

use super::{COLUMNS, action, endpoint, triggers};
use crate::cli::connect::Plane;
use crate::cli::output::{Format, Output, age, emit, facts};

/// Arguments of `trigger show`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the trigger.
    name: String,
}

/// Prints everything about the trigger.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    let trigger = triggers(plane).get(&args.name).await?;
    match output.format {
        Format::Table => emit(&facts(&describe(&trigger))),
        _ => output.one(&trigger, &(), &COLUMNS),
    }
}

fn describe(trigger: &Trigger) -> Vec<(&'static str, String)> {
    let (spec, status) = (&trigger.spec, trigger.status.clone().unwrap_or_default());
    let mut lines = vec![
        ("Name", format!("{}/{}", trigger.namespace().unwrap_or_default(), trigger.name_any())),
        ("Endpoint", endpoint(trigger)),
        ("Action", action::describe(spec)),
        ("Filter", spec.filter.clone().unwrap_or_else(|| "every event".into())),
        ("Retry", format!("{} attempts within {}", spec.retry.attempts, spec.retry.timeout)),
        ("Sequence", format!("{} done, {} behind", status.sequence, status.lag)),
        (
            "Counters",
            format!(
                "{} succeeded, {} failed attempts, {} skipped, {} dead letters, {} missed",
                status.succeeded, status.failed, status.skipped, status.dead_letters, status.missed
            ),
        ),
    ];
    if let Some(last) = &status.last_result {
        let outcome = if last.success { "succeeded" } else { "failed" };
        lines.push(("Last", format!("{} {outcome} {} ago: {}", last.event, age(Some(&last.at)), last.message)));
    }
    lines.extend(status.conditions.iter().map(|condition| {
        let text = format!("{}={} {}: {}", condition.type_, condition.status, condition.reason, condition.message);
        ("Condition", text)
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_trigger_can_be_shown() {
        let text = facts(&describe(&Trigger::new("relay", Default::default())));
        assert!(
            text.contains("Filter:     every event\n") && text.contains("Sequence:   0 done, 0 behind\n"),
            "{text}"
        );
    }
}
