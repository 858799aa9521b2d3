//! What the long-running verbs (`up`, `hub`, `agent`, `operator`) share: a runtime, sockets, a client, and how they end.

use std::{
    ffi::OsStr,
    future::Future,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use kube::{Client, Config, config::KubeConfigOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use super::connect;

/// A runtime over all cores, with as many open files as the system allows: every watch is a socket, and many systems begin
/// with 1,024 for the sake of programs that are older than that.
pub fn runtime() -> Result<Runtime> {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, limit = limit.current, "the limit of open files could not be raised");
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("can't start the runtime")
}

/// A number of bytes such as `20Gi`, as an argument.
pub fn quantity(text: &str) -> Result<u64, String> {
    roadstead_reconcile::parse::quantity(text).map_err(|error| error.to_string())
}

/// A duration such as `15s`, as an argument.
pub fn duration(text: &str) -> Result<Duration, String> {
    roadstead_reconcile::parse::duration(text).map_err(|error| error.to_string())
}

/// Whether [`client`] will find the cluster that this runs in.
pub fn in_cluster(kubeconfig: Option<&Path>) -> bool {
    let named = kubeconfig.is_some() || !files(std::env::var_os("KUBECONFIG").as_deref()).is_empty();
    !named && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// The namespace that a pod of ours runs in; elsewhere `roadstead-system`.
pub fn system_namespace(said: Option<String>) -> String {
    let own = || std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok();
    let own = said.or_else(own).map(|name| name.trim().to_string()).filter(|name| !name.is_empty());
    own.unwrap_or_else(|| "roadstead-system".into())
}

/// A client of the control plane in `kubeconfig`; else of `$KUBECONFIG`, else of the cluster that this runs in, else of the user's
/// own kubeconfig.
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client> {
    let named = match kubeconfig {
        Some(file) => vec![file.to_owned()],
        None => files(std::env::var_os("KUBECONFIG").as_deref()),
    };
    let config = if !named.is_empty() {
        custom(&named).await?
    } else if let Ok(inside) = Config::incluster() {
        inside
    } else {
        let own = std::env::home_dir().map(|home| home.join(".kube/config")).filter(|file| file.is_file());
        custom(&[own.context("no control plane: give --kubeconfig or set $KUBECONFIG")?]).await?
    };
    Ok(Client::try_from(config)?)
}

/// The files of `$KUBECONFIG`.
fn files(variable: Option<&OsStr>) -> Vec<PathBuf> {
    let paths = variable.into_iter().flat_map(std::env::split_paths);
    paths.filter(|path| !path.as_os_str().is_empty()).collect()
}

async fn custom(files: &[PathBuf]) -> Result<Config> {
    let read = connect::read(files).map_err(anyhow::Error::msg)?;
    Ok(Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?)
}

/// Waits for SIGINT or SIGTERM, then for `stopping`; who interrupts twice does not wait, and loses nothing that was
/// acknowledged.
pub async fn until_told_to_stop(stopping: impl Future<Output = ()>) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    eprintln!("stopping");
    tokio::select! {
        () = stopping => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
