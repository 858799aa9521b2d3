//! `roadstead operator`: what a cluster needs once, done by the one replica that leads.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;
use roadstead_reconcile::controller::run_all;
use tokio_util::sync::CancellationToken;

use super::{election::Election, roles};
use crate::{
    operator,
    platform::{self, admin},
    telemetry::{self, LogFormat},
};

/// Name of the role: of its Lease, and in its Events.
const ROLE: &str = "roadstead-operator";

/// Arguments of `operator`.
#[derive(clap::Args)]
pub struct Args {
    /// Kubeconfig of the cluster; default: $KUBECONFIG, then the cluster that this runs in.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    system: roles::System,
    /// Metrics and health.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7081")]
    admin_listen: SocketAddr,
    /// Form of the log on stderr.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    #[command(flatten)]
    election: Election,
}

/// Runs until SIGINT or SIGTERM.
pub fn run(args: Args) -> Result<()> {
    telemetry::init(args.log_format, "info");
    roles::runtime()?.block_on(serve(args))
}

async fn serve(args: Args) -> Result<()> {
    let stop = CancellationToken::new();
    let mut metrics = prometheus_client::registry::Registry::default();
    let listener = platform::bind("--admin-listen", args.admin_listen).await?;
    let client = roles::client(args.kubeconfig.as_deref()).await?;
    let namespace = args.system.namespace();
    let controllers = operator::controllers(&client, &mut metrics);
    let working = controllers.clone();
    let work = move |lead| run_all(working.clone(), lead);
    let running = args.election.run(true, client, (ROLE, &namespace), &mut metrics, work)?;
    let (alive, elected) = running.probes();
    let ready = move || {
        elected()?;
        controllers.iter().try_for_each(|c| c.ready().map_err(|why| format!("{}: {why}", c.name())))
    };
    admin::serve(listener, metrics, admin::Probes::new(alive, ready), stop.clone());
    eprintln!("the operator runs");
    roles::until_told_to_stop(running.ended(), async move {
        running.stop().await;
        stop.cancel();
    })
    .await
}
