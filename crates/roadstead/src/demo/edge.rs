//! A remote cluster of the tour: a control plane of its own, an agent, and something for the agent to act on.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt,
    config::Kubeconfig,
    runtime::{WatchStreamExt, watcher},
};
use prometheus_client::registry::Registry;
use roadstead_agent::{Agent, Ground, Handle, HubAccess, Options};
use roadstead_api::{Trigger, names::ANNOTATION_EVENT};
use roadstead_apiserver::files::write_private;
use roadstead_kubewire::{
    auth::Origin,
    body::Body,
    server::{self, Transport},
};
use serde_json::json;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::platform::{ControlPlane, DataDir};

use super::{
    SIGNING_KEY, create,
    github::{commit_of, is_signed},
    object,
    timeline::{Timeline, Who},
};

/// What an edge does with an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// Sends it on to a service that verifies the signature itself.
    Forward,
    /// Annotates an object, as one pokes Flux or Argo CD.
    Annotate,
}

/// A remote cluster.
pub struct Edge {
    name: &'static str,
    dir: PathBuf,
    hub: PathBuf,
    running: Option<Running>,
    seen: Seen,
    stop: CancellationToken,
}

struct Running {
    plane: ControlPlane,
    agent: Handle,
}

/// Commits acted on, in order, and a bell for each.
#[derive(Clone)]
struct Seen {
    commits: Arc<Mutex<Vec<usize>>>,
    bell: watch::Sender<usize>,
}

impl Seen {
    fn note(&self, commit: usize) {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).push(commit);
        self.bell.send_modify(|n| *n += 1);
    }

    fn list(&self) -> Vec<usize> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Edge {
    pub(super) async fn start(
        name: &'static str,
        dir: &Path,
        hub: &Kubeconfig,
        action: Action,
        time: &Timeline,
    ) -> Result<Self> {
        let seen = Seen { commits: Arc::default(), bell: watch::channel(0).0 };
        let hub_file = dir.with_extension("hub.kubeconfig");
        write_private(&hub_file, serde_saphyr::to_string(hub)?.as_bytes())?;
        let mut edge =
            Self { name, dir: dir.to_path_buf(), hub: hub_file, running: None, seen, stop: CancellationToken::new() };
        let running = edge.run().await?;
        let client = running.plane.client();
        edge.running = Some(running);
        let trigger = match action {
            Action::Forward => json!({"forward": {"url": edge.receiver(*time).await?}}),
            Action::Annotate => {
                edge.annotated(client.clone(), *time).await?;
                json!({"annotate": {"apiVersion": "v1", "kind": "ConfigMap", "name": "shop", "annotation": "reconcile.fluxcd.io/requestedAt"}})
            }
        };
        let mut spec = json!({"endpoint": {"name": "shop"}, "start": "earliest"});
        if let (Some(spec), Some(trigger)) = (spec.as_object_mut(), trigger.as_object()) {
            spec.extend(trigger.clone());
        }
        edge.permit(&client).await?;
        create(&Api::<Trigger>::namespaced(client, "default"), object("Trigger", "shop", spec)).await?;
        let what = match action {
            Action::Forward => "forwards each delivery, byte for byte, to a service that checks the signature itself",
            Action::Annotate => "annotates ConfigMap shop, as one makes Flux or Argo CD look",
        };
        time.say(Who::Edge(name), "control plane and agent are up; nothing listens for the outside");
        time.more(&format!("its Trigger {what}"));
        Ok(edge)
    }

    async fn run(&self) -> Result<Running> {
        let mut metrics = Registry::default();
        let plane =
            ControlPlane::open(&DataDir::open(&self.dir)?, None, Vec::new(), &mut metrics).await.context(self.name)?;
        let options = Options {
            hubs: [("main".to_string(), HubAccess::Kubeconfig(self.hub.clone()))].into(),
            ..Options::new(plane.client(), Ground::Embedded)
        };
        let agent = Agent::start(options, &mut metrics, self.stop.child_token()).await.context(self.name)?;
        Ok(Running { plane, agent })
    }

    /// Lets the trigger's service account annotate ConfigMaps: a trigger may do only what its account may.
    async fn permit(&self, client: &Client) -> Result<()> {
        use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
        let role = json!({"metadata": {"name": "trigger"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]}]});
        create(&Api::<Role>::namespaced(client.clone(), "default"), role).await?;
        let binding = json!({
            "metadata": {"name": "trigger"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "trigger"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
        });
        create(&Api::<RoleBinding>::namespaced(client.clone(), "default"), binding).await
    }

    /// Stops control plane and agent, as a machine that is switched off.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.agent.shutdown().await;
            running.plane.stop().await;
        }
    }

    pub(super) async fn restart(&mut self, time: &Timeline) -> Result<()> {
        let running = self.run().await?;
        let client = running.plane.client();
        self.running = Some(running);
        time.say(Who::Edge(self.name), "is back; its agent goes on from its own position");
        self.watch_annotations(client, *time, true);
        Ok(())
    }

    /// Commits acted on, in order.
    pub(super) fn seen(&self) -> Vec<usize> {
        self.seen.list()
    }

    /// Waits until commit `n` has been acted on.
    pub(super) async fn has_seen(&self, n: usize, patience: Duration) -> Result<()> {
        let mut bell = self.seen.bell.subscribe();
        let waiting = async {
            while !self.seen.list().contains(&n) {
                if bell.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(patience, waiting).await.is_err() {
            bail!("did not act on commit {n} within {patience:?}; it acted on {:?}", self.seen.list());
        }
        Ok(())
    }

    /// A service inside the edge that verifies what it gets.
    async fn receiver(&self, time: Timeline) -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let (seen, name) = (self.seen.clone(), self.name);
        let handler = move |request: Request<Incoming>, _: Origin| {
            let seen = seen.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let commit = commit_of(&body).filter(|_| is_signed(&parts.headers, &body, SIGNING_KEY.as_bytes()));
                let mut response = Response::new(Body::from(Bytes::new()));
                match commit {
                    Some(commit) => {
                        time.say(
                            Who::Edge(name),
                            &format!("its service got commit {commit}; the signature is GitHub's own"),
                        );
                        seen.note(commit);
                    }
                    None => *response.status_mut() = StatusCode::UNAUTHORIZED,
                }
                response
            }
        };
        tokio::spawn(server::serve(listener, Transport::Plain, server::Options::default(), handler, self.stop.clone()));
        Ok(url)
    }

    /// Something to annotate, and a watch that tells when it was.
    async fn annotated(&self, client: Client, time: Timeline) -> Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
        create(&maps, json!({"metadata": {"name": "shop"}})).await?;
        self.watch_annotations(client, time, false);
        Ok(())
    }

    fn watch_annotations(&self, client: Client, time: Timeline, again: bool) {
        let maps: Api<ConfigMap> = Api::namespaced(client, "default");
        let (seen, name, stop) = (self.seen.clone(), self.name, self.stop.clone());
        let mut first = again;
        tokio::spawn(async move {
            let mut changes =
                watcher(maps, watcher::Config::default().fields("metadata.name=shop")).applied_objects().boxed();
            loop {
                let change = tokio::select! {
                    () = stop.cancelled() => return,
                    change = changes.next() => change,
                };
                let Some(Ok(map)) = change else { return };
                let Some(event) = map.annotations().get(ANNOTATION_EVENT).cloned() else { continue };
                let commit = event.rsplit('-').next().and_then(|n| n.parse().ok());
                let Some(commit) = commit else { continue };
                // What was written before the restart has been told already.
                if std::mem::take(&mut first) && seen.list().contains(&commit) {
                    continue;
                }
                time.say(Who::Edge(name), &format!("annotated ConfigMap shop for commit {commit}"));
                seen.note(commit);
            }
        });
    }
}
