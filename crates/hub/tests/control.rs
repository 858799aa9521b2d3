//! The hub's controllers before a control plane that refuses, and a watch that breaks: what is served, refused and said meanwhile.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{sync::Arc, time::Duration};

use http::{Method, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
    client::Body,
};
use prometheus_client::registry::Registry;
use roadstead_api::WebhookEndpoint;
use roadstead_apiserver::{Options as ServerOptions, Server};
use roadstead_hub::{
    Hub, Options,
    log::{LocalLog, Options as LogOptions},
};
use roadstead_kubewire::server::Transport;
use roadstead_outbound::tags::TagStore;
use roadstead_reconcile::Namespaces;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until `done` answers.
async fn until<T>(what: &str, mut done: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            match done().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A control plane with the namespaces a and b, each with a Secret `key` and an endpoint `shop` that wants it.
async fn server() -> (Server, Client) {
    let server = Server::open(ServerOptions { crds: roadstead_api::crds(), ..Default::default() }).await.unwrap();
    let client = server.handle().client();
    let params = PostParams::default();
    for namespace in ["a", "b"] {
        let made = object(json!({"metadata": {"name": namespace}}));
        Api::<Namespace>::all(client.clone()).create(&params, &made).await.unwrap();
        let secret = object(json!({"metadata": {"name": "key"}, "stringData": {"key": "the key"}}));
        Api::<Secret>::namespaced(client.clone(), namespace).create(&params, &secret).await.unwrap();
        let spec = json!({"provider": "github", "secrets": [{"name": "key", "key": "key"}]});
        let endpoint = object(json!({"metadata": {"name": "shop"}, "spec": spec}));
        Api::<WebhookEndpoint>::namespaced(client.clone(), namespace).create(&params, &endpoint).await.unwrap();
    }
    (server, client)
}

/// A client whose requests pass `fault` first.
fn faulty<F>(client: &Client, fault: impl Fn(&Request<Body>) -> F + Send + Sync + 'static) -> Client
where
    F: Future<Output = Option<Response<Body>>> + Send + 'static,
{
    let (client, fault) = (client.clone(), Arc::new(fault));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, verdict) = (client.clone(), fault(&request));
        async move {
            match verdict.await {
                Some(answer) => Ok(answer),
                None => client.send(request).await,
            }
        }
    });
    Client::new(service, "default")
}

fn answer(code: u16, body: Value) -> Option<Response<Body>> {
    Some(Response::builder().status(code).body(Body::from(format!("{body}\n").into_bytes())).unwrap())
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason})
}

fn watches(request: &Request<Body>) -> bool {
    request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"))
}

struct Running {
    hub: Hub,
    _dir: tempfile::TempDir,
}

impl Running {
    async fn start(client: Client, namespaces: Namespaces) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = LocalLog::open(dir.path(), LogOptions::default()).await.unwrap();
        let tags = TagStore::open(&dir.path().join("tags.db")).unwrap();
        let options = Options {
            tags,
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            transport: Transport::Plain,
            ca_pem: String::new(),
            public_url: "https://hub.example".into(),
            trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
            allow_targets: Vec::new(),
            namespaces,
            system_namespace: "a".into(),
            aggregate: None,
        };
        Self { hub: Hub::start(client, log, options, &mut Registry::default()).unwrap(), _dir: dir }
    }

    /// Posts without a signature. A served endpoint answers 401.
    async fn post(&self, path: &str) -> StatusCode {
        self.ask(Method::POST, path, &[]).await
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> StatusCode {
        let stream = TcpStream::connect(self.hub.address()).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "hub.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap().status()
    }
}

/// Path of the endpoint `shop`, once it has a URL.
async fn path_of(client: &Client, namespace: &str) -> String {
    let api = Api::<WebhookEndpoint>::namespaced(client.clone(), namespace);
    until("a URL", async || {
        let url = api.get("shop").await.unwrap().status?.url?;
        url.strip_prefix("https://hub.example").map(String::from)
    })
    .await
}

/// Waits until condition `Ready` of the endpoint `shop` has this reason.
async fn says(client: &Client, namespace: &str, reason: &str) {
    let api = Api::<WebhookEndpoint>::namespaced(client.clone(), namespace);
    until(reason, async || {
        let status = api.get("shop").await.unwrap().status?;
        status.conditions.iter().any(|c| c.type_ == "Ready" && c.reason == reason).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_deleted_while_its_watch_is_broken_is_not_used_any_more() {
    let (_server, client) = server().await;
    let (mend, broken) = watch::channel(true);
    // The watch of Secrets tells nothing while it is broken, and then that what it would have told is gone.
    let through = faulty(&client, move |request| {
        let concerned = request.uri().path().ends_with("/secrets") && watches(request);
        let mut broken = broken.clone();
        async move {
            if !concerned || !*broken.borrow() {
                return None;
            }
            broken.wait_for(|broken| !broken).await.ok()?;
            answer(200, json!({"type": "ERROR", "object": status(410, "Expired")}))
        }
    });
    let running = Running::start(through, Namespaces::default()).await;
    running.hub.complete(PATIENCE).await.unwrap();
    let path = path_of(&client, "a").await;
    until("it is served", async || (running.post(&path).await == StatusCode::UNAUTHORIZED).then_some(())).await;
    says(&client, "a", "Listening").await;
    Api::<Secret>::namespaced(client.clone(), "a").delete("key", &DeleteParams::default()).await.unwrap();
    mend.send_replace(false);
    says(&client, "a", "SecretMissing").await;
    assert_eq!(running.post(&path).await, StatusCode::SERVICE_UNAVAILABLE, "the key is not used any more");
    assert_eq!(running.post(&path_of(&client, "b").await).await, StatusCode::UNAUTHORIZED, "the other still is");
    running.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_cannot_be_listed_does_not_keep_the_others_out() {
    let (_server, client) = server().await;
    // Both get their URLs from a hub before.
    let before = Running::start(client.clone(), Namespaces::default()).await;
    let (path, elsewhere) = (path_of(&client, "a").await, path_of(&client, "b").await);
    before.hub.stop().await;

    let (allow, forbidden) = watch::channel(true);
    let through = faulty(&client, move |request| {
        let path = request.uri().path();
        let concerned = path.contains("/namespaces/b/") && path.contains("roadstead.dev") && *forbidden.borrow();
        async move { if concerned { answer(403, status(403, "Forbidden")) } else { None } }
    });
    let running = Running::start(through, Namespaces::of(["a".into(), "b".into()])).await;
    until("a is served", async || (running.post(&path).await == StatusCode::UNAUTHORIZED).then_some(())).await;
    let unknown = "/hooks/AAAAAAAAAAAAAAAAAAAAAA";
    for later in [&elsewhere, unknown] {
        assert_eq!(running.post(later).await, StatusCode::SERVICE_UNAVAILABLE, "nobody knows yet whose it is");
    }
    let why = running.hub.readiness().check().expect_err("b is missing");
    assert!(why.contains("namespace b"), "{why}");
    let token = async |path: &str| running.ask(Method::GET, path, &[("authorization", "Bearer rsub_x")]).await;
    assert_eq!(token("/apis").await, StatusCode::SERVICE_UNAVAILABLE, "a subscriber may be in b");

    allow.send_replace(false);
    running.hub.complete(PATIENCE).await.unwrap();
    assert_eq!(running.hub.readiness().check(), Ok(()));
    assert_eq!(running.post(&elsewhere).await, StatusCode::UNAUTHORIZED);
    assert_eq!(running.post(unknown).await, StatusCode::NOT_FOUND);
    assert_eq!(token("/apis").await, StatusCode::UNAUTHORIZED);
    running.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_whose_secrets_cannot_be_read_says_so_and_the_hub_is_ready() {
    let (_server, client) = server().await;
    let (allow, forbidden) = watch::channel(true);
    let through = faulty(&client, move |request| {
        let concerned = request.uri().path().contains("/namespaces/b/secrets/") && *forbidden.borrow();
        async move { if concerned { answer(403, status(403, "Forbidden")) } else { None } }
    });
    let running = Running::start(through, Namespaces::default()).await;
    running.hub.complete(PATIENCE).await.unwrap();
    says(&client, "b", "SecretsUnreadable").await;
    assert_eq!(running.post(&path_of(&client, "b").await).await, StatusCode::SERVICE_UNAVAILABLE);
    says(&client, "a", "Listening").await;
    assert_eq!(running.post(&path_of(&client, "a").await).await, StatusCode::UNAUTHORIZED);
    allow.send_replace(false);
    says(&client, "b", "Listening").await;
    running.hub.stop().await;
}
