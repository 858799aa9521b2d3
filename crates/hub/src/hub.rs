//! The hub as a whole: started in the order of need, stopped in the order of harm.
//!
//! In: a `kube::Client`, the open log, a bound socket. Out: controllers, ingest, gateway and listener as tasks, and a ConfigMap that
//! tells where the hub is. Nothing is taken before the endpoints are known: until then every URL would look unknown, and a sender
//! that is told 404 does not come again.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use prometheus_client::registry::Registry as MetricsRegistry;
use roadstead_kubewire::server::{self, Transport};
use roadstead_reconcile::{
    recorder::Recorder,
    targets::{Cidr, Targets},
};
use serde_json::json;
use tokio::{net::TcpListener, sync::oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    control::{endpoints, status::Writer, subscribers},
    endpoint::Endpoints,
    gateway,
    ingest::Ingest,
    listener::PublicRoutes,
    log::Log,
    metrics::{self, Metrics},
};

/// Namespace of what the hub publishes about itself.
pub const SYSTEM_NAMESPACE: &str = "roadstead-system";
/// ConfigMap there with `url` and `ca.crt`, from which subscribers' kubeconfigs are made.
pub const HUB_CONFIG: &str = "roadstead-hub";

/// How a hub is to run.
pub struct Options {
    /// The bound public listener.
    pub listener: TcpListener,
    /// How it speaks: TLS and plain HTTP on one port, unless a proxy in front terminates TLS.
    pub transport: Transport,
    /// PEM of the CA that subscribers must trust; empty for a certificate that everybody trusts.
    pub ca_pem: String,
    /// Base of `status.url` and of subscribers' kubeconfigs.
    pub public_url: String,
    /// Proxies that are believed about where a request came from.
    pub trusted_proxies: Vec<Cidr>,
    /// Private addresses that registry checks may reach.
    pub allow_targets: Vec<Cidr>,
}

/// Why a hub did not start.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The control plane refused or did not answer.
    #[error("the control plane: {0}")]
    Api(#[from] kube::Error),
    /// The listener's socket.
    #[error("the public listener: {0}")]
    Listener(#[from] std::io::Error),
    /// The log.
    #[error("the event log: {0}")]
    Log(#[from] crate::log::LogError),
    /// The endpoints could not be taken up in time.
    #[error("the endpoints were not taken up within {0:?}; the log above says why")]
    NotSynced(Duration),
}

/// A running hub.
pub struct Hub {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    ready: Arc<AtomicBool>,
}

impl Hub {
    /// Starts controllers and listener. Deliveries are taken when this returns.
    ///
    /// # Errors
    /// When the control plane can't be reached, or the endpoints can't be taken up within 30 s.
    pub async fn start(
        client: Client,
        log: Arc<dyn Log>,
        options: Options,
        numbers: &mut MetricsRegistry,
    ) -> Result<Self, HubError> {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let address = options.listener.local_addr()?;
        let public_url = options.public_url.trim_end_matches('/').to_string();
        publish_config(&client, &public_url, &options.ca_pem).await?;

        let registry = endpoints::Registry::default();
        let endpoints = Endpoints::default();
        let writer = Writer::start(client.clone(), registry.clone(), stop.clone());
        let (changed, endpoints_changed) = tokio::sync::watch::channel(0);
        let (synced, is_synced) = oneshot::channel();
        let controller = endpoints::Controller {
            client: client.clone(),
            log: log.clone(),
            endpoints: endpoints.clone(),
            registry: registry.clone(),
            writer: writer.clone(),
            public_url,
            targets: Targets::new(options.allow_targets),
            changed,
        };
        tasks.spawn(controller.run(synced, stop.clone()));

        let (known, presence) = subscribers::Subscribers::new();
        let controller = subscribers::Controller {
            client: client.clone(),
            registry: registry.clone(),
            subscribers: known.clone(),
            presence,
            endpoints_changed,
            recorder: Recorder::new(client.clone(), "roadstead-hub"),
        };
        tasks.spawn(controller.run(stop.clone()));

        let patience = Duration::from_secs(30);
        if !matches!(tokio::time::timeout(patience, is_synced).await, Ok(Ok(()))) {
            stop.cancel();
            return Err(HubError::NotSynced(patience));
        }
        metrics::register_log(numbers, log.clone());
        metrics::register_watches(numbers, known.clone());
        let ingest = Ingest::new(endpoints, log.clone(), writer, Metrics::new(numbers));
        let gateway = gateway::service(&client, log, &registry, &known, stop.clone());
        let ready = Arc::new(AtomicBool::new(true));
        let readiness = ready.clone();
        let routes = PublicRoutes::new(ingest, gateway, options.trusted_proxies, move || {
            if readiness.load(Ordering::Relaxed) { Ok(()) } else { Err("starting or stopping".into()) }
        });
        let handler = move |request, origin| {
            let routes = routes.clone();
            async move { routes.handle(request, origin).await }
        };
        let limits = server::Options { drain: Duration::from_secs(10), ..server::Options::default() };
        tasks.spawn(server::serve(options.listener, options.transport, limits, handler, stop.clone()));
        tasks.close();
        Ok(Self { address, stop, tasks, ready })
    }

    /// Where the public listener is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For whoever asks whether the hub is ready.
    pub fn readiness(&self) -> Arc<AtomicBool> {
        self.ready.clone()
    }

    /// Whether `/readyz` answers 200; the caller may hold readiness back until its other parts are up.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Stops taking requests, finishes those under way, ends watches; returns when all is done, or after 12 s.
    pub async fn stop(self) {
        self.set_ready(false);
        self.stop.cancel();
        if tokio::time::timeout(Duration::from_secs(12), self.tasks.wait()).await.is_err() {
            tracing::warn!("the hub's tasks did not end within 12 s");
        }
    }
}

/// Publishes what `roadstead subscriber add` needs. Applied, so that two hubs that start at once agree.
async fn publish_config(client: &Client, url: &str, ca_pem: &str) -> Result<(), kube::Error> {
    let apply = PatchParams::apply("roadstead-hub").force();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}});
    namespaces.patch(SYSTEM_NAMESPACE, &apply, &Patch::Apply(namespace)).await?;
    let mut data = json!({"url": url});
    if !ca_pem.is_empty() {
        // An empty one would mean that nobody is trusted.
        data["ca.crt"] = ca_pem.into();
    }
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": HUB_CONFIG}, "data": data});
    maps.patch(HUB_CONFIG, &apply, &Patch::Apply(map)).await.map(drop)
}
