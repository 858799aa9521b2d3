//! `roadstead agent`: the remote half, beside a cluster or on a device of its own.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use roadstead_agent::{Agent, Ground, Handle, HubAccess, Metrics, Options, Pattern};
use roadstead_reconcile::Lead;
use tokio_util::sync::CancellationToken;

use super::{election::Election, roles};
use crate::{
    platform::{self, ControlPlane, DataDir, admin},
    telemetry::{self, LogFormat},
};

/// Name of the role: of its Lease, and in its Events.
const ROLE: &str = "roadstead-agent";

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
    #[command(flatten)]
    system: roles::System,
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
    let twice = args.hubs.iter().enumerate().find(|(at, (name, _))| args.hubs[..*at].iter().any(|(n, _)| n == name));
    if let Some((_, (name, _))) = twice {
        bail!("--hub {name} is given twice");
    }
    Agent::check(access(&args.hubs)).await.context("the agent")?;

    let counts = Metrics::default();
    counts.register(&mut metrics);
    let current: Arc<Mutex<Option<Handle>>> = Arc::default();
    let (slot, client) = (current.clone(), own.clone());
    let work = move |lead: Lead| {
        let options = Options {
            hubs: access(&args.hubs),
            namespaces: args.watched.namespaces(),
            allow_forward: args.allow_forward.clone(),
            allow_cross_namespace: args.allow_cross_namespace,
            ..Options::new(client.clone(), ground)
        };
        let (counts, slot) = (counts.clone(), slot.clone());
        async move {
            match Agent::lead(options, counts, lead).await {
                Ok(agent) => {
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(agent.clone());
                    agent.stopped().await;
                }
                Err(error) => tracing::error!(%error, "the agent cannot start"),
            }
        }
    };
    let by_default = args.data_dir.is_none() && roles::in_cluster(args.kubeconfig.as_deref());
    let namespace = args.system.namespace();
    let running = args.election.run(by_default, own, (ROLE, &namespace), &mut metrics, work)?;
    let (alive, elected) = running.probes();
    let is_elected = running.health.is_some();
    let ready = move || {
        elected()?;
        match &*current.lock().unwrap_or_else(PoisonError::into_inner) {
            // A standby has none, and is ready.
            Some(agent) if agent.starting() => Err("starting".into()),
            None if !is_elected => Err("starting".into()),
            _ => Ok(()),
        }
    };
    admin::serve(admin_listener, metrics, admin::Probes::new(alive, ready), stop.clone());
    eprintln!("the agent runs");
    if let Some((plane, address)) = &plane {
        eprintln!("  Kubernetes API  https://{address}");
        eprintln!("  export KUBECONFIG={}", plane.data_dir().join("kubeconfig").display());
    }
    roles::until_told_to_stop(running.ended(), async move {
        running.stop().await;
        stop.cancel();
        if let Some((plane, _)) = plane {
            plane.stop().await;
        }
    })
    .await
}

fn access(hubs: &[(String, PathBuf)]) -> BTreeMap<String, HubAccess> {
    hubs.iter().map(|(name, file)| (name.clone(), HubAccess::Kubeconfig(file.clone()))).collect()
}

fn hub(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_string(), file.into())),
        _ => Err("write NAME=KUBECONFIG, for example main=/etc/roadstead/hub.kubeconfig".into()),
    }
}
