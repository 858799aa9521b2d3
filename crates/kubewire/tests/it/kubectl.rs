//! The real kubectl over TLS.

use std::{path::PathBuf, process::Stdio, time::Duration};

use base64::Engine;
use roadstead_kubewire::server::Options;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
    time::timeout,
};

use crate::connections::Harbour;

/// kubectl with a home of its own, pointed at a harbour.
struct Kubectl {
    home: TempDir,
    harbour: Harbour,
}

impl Kubectl {
    async fn new() -> Self {
        let found = Command::new(program()).args(["version", "--client"]).output().await;
        assert!(
            found.is_ok_and(|output| output.status.success()),
            "these tests need kubectl 1.31 or newer: put it on the PATH or name it in KUBECTL \
             (https://kubernetes.io/docs/tasks/tools/, or `go install k8s.io/kubernetes/cmd/kubectl@v1.34`)"
        );
        let kubectl = Self { home: TempDir::new().unwrap(), harbour: Harbour::open(Options::default()).await };
        for user in ["admin", "reader"] {
            std::fs::write(kubectl.config(user), kubectl.kubeconfig(user)).unwrap();
        }
        kubectl
    }

    fn config(&self, user: &str) -> PathBuf {
        self.home.path().join(format!("{user}.yaml"))
    }

    fn kubeconfig(&self, user: &str) -> String {
        let certificate = base64::engine::general_purpose::STANDARD.encode(&self.harbour.certificate);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{certificate}\n-----END CERTIFICATE-----\n");
        let authority = base64::engine::general_purpose::STANDARD.encode(pem);
        let server = format!("https://{}", self.harbour.address);
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
             clusters: [{{name: it, cluster: {{server: '{server}', certificate-authority-data: {authority}}}}}]\n\
             contexts: [{{name: it, context: {{cluster: it, user: it, namespace: default}}}}]\n\
             users: [{{name: it, user: {{token: {user}}}}}]\n"
        )
    }

    fn command(&self, user: &str, line: &str) -> Command {
        let mut command = Command::new(program());
        command.env("HOME", self.home.path()).env("KUBECONFIG", self.config(user)).args(line.split_whitespace());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs to the end: (success, stdout, stderr).
    async fn run(&self, user: &str, line: &str, input: &str) -> (bool, String, String) {
        let mut child = self.command(user, line).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = timeout(Duration::from_secs(60), child.wait_with_output()).await.expect("kubectl ends").unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    /// Runs as admin and must succeed.
    async fn ok(&self, line: &str, input: &str) -> String {
        let (success, out, err) = self.run("admin", line, input).await;
        assert!(success, "kubectl {line}: {out}{err}");
        out
    }
}

fn program() -> String {
    std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".into())
}

const SHIP: &str =
    "apiVersion: harbour.test/v1\nkind: Ship\nmetadata: {name: aurora, labels: {a: b}}\nspec: {cargo: tea, crew: 3}\n";
const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: YQ==}\n";

/// Words of a line, so that the width of columns does not matter.
fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_works() {
    let kubectl = Kubectl::new().await;
    let resources = kubectl.ok("api-resources --no-headers", "").await;
    assert!(words(&resources).contains(&vec!["ships", "sh", "harbour.test/v1", "true", "Ship"]), "{resources}");
    assert_eq!(kubectl.ok("create -f -", SHIP).await, "ship.harbour.test/aurora created\n");
    let table = kubectl.ok("get sh", "").await;
    assert_eq!(words(&table)[0], ["NAME", "CARGO", "CREW", "AGE"]);
    assert_eq!(words(&table)[1][..3], ["aurora", "tea", "3"]);
    assert_eq!(kubectl.ok("get ships -o name -l a=b", "").await, "ship.harbour.test/aurora\n");
    assert_eq!(kubectl.ok("get ship aurora -o jsonpath={.spec.cargo}", "").await, "tea");
    assert_eq!(kubectl.ok("label ship aurora c=d", "").await, "ship.harbour.test/aurora labeled\n");
    assert!(kubectl.ok("describe ship aurora", "").await.contains("Cargo:"));
    let (success, _, warned) =
        kubectl.run("admin", "create -f -", &SHIP.replace("aurora", "rummy").replace("tea", "rum")).await;
    assert!(success && warned.contains("Warning: rum evaporates"), "{warned}");
    // Client-side apply: a merge patch for custom kinds, a strategic one for built-in kinds.
    assert!(kubectl.ok("apply -f -", &SHIP.replace("tea", "salt")).await.ends_with("configured\n"));
    assert_eq!(kubectl.ok("get ship aurora -o jsonpath={.spec.cargo}", "").await, "salt");
    assert_eq!(kubectl.ok("apply -f -", SECRET).await, "secret/s created\n");
    assert_eq!(kubectl.ok("apply -f -", &SECRET.replace("YQ==", "Yg==")).await, "secret/s configured\n");
    // From 1.32 on this is sent in protobuf.
    assert_eq!(kubectl.ok("create secret generic made --from-literal=a=b", "").await, "secret/made created\n");
    assert_eq!(kubectl.ok("get secret made -o jsonpath={.data.a}", "").await, "Yg==");
    assert_eq!(kubectl.ok("apply --server-side -f -", SHIP).await, "ship.harbour.test/aurora serverside-applied\n");
    assert_eq!(kubectl.ok("apply --dry-run=server -f -", SECRET).await, "secret/s configured (server dry run)\n");
    let explained = kubectl.ok("explain ship.spec.crew", "").await;
    assert!(explained.contains("How many sail it.") && explained.contains("<integer>"), "{explained}");
    assert_eq!(kubectl.ok("delete ship aurora --timeout=10s", "").await, "ship.harbour.test \"aurora\" deleted\n");
    assert!(kubectl.ok("get --raw /readyz", "").await.starts_with("ok"));
    assert!(kubectl.ok("version", "").await.contains("Server Version: v1.34"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_is_told_what_is_forbidden() {
    let kubectl = Kubectl::new().await;
    let (success, _, refused) = kubectl.run("reader", "get secrets", "").await;
    let wanted = "Error from server (Forbidden): secrets is forbidden: User \"reader\" cannot list resource \"secrets\" in API group \"\" in the namespace \"default\"\n";
    assert_eq!((success, refused.as_str()), (false, wanted));
    let (_, _, missing) = kubectl.run("admin", "get ship none", "").await;
    assert_eq!(missing, "Error from server (NotFound): ships.harbour.test \"none\" not found\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_watches_until_it_may_no_more() {
    let kubectl = Kubectl::new().await;
    kubectl.ok("create -f -", SHIP).await;
    let mut child = kubectl.command("reader", "get ships -w --no-headers").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || timeout(Duration::from_secs(20), lines.next_line()).await.expect("a line").unwrap();
    assert!(next().await.unwrap().starts_with("aurora"));
    kubectl.ok("create -f -", &SHIP.replace("aurora", "boreal")).await;
    assert!(next().await.unwrap().starts_with("boreal"));
    kubectl.harbour.plane.revoke("reader");
    assert_eq!(next().await, None);
    assert!(timeout(Duration::from_secs(5), child.wait()).await.is_ok());
}
