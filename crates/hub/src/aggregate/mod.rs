//! The events on a cluster's own API server: `kubectl get webhookevents`, without storing one of them in etcd.
//!
//! An `APIService` for `v1alpha1.log.roadstead.dev` makes kube-apiserver pass requests of that group to a listener of the hub
//! (Kubernetes documentation, "Configure the Aggregation Layer"). In: those requests, from the API server's front proxy, which proves
//! itself with a client certificate and names the user in headers (`front_proxy`; who that proxy is, is read from the ConfigMap
//! `kube-system/extension-apiserver-authentication`, again whenever it changes). Whether the user may is asked of the API server
//! (`review`). Out: the same resource that the gateway serves.
//!
//! Optional, and beside everything else: while the ConfigMap cannot be read this listener answers nobody, and the hub goes on.

mod front_proxy;
mod review;
mod subject;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use roadstead_kubewire::{
    Catalog, Resource,
    server::{self, TlsConfig, Transport, clients_proven, tls_config},
    service::ApiService,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    front_proxy::{FrontProxy, RequestHeaders},
    review::SubjectAccess,
};
use crate::{events::EventsResource, log::Log};

/// Namespace and name of the ConfigMap in which kube-apiserver says who its front proxy is.
const SOURCE: (&str, &str) = ("kube-system", "extension-apiserver-authentication");

/// How the listener is to run.
pub struct Options {
    /// The bound listener.
    pub listener: TcpListener,
    /// Its certificate, for `SERVICE.NAMESPACE.svc`.
    pub tls: TlsConfig,
    /// PEM of the authority of that certificate, to be published; empty where the certificate is the user's own.
    pub ca_pem: String,
    /// What else of the group is served beside the events.
    pub extra: Vec<Arc<dyn Resource>>,
}

/// Serves until `stop`, as soon as it is known who the front proxy is.
pub fn spawn(tasks: &TaskTracker, client: Client, log: Arc<dyn Log>, options: Options, stop: CancellationToken) {
    let (sender, known) = watch::channel(None);
    tasks.spawn(follow(Api::namespaced(client.clone(), SOURCE.0), sender, stop.clone()));
    // Ends when `follow` does, having let requests finish.
    tasks.spawn(serve(client, log, options, known, stop));
}

async fn serve(
    client: Client,
    log: Arc<dyn Log>,
    Options { listener, tls, extra, .. }: Options,
    mut known: watch::Receiver<Option<Arc<FrontProxy>>>,
    stop: CancellationToken,
) {
    let Ok(Some(first)) = known.wait_for(Option::is_some).await.map(|proxy| proxy.clone()) else { return };
    let config = match clients_proven(tls.clone(), first.verifier()) {
        Ok(config) => tls_config(config),
        Err(error) => return tracing::error!(%error, "the aggregated API cannot be served"),
    };
    let events: Arc<dyn Resource> = Arc::new(EventsResource::new(log));
    let catalog = Catalog::new([events].into_iter().chain(extra).collect());
    let authenticator = Arc::new(RequestHeaders::new(known.clone()));
    let authorizer = Arc::new(SubjectAccess::new(client));
    let service = ApiService::builder(catalog, authenticator, authorizer).aggregated().shutdown(stop.clone()).build();
    let limits = server::Options { drain: Duration::from_secs(10), ..server::Options::default() };
    tracing::info!(address = ?listener.local_addr().ok(), "the aggregated API is served");
    let served = tokio::spawn(server::serve(listener, Transport::Tls(config.clone()), limits, service, stop));
    while known.changed().await.is_ok() {
        let Some(proxy) = known.borrow_and_update().clone() else { continue };
        match clients_proven(tls.clone(), proxy.verifier()) {
            Ok(new) => config.store(Arc::new(new)),
            Err(error) => tracing::warn!(%error, "the new front proxy's authority cannot be used"),
        }
    }
    let _ = served.await;
}

/// Keeps what is known of the front proxy current. What cannot be understood leaves the last that could be in use.
async fn follow(api: Api<ConfigMap>, sender: watch::Sender<Option<Arc<FrontProxy>>>, stop: CancellationToken) {
    let only = watcher::Config::default().fields(&format!("metadata.name={}", SOURCE.1));
    let mut maps = watcher(api, only).default_backoff().boxed();
    let mut told = String::new();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = maps.try_next() => event,
        };
        let problem = match event {
            Ok(Some(watcher::Event::Apply(map) | watcher::Event::InitApply(map))) => {
                match FrontProxy::read(&map.data.unwrap_or_default()) {
                    Ok(proxy) => {
                        tracing::info!(names = ?proxy.names(), "the front proxy is known");
                        sender.send_replace(Some(Arc::new(proxy)));
                        String::new()
                    }
                    Err(error) => error.to_string(),
                }
            }
            Ok(Some(watcher::Event::InitDone)) if sender.borrow().is_none() => "there is none".into(),
            Ok(Some(watcher::Event::Delete(_))) => "it was deleted; what it said before stays in use".into(),
            Ok(Some(_)) => continue,
            Ok(None) => return,
            Err(error) => error.to_string(),
        };
        if !problem.is_empty() && problem != told {
            tracing::warn!(
                config_map = format!("{}/{}", SOURCE.0, SOURCE.1),
                problem,
                "the aggregated API cannot learn who the front proxy is; it needs the Role \
                 extension-apiserver-authentication-reader in kube-system"
            );
        }
        told = problem;
    }
}
