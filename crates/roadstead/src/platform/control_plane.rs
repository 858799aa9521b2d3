//! An embedded control plane on disk: the administrator's way in, our kinds, and its metrics.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use prometheus_client::registry::Registry;
use roadstead_apiserver::{Handle, Options, Server, pki::Ca};
use roadstead_kubewire::Resource;
use tokio::net::TcpListener;

use super::{api_metrics::ApiMetrics, data_dir::DataDir};

/// A running control plane.
pub struct ControlPlane {
    server: Server,
    handle: Handle,
    data_dir: PathBuf,
}

impl ControlPlane {
    /// Opens the control plane of `data_dir`, with `extra` resources beside the store's.
    ///
    /// # Errors
    /// When its files can't be opened; the message says which and why.
    pub async fn open(
        data_dir: &DataDir,
        key_file: Option<PathBuf>,
        extra: Vec<Arc<dyn Resource>>,
        metrics: &mut Registry,
    ) -> Result<Self> {
        let options = Options {
            data_dir: Some(data_dir.path().to_path_buf()),
            key_file,
            crds: roadstead_api::crds(),
            extra,
            observers: vec![Arc::new(ApiMetrics::new(metrics))],
            ..Options::default()
        };
        let server = Server::open(options).await.context("the control plane")?;
        let handle = server.handle();
        handle.register_metrics(metrics);
        Ok(Self { server, handle, data_dir: data_dir.path().to_path_buf() })
    }

    /// Serves the Kubernetes API on `listener` and writes the administrator's kubeconfig.
    ///
    /// # Errors
    /// When there is no certificate for the address, or the kubeconfig can't be written.
    pub fn serve(&self, listener: TcpListener) -> Result<SocketAddr> {
        let address = self.handle.serve(listener, None).context("the Kubernetes API's listener")?;
        self.handle.write_kubeconfig(address).context("the administrator's kubeconfig")?;
        Ok(address)
    }

    /// The control plane itself.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves one more resource.
    pub fn plug(&self, resource: Arc<dyn Resource>) {
        self.handle.plug([resource]);
    }

    /// A client with all rights, in process.
    pub fn client(&self) -> kube::Client {
        self.handle.client()
    }

    /// The certificate authority.
    pub fn ca(&self) -> Arc<Ca> {
        self.handle.ca().clone()
    }

    /// Where it is kept.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Ends watches, finishes requests, closes the store.
    pub async fn stop(self) {
        self.server.shutdown().await;
    }
}
