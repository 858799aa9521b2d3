//! A control plane for these tests: in memory or on disk, in process or over TLS.

use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::PostParams};
use ring::digest::{SHA256, digest};
use roadstead_apiserver::{
    audit::{Audit, file::Bounds},
    authn::{FixedToken, jwt::SigningKey},
    control::Control,
    store::{Options, Store},
};
use roadstead_kubewire::{Catalog, User, server, service::ApiService};
use rustls_pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The administrator's token.
pub const ADMIN: &str = "test-admin-token";

/// A running control plane.
pub struct Plane {
    pub service: ApiService,
    pub control: Control,
    pub directory: tempfile::TempDir,
    pub audit: Arc<Audit>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Plane {
    /// Starts one in memory.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&Options::default()).unwrap();
        let sha256 = digest(&SHA256, ADMIN.as_bytes()).as_ref().try_into().unwrap();
        let key = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
        let control = Control::new(store, vec![FixedToken { sha256, user: User::system() }], key);
        let catalog = Catalog::new(control.resources());
        control.ensure(&catalog).await.unwrap();
        let audit = Arc::new(Audit::open(&directory.path().join("audit.log"), Bounds::default()).unwrap());
        let shutdown = CancellationToken::new();
        let (tokens, rbac) = (Arc::new(control.tokens.clone()), Arc::new(control.rbac.clone()));
        let service = ApiService::builder(catalog.clone(), tokens, rbac)
            .observer(audit.clone())
            .shutdown(shutdown.clone())
            .build();
        let tasks = TaskTracker::new();
        for task in control.loops(&catalog, &shutdown) {
            tasks.spawn(task);
        }
        Self { service, control, directory, audit, shutdown, tasks }
    }

    /// A client that may do everything.
    pub fn admin(&self) -> Client {
        self.client(User::system())
    }

    /// A client of a user in process.
    pub fn client(&self, user: User) -> Client {
        Client::new(self.service.in_process(user), "default")
    }

    /// A client of a user without any right but those of its name.
    pub fn user(&self, name: &str) -> Client {
        self.client(User { name: name.into(), groups: vec!["system:authenticated".into()], ..User::default() })
    }

    /// Makes a namespace.
    pub async fn namespace(&self, name: &str) {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        Api::all(self.admin()).create(&PostParams::default(), &namespace).await.unwrap();
    }

    /// Serves TLS, and gives the kubeconfig's path for the bearer of `token`.
    pub async fn kubeconfig(&self, token: &str) -> PathBuf {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_string()]).unwrap();
        let pem = certified.cert.pem();
        let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
        let config = server::server_config(vec![certified.cert.der().clone()], key).unwrap();
        let transport = server::Transport::Tls(server::tls_config(config));
        let (service, shutdown) = (self.service.clone(), self.shutdown.clone());
        self.tasks.spawn(server::serve(listener, transport, Default::default(), service, shutdown));
        let path = self.directory.path().join(format!("kubeconfig-{}", address.port()));
        let ca = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("https://{address}"), "certificate-authority-data": ca}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        });
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        path
    }

    /// Ends all tasks.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait()).await.expect("the loops end at shutdown");
    }
}

/// Runs kubectl; its output, standard output as text.
pub async fn kubectl(kubeconfig: &std::path::Path, arguments: &[&str]) -> (Output, String) {
    let program = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
    let mut command = Command::new(program);
    command.arg("--kubeconfig").arg(kubeconfig).arg("--request-timeout=20s").args(arguments);
    // A cache of its own: nothing of another server's discovery.
    command.env("KUBECACHEDIR", kubeconfig.with_extension("cache"));
    let output = tokio::task::spawn_blocking(move || command.output().expect("kubectl can be run")).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

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
