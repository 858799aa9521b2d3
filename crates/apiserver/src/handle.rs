//! What can be done with a running control plane: clients in process, listeners, a kubeconfig, backups, the end.
//!
//! All of it through one cheap [`Handle`], so that a test, `up` and the tour use a control plane in the same way.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use prometheus_client::registry::Registry as Metrics;
use roadstead_kubewire::{
    ApiService, Catalog, Resource, User,
    server::{self, TlsConfig, Transport},
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    audit::Audit,
    control::Control,
    crd::Crds,
    kubeconfig::{self, AdminToken},
    metrics::StoreMetrics,
    pki::{Ca, Serving},
    store::{self, Store},
};

/// Everything that a control plane consists of.
pub(crate) struct Shared {
    pub store: Store,
    pub catalog: Catalog,
    pub crds: Arc<Crds>,
    pub control: Control,
    pub service: ApiService,
    pub serving: Arc<Serving>,
    pub ca: Arc<Ca>,
    pub token: AdminToken,
    pub audit: Option<Arc<Audit>>,
    pub data_dir: Option<PathBuf>,
    pub shutdown: CancellationToken,
    pub tasks: TaskTracker,
}

/// A handle on a running control plane. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// A client in the same process that may do everything; watches included.
    pub fn client(&self) -> kube::Client {
        self.client_as(User::system())
    }

    /// A client in the same process that acts as `user`.
    pub fn client_as(&self, user: User) -> kube::Client {
        kube::Client::new(self.shared.service.in_process(user), "default")
    }

    /// The service, to be put behind a listener of one's own.
    pub fn service(&self) -> &ApiService {
        &self.shared.service
    }

    /// The resources that are served.
    pub fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    /// The store below it all.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Access control.
    pub fn control(&self) -> &Control {
        &self.shared.control
    }

    /// The audit log, if there is a data directory.
    pub fn audit(&self) -> Option<&Arc<Audit>> {
        self.shared.audit.as_ref()
    }

    /// The certificate authority.
    pub fn ca(&self) -> &Arc<Ca> {
        &self.shared.ca
    }

    /// The serving certificate that [`serve`](Self::serve) uses.
    pub fn serving(&self) -> &Arc<Serving> {
        &self.shared.serving
    }

    /// Serves more resources that are not the store's.
    pub fn plug(&self, more: impl IntoIterator<Item = Arc<dyn Resource>>) {
        self.shared.crds.plug(more);
    }

    /// Serves HTTPS on `listener` until the end, with `tls` or else a certificate of the own authority; returns the address.
    ///
    /// # Errors
    /// When the listener has no address, or no certificate can be made for it.
    pub fn serve(&self, listener: TcpListener, tls: Option<TlsConfig>) -> io::Result<SocketAddr> {
        let address = listener.local_addr()?;
        if !address.ip().is_unspecified() {
            self.shared.serving.add(&[address.ip().to_string()]).map_err(io::Error::other)?;
        }
        let tls = tls.unwrap_or_else(|| self.shared.serving.tls());
        let (service, shutdown) = (self.shared.service.clone(), self.shared.shutdown.clone());
        let serve = server::serve(listener, Transport::Tls(tls), server::Options::default(), service, shutdown);
        self.shared.tasks.spawn(serve);
        Ok(address)
    }

    /// The administrator's kubeconfig for `server`, e.g. `https://127.0.0.1:6443`. It carries a token: keep it private.
    pub fn kubeconfig(&self, server: &str) -> String {
        kubeconfig::render(server, self.shared.ca.pem(), &self.shared.token)
    }

    /// Writes the administrator's kubeconfig for the API at `address` into the data directory (mode 0600); returns its path,
    /// or `None` without a data directory.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_kubeconfig(&self, address: SocketAddr) -> io::Result<Option<PathBuf>> {
        let Some(dir) = &self.shared.data_dir else { return Ok(None) };
        let path = dir.join("kubeconfig");
        kubeconfig::write(&path, &url(address), self.shared.ca.pem(), &self.shared.token)?;
        Ok(Some(path))
    }

    /// Copies the store to a new file while it is in use. Secrets stay sealed: the key file is to be kept apart. Blocks.
    ///
    /// # Errors
    /// When there is no file to copy, or the new one exists or cannot be written.
    pub fn backup(&self, to: &Path) -> Result<(), store::OpenError> {
        self.shared.store.backup(to)
    }

    /// Registers the store's counters.
    pub fn register_metrics(&self, metrics: &mut Metrics) {
        metrics.register_collector(Box::new(StoreMetrics::new(self.shared.store.clone())));
    }

    /// Resolves when the control plane is told to stop.
    pub async fn stopping(&self) {
        self.shared.shutdown.cancelled().await;
    }

    /// Tells it to stop, without waiting.
    pub(crate) fn cancel(&self) {
        self.shared.shutdown.cancel();
    }

    /// Ends watches, lets requests finish, stops the loops, and closes the store.
    pub async fn shutdown(&self) {
        self.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        let shared = self.shared.clone();
        let close = move || {
            shared.store.close();
            if let Some(audit) = &shared.audit {
                audit.flush();
            }
        };
        if tokio::task::spawn_blocking(close).await.is_err() {
            tracing::error!("closing the store panicked; the next start recovers");
        }
    }
}

/// How a client on this machine reaches `address`.
fn url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ip => ip,
    };
    format!("https://{}", SocketAddr::new(ip, address.port()))
}
