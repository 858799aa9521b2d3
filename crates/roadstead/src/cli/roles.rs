//! What the long-running verbs (`up`, `hub`, `agent`, `operator`) share: a runtime, sockets, a client, and how they end.

use std::{
    ffi::OsStr,
    future::Future,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use kube::{Client, Config, config::KubeConfigOptions};
use roadstead_api::names::SYSTEM_NAMESPACE;
use roadstead_reconcile::Namespaces;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use super::connect;

/// Where Kubernetes tells a pod its namespace.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Flag of roles that may be confined to some namespaces.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Watched {
    /// Namespace to work in; repeatable [default: all]. A role that is told its namespaces needs rights in these alone.
    #[arg(long = "watch-namespace", value_name = "NAME", value_parser = namespace)]
    watch_namespaces: Vec<String>,
}

impl Watched {
    /// The namespaces.
    pub fn namespaces(&self) -> Namespaces {
        Namespaces::of(self.watch_namespaces.iter().cloned())
    }
}

/// Flag of roles that keep something of their own on the control plane.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct System {
    /// Namespace of what this role keeps about itself [default: the pod's own, else roadstead-system].
    #[arg(long = "system-namespace", value_name = "NAME", value_parser = namespace)]
    system_namespace: Option<String>,
}

impl System {
    /// The namespace.
    pub fn namespace(&self) -> String {
        let own = || std::fs::read_to_string(OWN_NAMESPACE).ok().and_then(|text| namespace(text.trim()).ok());
        self.system_namespace.clone().or_else(own).unwrap_or_else(|| SYSTEM_NAMESPACE.into())
    }
}

/// The name of a namespace, as an argument: a DNS label. An empty one would mean all of them.
pub fn namespace(text: &str) -> Result<String, String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=63).contains(&text.len()) && text.bytes().all(inner);
    if !fits || text.starts_with('-') || text.ends_with('-') {
        return Err("a namespace's name has 1 to 63 lower-case letters, digits and inner hyphens".into());
    }
    Ok(text.to_string())
}

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
///
/// # Errors
/// What `broken` tells, if that comes first; `stopping` is waited for all the same.
pub async fn until_told_to_stop(
    broken: impl Future<Output = anyhow::Error>,
    stopping: impl Future<Output = ()>,
) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let why = tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        error = broken => Err(error),
    };
    eprintln!("stopping");
    tokio::select! {
        () = stopping => {}
        _ = interrupt.recv() => {}
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_namespaces_are_labels() {
        for good in ["a", "team-b", "0", &"x".repeat(63)] {
            assert_eq!(namespace(good).as_deref(), Ok(good));
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "a b", &"x".repeat(64)] {
            assert!(namespace(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_said_wins() {
        let said = System { system_namespace: Some("ours".into()) };
        assert_eq!(said.namespace(), "ours");
    }
}
