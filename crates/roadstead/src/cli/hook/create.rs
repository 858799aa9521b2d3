//! `roadstead hook create`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use roadstead_api::endpoint::{Authentication, NamespaceRef, Provider, SecretKeyRef, Verify};
use roadstead_api::{WebhookEndpoint, WebhookEndpointSpec};

use super::{COLUMNS, endpoints_api, provider, secret};
use crate::cli::change::{Change, Patience, Progress, readiness};
use crate::cli::connect::Plane;
use crate::cli::output::{Format, Output, emit};

/// Arguments of `hook create`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the endpoint.
    name: String,
    /// Who posts: github, gitlab, gitea, forgejo, bitbucket, distribution, harbor, dockerhub, quay, zot, acr, standard,
    /// cloudevents or generic.
    #[arg(long, value_parser = parse_provider)]
    provider: Provider,
    /// Secret that is there already; key `token` unless said. Default: a new one, `<name>-hook`.
    #[arg(long, value_name = "NAME[/KEY]", value_parser = parse_secret, conflicts_with = "url_only")]
    secret: Option<SecretKeyRef>,
    /// The URL is the only secret: for senders that cannot sign.
    #[arg(long)]
    url_only: bool,
    /// Keep only this event type; repeatable.
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,
    /// Keep only events for which this CEL expression is true.
    #[arg(long, value_name = "CEL")]
    filter: Option<String>,
    /// Largest body that is taken, in bytes.
    #[arg(long, value_name = "BYTES")]
    max_body_bytes: Option<i64>,
    /// For generic: the header with the signature (hex HMAC-SHA-256 of the body).
    #[arg(long, value_name = "HEADER")]
    signature_header: Option<String>,
    /// For generic: what stands before the signature, e.g. `sha256=`.
    #[arg(long, value_name = "TEXT", requires = "signature_header")]
    signature_prefix: Option<String>,
    /// Namespace whose subscribers may watch it too; repeatable.
    #[arg(long = "allow-subscribers-from", value_name = "NAMESPACE")]
    allow: Vec<String>,
    /// Show the new secret on stderr, once.
    #[arg(long)]
    show_secret: bool,
    /// Write the new secret into this new file.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    patience: Patience,
}

/// Creates the endpoint, then its Secret, waits for the URL and prints it.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    check(&args)?;
    let new = (args.secret.is_none() && !args.url_only).then(|| secret::generate(args.provider)).transpose()?;
    let made = SecretKeyRef { name: format!("{}-hook", args.name), key: secret::KEY.into() };
    let api = endpoints_api(plane);
    let spec = spec(&args, new.is_some().then(|| made.clone()).or(args.secret.clone()));
    let endpoint = api.create(&args.change.params(), &WebhookEndpoint::new(&args.name, spec)).await?;
    if args.change.is_dry() {
        eprintln!("endpoint {} would be created (dry run)", args.name);
        return output.one(&endpoint, &(), &COLUMNS);
    }
    if let Some(value) = &new {
        secret::keep(plane, &endpoint, &made, value, args.change).await?;
        if let Some(file) = &args.secret_file {
            secret::write_file(file, value)?;
        }
    }
    let own_secret = new.is_some();
    let progress = |endpoint: &WebhookEndpoint| reachable(endpoint, own_secret);
    let Some(endpoint) = args.patience.until(&api, &args.name, "is ready", progress).await? else {
        eprintln!("endpoint {} created; its URL: roadstead hook url {0}", args.name);
        return Ok(());
    };
    eprintln!("{}", provider::registration(args.provider));
    match &new {
        Some(value) if args.show_secret => eprintln!("Secret: {value}"),
        Some(_) => eprintln!(
            "The secret is in Secret {} ({}): roadstead hook show {} --show-secret",
            made.name, made.key, args.name
        ),
        None => {}
    }
    match output.format {
        Format::Table => emit(&format!("{}\n", endpoint.status.and_then(|status| status.url).unwrap_or_default())),
        _ => output.one(&endpoint, &(), &COLUMNS),
    }
}

fn check(args: &Args) -> Result<()> {
    let provider = args.provider.as_str();
    if !args.url_only && !provider::can_prove(args.provider) {
        bail!("{provider} cannot sign its webhooks: add --url-only, and keep the URL secret");
    }
    if args.provider == Provider::Generic && !args.url_only && args.signature_header.is_none() {
        bail!("provider generic needs --signature-header, or --url-only if the sender cannot sign");
    }
    if args.provider != Provider::Generic && args.signature_header.is_some() {
        bail!("--signature-header is for provider generic; {provider} signs in its own way");
    }
    if (args.show_secret || args.secret_file.is_some()) && (args.url_only || args.secret.is_some()) {
        bail!("--show-secret and --secret-file are for a secret that is made here");
    }
    Ok(())
}

fn spec(args: &Args, secret: Option<SecretKeyRef>) -> WebhookEndpointSpec {
    let verify = args.signature_header.clone().map(|header| Verify {
        header,
        prefix: args.signature_prefix.clone().unwrap_or_default(),
        ..Verify::default()
    });
    let allow = args.allow.iter().map(|namespace| NamespaceRef { namespace: namespace.clone() });
    WebhookEndpointSpec {
        provider: args.provider,
        authentication: if args.url_only { Authentication::UrlOnly } else { Authentication::Required },
        secrets: secret.into_iter().collect(),
        verify,
        events: args.events.clone(),
        filter: args.filter.clone(),
        max_body_bytes: args.max_body_bytes,
        allow_subscribers_from: allow.collect(),
        ..WebhookEndpointSpec::default()
    }
}

/// Whether deliveries are taken. With a secret made here, which follows the endpoint because it belongs to it, that the hub has
/// not seen it yet is no mistake.
fn reachable(endpoint: &WebhookEndpoint, own_secret: bool) -> Progress {
    let Some(status) = endpoint.status.as_ref().filter(|status| status.url.is_some()) else { return Progress::Pending };
    match readiness(&status.conditions, status.observed_generation, endpoint.metadata.generation) {
        Progress::Stuck { reason, .. } if own_secret && reason == "SecretMissing" => Progress::Pending,
        progress => progress,
    }
}

fn parse_provider(text: &str) -> Result<Provider, String> {
    let found = Provider::ALL.into_iter().find(|provider| provider.as_str() == text);
    found.ok_or_else(|| format!("there are: {}", Provider::ALL.map(Provider::as_str).join(", ")))
}

fn parse_secret(text: &str) -> Result<SecretKeyRef, String> {
    let (name, key) = text.split_once('/').unwrap_or((text, secret::KEY));
    if name.is_empty() || key.is_empty() {
        return Err(format!("`{text}` is not NAME or NAME/KEY"));
    }
    Ok(SecretKeyRef { name: name.into(), key: key.into() })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &str) -> Args {
        Alone::try_parse_from(std::iter::once("create").chain(words.split(' '))).unwrap().args
    }

    #[test]
    fn nobody_gets_an_open_endpoint_by_accident() {
        for (words, fault) in [
            ("a --provider github", None),
            ("a --provider github --url-only", None),
            ("a --provider dockerhub", Some("--url-only")),
            ("a --provider dockerhub --url-only", None),
            ("a --provider generic", Some("--signature-header")),
            ("a --provider generic --signature-header x-sig", None),
            ("a --provider github --signature-header x-sig", Some("generic")),
            ("a --provider github --secret s --show-secret", Some("made here")),
        ] {
            let result = check(&parse(words)).map_err(|error| error.to_string());
            match fault {
                None => assert!(result.is_ok(), "{words}: {result:?}"),
                Some(fault) => assert!(result.unwrap_err().contains(fault), "{words}"),
            }
        }
    }

    #[test]
    fn flags_become_the_spec() {
        let args =
            parse("a --provider generic --signature-header x-sig --signature-prefix v1= --event push --secret s/k");
        let spec = spec(&args, args.secret.clone());
        assert_eq!(spec.secrets, [SecretKeyRef { name: "s".into(), key: "k".into() }]);
        assert_eq!(spec.verify.as_ref().map(|verify| verify.prefix.as_str()), Some("v1="));
        assert_eq!(spec.authentication, Authentication::Required);
        assert_eq!(parse_secret("s").unwrap().key, "token");
        assert!(parse_secret("s/").is_err() && parse_provider("githubb").is_err());
    }
}
