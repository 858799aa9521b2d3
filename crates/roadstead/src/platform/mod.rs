//! Wiring the rooms together on one machine: what `roadstead up` runs, and what the tour and the agent's own control plane
//! are made of.
//!
//! In: [`Options`]. Out: bound addresses, an admin kubeconfig, `addresses.json`. The order is the order of need: sockets, log,
//! control plane (which serves the logs' resources), hub, registry webhooks, agent, listeners; readiness last.

mod addresses;
pub mod admin;
mod api_metrics;
mod apps;
pub mod certificate;
mod control_plane;
mod data_dir;
mod image_source;
mod webhooks;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use prometheus_client::registry::Registry;
use roadstead_agent::{Agent, Ground, HubAccess, Pattern};
use roadstead_api::names::SYSTEM_NAMESPACE;
use roadstead_hub::{
    Hub,
    events::EventsResource,
    log::{self, LocalLog},
    metrics::on_commit,
};
use roadstead_kubewire::server::Transport;
use roadstead_notify::deliveries::DeliveriesResource;
use roadstead_outbound::tags::TagStore;
use roadstead_reconcile::{Namespaces, targets::Cidr};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::backup::{Backups, Source};

pub use addresses::Addresses;
pub use control_plane::ControlPlane;
pub use data_dir::DataDir;
pub use webhooks::{DELIVERY_QUOTA, Webhooks, open_deliveries};

/// What `roadstead up` is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything that is kept; made with mode 0700.
    pub data_dir: PathBuf,
    /// Public listener.
    pub hub_listen: SocketAddr,
    /// Metrics and health.
    pub admin_listen: SocketAddr,
    /// Kubernetes API.
    pub api_listen: SocketAddr,
    /// Applications, plain.
    pub http_listen: SocketAddr,
    /// Applications, TLS.
    pub https_listen: SocketAddr,
    /// Base of `status.url`; default: the bound https address.
    pub public_url: Option<String>,
    /// Proxies that are believed about where a request came from.
    pub trusted_proxies: Vec<Cidr>,
    /// Private addresses that deliveries and registry checks may reach.
    pub allow_targets: Vec<Cidr>,
    /// Certificate and key of the public listener, PEM; default: from the data directory's own authority.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Key that Secrets are encrypted with; default: in the data directory.
    pub key_file: Option<PathBuf>,
    /// Most bytes that the event log may take.
    pub log_quota: Option<u64>,
    /// Most bytes that the delivery log may take.
    pub delivery_quota: u64,
    /// What the local agent may forward to; default: loopback.
    pub allow_forward: Vec<Pattern>,
}

impl Options {
    /// On free loopback ports, with everything else at its default.
    pub fn ephemeral(data_dir: PathBuf) -> Self {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            data_dir,
            hub_listen: free,
            admin_listen: free,
            api_listen: free,
            http_listen: free,
            https_listen: free,
            public_url: None,
            trusted_proxies: Vec::new(),
            allow_targets: Vec::new(),
            tls: None,
            key_file: None,
            log_quota: None,
            delivery_quota: DELIVERY_QUOTA,
            allow_forward: Vec::new(),
        }
    }
}

/// How long the hub may take to read what is in the control plane beside it.
const HUB_PATIENCE: Duration = Duration::from_secs(30);

/// A running platform.
pub struct Platform {
    addresses: Addresses,
    plane: ControlPlane,
    log: Arc<LocalLog>,
    hub: Hub,
    webhooks: Webhooks,
    agent: roadstead_agent::Handle,
    stop: CancellationToken,
}

impl Platform {
    /// Starts everything and returns when `/readyz` answers 200.
    ///
    /// # Errors
    /// When a socket, a file or the control plane can't be opened; what was started is stopped again by dropping it.
    pub async fn start(options: Options) -> Result<Self> {
        let data_dir = DataDir::open(&options.data_dir)?;
        let listeners = Listeners::bind(&options).await?;
        let addresses = listeners.addresses()?;
        let mut metrics = Registry::default();
        let stop = CancellationToken::new();

        let log = open_log(&data_dir, options.log_quota, &mut metrics).await?;
        let events = Arc::new(EventsResource::new(log.clone()));
        let deliveries = open_deliveries(&data_dir, options.delivery_quota, &mut metrics).await?;
        let told = Arc::new(DeliveriesResource::new(deliveries.clone()));
        let plane = ControlPlane::open(&data_dir, options.key_file.clone(), vec![events, told], &mut metrics).await?;

        // Only now is it sure that no other process works here.
        Addresses::remove(data_dir.path());
        let source = Source {
            handle: plane.handle(),
            log: log.clone(),
            deliveries: deliveries.clone(),
            data_dir: data_dir.path().to_path_buf(),
        };
        plane.plug(Arc::new(Backups::new(source)));

        let public_url = options.public_url.clone().unwrap_or_else(|| format!("https://{}", addresses.hub));
        let (tls, ca_pem) = match options.tls.clone() {
            Some((cert, key)) => (certificate::from_files(cert, key, stop.clone())?, String::new()),
            None => {
                let ca = plane.ca();
                let pem = ca.pem().to_string();
                (certificate::from_ca(ca, addresses.hub, &public_url, stop.clone())?, pem)
            }
        };
        let targets = allowed_targets(&options, addresses.hub);
        let hub_options = roadstead_hub::Options {
            tags: open_tags(&data_dir.tags())?,
            listener: listeners.hub,
            transport: Transport::Both(tls.clone()),
            ca_pem,
            public_url,
            trusted_proxies: options.trusted_proxies.clone(),
            allow_targets: targets.clone(),
            namespaces: Namespaces::default(),
            system_namespace: SYSTEM_NAMESPACE.into(),
            aggregate: None,
        };
        let hub = Hub::start(plane.client(), log.clone(), hub_options, &mut metrics).context("the hub")?;
        hub.readiness().hold(true);
        hub.complete(HUB_PATIENCE).await?;
        let notify_options = roadstead_notify::Options {
            namespaces: Namespaces::default(),
            allow_targets: targets,
            tags: open_tags(&data_dir.polled())?,
        };
        let webhooks = Webhooks::start(plane.client(), log.clone(), deliveries, notify_options, &mut metrics).await?;
        let agent_options = roadstead_agent::Options {
            hubs: [("main".to_string(), HubAccess::Client { client: plane.client(), identity: None })].into(),
            allow_forward: options.allow_forward,
            ..roadstead_agent::Options::new(plane.client(), Ground::Embedded)
        };
        let agent = Agent::start(agent_options, &mut metrics, stop.child_token()).await.context("the agent")?;

        plane.serve(listeners.api)?;
        let (ready, told) = (hub.readiness(), webhooks.readiness());
        let probes = admin::Probes::ready(move || ready.check().and_then(|()| told.check()));
        admin::serve(listeners.admin, metrics, probes, stop.clone());
        apps::serve(listeners.http, listeners.https, tls, &stop);
        hub.readiness().hold(false);
        addresses.write(data_dir.path())?;
        Ok(Self { addresses, plane, log, hub, webhooks, agent, stop })
    }

    /// Addresses in use.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// A client with all rights.
    pub fn client(&self) -> kube::Client {
        self.plane.client()
    }

    /// Where everything is kept.
    pub fn data_dir(&self) -> &Path {
        self.plane.data_dir()
    }

    /// Stops everything in the reverse order; what was acknowledged is on disk.
    pub async fn stop(self) {
        self.hub.readiness().hold(true);
        Addresses::remove(self.plane.data_dir());
        self.agent.shutdown().await;
        self.hub.stop().await;
        // After the hub: nothing is accepted any more that would have to be told.
        self.webhooks.stop().await;
        self.stop.cancel();
        self.plane.stop().await;
        self.log.close().await;
    }
}

/// Sockets are bound before anything is opened: a busy port must not cost a migration.
struct Listeners {
    hub: TcpListener,
    admin: TcpListener,
    api: TcpListener,
    http: TcpListener,
    https: TcpListener,
}

impl Listeners {
    async fn bind(options: &Options) -> Result<Self> {
        Ok(Self {
            hub: bind("--hub-listen", options.hub_listen).await?,
            admin: bind("--admin-listen", options.admin_listen).await?,
            api: bind("--api-listen", options.api_listen).await?,
            http: bind("--http-listen", options.http_listen).await?,
            https: bind("--https-listen", options.https_listen).await?,
        })
    }

    fn addresses(&self) -> Result<Addresses> {
        Ok(Addresses {
            hub: self.hub.local_addr()?,
            admin: self.admin.local_addr()?,
            api: self.api.local_addr()?,
            http: self.http.local_addr()?,
            https: self.https.local_addr()?,
        })
    }
}

/// Binds a socket, or says with which flag to choose another.
pub async fn bind(flag: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("can't listen on {address} (is another roadstead running? choose another address with {flag})")
    })
}

/// Opens the event log of a data directory.
pub async fn open_log(data_dir: &DataDir, quota: Option<u64>, metrics: &mut Registry) -> Result<Arc<LocalLog>> {
    let options = log::Options { quota, on_commit: Some(on_commit(metrics)), ..log::Options::default() };
    LocalLog::open(&data_dir.log(), options).await.context("the event log")
}

/// Opens what is known of registries' tags.
pub fn open_tags(path: &Path) -> Result<TagStore> {
    TagStore::open(path).context("the store of tags")
}

/// `up` bound to loopback is somebody's own machine: then what is on loopback may be reached.
fn allowed_targets(options: &Options, hub: SocketAddr) -> Vec<Cidr> {
    let mut targets = options.allow_targets.clone();
    if hub.ip().is_loopback() {
        targets.extend(["127.0.0.0/8", "::1/128"].iter().filter_map(|block| block.parse::<Cidr>().ok()));
    }
    targets
}
