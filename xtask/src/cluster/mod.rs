//! A real Kubernetes for tests: `cargo xtask cluster up|down|status|load|check`.
//!
//! `up` builds Kubernetes and etcd from their Go modules (once), makes certificates, starts the processes on free ports and waits
//! until each is ready; done twice it changes nothing. `down` ends exactly those processes. Everything of a cluster is in one
//! directory, so several stand side by side. Who has a cluster already names it by `--kubeconfig`, and nothing is started.
//!
//! | module | what it knows |
//! |---|---|
//! | `up`, `down`, `status` | the commands |
//! | `control_plane` | command lines (pure) |
//! | `node`, `check` | kubelet and what it needs; whether pods run |
//! | `programs` | what is built |
//! | `pki`, `kubeconfig` | certificates and who uses them |
//! | `process`, `component` | processes that outlive the command; whether they are ready |
//! | `state`, `ports` | what is kept on disk |
//! | `api`, `external`, `gateway` | a running cluster, anybody's too; Gateway API on it |

mod api;
mod check;
mod component;
mod control_plane;
mod down;
mod external;
mod gateway;
mod kubeconfig;
mod node;
mod pki;
mod ports;
mod process;
mod programs;
mod state;
mod status;
mod up;
mod wait;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};

use self::api::Api;
use self::component::Component;
pub use self::down::down;
#[cfg(test)]
pub use self::programs::MODULES;
pub use self::programs::kubernetes_version;
use self::state::{Layout, Settings};
pub use self::up::up;
use crate::step::step;
use crate::{clients, tools};

/// Where the API server listens for a cluster with a node: an address of this machine alone, which pods reach too.
const NODE_ADDRESS: &str = "10.200.0.1";
/// Addresses of Services, and the first of them, which is the API server's.
const SERVICE_RANGE: &str = "10.96.0.0/16";
const SERVICE_ADDRESS: &str = "10.96.0.1";

/// The directory with `etcd` and `kube-apiserver`, which are built unless they are there.
pub fn api_server_programs() -> Result<PathBuf> {
    let cache = tools::cache_directory()?;
    programs::KUBERNETES.provide(&cache, "etcd")?;
    let mut path = programs::KUBERNETES.provide(&cache, "kube-apiserver")?.path;
    path.pop();
    Ok(path)
}

/// `cargo xtask cluster ...`.
#[derive(Subcommand)]
pub enum Command {
    /// Bring the cluster up (again), and print how to use it.
    Up {
        #[command(flatten)]
        options: UpOptions,
        #[command(flatten)]
        which: Which,
    },
    /// End what `up` started.
    Down {
        /// Remove its data, certificates and logs too.
        #[arg(long)]
        wipe: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Import an image archive into the node; pods use it with `imagePullPolicy: Never`.
    Load {
        /// As written by `docker save`, or an OCI layout in a tar.
        #[arg(value_name = "IMAGE.tar")]
        archive: PathBuf,
        #[command(flatten)]
        which: Which,
    },
    /// Check that pods run on the node: a Deployment, and a Service by its name.
    Check {
        #[command(flatten)]
        which: Which,
    },
    /// Show each process: pid, age, version, whether it is ready, where it listens.
    Status {
        /// How to show it.
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
        #[command(flatten)]
        which: Which,
    },
}

/// How `up` brings it up.
#[derive(Args, Clone, Debug, Default)]
pub struct UpOptions {
    /// With a node, so that pods run: kubelet, containerd, kube-proxy and CoreDNS. Needs root.
    #[arg(long)]
    pub node: bool,
    /// Let etcd answer before its data is on disk: faster, and lost with the machine.
    #[arg(long)]
    pub unsafe_no_fsync: bool,
    /// Install Gateway API's definitions on a cluster given by --kubeconfig, if it has none.
    #[arg(long)]
    pub install_gateway_api: bool,
}

/// Which cluster is meant.
#[derive(Args, Clone, Debug, Default)]
pub struct Which {
    /// Directory of the cluster [default: cluster/default in the tools' cache].
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// A cluster that is there already: nothing is started or stopped.
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    pub kubeconfig: Option<PathBuf>,
}

/// How something is shown.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Does a command.
pub fn run(command: Command) -> Result<()> {
    match command {
        Command::Up { options, which } => {
            let kubeconfig = up(&options, &which)?;
            println!("export KUBECONFIG='{}'", kubeconfig.display());
            Ok(())
        }
        Command::Down { wipe, which } => down(wipe, &which),
        Command::Load { archive, which } => load(&archive, &which),
        Command::Check { which } => check::check(&which),
        Command::Status { output, which } => status::status(output, &which),
    }
}

/// Imports an image archive into the node of a cluster of ours.
pub fn load(archive: &Path, which: &Which) -> Result<()> {
    let layout = which.layout()?;
    match Settings::load(&layout)? {
        Some(settings) if settings.node && which.kubeconfig.is_none() => {
            step("load", || node::load(&layout, &settings, &std::path::absolute(archive)?))
        }
        _ => {
            bail!("images are loaded into the node of a cluster made by `cargo xtask cluster up --node`: there is none")
        }
    }
}

/// All processes of a cluster, in the order in which they start.
fn components(layout: &Layout, settings: &Settings) -> Vec<Component> {
    let mut all = Vec::from(control_plane::components(layout, settings));
    if settings.node {
        all.extend(node::components(layout, settings));
    }
    all
}

impl Which {
    /// The layout of the cluster's directory.
    fn layout(&self) -> Result<Layout> {
        let root = match &self.state {
            Some(directory) => std::path::absolute(directory)?,
            None => tools::cache_directory()?.join("cluster/default"),
        };
        Ok(Layout::new(root))
    }

    /// The administrator's way in.
    fn api(&self) -> Result<Api> {
        let kubeconfig = match &self.kubeconfig {
            Some(file) => std::path::absolute(file)?,
            None => self.layout()?.kubeconfig(),
        };
        Ok(Api { kubectl: clients::KUBECTL.provide(&tools::cache_directory()?)?, kubeconfig })
    }
}
