//! etcd and kube-apiserver on free ports and an empty directory, syncing as they do by default, killed when dropped.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;

use super::session::Access;
use crate::platform::scratch;

/// Of a server that lives for a minute on loopback.
const TOKEN: &str = "bench-administrator";

/// A running API server.
pub struct Kubernetes {
    etcd: Ended,
    server: Ended,
    /// As administrator.
    pub access: Access,
    /// From starting etcd to `/readyz`.
    pub ready_after: Duration,
    dir: tempfile::TempDir,
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Kubernetes {
    /// Starts both programs of `programs`.
    pub async fn start(programs: &Path) -> Result<Self> {
        let dir = tempfile::tempdir_in(scratch())?;
        let path = dir.path();
        let key = rcgen::KeyPair::generate()?;
        std::fs::write(path.join("sa.key"), key.serialize_pem())?;
        std::fs::write(path.join("sa.pub"), key.public_key_pem())?;
        std::fs::write(path.join("tokens.csv"), format!("{TOKEN},bench,1,system:masters\n"))?;
        let [client, peer, api] = free_ports()?;

        let started = Instant::now();
        let url = |address: SocketAddr| format!("http://{address}");
        let mut command = Command::new(programs.join("etcd"));
        command.args(["--name", "bench", "--log-level", "warn", "--data-dir"]).arg(path.join("etcd"));
        command.args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)]);
        command.args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)]);
        command.args(["--initial-cluster", &format!("bench={}", url(peer))]);
        let etcd = spawn(command, &path.join("etcd.log"))?;

        let mut command = Command::new(programs.join("kube-apiserver"));
        command.arg(format!("--etcd-servers={}", url(client)));
        command.args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"]);
        command.arg(format!("--secure-port={}", api.port())).arg(file("--cert-dir", path, "certificates"));
        command.arg(file("--token-auth-file", path, "tokens.csv")).arg("--authorization-mode=RBAC");
        command.arg("--service-account-issuer=https://kubernetes.default.svc");
        command.arg(file("--service-account-key-file", path, "sa.pub"));
        command.arg(file("--service-account-signing-key-file", path, "sa.key"));
        command.arg("--service-cluster-ip-range=10.96.0.0/16");
        let mut server = spawn(command, &path.join("kube-apiserver.log"))?;

        let roots = path.join("certificates/apiserver.crt");
        loop {
            if let Ok(access) = Access::of_token(api, &roots, TOKEN)
                && let Ok(mut session) = access.open().await
                && session.ask(Method::GET, "/readyz", Bytes::new()).await.is_ok()
            {
                return Ok(Self { etcd, server, access, ready_after: started.elapsed(), dir });
            }
            if let Some(status) = server.0.try_wait()? {
                bail!("kube-apiserver ended with {status}: {}", tail(&path.join("kube-apiserver.log")));
            }
            if started.elapsed() > Duration::from_secs(60) {
                bail!("kube-apiserver was not ready within 60 s: {}", tail(&path.join("kube-apiserver.log")));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Of both programs.
    pub fn pids(&self) -> [u32; 2] {
        [self.etcd.0.id(), self.server.0.id()]
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        // Neither may write into the directory while it is removed.
        for program in [&mut self.server, &mut self.etcd] {
            let _ = program.0.kill();
            let _ = program.0.wait();
        }
        let _ = std::fs::remove_dir_all(self.dir.path());
    }
}

fn file(flag: &str, dir: &Path, name: &str) -> String {
    format!("{flag}={}", dir.join(name).display())
}

fn spawn(mut command: Command, log: &PathBuf) -> Result<Ended> {
    let (out, program) = (std::fs::File::create(log)?, command.get_program().to_owned());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(out);
    let child = command.spawn().with_context(|| format!("can't start {}", program.display()))?;
    Ok(Ended(child))
}

/// Ports that are free now; held together, so that they differ.
fn free_ports() -> Result<[SocketAddr; 3]> {
    let bind = || TcpListener::bind("127.0.0.1:0");
    let listeners = [bind()?, bind()?, bind()?];
    let mut addresses = [listeners[0].local_addr()?; 3];
    for (address, listener) in addresses.iter_mut().zip(&listeners) {
        *address = listener.local_addr()?;
    }
    Ok(addresses)
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
