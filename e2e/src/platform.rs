//! What scenarios run against, on either ground: a hub, an agent, a control plane, and a namespace to work in.
//!
//! On the embedded ground that is one `roadstead up` with its data, on Kubernetes namespaces of a real cluster and the processes
//! beside it. A scenario asks for names (namespaces, addresses, kubeconfigs) and never assumes them. kubectl, the command line
//! and clients that it is given here work in the platform's namespace unless told otherwise.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use roadstead_apiserver::Server;

use crate::{
    faulty::Faulty,
    ground::{Ground, Open},
    http::get,
    kubectl::Kubectl,
    outside::Outside,
    process::Process,
    up::{self, Up},
};

/// A running platform.
pub struct Platform {
    place: Place,
    /// After the place: nobody works on a control plane that is gone.
    _plane: Option<Server>,
    _open: Open,
}

enum Place {
    Embedded(Box<Up>),
    Outside(Box<Outside>),
}

impl Platform {
    /// Starts with no data on free ports, and waits until it is ready.
    pub async fn start() -> Result<Platform> {
        Platform::launch(None, &[], &[]).await
    }

    /// As [`Platform::start`], with more arguments of `up` or `hub`.
    pub async fn with(extra: &[&str]) -> Result<Platform> {
        Platform::launch(None, extra, &[]).await
    }

    /// With the hub's data (and on the embedded ground all data) in a directory that the test owns.
    pub async fn on(data: &Path) -> Result<Platform> {
        Platform::launch(Some(data), &[], &[]).await
    }

    /// With more namespaces that the hub serves; [`Platform::other`] gives their names.
    pub async fn with_namespaces(others: &[&str]) -> Result<Platform> {
        Platform::launch(None, &[], others).await
    }

    /// Hub and agent as processes of their own on either ground, and a proxy between them and their control plane, which goes
    /// wrong as told.
    pub async fn faulty() -> Result<(Platform, Faulty)> {
        let open = Open::new();
        let (outside, faulty, plane) = Outside::faulty().await?;
        Ok((Platform { place: Place::Outside(Box::new(outside)), _plane: plane, _open: open }, faulty))
    }

    async fn launch(data: Option<&Path>, extra: &[&str], others: &[&str]) -> Result<Platform> {
        let open = Open::new();
        let place = match (Ground::here(), data) {
            (Ground::Kubernetes, _) => Place::Outside(Box::new(Outside::start(data, extra, others).await?)),
            (Ground::Embedded, Some(data)) => Place::Embedded(Box::new(Up::on(data, extra).await?)),
            (Ground::Embedded, None) => Place::Embedded(Box::new(Up::with(extra).await?)),
        };
        let platform = Platform { place, _plane: None, _open: open };
        if let Place::Embedded(up) = &platform.place {
            others.iter().try_for_each(|name| up.kubectl()?.run(&format!("create namespace {name}")).map(drop))?;
        }
        Ok(platform)
    }

    /// kill -9 of the hub, and its start without waiting for anything. Only where it is alone.
    pub fn restart_hub(&mut self) -> Result<()> {
        let Place::Outside(outside) = &mut self.place else {
            bail!("hub and control plane are one process here");
        };
        outside.hub.kill()?;
        outside.spawn_hub_again()
    }

    /// kill -9 of hub and agent, and on the embedded ground of the control plane with them.
    pub fn kill(&mut self) -> Result<()> {
        match &mut self.place {
            Place::Embedded(up) => up.kill(),
            Place::Outside(outside) => outside.kill(),
        }
    }

    /// Starts again what was killed, on the same data and the same addresses.
    pub async fn start_again(&mut self) -> Result<()> {
        match &mut self.place {
            Place::Embedded(up) => up.start_again().await,
            Place::Outside(outside) => outside.start_again().await,
        }
    }

    /// kill -9 and start again.
    pub async fn crash(&mut self) -> Result<()> {
        self.kill()?;
        self.start_again().await
    }

    /// The process with the hub.
    pub fn process(&mut self) -> &mut Process {
        match &mut self.place {
            Place::Embedded(up) => up.process(),
            Place::Outside(outside) => &mut outside.hub,
        }
    }

    /// What it has written.
    pub fn process_log(&self) -> String {
        match &self.place {
            Place::Embedded(up) => up.process_log(),
            Place::Outside(outside) => outside.hub.log(),
        }
    }

    /// What the agent has written.
    pub fn agent_log(&self) -> String {
        match &self.place {
            Place::Embedded(up) => up.process_log(),
            Place::Outside(outside) => outside.agent.as_ref().map(Process::log).unwrap_or_default(),
        }
    }

    /// Where the hub's public listener is: `127.0.0.1:PORT`.
    pub fn hub(&self) -> &str {
        match &self.place {
            Place::Embedded(up) => &up.addresses().hub,
            Place::Outside(outside) => &outside.hub_address,
        }
    }

    /// The namespace that is worked in.
    pub fn namespace(&self) -> &str {
        match &self.place {
            Place::Embedded(_) => "default",
            Place::Outside(outside) => outside.site.own(),
        }
    }

    /// The name here of another namespace that the scenario calls `name`; it need not exist yet.
    pub fn other(&self, name: &str) -> String {
        match &self.place {
            Place::Embedded(_) => name.to_string(),
            Place::Outside(outside) => format!("{}-{name}", outside.site.own()),
        }
    }

    /// The namespace in which the hub tells its address.
    pub fn system_namespace(&self) -> &str {
        match &self.place {
            Place::Embedded(_) => "roadstead-system",
            Place::Outside(outside) => outside.site.own(),
        }
    }

    /// The directory with the hub's data.
    pub fn data(&self) -> &Path {
        match &self.place {
            Place::Embedded(up) => up.data(),
            Place::Outside(outside) => &outside.data,
        }
    }

    /// A directory for the test's own files.
    pub fn scratch(&self) -> &Path {
        match &self.place {
            Place::Embedded(up) => up.scratch(),
            Place::Outside(outside) => outside.scratch.path(),
        }
    }

    /// The admin's kubeconfig, in the platform's namespace.
    pub fn kubeconfig(&self) -> PathBuf {
        match &self.place {
            Place::Embedded(up) => up.kubeconfig(),
            Place::Outside(outside) => outside.site.file("admin"),
        }
    }

    /// Kubeconfig of who may read the namespace's events: the admin where the control plane serves them, else a subscriber of
    /// all its endpoints.
    pub fn events_kubeconfig(&self) -> PathBuf {
        match &self.place {
            Place::Embedded(up) => up.kubeconfig(),
            Place::Outside(outside) => outside.reader(),
        }
    }

    /// kubectl as admin.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Kubectl::new(&self.kubeconfig())
    }

    /// kubectl of who may read events.
    pub fn events_kubectl(&self) -> Result<Kubectl> {
        Kubectl::new(&self.events_kubeconfig())
    }

    /// A kube-rs client as admin.
    pub async fn client(&self) -> Result<kube::Client> {
        up::client(&self.kubeconfig()).await
    }

    /// A kube-rs client of who may read events.
    pub async fn events_client(&self) -> Result<kube::Client> {
        up::client(&self.events_kubeconfig()).await
    }

    /// Runs a verb of the command line as admin; fails unless it exits with 0. Gives stdout.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        up::cli(&self.kubeconfig(), arguments)
    }

    /// As [`Platform::cli`], for verbs that read events.
    pub fn events_cli(&self, arguments: &[&str]) -> Result<String> {
        up::cli(&self.events_kubeconfig(), arguments)
    }

    /// Starts a verb that reads events in the background; what it writes is in the process' log.
    pub fn spawn_events_cli(&self, arguments: &[&str]) -> Result<Process> {
        up::spawn_cli(&self.events_kubeconfig(), self.scratch(), arguments)
    }

    /// Starts the hub's role once more on the data as it is, on other ports; it is expected to end.
    pub fn spawn_second(&self) -> Result<Process> {
        let data = self.data().to_string_lossy().into_owned();
        let mut arguments = vec!["up", "--data-dir", &data];
        for flag in ["--hub-listen", "--admin-listen", "--api-listen", "--http-listen", "--https-listen"] {
            arguments.extend([flag, "127.0.0.1:0"]);
        }
        up::spawn_cli(&self.kubeconfig(), self.scratch(), &arguments)
    }

    /// Where to post, plain HTTP: the path of `status.url` at the present address.
    pub fn hook_url(&self, status_url: &str) -> Result<String> {
        Ok(format!("http://{}{}", self.hub(), url::Url::parse(status_url)?.path()))
    }

    /// A page of the hub's admin listener, e.g. `/metrics`.
    pub async fn admin_page(&self, path: &str) -> Result<String> {
        let address = match &self.place {
            Place::Embedded(up) => &up.addresses().admin,
            Place::Outside(outside) => &outside.admin_address,
        };
        let answer = get(&format!("http://{address}{path}")).await.context("the admin listener")?;
        ensure!(answer.status == 200, "{path} answered {}", answer.status);
        answer.text()
    }
}
