//! What a real registry loses when it is killed, found again: docker-registry with skopeo as its client, and a hub that comes and goes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use prometheus_client::registry::Registry as MetricsRegistry;
use roadstead_api::{WebhookEndpoint, WebhookEvent, event::ImageChange};
use roadstead_apiserver::{Options as ServerOptions, Server};
use roadstead_e2e::registry::Registry;
use roadstead_hub::{
    Hub, Options,
    log::{Endpoints, Limit, LocalLog, Log, Options as LogOptions, Selection},
};
use roadstead_kubewire::server::Transport;
use roadstead_outbound::tags::TagStore;
use roadstead_reconcile::Namespaces;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(120);
const NAMESPACE: &str = "default";
const HOOK: &str = "0123456789abcdefghijkl";

async fn until<T>(what: &str, mut done: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            match done().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A control plane with an endpoint `images` that has its URL already: the registry must know it before the hub runs.
async fn control_plane(registry: &str) -> (Server, Client) {
    let server = Server::open(ServerOptions { crds: roadstead_api::crds(), ..Default::default() }).await.unwrap();
    let client = server.handle().client();
    let params = PostParams::default();
    let namespaces = Api::<Namespace>::all(client.clone());
    if namespaces.get_opt(NAMESPACE).await.unwrap().is_none() {
        namespaces.create(&params, &object(json!({"metadata": {"name": NAMESPACE}}))).await.unwrap();
    }
    let secret = object(json!({"metadata": {"name": "key"}, "stringData": {"key": "hook-token"}}));
    Api::<Secret>::namespaced(client.clone(), NAMESPACE).create(&params, &secret).await.unwrap();
    let spec = json!({
        "provider": "distribution", "secrets": [{"name": "key", "key": "key"}],
        "registry": {"url": registry, "reconcileInterval": "0"}, "events": ["push", "delete"],
    });
    let endpoints = Api::<WebhookEndpoint>::namespaced(client.clone(), NAMESPACE);
    endpoints.create(&params, &object(json!({"metadata": {"name": "images"}, "spec": spec}))).await.unwrap();
    let status = json!({"status": {"url": format!("https://hub.example/hooks/{HOOK}")}});
    endpoints.patch_status("images", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    (server, client)
}

/// A hub whose address and files stay while it comes and goes.
struct Ground {
    client: Client,
    address: std::net::SocketAddr,
    directory: tempfile::TempDir,
}

struct Running {
    hub: Hub,
    log: Arc<LocalLog>,
}

impl Ground {
    async fn start(&self) -> Running {
        let log = LocalLog::open(&self.directory.path().join("log"), LogOptions::default()).await.unwrap();
        let options = Options {
            listener: TcpListener::bind(self.address).await.unwrap(),
            transport: Transport::Plain,
            ca_pem: String::new(),
            public_url: "https://hub.example".into(),
            trusted_proxies: Vec::new(),
            allow_targets: vec!["127.0.0.0/8".parse().unwrap()],
            namespaces: Namespaces::default(),
            system_namespace: NAMESPACE.into(),
            tags: TagStore::open(&self.directory.path().join("tags.db")).unwrap(),
            aggregate: None,
        };
        let hub = Hub::start(self.client.clone(), log.clone(), options, &mut MetricsRegistry::default()).unwrap();
        Running { hub, log }
    }

    /// When the endpoint was last compared with its registry, if that could be asked.
    async fn compared(&self) -> Option<String> {
        let status =
            Api::<WebhookEndpoint>::namespaced(self.client.clone(), NAMESPACE).get("images").await.unwrap().status?;
        let reachable = status.conditions.iter().find(|condition| condition.type_ == "RegistryReachable")?;
        (reachable.status == "True").then_some(status.last_reconciled).flatten()
    }
}

impl Running {
    async fn stop(self) {
        self.hub.stop().await;
        self.log.close().await;
    }

    /// All events so far: image and whether it was found by a comparison.
    async fn events(&self) -> Vec<(ImageChange, bool)> {
        let selection = Selection::of(Endpoints::All);
        let limit = Limit { events: 10_000, bytes: 64 << 20 };
        let page = self.log.read(&selection, 0, self.log.head(), limit).await.unwrap();
        let events = page.records.iter().map(|record| serde_json::from_slice(&record.frame().object).unwrap());
        let told = events.filter_map(|event: WebhookEvent| {
            assert!(event.spec.verified, "{event:?}");
            Some((event.spec.image?, event.spec.reconciled))
        });
        told.collect()
    }

    /// How often this was told: by the registry, and by a comparison.
    async fn told(&self, action: &str, repository: &str, tag: &str, digest: &str) -> (usize, usize) {
        let events = self.events().await;
        let same = |image: &ImageChange| {
            [&*image.action, &*image.repository, &*image.tag, &*image.digest] == [action, repository, tag, digest]
        };
        let count = |found| events.iter().filter(|(image, reconciled)| same(image) && *reconciled == found).count();
        (count(false), count(true))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_registry_did_not_tell_is_told_once() {
    let at = Registry::free_address().unwrap();
    let (_server, client) = control_plane(&format!("http://{at}")).await;
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let ground = Ground { client, address, directory: tempfile::tempdir().unwrap() };

    // There before anybody looked, and told by nobody: taken over in silence.
    let mut registry = Registry::start(&at, &format!("http://{address}/hooks/{HOOK}"), "hook-token").await.unwrap();
    let old = registry.push("old/app", "v1", "old").unwrap();
    registry.restart().await.unwrap();
    let hub = ground.start().await;
    until("the first comparison", async || ground.compared().await).await;
    assert!(hub.events().await.is_empty());

    // Told as usual.
    let one = registry.push("team/shop", "v1", "one").unwrap();
    let two = registry.push("team/shop", "v2", "two").unwrap();
    for (tag, digest) in [("v1", &one), ("v2", &two)] {
        until("an ordinary event", async || (hub.told("push", "team/shop", tag, digest).await == (1, 0)).then_some(()))
            .await;
    }
    hub.stop().await;

    // Nobody listens; then what the registry had to tell is gone.
    let moved = registry.push("team/shop", "v1", "moved").unwrap();
    let new = registry.push("team/new", "v1", "new").unwrap();
    let more = registry.push("old/app", "v2", "more").unwrap();
    registry.delete("team/shop", "v2").unwrap();
    registry.restart().await.unwrap();

    let hub = ground.start().await;
    let missed = [
        ("push", "team/shop", "v1", &moved),
        ("push", "team/new", "v1", &new),
        ("push", "old/app", "v2", &more),
        ("delete", "team/shop", "v2", &two),
    ];
    for (action, repository, tag, digest) in missed {
        let what = format!("{action} {repository}:{tag} is announced");
        until(&what, async || (hub.told(action, repository, tag, digest).await == (0, 1)).then_some(())).await;
    }
    let before = until("its end", async || ground.compared().await).await;

    // The registry's new process delivers: another comparison, which finds nothing new.
    let late = registry.push("team/new", "v2", "late").unwrap();
    until("an ordinary event", async || (hub.told("push", "team/new", "v2", &late).await == (1, 0)).then_some(()))
        .await;
    until("a comparison", async || ground.compared().await.filter(|at| *at != before)).await;
    for (action, repository, tag, digest) in missed {
        assert_eq!(hub.told(action, repository, tag, digest).await, (0, 1), "{action} {repository}:{tag}");
    }
    assert_eq!(hub.told("push", "team/new", "v2", &late).await, (1, 0));
    assert_eq!(hub.told("push", "old/app", "v1", &old).await, (0, 0), "it was there before anybody looked");
    assert_eq!(hub.events().await.iter().filter(|(_, reconciled)| *reconciled).count(), 4);
    hub.stop().await;
}

/// A registry that lists a repository and then wants to be left alone for minutes; tells when it said so.
async fn wants_peace() -> (String, tokio::sync::watch::Receiver<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, said) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 8192];
            // The request fits into one read.
            let read = stream.read(&mut head).await.unwrap_or_default();
            let path = String::from_utf8_lossy(&head[..read]).split(' ').nth(1).unwrap_or_default().to_owned();
            let (status, body) = match path.as_str() {
                "/v2/" => ("200 OK", "{}"),
                path if path.starts_with("/v2/_catalog") => ("200 OK", r#"{"repositories": ["team/shop"]}"#),
                _ => ("429 Slow Down\r\nretry-after: 500", ""),
            };
            let length = body.len();
            let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            let _ = stream.write_all(text.as_bytes()).await;
            let peace = status.starts_with("429");
            asked.send_if_modified(|said| peace && !std::mem::replace(said, true));
        }
    });
    (url, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_registry_is_asked_though_the_earlier_one_wants_peace() {
    let (url, mut said) = wants_peace().await;
    let (_server, client) = control_plane(&url).await;
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let ground = Ground { client: client.clone(), address, directory: tempfile::tempdir().unwrap() };
    let hub = ground.start().await;
    tokio::time::timeout(PATIENCE, said.wait_for(|said| *said)).await.unwrap().unwrap();

    let at = Registry::free_address().unwrap();
    let _registry = Registry::start(&at, &format!("http://{address}/hooks/{HOOK}"), "hook-token").await.unwrap();
    let patch = json!({"spec": {"registry": {"url": format!("http://{at}")}}});
    let endpoints = Api::<WebhookEndpoint>::namespaced(client, NAMESPACE);
    endpoints.patch("images", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    until("the other registry is compared", async || ground.compared().await).await;
    hub.stop().await;
}
