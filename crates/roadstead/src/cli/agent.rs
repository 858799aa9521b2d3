//! `roadstead agent`: the remote half, beside a cluster or on a device of its own.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result, bail};
use roadstead_agent::{Agent, Ground, HubAccess, Options, Pattern};
use tokio_util::sync::CancellationToken;

use super::roles;
use crate::{
    platform::{self, ControlPlane, DataDir, admin},
    telemetry::{self, LogFormat},
};

/// Arguments of `agent`.
#[derive(clap::Args)]
pub struct Args {
    /// A hub to watch, and the kubeconfig that `roadstead subscriber add` printed; repeatable.
    #[arg(long = "hub", value_name = "NAME=KUBECONFIG", required = true, value_parser = hub)]
    hubs: Vec<(String, PathBuf)>,
    /// Kubeconfig of the control plane where the triggers are; default: $KUBECONFIG, then the cluster that this runs in.
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    kubeconfig: Option<PathBuf>,
    /// Run a control plane of its own, kept here: for a device without Kubernetes.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where that control plane's Kubernetes API listens, TLS.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6443")]
    api_listen: SocketAddr,
    /// Metrics and health.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7081")]
    admin_listen: SocketAddr,
    /// Where triggers may forward to: [scheme://]host[:port], *.suffix or loopback; repeatable [default: Services of the
    /// trigger's namespace; with --data-dir: loopback].
    #[arg(long = "allow-forward", value_name = "PATTERN")]
    allow_forward: Vec<Pattern>,
    /// Let triggers act in other namespaces than their own.
    #[arg(long)]
    allow_cross_namespace: bool,
    #[command(flatten)]
    watched: roles::Watched,
    /// Form of the log on stderr.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

/// Runs until SIGINT or SIGTERM.
pub fn run(args: Args) -> Result<()> {
    telemetry::init(args.log_format, "info");
    roles::runtime()?.block_on(serve(args))
}

async fn serve(args: Args) -> Result<()> {
    let stop = CancellationToken::new();
    let mut metrics = prometheus_client::registry::Registry::default();
    let admin_listener = platform::bind("--admin-listen", args.admin_listen).await?;
    let plane = match &args.data_dir {
        Some(dir) => {
            let listener = platform::bind("--api-listen", args.api_listen).await?;
            let plane = ControlPlane::open(&DataDir::open(dir)?, None, Vec::new(), &mut metrics).await?;
            let address = plane.serve(listener)?;
            Some((plane, address))
        }
        None => None,
    };
    let (own, ground) = match &plane {
        Some((plane, _)) => (plane.client(), Ground::Embedded),
        None => (roles::client(args.kubeconfig.as_deref()).await?, Ground::Kubernetes),
    };
    let mut hubs = BTreeMap::new();
    for (name, file) in args.hubs {
        if hubs.insert(name.clone(), HubAccess::Kubeconfig(file)).is_some() {
            bail!("--hub {name} is given twice");
        }
    }
    let options = Options {
        hubs,
        namespaces: args.watched.namespaces(),
        allow_forward: args.allow_forward,
        allow_cross_namespace: args.allow_cross_namespace,
        ..Options::new(own, ground)
    };
    let agent = Agent::start(options, &mut metrics, CancellationToken::new()).await.context("the agent")?;
    let ready = agent.clone();
    admin::serve(admin_listener, metrics, admin::Probes::ready(move || ready.ready()), stop.clone());
    eprintln!("the agent runs");
    if let Some((plane, address)) = &plane {
        eprintln!("  Kubernetes API  https://{address}");
        eprintln!("  export KUBECONFIG={}", plane.data_dir().join("kubeconfig").display());
    }
    roles::until_told_to_stop(async move {
        agent.shutdown().await;
        stop.cancel();
        if let Some((plane, _)) = plane {
            plane.stop().await;
        }
    })
    .await
}

fn hub(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_string(), file.into())),
        _ => Err("write NAME=KUBECONFIG, for example main=/etc/roadstead/hub.kubeconfig".into()),
    }
}
