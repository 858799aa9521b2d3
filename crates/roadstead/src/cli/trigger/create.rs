//! `roadstead trigger create`.

use anyhow::Result;
use roadstead_api::trigger::{HubEndpoint, OrderBy, Retry, Start};
use roadstead_api::{Trigger, TriggerSpec};

use super::action::Action;
use super::{COLUMNS, triggers};
use crate::cli::change::{Change, Patience, Progress, readiness};
use crate::cli::connect::Plane;
use crate::cli::output::{Format, Output, emit, resource_name};

/// Arguments of `trigger create`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the trigger.
    name: String,
    /// Which endpoint of which hub; hub `main` and namespace `default` unless said.
    #[arg(long, value_name = "[HUB:][NAMESPACE/]NAME", value_parser = endpoint)]
    endpoint: HubEndpoint,
    /// Act only on events for which this CEL expression is true.
    #[arg(long, value_name = "CEL")]
    filter: Option<String>,
    /// Which events keep their order: repository, endpoint or none.
    #[arg(long, default_value = "repository", value_parser = order)]
    order_by: OrderBy,
    /// Where to start: now, or with the earliest event that is retained.
    #[arg(long, default_value = "now", value_parser = start)]
    start: Start,
    /// Service account that acts.
    #[arg(long, value_name = "NAME")]
    service_account: Option<String>,
    /// Attempts before an event is given up on.
    #[arg(long, default_value_t = Retry::default().attempts, value_name = "COUNT")]
    attempts: u32,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    action: Action,
}

/// Creates the trigger and waits until an agent has taken it.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    let mut spec = TriggerSpec {
        endpoint: args.endpoint,
        filter: args.filter,
        order_by: args.order_by,
        start: args.start,
        service_account_name: args.service_account,
        retry: Retry { attempts: args.attempts, ..Retry::default() },
        ..TriggerSpec::default()
    };
    args.action.apply(&mut spec)?;
    let api = triggers(plane);
    let mut trigger = api.create(&args.change.params(), &Trigger::new(&args.name, spec)).await?;
    if args.change.is_dry() {
        eprintln!("trigger {} would be created (dry run)", args.name);
    } else {
        eprintln!("trigger {} created", args.name);
        trigger = args.patience.until(&api, &args.name, "is taken by an agent", taken).await?.unwrap_or(trigger);
    }
    match output.format {
        Format::Table => emit(&format!("{}\n", resource_name(&trigger, &()))),
        _ => output.one(&trigger, &(), &COLUMNS),
    }
}

fn taken(trigger: &Trigger) -> Progress {
    let Some(status) = &trigger.status else { return Progress::Pending };
    readiness(&status.conditions, status.observed_generation, trigger.metadata.generation)
}

fn endpoint(text: &str) -> Result<HubEndpoint, String> {
    let (hub, rest) = text.split_once(':').unwrap_or(("main", text));
    let (namespace, name) = rest.split_once('/').unwrap_or(("default", rest));
    if hub.is_empty() || namespace.is_empty() || name.is_empty() || name.contains('/') {
        return Err(format!("`{text}` is not [HUB:][NAMESPACE/]NAME"));
    }
    Ok(HubEndpoint { hub: hub.into(), namespace: namespace.into(), name: name.into() })
}

fn order(text: &str) -> Result<OrderBy, String> {
    match text {
        "repository" => Ok(OrderBy::Repository),
        "endpoint" => Ok(OrderBy::Endpoint),
        "none" => Ok(OrderBy::None),
        _ => Err("there are: repository, endpoint, none".into()),
    }
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "now" => Ok(Start::Now),
        "earliest" => Ok(Start::Earliest),
        _ => Err("there are: now, earliest".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_have_a_hub_and_a_namespace() {
        for (text, expected) in [
            ("shop", Some(("main", "default", "shop"))),
            ("team/shop", Some(("main", "team", "shop"))),
            ("eu:shop", Some(("eu", "default", "shop"))),
            ("eu:team/shop", Some(("eu", "team", "shop"))),
            (":shop", None),
            ("team/", None),
            ("a/b/c", None),
        ] {
            let found = endpoint(text).ok();
            let found = found.as_ref().map(|e| (e.hub.as_str(), e.namespace.as_str(), e.name.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
