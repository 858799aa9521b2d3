//! `roadstead notify create`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use roadstead_api::endpoint::{Provider, RateLimit, SecretKeyRef, SecretRef};
use roadstead_api::registry_webhook::{Format as BodyFormat, HeadersFrom, OrderBy, Poll, Source};
use roadstead_api::{RegistryWebhook, RegistryWebhookSpec};

use super::{COLUMNS, test, webhooks_api};
use crate::cli::change::{Change, Patience, Progress, readiness};
use crate::cli::connect::Plane;
use crate::cli::hook::secret;
use crate::cli::output::{Format, Output, emit, resource_name};

/// Arguments of `notify create`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the webhook.
    name: String,
    /// Where to post, e.g. https://client.example.com/images.
    #[arg(long)]
    url: String,
    /// Endpoint that the registry posts to (`roadstead hook create ... --provider distribution` makes one).
    #[arg(long, value_name = "NAME", required_unless_present = "poll", conflicts_with = "poll")]
    endpoint: Option<String>,
    /// Registry that is asked again and again instead, because it cannot post.
    #[arg(long, value_name = "URL", requires = "repositories")]
    poll: Option<String>,
    /// How often.
    #[arg(long, value_name = "TIME", default_value = "5m", requires = "poll")]
    poll_interval: String,
    /// Secret with `username` and `password` of that registry.
    #[arg(long, value_name = "NAME", requires = "poll")]
    poll_secret: Option<String>,
    /// Tell only this: push or delete; repeatable.
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,
    /// Tell only of repositories that match this glob; repeatable.
    #[arg(long = "repository", value_name = "GLOB")]
    repositories: Vec<String>,
    /// Tell only of tags that match this glob; repeatable.
    #[arg(long = "tag", value_name = "GLOB")]
    tags: Vec<String>,
    /// Form of the body: roadstead, cloudevents or distribution.
    #[arg(long = "format", value_name = "FORM", default_value = "roadstead", value_parser = body_format)]
    body: BodyFormat,
    /// What keeps its order: repository, source or none.
    #[arg(long, default_value = "repository", value_parser = order)]
    order_by: OrderBy,
    /// Most requests at the same time.
    #[arg(long, default_value_t = 8, value_name = "COUNT")]
    concurrency: u32,
    /// Most requests a second.
    #[arg(long, value_name = "COUNT")]
    rate: Option<u32>,
    /// Deadline of one attempt.
    #[arg(long = "attempt-timeout", default_value = "15s", value_name = "TIME")]
    attempt_timeout: String,
    /// Secret whose keys are names of headers to send along.
    #[arg(long, value_name = "NAME")]
    headers_from: Option<String>,
    /// Secret with the receiver's CA certificate under `ca.crt`.
    #[arg(long, value_name = "NAME")]
    ca_from: Option<String>,
    /// Secret that is there already; key `secret` unless said. Default: a new one, `<name>-notify`.
    #[arg(long, value_name = "NAME[/KEY]", value_parser = secret_key)]
    secret_from: Option<SecretKeyRef>,
    /// Write the new secret into this new file instead of stdout.
    #[arg(long, value_name = "FILE", conflicts_with = "secret_from")]
    secret_file: Option<PathBuf>,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    patience: Patience,
}

/// Creates the webhook, then its Secret, waits until it is registered and the test was answered, and prints the secret.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    if args.secret_from.is_none() && args.secret_file.is_none() && output.format == Format::Name {
        bail!("-o name would not show the new secret: add --secret-file FILE, or --secret-from");
    }
    let new = args.secret_from.is_none().then(|| secret::generate(Provider::Standard)).transpose()?;
    let made = SecretKeyRef { name: format!("{}-notify", args.name), key: "secret".into() };
    let api = webhooks_api(plane);
    let spec = spec(&args, args.secret_from.clone().unwrap_or_else(|| made.clone()));
    let hook = api.create(&args.change.params(), &RegistryWebhook::new(&args.name, spec)).await?;
    if args.change.is_dry() {
        eprintln!("webhook {} would be created (dry run)", args.name);
        return output.one(&hook, &(), &COLUMNS);
    }
    if let Some(value) = &new {
        secret::keep(plane, &hook, &made, value, args.change).await?;
        // Shown before anything can fail: it is needed whatever comes.
        match &args.secret_file {
            Some(file) => secret::write_file(file, value)?,
            None if output.format == Format::Table => {
                eprintln!(
                    "the secret, for the receiver to verify with; it is kept in Secret {} ({})",
                    made.name, made.key
                );
                emit(&format!("{value}\n"))?;
            }
            None => eprintln!("the secret is in Secret {} ({})", made.name, made.key),
        }
    }
    let own_secret = new.is_some();
    let progress = |hook: &RegistryWebhook| registered(hook, own_secret);
    let Some(hook) = args.patience.until(&api, &args.name, "is registered", progress).await? else {
        eprintln!("webhook {} created", args.name);
        return finish(&hook, output);
    };
    eprintln!("webhook {} is registered: it is told what happens from now on", args.name);
    test::report(plane, &args.name, "", args.patience).await?;
    finish(&hook, output)
}

fn finish(hook: &RegistryWebhook, output: Output) -> Result<()> {
    match output.format {
        // The secret was the answer.
        Format::Table => Ok(()),
        Format::Name => emit(&format!("{}\n", resource_name(hook, &()))),
        _ => output.one(hook, &(), &COLUMNS),
    }
}

/// With a secret made here, which follows the webhook because it belongs to it, that nobody has seen it yet is no mistake.
fn registered(hook: &RegistryWebhook, own_secret: bool) -> Progress {
    let Some(status) = &hook.status else { return Progress::Pending };
    match readiness(&status.conditions, status.observed_generation, hook.metadata.generation) {
        Progress::Stuck { reason, .. } if own_secret && reason == "SecretMissing" => Progress::Pending,
        other => other,
    }
}

fn spec(args: &Args, secret_ref: SecretKeyRef) -> RegistryWebhookSpec {
    let poll = args.poll.clone().map(|url| Poll {
        url,
        repositories: args.repositories.clone(),
        interval: args.poll_interval.clone(),
        secret_ref: args.poll_secret.clone().map(|name| SecretRef { name }),
        ca_ref: None,
    });
    RegistryWebhookSpec {
        // What is polled is chosen by the source itself.
        repositories: if poll.is_some() { Vec::new() } else { args.repositories.clone() },
        source: Source { endpoint: args.endpoint.clone(), poll },
        url: args.url.clone(),
        secret_ref,
        events: args.events.clone(),
        tags: args.tags.clone(),
        format: args.body,
        headers_from: args.headers_from.clone().map(|name| HeadersFrom { secret_ref: SecretRef { name } }),
        ca_ref: args.ca_from.clone().map(|name| SecretRef { name }),
        timeout: args.attempt_timeout.clone(),
        concurrency: args.concurrency,
        rate_limit: args.rate.map(|per_second| RateLimit { per_second, burst: None }),
        order_by: args.order_by,
        suspend: false,
    }
}

fn secret_key(text: &str) -> Result<SecretKeyRef, String> {
    let (name, key) = text.split_once('/').unwrap_or((text, "secret"));
    if name.is_empty() || key.is_empty() {
        return Err("expected NAME or NAME/KEY".into());
    }
    Ok(SecretKeyRef { name: name.into(), key: key.into() })
}

fn body_format(text: &str) -> Result<BodyFormat, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected roadstead, cloudevents or distribution".into())
}

fn order(text: &str) -> Result<OrderBy, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected repository, source or none".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_or_explained() {
        assert_eq!(body_format("cloudevents"), Ok(BodyFormat::Cloudevents));
        assert!(body_format("xml").unwrap_err().contains("distribution"));
        assert_eq!(order("none"), Ok(OrderBy::None));
        assert!(order("tag").is_err());
        assert_eq!(secret_key("client").unwrap().key, "secret");
        assert_eq!(secret_key("client/token").unwrap().key, "token");
        assert!(secret_key("client/").is_err());
    }
}
