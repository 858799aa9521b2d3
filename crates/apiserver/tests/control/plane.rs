//! A control plane for these tests, in process or over TLS.

use std::{
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::PostParams};
use ring::digest::{SHA256, digest};
use roadstead_apiserver::{Handle, Options, Server, authn::FixedToken};
use roadstead_kubewire::User;
use serde_json::json;
use tokio::net::TcpListener;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The administrator's token.
pub const ADMIN: &str = "test-admin-token";

/// A running control plane.
pub struct Plane {
    pub handle: Handle,
    pub directory: tempfile::TempDir,
    server: Server,
}

impl Plane {
    /// Starts one in a directory of its own.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sha256 = digest(&SHA256, ADMIN.as_bytes()).as_ref().try_into().unwrap();
        let tokens = vec![FixedToken { sha256, user: User::system() }];
        let data_dir = Some(directory.path().to_path_buf());
        let server = Server::open(Options { data_dir, tokens, ..Options::default() }).await.unwrap();
        Self { handle: server.handle(), directory, server }
    }

    /// A client that may do everything.
    pub fn admin(&self) -> Client {
        self.client(User::system())
    }

    /// A client of a user in process.
    pub fn client(&self, user: User) -> Client {
        self.handle.client_as(user)
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
        self.handle.serve(listener, None).unwrap();
        let path = self.directory.path().join(format!("kubeconfig-{}", address.port()));
        let ca = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, self.handle.ca().pem());
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
        tokio::time::timeout(PATIENCE, self.server.shutdown()).await.expect("the loops end at shutdown");
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
