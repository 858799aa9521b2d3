//! `roadstead hook show` and `roadstead hook url`.

use anyhow::{Result, bail};
use kube::ResourceExt;
use roadstead_api::WebhookEndpoint;
use roadstead_api::endpoint::Authentication;

use super::{COLUMNS, endpoints_api, provider, secret};
use crate::cli::connect::Plane;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Output, age, emit, facts};

/// Arguments of `hook show`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the endpoint.
    name: String,
    /// Print the signing secrets too.
    #[arg(long)]
    show_secret: bool,
}

/// Arguments of `hook url`.
#[derive(clap::Args)]
pub struct UrlArgs {
    /// Name of the endpoint.
    name: String,
}

/// Prints everything about the endpoint.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    if args.show_secret && output.format != Format::Table {
        bail!("--show-secret is for people; for programs: kubectl get secret");
    }
    let hook = endpoints_api(plane).get(&args.name).await?;
    if output.format != Format::Table {
        return output.one(&hook, &(), &COLUMNS);
    }
    let mut lines = describe(&hook);
    if args.show_secret {
        for reference in &hook.spec.secrets {
            let value = secret::read(plane, reference).await?;
            lines.push(("Secret", format!("{value}   ({}/{})", reference.name, reference.key)));
        }
    }
    emit(&facts(&lines))?;
    eprintln!("{}", provider::registration(hook.spec.provider));
    Ok(())
}

/// Prints the URL alone.
pub async fn url(args: UrlArgs, plane: &Plane, output: Output) -> Result<()> {
    let hook = endpoints_api(plane).get(&args.name).await?;
    let url = hook.status.and_then(|status| status.url).ok_or_else(|| {
        Failure::NotFound(format!("endpoint {} has no URL yet: is a hub running on this control plane?", args.name))
    })?;
    output.value(&url, &format!("{url}\n"))
}

fn describe(hook: &WebhookEndpoint) -> Vec<(&'static str, String)> {
    let (spec, status) = (&hook.spec, hook.status.clone().unwrap_or_default());
    let secrets = spec.secrets.iter().map(|secret| format!("Secret {}/{}", secret.name, secret.key));
    let proof = match spec.authentication {
        Authentication::UrlOnly => "none, the URL only".into(),
        Authentication::Required => secrets.collect::<Vec<_>>().join(", "),
    };
    let types = if spec.events.is_empty() { "every event".into() } else { spec.events.join(", ") };
    let condition = spec.filter.iter().map(|filter| format!(" if {filter}"));
    let counters = &status.counters;
    let mut lines = vec![
        ("Name", format!("{}/{}", hook.namespace().unwrap_or_default(), hook.name_any())),
        ("Provider", spec.provider.as_str().into()),
        ("URL", status.url.unwrap_or_default()),
        ("Proof", proof),
        ("Keeps", types + &condition.collect::<String>()),
        ("Retention", format!("{}, {}", spec.retention.age, spec.retention.bytes)),
        ("Sequence", status.sequence.to_string()),
        (
            "Counters",
            format!(
                "{} accepted, {} duplicate, {} filtered, {} rejected",
                counters.accepted, counters.duplicate, counters.filtered, counters.rejected
            ),
        ),
    ];
    lines.extend(status.conditions.iter().map(|condition| {
        let text = format!("{}={} {}: {}", condition.type_, condition.status, condition.reason, condition.message);
        ("Condition", text)
    }));
    lines.extend(status.recent.iter().map(|event| {
        let ago = age(Some(&event.received_at));
        ("Event", format!("{} {} {} ({}) {ago} ago", event.sequence, event.kind, event.subject, event.id))
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_endpoint_can_be_shown() {
        let text = facts(&describe(&WebhookEndpoint::new("shop", Default::default())));
        assert!(text.contains("Provider:   github\n") && text.contains("URL:        -\n"), "{text}");
        assert!(text.contains("Keeps:      every event"), "{text}");
    }
}
