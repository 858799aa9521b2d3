//! A hub with its log, a control plane of the agent's own, and agents that can be stopped or killed.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use k8s_openapi::api::core::v1::Event as KubeEvent;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
    config::Kubeconfig,
};
use prometheus_client::registry::Registry;
use roadstead_agent::{Agent, Ground, Handle, HubAccess, Identity, Options};
use roadstead_api::{
    DeadLetter, Subscriber, Trigger, WebhookEndpoint,
    endpoint::Provider,
    event::{GitChange, Header, ImageChange},
};
use roadstead_apiserver::server::{self, Server};
use roadstead_hub::{
    events::EventsResource,
    log::{Draft, LocalLog, Log, Options as LogOptions, Outcome, Retention, Stream},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_util::sync::CancellationToken;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until `done` answers, for at most [`PATIENCE`].
pub async fn until<T>(what: &str, mut done: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = done().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Hub, own control plane, and the directory of the log.
pub struct World {
    pub hub: Server,
    pub own: Server,
    pub log: Arc<LocalLog>,
    pub stream: Stream,
    directory: tempfile::TempDir,
}

async fn plane(data_dir: Option<PathBuf>, extra: Vec<Arc<dyn roadstead_kubewire::Resource>>) -> Server {
    Server::open(server::Options { data_dir, crds: roadstead_api::crds(), extra, ..Default::default() }).await.unwrap()
}

async fn open_log(directory: &Path) -> Arc<LocalLog> {
    // Small segments and a busy janitor, so that retention can be seen at work.
    let options = LogOptions {
        segment_bytes: 16 << 10,
        retention_interval: Duration::from_millis(50),
        shortest_segment: Duration::ZERO,
        ..LogOptions::default()
    };
    LocalLog::open(directory, options).await.unwrap()
}

impl World {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = open_log(&directory.path().join("log")).await;
        // The hub is on disk, so that it can be restarted.
        let events = Arc::new(EventsResource::new(log.clone()));
        let hub = plane(Some(directory.path().join("hub")), vec![events]).await;
        let own = plane(None, Vec::new()).await;
        let mut world = Self { hub, own, log, stream: Stream::default(), directory };
        world.stream = world.endpoint("shop").await;
        let subscriber: Subscriber = object(json!({"metadata": {"name": "edge"}, "spec": {}}));
        world.api::<Subscriber>(&world.hub).create(&PostParams::default(), &subscriber).await.unwrap();
        world
    }

    /// Serves the hub over TLS, at this address if given; answers the address.
    pub async fn serve_hub(&self, address: Option<SocketAddr>) -> SocketAddr {
        let listener = match address {
            Some(address) => until("the port is free", async || TcpListener::bind(address).await.ok()).await,
            None => TcpListener::bind("127.0.0.1:0").await.unwrap(),
        };
        let address = self.hub.handle().serve(listener, None).unwrap();
        self.hub.handle().write_kubeconfig(address).unwrap();
        address
    }

    /// Where the hub's kubeconfig is.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("hub/kubeconfig")
    }

    /// Access to the hub over TLS.
    pub async fn access(&self, address: SocketAddr) -> HubAccess {
        let text = self.hub.handle().kubeconfig(&format!("https://{address}"));
        HubAccess::from_kubeconfig(Kubeconfig::from_yaml(&text).unwrap()).await.unwrap()
    }

    /// Stops the hub and its log.
    pub async fn stop_hub(&mut self) {
        self.hub.handle().shutdown().await;
        // The server holds the log too: it can only be closed once that is gone.
        self.hub = plane(None, Vec::new()).await;
        self.log.clone().close().await;
    }

    /// Opens them again.
    pub async fn start_hub(&mut self) {
        self.log = open_log(&self.directory.path().join("log")).await;
        let events = Arc::new(EventsResource::new(self.log.clone()));
        self.hub = plane(Some(self.directory.path().join("hub")), vec![events]).await;
    }

    /// Makes an endpoint in `default` of the hub.
    pub async fn endpoint(&self, name: &str) -> Stream {
        let endpoint: WebhookEndpoint = object(json!({"metadata": {"name": name}, "spec": {"provider": "github"}}));
        let endpoint = self.api(&self.hub).create(&PostParams::default(), &endpoint).await.unwrap();
        Stream { namespace: "default".into(), name: name.into(), uid: endpoint.uid().unwrap() }
    }

    /// An API of namespace `default`.
    pub fn api<K>(&self, plane: &Server) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(plane.handle().client(), "default")
    }

    pub fn triggers(&self) -> Api<Trigger> {
        self.api(&self.own)
    }

    pub fn letters(&self) -> Api<DeadLetter> {
        self.api(&self.own)
    }

    /// Makes a trigger of endpoint `shop` with these fields.
    pub async fn trigger(&self, name: &str, fields: Value) -> Trigger {
        let mut spec = json!({"endpoint": {"name": "shop"}});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let trigger: Trigger = object(json!({"metadata": {"name": name}, "spec": spec}));
        self.triggers().create(&PostParams::default(), &trigger).await.unwrap()
    }

    /// Lets service account `default` do everything in `default`.
    pub async fn permit(&self) {
        let own = self.own.handle().client();
        let role =
            json!({"metadata": {"name": "all"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
        create::<k8s_openapi::api::rbac::v1::Role>(&own, role).await;
        let binding = json!({
            "metadata": {"name": "all"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "all"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
        });
        create::<k8s_openapi::api::rbac::v1::RoleBinding>(&own, binding).await;
    }

    /// What an agent of this world is started with.
    pub fn options(&self) -> Options {
        let identity = Some(Identity { namespace: "default".into(), name: "edge".into() });
        let access = HubAccess::Client { client: self.hub.handle().client(), identity };
        Options {
            hubs: [("main".to_string(), access)].into(),
            // A failure is tried again soon, so that tests are quick.
            retry_delays: (Duration::from_millis(20), Duration::from_millis(100)),
            drain: Duration::from_secs(5),
            ..Options::new(self.own.handle().client(), Ground::Embedded)
        }
    }

    /// An agent in this runtime.
    pub async fn agent(&self) -> Handle {
        start(self.options()).await
    }

    /// Waits until a trigger's status fulfils `done`; answers the trigger.
    pub async fn status(&self, name: &str, what: &str, mut done: impl FnMut(&Trigger) -> bool) -> Trigger {
        let api = self.triggers();
        until(&format!("{name}: {what}"), async || api.get(name).await.ok().filter(|trigger| done(trigger))).await
    }

    /// Waits until a trigger watches.
    pub async fn watching(&self, name: &str) -> Trigger {
        self.status(name, "watching", |trigger| condition(trigger, "Ready") == Some(("True", "Watching"))).await
    }

    /// Records an event; answers its position.
    pub async fn deliver(&self, draft: Draft) -> u64 {
        self.deliver_to(&self.stream, draft).await
    }

    pub async fn deliver_to(&self, stream: &Stream, draft: Draft) -> u64 {
        match self.log.append(stream, vec![draft]).await.unwrap()[..] {
            [Outcome::Recorded { position, .. }] => position,
            ref other => panic!("{other:?}"),
        }
    }

    /// Waits until an event is not retained any more.
    pub async fn removed(&self, sequence: u64) {
        until("retention", async || self.log.get("default", "shop", sequence).await.unwrap().is_none().then_some(()))
            .await;
    }

    /// Records many events at once.
    pub async fn deliver_all(&self, drafts: Vec<Draft>) {
        self.log.append(&self.stream, drafts).await.unwrap();
    }

    /// Removes all events of the stream but the last `events`.
    pub async fn retain(&self, events: u64) {
        let retention = Retention { events: Some(events), ..Retention::default() };
        self.log.retain(&self.stream, retention).await.unwrap();
    }

    /// Reasons and messages of the Events about a trigger.
    pub async fn told(&self) -> Vec<(String, String)> {
        let events: Api<KubeEvent> = self.api(&self.own);
        let list = events.list(&ListParams::default()).await.unwrap();
        let told = |event: KubeEvent| (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
        list.into_iter().map(told).collect()
    }
}

/// Starts an agent in this runtime.
pub async fn start(options: Options) -> Handle {
    Agent::start(options, &mut Registry::default(), CancellationToken::new()).await.unwrap()
}

/// An agent in a runtime of its own, which can be killed: all its tasks end where they are.
pub struct Killable {
    runtime: Option<Runtime>,
}

impl Killable {
    pub fn start(options: Options) -> Self {
        let runtime = Runtime::new().unwrap();
        runtime.spawn(async {
            let agent = start(options).await;
            agent.stopped().await;
        });
        Self { runtime: Some(runtime) }
    }

    /// As kill -9: nothing is finished, nothing persisted.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        self.end();
    }
}

/// Status and reason of a condition.
pub fn condition<'a>(trigger: &'a Trigger, kind: &str) -> Option<(&'a str, &'a str)> {
    let condition = trigger.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((&condition.status, &condition.reason))
}

/// Message of a condition.
pub fn message<'a>(trigger: &'a Trigger, kind: &str) -> &'a str {
    let conditions = trigger.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().find(|condition| condition.type_ == kind).map_or("", |condition| &condition.message)
}

/// Any object from JSON.
pub fn object<K: serde::de::DeserializeOwned>(mut json: Value) -> K {
    // Kinds made by `CustomResource` need these, and the others ignore them.
    json["apiVersion"] = json!("roadstead.dev/v1alpha1");
    serde_json::from_value(with_kind::<K>(json)).unwrap()
}

fn with_kind<K>(mut json: Value) -> Value {
    let name = std::any::type_name::<K>();
    json["kind"] = json!(name.rsplit("::").next().unwrap());
    json
}

/// Creates a built-in object in `default`.
pub async fn create<K>(client: &Client, json: Value) -> K
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + serde::de::DeserializeOwned
        + serde::Serialize
        + Clone
        + std::fmt::Debug,
{
    let object: K = serde_json::from_value(json).unwrap();
    Api::namespaced(client.clone(), "default").create(&PostParams::default(), &object).await.unwrap()
}

/// A push to a repository, with the id as a header, as GitHub sends it.
pub fn push(id: &str, repository: &str) -> Draft {
    Draft {
        id: id.into(),
        dedupe: true,
        kind: "push".into(),
        provider: Provider::Github,
        received_at: jiff::Timestamp::now(),
        verified: true,
        reconciled: false,
        git: Some(GitChange {
            repository: repository.into(),
            reference: "refs/heads/main".into(),
            after: "0123456789".into(),
            ..GitChange::default()
        }),
        image: None,
        method: "POST".into(),
        headers: [("content-type", "application/json"), ("x-github-delivery", id)]
            .map(|(name, value)| Header { name: name.into(), value: value.into() })
            .into(),
        body: Bytes::from(format!("{{\"id\": \"{id}\"}}")),
    }
}

/// An image pushed to a registry.
pub fn image(id: &str, repository: &str, tag: &str, digest: &str) -> Draft {
    let image = ImageChange {
        registry: "elsewhere.example.com".into(),
        repository: repository.into(),
        tag: tag.into(),
        digest: digest.into(),
        action: "push".into(),
        ..ImageChange::default()
    };
    Draft { git: None, image: Some(image), ..push(id, "") }
}
