//! `roadstead subscriber add`.

use std::time::Duration;

use anyhow::{Result, bail};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Api;
use roadstead_api::subscriber::EndpointRef;
use roadstead_api::{Subscriber, SubscriberSpec};

use super::kubeconfig::{self, Hub, Place};
use super::token;
use crate::cli::change::{Change, Patience, Progress, duration, readiness};
use crate::cli::connect::Plane;
use crate::cli::output::Output;

/// Arguments of `subscriber add`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the subscriber.
    name: String,
    /// Endpoint that it may watch; repeatable. Another namespace's endpoint must allow it.
    #[arg(long = "endpoint", value_name = "[NAMESPACE/]NAME", value_parser = endpoint_ref)]
    endpoints: Vec<EndpointRef>,
    /// Endpoints of its own namespace by label, e.g. team=shop.
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = selector)]
    selector: Option<LabelSelector>,
    /// How long the token is valid, e.g. 2160h. Default: until revoked.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires_in: Option<Duration>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    patience: Patience,
}

/// Creates the subscriber and prints its kubeconfig.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    kubeconfig::check(output)?;
    if args.endpoints.is_empty() && args.selector.is_none() {
        bail!("say what {} may watch: --endpoint NAME or --selector KEY=VALUE", args.name);
    }
    let hub = Hub::find(&plane.client, &plane.namespace, &args.place).await?;
    let token = token::new()?;
    let spec = SubscriberSpec {
        endpoints: args.endpoints,
        selector: args.selector,
        tokens: vec![token::hash(&token, Timestamp::now(), args.expires_in)],
    };
    let api: Api<Subscriber> = Api::namespaced(plane.client.clone(), &plane.namespace);
    api.create(&args.change.params(), &Subscriber::new(&args.name, spec)).await?;
    if args.change.is_dry() {
        eprintln!("subscriber {} would be created (dry run)", args.name);
        return Ok(());
    }
    eprintln!("subscriber {} created; the kubeconfig holds its token, which is not shown again", args.name);
    kubeconfig::print(&hub.kubeconfig(&args.name, &plane.namespace, &token), output)?;
    args.patience.until(&api, &args.name, "may watch", known).await?;
    Ok(())
}

/// Whether the hub has taken note of the subscriber as it is now.
pub fn known(subscriber: &Subscriber) -> Progress {
    let Some(status) = &subscriber.status else { return Progress::Pending };
    readiness(&status.conditions, status.observed_generation, subscriber.metadata.generation)
}

/// `name` or `namespace/name`.
fn endpoint_ref(text: &str) -> Result<EndpointRef, String> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    };
    if name.is_empty() || name.contains('/') || namespace == Some("") {
        return Err(format!("`{text}` is not NAME or NAMESPACE/NAME"));
    }
    Ok(EndpointRef { namespace: namespace.map(Into::into), name: name.into() })
}

fn selector(text: &str) -> Result<LabelSelector, String> {
    let pairs = text.split(',').map(|pair| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() && !key.ends_with('!') => {
            Ok((key.trim().to_string(), value.trim_start_matches('=').trim().to_string()))
        }
        _ => Err(format!("`{pair}` is not KEY=VALUE")),
    });
    Ok(LabelSelector { match_labels: Some(pairs.collect::<Result<_, _>>()?), ..LabelSelector::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_named_with_or_without_namespace() {
        let reference = |namespace: Option<&str>, name: &str| EndpointRef {
            namespace: namespace.map(Into::into),
            name: name.into(),
        };
        assert_eq!(endpoint_ref("shop"), Ok(reference(None, "shop")));
        assert_eq!(endpoint_ref("team/shop"), Ok(reference(Some("team"), "shop")));
        for wrong in ["", "/shop", "team/", "a/b/c"] {
            assert!(endpoint_ref(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn selectors_are_pairs() {
        let labels = selector("team=shop,tier==web").unwrap().match_labels.unwrap();
        assert_eq!(
            labels.into_iter().collect::<Vec<_>>(),
            [("team".into(), "shop".into()), ("tier".into(), "web".into())]
        );
        for wrong in ["team", "team!=shop", "=x"] {
            assert!(selector(wrong).is_err(), "{wrong}");
        }
    }
}
