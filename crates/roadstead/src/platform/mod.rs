//! Wiring the rooms together on one machine: what `roadstead up` runs, and what the tour and the agent's own control plane
//! are made of.
//!
//! In: [`Options`]. Out: bound addresses, an admin kubeconfig, a ready file. The order is the order of need: log, control
//! plane (which serves the log's resource), hub, agent, listeners; readiness last.

mod addresses;
mod admin;
mod apps;
mod certificate;
mod data_dir;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use prometheus_client::registry::Registry;
use roadstead_agent::{Agent, Ground};
use roadstead_apiserver as apiserver;
use roadstead_hub::{
    Hub,
    events::EventsResource,
    log::{LocalLog, Log, LogOptions},
    source::Cidr,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use addresses::Addresses;
pub use data_dir::DataDir;

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
    /// Private addresses that registry checks may reach.
    pub allow_targets: Vec<Cidr>,
    /// Certificate and key of the public listener, PEM; default: from the data directory's own CA.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Key that Secrets are encrypted with; default: in the data directory.
    pub key_file: Option<PathBuf>,
    /// Most bytes that the event log may take.
    pub log_quota: Option<u64>,
    /// What the local agent may forward to, beside loopback.
    pub allow_forward: Vec<String>,
}

/// A running platform.
pub struct Platform {
    addresses: Addresses,
    server: apiserver::Server,
    hub: Hub,
    agent: Agent,
    stop: CancellationToken,
    data_dir: DataDir,
}

impl Platform {
    /// Starts everything and returns when `/readyz` answers 200.
    pub async fn start(options: Options) -> Result<Self> {
        let data_dir = DataDir::open(&options.data_dir)?;
        let listeners = Listeners::bind(&options).await?;
        let addresses = listeners.addresses()?;
        let mut metrics = Registry::default();
        let stop = CancellationToken::new();

        let log = open_log(&data_dir, &options, &mut metrics).await?;
        let server = open_control_plane(&data_dir, &options, &addresses, log.clone(), &mut metrics).await?;
        let handle = server.handle();

        let public_url = options.public_url.clone().unwrap_or_else(|| format!("https://{}", addresses.hub));
        let (tls, ca_pem) = certificate::for_hub(&options, &handle, addresses.hub, &public_url, &stop)?;
        let hub_options = roadstead_hub::Options {
            listener: listeners.hub,
            tls: Some(tls),
            ca_pem,
            public_url,
            trusted_proxies: options.trusted_proxies.clone(),
            allow_targets: allowed_targets(&options, addresses.hub),
        };
        let hub = Hub::start(handle.client(), log.clone(), hub_options, &mut metrics).await.context("the hub")?;
        hub.set_ready(false);
        let agent = Agent::start(agent_options(&handle, &options), &mut metrics).await.context("the agent")?;

        let metrics = Arc::new(metrics);
        handle.serve(listeners.api, stop.clone())?;
        admin::serve(listeners.admin, metrics, handle.clone(), stop.clone());
        apps::serve(listeners.http, listeners.https, &handle, stop.clone())?;
        addresses.write(data_dir.path())?;
        hub.set_ready(true);
        Ok(Self { addresses, server, hub, agent, stop, data_dir })
    }

    /// Addresses in use.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// A client with all rights.
    pub fn client(&self) -> kube::Client {
        self.server.handle().client()
    }

    /// Where everything is kept.
    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// Stops everything in the reverse order; what was acknowledged is on disk.
    pub async fn stop(self) {
        self.hub.set_ready(false);
        self.agent.shutdown(Duration::from_secs(10)).await;
        self.hub.stop().await;
        self.stop.cancel();
        self.server.shutdown().await;
        Addresses::remove(self.data_dir.path());
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
        let bind = async |flag: &str, address: SocketAddr| {
            TcpListener::bind(address).await.with_context(|| {
                format!("can't listen on {address}: is another `roadstead up` running? choose another address with {flag}")
            })
        };
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

async fn open_log(data_dir: &DataDir, options: &Options, metrics: &mut Registry) -> Result<Arc<dyn Log>> {
    let log_options = LogOptions { dir: data_dir.log(), quota: options.log_quota, ..LogOptions::default() };
    let log = LocalLog::open(log_options, metrics).await.context("the event log")?;
    Ok(Arc::new(log))
}

async fn open_control_plane(
    data_dir: &DataDir,
    options: &Options,
    addresses: &Addresses,
    log: Arc<dyn Log>,
    metrics: &mut Registry,
) -> Result<apiserver::Server> {
    let server_options = apiserver::Options {
        data_dir: Some(data_dir.control()),
        key_file: options.key_file.clone(),
        crds: roadstead_api::crds(),
        extra: vec![Arc::new(EventsResource::all(log))],
        kubeconfig: Some(data_dir.kubeconfig()),
        address: Some(addresses.api),
        ..apiserver::Options::default()
    };
    apiserver::Server::open(server_options, metrics).await.context("the control plane")
}

/// `up` bound to loopback is somebody's own machine: then what is on loopback may be reached.
fn allowed_targets(options: &Options, hub: SocketAddr) -> Vec<Cidr> {
    let mut targets = options.allow_targets.clone();
    if hub.ip().is_loopback() {
        targets.extend(["127.0.0.0/8", "::1/128"].iter().filter_map(|block| block.parse().ok()));
    }
    targets
}

fn agent_options(handle: &apiserver::Handle, options: &Options) -> roadstead_agent::Options {
    roadstead_agent::Options {
        hubs: [("main".to_string(), handle.client())].into(),
        own: handle.client(),
        allow_forward: options.allow_forward.clone(),
        ground: Ground::Embedded,
        ..roadstead_agent::Options::default()
    }
}
