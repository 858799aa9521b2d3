//! `roadstead notify redeliver`.

use anyhow::Result;
use jiff::Timestamp;
use kube::api::ListParams;
use roadstead_api::names::{event_name, parse_event_name};
use roadstead_reconcile::patch::is_not_found;

use super::ask::{Request, ask};
use super::deliveries_api;
use crate::cli::change::Patience;
use crate::cli::connect::Plane;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// Arguments of `notify redeliver`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the webhook.
    name: String,
    /// Which messages: names as `deliveries` shows them, or the numbers at their end.
    #[arg(required = true, value_name = "DELIVERY")]
    deliveries: Vec<String>,
    #[command(flatten)]
    patience: Patience,
}

/// Asks for one after the other; each keeps the id that it had.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    let names: Vec<String> = args.deliveries.iter().map(|text| full_name(&args.name, text)).collect::<Result<_>>()?;
    for name in &names {
        exists(plane, &args.name, name).await?;
    }
    for name in &names {
        let value = format!("{name}/{}", Timestamp::now());
        match ask(plane, &args.name, Request::Redeliver, &value, args.patience).await? {
            Some(_) => eprintln!("{name} is sent again"),
            None => eprintln!("that {name} is sent again was asked for"),
        }
    }
    output.value(&names, &names.iter().map(|name| format!("{name}\n")).collect::<String>())
}

/// Looks before anything is done, so that a slip changes nothing. Where the control plane serves no deliveries, the hub says.
async fn exists(plane: &Plane, webhook: &str, name: &str) -> Result<()> {
    let selector = ListParams::default().fields(&format!("metadata.name={name}"));
    match deliveries_api(plane).list(&selector).await {
        Ok(found) if found.items.is_empty() => {
            Err(Failure::NotFound(format!("webhook {webhook} has no delivery {name}")).into())
        }
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn full_name(webhook: &str, text: &str) -> Result<String> {
    if let Ok(number) = text.parse() {
        return Ok(event_name(webhook, number));
    }
    match parse_event_name(text) {
        Some((of, _)) if of == webhook => Ok(text.into()),
        _ => Err(Failure::NotFound(format!("webhook {webhook} has no delivery {text:?}")).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_taken() {
        assert_eq!(full_name("shop", "7").unwrap(), "shop-00000000000000000007");
        assert_eq!(full_name("shop", "shop-00000000000000000007").unwrap(), "shop-00000000000000000007");
        assert!(full_name("shop", "other-00000000000000000007").is_err());
        assert!(full_name("shop", "x").is_err());
    }
}
