//! `roadstead notify show`.

use anyhow::{Result, bail};
use kube::ResourceExt;
use roadstead_api::RegistryWebhook;

use super::{COLUMNS, state, webhooks_api};
use crate::cli::connect::Plane;
use crate::cli::hook::secret;
use crate::cli::output::{Format, Output, age, emit, facts};

/// Arguments of `notify show`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the webhook.
    name: String,
    /// Print the signing secrets too.
    #[arg(long)]
    show_secret: bool,
}

/// Prints everything about the webhook.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    if args.show_secret && output.format != Format::Table {
        bail!("--show-secret is for people; for programs: kubectl get secret");
    }
    let hook = webhooks_api(plane).get(&args.name).await?;
    if output.format != Format::Table {
        return output.one(&hook, &(), &COLUMNS);
    }
    let mut lines = describe(&hook);
    if args.show_secret {
        let value = secret::read(plane, &hook.spec.secret_ref).await?;
        lines.extend(value.split_whitespace().map(|key| ("Secret", key.to_string())));
    }
    emit(&facts(&lines))
}

fn describe(hook: &RegistryWebhook) -> Vec<(&'static str, String)> {
    let (spec, status) = (&hook.spec, hook.status.clone().unwrap_or_default());
    let source = match (&spec.source.endpoint, &spec.source.poll) {
        (Some(endpoint), _) => format!("endpoint {endpoint}"),
        (None, Some(poll)) => format!("{}, asked each {}: {}", poll.url, poll.interval, poll.repositories.join(", ")),
        (None, None) => String::new(),
    };
    let all = |list: &[String], none: &str| if list.is_empty() { none.to_string() } else { list.join(", ") };
    let tells = format!(
        "{} of {}, {}",
        all(&spec.events, "push, delete"),
        all(&spec.repositories, "every repository"),
        all(&spec.tags, "every tag")
    );
    let pause = if spec.suspend { " (paused)" } else { "" };
    let mut lines = vec![
        ("Name", format!("{}/{}", hook.namespace().unwrap_or_default(), hook.name_any())),
        ("URL", spec.url.clone()),
        ("Source", source),
        ("Tells", tells),
        ("Secret of", format!("Secret {}/{}", spec.secret_ref.name, spec.secret_ref.key)),
        ("State", format!("{}{pause}", state(hook))),
        ("Reason", status.reason.unwrap_or_default()),
        ("Messages", format!("{} delivered, {} pending, {} given up", status.delivered, status.pending, status.failed)),
    ];
    if let Some(last) = &status.last_delivery {
        lines.push(("Last", format!("{} {} ago: {}", last.name, age(Some(&last.at)), last.message)));
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
    fn a_new_webhook_can_be_shown() {
        let text = facts(&describe(&RegistryWebhook::new("shop", Default::default())));
        assert!(text.contains("Tells:      push, delete of every repository, every tag\n"), "{text}");
    }
}
