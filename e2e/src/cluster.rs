//! A real cluster as the tests share it: our kinds are installed once for each run, and each platform has namespaces, service
//! accounts and kubeconfigs of its own.
//!
//! Everything that is made lies in namespaces with the label [`LABEL`], whose value tells which run made them. They are deleted with
//! the platform, also when a test panics; what a killed run left behind is deleted by the next one on the same machine.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{Namespace, ServiceAccount},
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams},
    config::Kubeconfig,
};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::{ground::cluster_kubeconfig, kubectl::Kubectl, rights, tools, up::client, wait::eventually};

/// On every namespace of the tests: `<machine>.<process id>.<start of the run, Unix seconds>`.
pub const LABEL: &str = "roadstead.dev/e2e";

/// This run.
static RUN: LazyLock<String> = LazyLock::new(|| {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(30).collect();
    let since = std::time::UNIX_EPOCH.elapsed().map(|time| time.as_secs()).unwrap_or_default();
    format!("h{host}.{}.{since}", std::process::id())
});

/// The administrator's kubeconfig, once the cluster is prepared for this run.
pub(crate) async fn prepared() -> Result<&'static Path> {
    static READY: OnceCell<PathBuf> = OnceCell::const_new();
    let prepare = async || {
        let file = cluster_kubeconfig().context("ROADSTEAD_E2E_KUBECONFIG is not set")?;
        let kubectl = Kubectl::new(&file)?;
        let crds = crate::up::cli(&file, &["crds"])?;
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let said = kubectl.say(&apply, &crds)?;
        ensure!(said.code == 0, "the kinds can't be installed: {said:?}");
        let wait = ["wait", "--for=condition=Established", "--timeout=30s", "-f", "-"];
        let said = kubectl.say(&wait, &crds)?;
        ensure!(said.code == 0, "the kinds are not served: {said:?}");
        sweep(&client(&file).await?).await?;
        anyhow::Ok(file)
    };
    Ok(READY.get_or_try_init(prepare).await?)
}

/// Makes a namespace with the label: for what has no platform. Who makes it deletes it.
pub fn make_namespace(kubectl: &Kubectl, name: &str) -> Result<()> {
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {LABEL: RUN.as_str()}},
    });
    let said = kubectl.say(&["create", "-f", "-"], &namespace.to_string())?;
    ensure!(said.code == 0, "namespace {name} can't be made: {said:?}");
    Ok(())
}

/// Deletes what runs on this machine that are over have left behind.
async fn sweep(client: &Client) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for namespace in namespaces.list(&ListParams::default().labels(LABEL)).await? {
        let run = namespace.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL));
        if let (Some(name), true) = (&namespace.metadata.name, run.is_some_and(|run| is_over(run))) {
            eprintln!("deleting namespace {name} of an earlier run");
            // Somebody else may be faster.
            let _ = namespaces.delete(name, &DeleteParams::default()).await;
        }
    }
    Ok(())
}

/// Whether a run was made by a process of this machine that is gone.
fn is_over(run: &str) -> bool {
    let mut parts = run.split('.');
    let mut own = RUN.split('.');
    let pid = parts.next().filter(|host| own.next() == Some(*host)).and_then(|_| parts.next());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
}

/// What one platform has on the cluster.
pub(crate) struct Site {
    /// Its namespaces: the one that is worked in, and the others.
    pub namespaces: Vec<String>,
    kubeconfig: Kubeconfig,
    directory: PathBuf,
    /// A client of the administrator's.
    pub client: Client,
}

impl Site {
    /// Makes namespaces, one named for each of `others`, with a hub's and an agent's account in the first, and kubeconfigs in
    /// `directory`: `admin`, `hub`, `agent`. `file` is the administrator's.
    pub async fn make(file: &Path, directory: &Path, others: &[&str]) -> Result<Site> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let mut run = RUN.rsplit('.');
        let (since, pid) = (run.next().unwrap_or_default(), run.next().unwrap_or_default());
        let own = format!("e2e-{since}-{pid}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut site = Site {
            namespaces: Vec::new(),
            kubeconfig: Kubeconfig::read_from(file)?,
            directory: directory.into(),
            client: client(file).await?,
        };
        site.namespace(&own).await?;
        for other in others {
            site.namespace(&format!("{own}-{other}")).await?;
        }
        let admin = site.kubeconfig.clone();
        site.write("admin", admin, &own)?;
        for (role, rules) in [("hub", rights::HUB), ("agent", rights::AGENT)] {
            site.account(role).await?;
            for namespace in &site.namespaces {
                site.allow(namespace, role, role, rights::rules(rules)).await?;
            }
        }
        site.allow(&own, "hub", "hub-system", rights::rules(rights::HUB_SYSTEM)).await?;
        Ok(site)
    }

    /// Where a kubeconfig is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.kubeconfig"))
    }

    /// The namespace that is worked in.
    pub fn own(&self) -> &str {
        &self.namespaces[0]
    }

    /// One more namespace.
    pub async fn namespace(&mut self, name: &str) -> Result<()> {
        let labels = BTreeMap::from([(LABEL.to_string(), RUN.clone())]);
        let metadata = ObjectMeta { name: Some(name.into()), labels: Some(labels), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await?;
        self.namespaces.push(name.to_string());
        Ok(())
    }

    /// A service account with its kubeconfig.
    async fn account(&self, name: &str) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), self.own());
        let metadata = ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
        accounts.create(&PostParams::default(), &ServiceAccount { metadata, ..ServiceAccount::default() }).await?;
        let spec = TokenRequestSpec { expiration_seconds: Some(6 * 3600), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await?;
        let token = answer.status.context("no token")?.token;
        let mut kubeconfig = self.kubeconfig.clone();
        for user in &mut kubeconfig.auth_infos {
            user.auth_info = Some(serde_json::from_value(json!({"token": token}))?);
        }
        self.write(name, kubeconfig, self.own())
    }

    /// Lets an account of the first namespace do something in `namespace`.
    async fn allow(&self, namespace: &str, account: &str, name: &str, rules: Vec<PolicyRule>) -> Result<()> {
        let metadata = || ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
        let role = Role { metadata: metadata(), rules: Some(rules) };
        Api::namespaced(self.client.clone(), namespace).create(&PostParams::default(), &role).await?;
        let subject = Subject {
            kind: "ServiceAccount".into(),
            name: account.into(),
            namespace: Some(self.own().into()),
            ..Subject::default()
        };
        let api_group = "rbac.authorization.k8s.io".into();
        let role_ref = RoleRef { api_group, kind: "Role".into(), name: name.into() };
        let binding = RoleBinding { metadata: metadata(), role_ref, subjects: Some(vec![subject]) };
        Api::namespaced(self.client.clone(), namespace).create(&PostParams::default(), &binding).await?;
        Ok(())
    }

    /// Writes a kubeconfig whose contexts are in `namespace`. JSON is YAML.
    fn write(&self, name: &str, mut kubeconfig: Kubeconfig, namespace: &str) -> Result<()> {
        for context in kubeconfig.contexts.iter_mut().filter_map(|named| named.context.as_mut()) {
            context.namespace = Some(namespace.into());
        }
        std::fs::write(self.file(name), serde_json::to_vec(&kubeconfig)?)?;
        Ok(())
    }

    /// Waits until the ConfigMap that the hub publishes is there.
    pub async fn published(&self) -> Result<()> {
        let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(self.client.clone(), self.own());
        eventually("the hub tells its address", async || Ok(maps.get_opt("roadstead-hub").await?.map(drop))).await
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let mut command = Command::new(tools::kubectl());
        command.args(["delete", "namespace", "--ignore-not-found", "--wait=false"]).args(&self.namespaces);
        command.env("KUBECONFIG", self.file("admin")).env("HOME", &self.directory).stdout(Stdio::null());
        match command.status() {
            Ok(status) if status.success() => {}
            other => eprintln!("namespaces {:?} could not be deleted: {other:?}", self.namespaces),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_runs_of_this_machine_whose_process_is_gone_are_over() {
        let host = RUN.split('.').next().unwrap();
        assert!(!is_over(&RUN));
        assert!(is_over(&format!("{host}.4294967295.1")));
        assert!(!is_over("helsewhere.4294967295.1") && !is_over("") && !is_over(host));
    }
}
