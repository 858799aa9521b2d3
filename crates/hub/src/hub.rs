//! The hub as a whole: started in the order of need, stopped in the order of harm.
//!
//! In: a `kube::Client`, the open log, a bound socket. Out: controllers, ingest, gateway and listener as tasks, and a ConfigMap that
//! tells where the hub is. The control plane need not be there: everything that asks it tries again until it answers. What a
//! namespace holds is served once that namespace has been listed, and from then on whether the control plane is there or not. Until all
//! are, unknown hooks are answered 503, because a sender that is told 404 does not come again.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kube::Client;
use prometheus_client::registry::Registry as MetricsRegistry;
use roadstead_kubewire::server::{self, Transport};
use roadstead_outbound::tags::TagStore;
use roadstead_reconcile::{
    Namespaces,
    recorder::Recorder,
    targets::{Cidr, Targets},
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    aggregate,
    control::{endpoints, status::Writer, subscribers},
    endpoint::Endpoints,
    gateway, healing,
    ingest::Ingest,
    journal::Journal,
    listener::PublicRoutes,
    log::Log,
    metrics::{self, Metrics, Unlisted},
    publish::{self, Published},
    readiness::Readiness,
};

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
    /// The namespaces whose endpoints and subscribers are served.
    pub namespaces: Namespaces,
    /// Where the hub publishes its address; made if it is missing and the hub may.
    pub system_namespace: String,
    /// What is known of registries' tags.
    pub tags: TagStore,
    /// Serves the events to the cluster's own API server; `None`: not.
    pub aggregate: Option<aggregate::Options>,
}

/// Why a hub did not start.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The listener's socket.
    #[error("the public listener: {0}")]
    Listener(#[from] std::io::Error),
    /// Something was not there in time.
    #[error("the hub was not complete within {0:?}; the log above says why")]
    NotComplete(Duration),
}

/// A running hub.
pub struct Hub {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    readiness: Readiness,
}

impl Hub {
    /// Starts controllers and listener; what becomes of them, [`Hub::readiness`] and [`Hub::complete`] tell. Needs a runtime.
    ///
    /// # Errors
    /// When the listener's address can't be read.
    pub fn start(
        client: Client,
        log: Arc<dyn Log>,
        options: Options,
        numbers: &mut MetricsRegistry,
    ) -> Result<Self, HubError> {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let readiness = Readiness::default();
        let address = options.listener.local_addr()?;
        let public_url = options.public_url.trim_end_matches('/').to_string();
        let Options { namespaces, .. } = options;
        let published = Published {
            namespace: options.system_namespace,
            url: public_url.clone(),
            ca_pem: options.ca_pem,
            aggregate_ca: options.aggregate.as_ref().map(|aggregate| aggregate.ca_pem.clone()).unwrap_or_default(),
            served: namespaces.clone(),
        };
        tasks.spawn(publish::run(client.clone(), published, readiness.clone(), stop.clone()));

        let registry = endpoints::Registry::default();
        let endpoints = Endpoints::default();
        let writer = Writer::start(client.clone(), registry.clone(), stop.clone());
        let (changed, endpoints_changed) = tokio::sync::watch::channel(0);
        let healing_changed = endpoints_changed.clone();
        let controller = endpoints::Controller {
            client: client.clone(),
            namespaces: namespaces.clone(),
            log: log.clone(),
            endpoints: endpoints.clone(),
            registry: registry.clone(),
            writer: writer.clone(),
            public_url,
            targets: Targets::new(options.allow_targets),
            changed,
            readiness: readiness.clone(),
            unlisted: Unlisted::new(numbers),
        };
        tasks.spawn(controller.run(stop.clone()));

        let (known, presence) = subscribers::Subscribers::new();
        let controller = subscribers::Controller {
            client: client.clone(),
            namespaces: namespaces.clone(),
            registry: registry.clone(),
            subscribers: known.clone(),
            presence,
            endpoints_changed,
            recorder: Arc::new(Recorder::new(client.clone(), "roadstead-hub")),
        };
        tasks.spawn(controller.run(readiness.clone(), stop.clone()));

        metrics::register_log(numbers, log.clone());
        metrics::register_watches(numbers, known.clone());
        let journal = Journal::new(log.clone(), writer, Metrics::new(numbers));
        let healing = healing::Supervisor {
            endpoints: registry.clone(),
            changed: healing_changed,
            journal: journal.clone(),
            tags: options.tags,
        };
        tasks.spawn(healing.run(stop.clone()));
        let ingest = Ingest::new(endpoints, journal);
        if let Some(aggregate) = options.aggregate {
            aggregate::spawn(&tasks, client.clone(), log.clone(), aggregate, stop.clone());
        }
        let gateway = gateway::service(&client, &namespaces, log, &registry, &known, stop.clone());
        let routes = PublicRoutes::new(ingest, gateway, options.trusted_proxies, readiness.clone());
        let handler = move |request, origin| {
            let routes = routes.clone();
            async move { routes.handle(request, origin).await }
        };
        let limits = server::Options { drain: Duration::from_secs(10), ..server::Options::default() };
        tasks.spawn(server::serve(options.listener, options.transport, limits, handler, stop.clone()));
        tasks.close();
        Ok(Self { address, stop, tasks, readiness })
    }

    /// Where the public listener is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For whoever asks whether the hub is ready; the caller may hold it back until its other parts are up.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Waits until endpoints and subscribers are known and the hub's address is published.
    ///
    /// # Errors
    /// When that takes longer than `patience`.
    pub async fn complete(&self, patience: Duration) -> Result<(), HubError> {
        let complete = tokio::time::timeout(patience, self.readiness.complete()).await;
        complete.map_err(|_| HubError::NotComplete(patience))
    }

    /// Stops taking requests, finishes those under way, ends watches; returns when all is done, or after 12 s.
    pub async fn stop(self) {
        self.readiness.hold(true);
        self.stop.cancel();
        if tokio::time::timeout(Duration::from_secs(12), self.tasks.wait()).await.is_err() {
            tracing::warn!("the hub's tasks did not end within 12 s");
        }
    }
}
