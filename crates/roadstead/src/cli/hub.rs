//! `roadstead hub`: the hub alone, beside a control plane that is there already.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use roadstead_apiserver::pki::Ca;
use roadstead_hub::{Hub, aggregate};
use roadstead_kubewire::{Resource, server::Transport};
use roadstead_notify::deliveries::DeliveriesResource;
use roadstead_reconcile::targets::Cidr;
use tokio_util::sync::CancellationToken;

use super::roles;
use crate::{
    platform::{self, DataDir, Webhooks, admin, certificate},
    telemetry::{self, LogFormat},
};

/// Arguments of `hub`.
#[derive(clap::Args)]
pub struct Args {
    /// Where the event log is kept.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Kubeconfig of the control plane; default: $KUBECONFIG, then the cluster that this runs in.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Public listener: webhooks and subscribers; TLS and plain HTTP on one port.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:7080")]
    hub_listen: SocketAddr,
    /// Metrics and health.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7081")]
    admin_listen: SocketAddr,
    /// Base of webhook URLs and of subscribers' kubeconfigs, as senders see it.
    #[arg(long, value_name = "URL")]
    public_url: String,
    /// Proxy whose X-Forwarded-For counts and that may pass tokens over plain HTTP; repeatable.
    #[arg(long = "trusted-proxy", value_name = "CIDR")]
    trusted_proxies: Vec<Cidr>,
    /// Private addresses that registry webhooks and registry checks may reach; repeatable.
    #[arg(long = "allow-target", value_name = "CIDR")]
    allow_targets: Vec<Cidr>,
    /// Certificate of the public listener, PEM; read again when it changes. Without it only a trusted proxy can be served.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Authority that this certificate comes from, PEM, for subscribers' kubeconfigs [default: one that everybody trusts].
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
    /// Most bytes that the event log may take, e.g. 20Gi; beyond it deliveries are answered 503.
    #[arg(long, value_name = "QUANTITY", value_parser = roles::quantity)]
    log_quota: Option<u64>,
    /// Most bytes that the log of deliveries to registry webhooks may take; beyond it new messages wait in the event log.
    #[arg(long, value_name = "QUANTITY", value_parser = roles::quantity, default_value = "4Gi")]
    delivery_quota: u64,
    /// How long deliveries are still taken after SIGTERM, not ready any more, until nobody sends here [default: 5s in a cluster,
    /// else 0].
    #[arg(long, value_name = "DURATION", value_parser = roles::duration)]
    drain_delay: Option<Duration>,
    #[command(flatten)]
    watched: roles::Watched,
    #[command(flatten)]
    system: roles::System,
    #[command(flatten)]
    aggregate: Aggregate,
    /// Form of the log on stderr.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

/// Arguments of the aggregated API.
#[derive(clap::Args)]
#[command(next_help_heading = "Aggregated API")]
struct Aggregate {
    /// Serve the events to the cluster's own API server here, TLS, so that an APIService makes `kubectl get webhookevents` work
    /// [default: not].
    #[arg(long, value_name = "ADDR")]
    aggregate_listen: Option<SocketAddr>,
    /// Its certificate, PEM; read again when it changes [default: one from an authority in the data directory, whose certificate is
    /// in the ConfigMap roadstead-hub as aggregate-ca.crt].
    #[arg(long, value_name = "FILE", requires_all = ["aggregate_tls_key", "aggregate_listen"])]
    aggregate_tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "aggregate_tls_cert")]
    aggregate_tls_key: Option<PathBuf>,
    /// Name that the API server knows it by, for the certificate of its own; repeatable [default:
    /// roadstead-hub.SYSTEM-NAMESPACE.svc].
    #[arg(long = "aggregate-tls-name", value_name = "NAME", requires = "aggregate_listen")]
    aggregate_tls_names: Vec<String>,
}

impl Aggregate {
    /// Binds the listener and finds its certificate; `None` where it is not wanted.
    async fn open(
        self,
        data_dir: &DataDir,
        namespace: &str,
        extra: Vec<Arc<dyn Resource>>,
        stop: &CancellationToken,
    ) -> Result<Option<aggregate::Options>> {
        let Some(address) = self.aggregate_listen else { return Ok(None) };
        let listener = platform::bind("--aggregate-listen", address).await?;
        let (tls, ca_pem) = match self.aggregate_tls_cert.zip(self.aggregate_tls_key) {
            Some((cert, key)) => (certificate::from_files(cert, key, stop.clone())?, String::new()),
            None => {
                let ca =
                    Arc::new(Ca::open(&data_dir.path().join("pki")).context("the authority of the aggregated API")?);
                let mut names = self.aggregate_tls_names;
                if names.is_empty() {
                    names.push(format!("roadstead-hub.{namespace}.svc"));
                }
                let pem = ca.pem().to_string();
                (certificate::for_names(ca, names, stop.clone())?, pem)
            }
        };
        Ok(Some(aggregate::Options { listener, tls, ca_pem, extra }))
    }
}

/// Runs until SIGINT or SIGTERM.
pub fn run(args: Args) -> Result<()> {
    telemetry::init(args.log_format, "info");
    roles::runtime()?.block_on(serve(args))
}

async fn serve(args: Args) -> Result<()> {
    let stop = CancellationToken::new();
    let mut metrics = prometheus_client::registry::Registry::default();
    let ca_pem = match &args.tls_ca {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("--tls-ca {}", file.display()))?,
        None => String::new(),
    };
    let transport = match args.tls_cert.zip(args.tls_key) {
        Some((cert, key)) => Transport::Both(certificate::from_files(cert, key, stop.clone())?),
        None if args.trusted_proxies.is_empty() => {
            bail!(
                "subscribers' tokens need TLS: give --tls-cert and --tls-key, or --trusted-proxy if a proxy terminates it"
            )
        }
        None => Transport::Plain,
    };
    let admin_listener = platform::bind("--admin-listen", args.admin_listen).await?;
    let listener = platform::bind("--hub-listen", args.hub_listen).await?;
    let client = roles::client(args.kubeconfig.as_deref()).await?;
    let in_cluster = roles::in_cluster(args.kubeconfig.as_deref());
    let drain_delay = args.drain_delay.unwrap_or(Duration::from_secs(if in_cluster { 5 } else { 0 }));
    let data_dir = DataDir::open(&args.data_dir)?;
    let log = platform::open_log(&data_dir, args.log_quota, &mut metrics).await?;
    let deliveries = platform::open_deliveries(&data_dir, args.delivery_quota, &mut metrics).await?;
    let told: Arc<dyn Resource> = Arc::new(DeliveriesResource::new(deliveries.clone()));
    let system_namespace = args.system.namespace();
    let options = roadstead_hub::Options {
        tags: platform::open_tags(&data_dir.tags())?,
        listener,
        transport,
        ca_pem,
        public_url: args.public_url,
        trusted_proxies: args.trusted_proxies,
        allow_targets: args.allow_targets.clone(),
        namespaces: args.watched.namespaces(),
        aggregate: args.aggregate.open(&data_dir, &system_namespace, vec![told], &stop).await?,
        system_namespace,
    };
    let hub = Hub::start(client.clone(), log.clone(), options, &mut metrics).context("the hub")?;
    let notify_options = roadstead_notify::Options {
        namespaces: args.watched.namespaces(),
        allow_targets: args.allow_targets,
        tags: platform::open_tags(&data_dir.polled())?,
    };
    let webhooks = Webhooks::start(client, log.clone(), deliveries, notify_options, &mut metrics).await?;
    eprintln!("the hub listens on {}", hub.address());
    let (ready, told) = (hub.readiness(), webhooks.readiness());
    let probes = admin::Probes::ready(move || ready.check().and_then(|()| told.check()));
    admin::serve(admin_listener, metrics, probes, stop.clone());
    roles::until_told_to_stop(std::future::pending(), async move {
        hub.readiness().hold(true);
        tokio::time::sleep(drain_delay).await;
        hub.stop().await;
        webhooks.stop().await;
        stop.cancel();
        log.close().await;
    })
    .await
}
