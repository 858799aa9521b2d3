//! The aggregated API before a real API server (the embedded one): who is believed about who asks, and what they may.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{sync::Arc, time::Duration};

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use roadstead_apiserver::{Options, Server};
use roadstead_hub::{
    aggregate,
    log::{LocalLog, Options as LogOptions},
};
use roadstead_kubewire::server::{server_config, tls_config};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

type Authority = CertifiedIssuer<'static, KeyPair>;
type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

const EVENTS: &str = "/apis/log.roadstead.dev/v1alpha1/namespaces/default/webhookevents";

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(ca: &Authority, name: &str, usage: ExtendedKeyUsagePurpose) -> Identity {
    let mut params = CertificateParams::new(vec!["localhost".to_string()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, ca).unwrap().into(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

fn proxy(ca: &Authority, name: &str) -> Identity {
    issue(ca, name, ExtendedKeyUsagePurpose::ClientAuth)
}

struct World {
    _server: Server,
    _dir: tempfile::TempDir,
    client: Client,
    serving: Authority,
    port: u16,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl World {
    async fn start(front: &Authority) -> Self {
        let server = Server::open(Options::default()).await.unwrap();
        let client = server.handle().client();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}});
        let apply = PatchParams::apply("test").force();
        Api::<Namespace>::all(client.clone()).patch("kube-system", &apply, &Patch::Apply(namespace)).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let log = LocalLog::open(dir.path(), LogOptions::default()).await.unwrap();
        let serving = authority();
        let (cert, key) = issue(&serving, "hub", ExtendedKeyUsagePurpose::ServerAuth);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let tls = tls_config(server_config(vec![cert], key).unwrap());
        let world = Self { _server: server, _dir: dir, client, serving, port, stop, tasks };
        world.name(front).await;
        let options = aggregate::Options { listener, tls, ca_pem: String::new(), extra: Vec::new() };
        aggregate::spawn(&world.tasks, world.client.clone(), log, options, world.stop.clone());
        world
    }

    /// Says who the front proxy is, as kube-apiserver does.
    async fn name(&self, front: &Authority) {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extension-apiserver-authentication"},
            "data": {
                "requestheader-client-ca-file": front.pem(),
                "requestheader-allowed-names": r#"["front-proxy-client"]"#,
                "requestheader-username-headers": r#"["X-Remote-User"]"#,
                "requestheader-group-headers": r#"["X-Remote-Group"]"#,
                "requestheader-extra-headers-prefix": r#"["X-Remote-Extra-"]"#,
            },
        });
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "kube-system");
        let apply = PatchParams::apply("test").force();
        maps.patch("extension-apiserver-authentication", &apply, &Patch::Apply(map)).await.unwrap();
    }

    /// Asks on a connection of its own. Errors: the connection is refused.
    async fn ask(&self, with: Option<&Identity>, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<StatusCode> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(self.serving.der().to_vec()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match with {
            Some((cert, key)) => builder.with_client_auth_cert(vec![cert.clone()], key.clone_key())?,
            None => builder.with_no_client_auth(),
        };
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::get(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        let status = response.status();
        response.into_body().collect().await?;
        Ok(status)
    }

    /// Asks until the answer is `wanted`.
    async fn ask_until(&self, with: &Identity, headers: &[(&str, &str)], wanted: Option<StatusCode>) {
        let asking = async {
            while self.ask(Some(with), EVENTS, headers).await.ok() != wanted {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), asking).await.expect("becomes so in time");
    }
}

const ADMIN: [(&str, &str); 2] = [("x-remote-user", "admin"), ("x-remote-group", "system:masters")];

#[tokio::test(flavor = "multi_thread")]
async fn only_the_front_proxy_is_believed() {
    let (front, other) = (authority(), authority());
    let world = World::start(&front).await;
    let right = proxy(&front, "front-proxy-client");
    world.ask_until(&right, &ADMIN, Some(StatusCode::OK)).await;
    assert!(world.ask(None, EVENTS, &ADMIN).await.is_err(), "no certificate");
    let forged = proxy(&other, "front-proxy-client");
    assert!(world.ask(Some(&forged), EVENTS, &ADMIN).await.is_err(), "of another authority");
    let wrong = proxy(&front, "somebody");
    assert_eq!(world.ask(Some(&wrong), EVENTS, &ADMIN).await.unwrap(), StatusCode::UNAUTHORIZED, "of another name");
    assert_eq!(world.ask(Some(&right), EVENTS, &[]).await.unwrap(), StatusCode::UNAUTHORIZED, "names nobody");
    // The authority is replaced: the old proxy is refused, the new one served.
    world.name(&other).await;
    world.ask_until(&forged, &ADMIN, Some(StatusCode::OK)).await;
    assert!(world.ask(Some(&right), EVENTS, &ADMIN).await.is_err());
    world.stop.cancel();
    world.tasks.close();
    tokio::time::timeout(Duration::from_secs(30), world.tasks.wait()).await.expect("ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_may_what_the_cluster_says() {
    let front = authority();
    let world = World::start(&front).await;
    let proxy = proxy(&front, "front-proxy-client");
    world.ask_until(&proxy, &ADMIN, Some(StatusCode::OK)).await;
    let jane = [("x-remote-user", "jane")];
    assert_eq!(world.ask(Some(&proxy), EVENTS, &jane).await.unwrap(), StatusCode::FORBIDDEN);
    let role = json!({"metadata": {"name": "see"}, "rules": [
        {"apiGroups": ["log.roadstead.dev"], "resources": ["webhookevents"], "verbs": ["get", "list", "watch"]}]});
    let binding = json!({"metadata": {"name": "see"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "see"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]});
    let (roles, bindings) = (
        Api::<Role>::namespaced(world.client.clone(), "default"),
        Api::<RoleBinding>::namespaced(world.client.clone(), "default"),
    );
    roles.create(&PostParams::default(), &serde_json::from_value(role).unwrap()).await.unwrap();
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    // The refusal is remembered for a few seconds.
    world.ask_until(&proxy, &jane, Some(StatusCode::OK)).await;
    let elsewhere = EVENTS.replace("/default/", "/kube-system/");
    assert_eq!(world.ask(Some(&proxy), &elsewhere, &jane).await.unwrap(), StatusCode::FORBIDDEN);
    // What kube-aggregator itself reads.
    for path in ["/apis", "/apis/log.roadstead.dev/v1alpha1", "/openapi/v2", "/openapi/v3"] {
        assert_eq!(world.ask(Some(&proxy), path, &jane).await.unwrap(), StatusCode::OK, "{path}");
    }
    world.stop.cancel();
}
