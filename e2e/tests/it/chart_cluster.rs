//! The Helm chart on a real Kubernetes: its objects are valid there, its rights suffice, an upgrade keeps the data.
//!
//! No node is needed: the roles run here, as the ServiceAccounts and with the rights that the chart gives them.

use std::path::PathBuf;
use std::process::Command;

use roadstead_e2e::{
    Ground, Kubectl, Receiver, Result, bail, cluster_kubeconfig, ensure, eventually,
    ground::Open,
    helm::{self, Helm, path, values_file, values_files},
    http::get,
    make_namespace, only_on, post,
    process::Process,
    sign, tools,
    up::cli,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The cluster, with a namespace for the release and one for work; both go when the value is dropped.
struct Cluster {
    admin: PathBuf,
    kubectl: Kubectl,
    helm: Helm,
    /// The release's namespace.
    ground: String,
    /// Where endpoints, subscribers and triggers are.
    work: String,
    scratch: TempDir,
    _open: Open,
}

impl Cluster {
    /// `None` where there is no cluster. `what` goes into the namespaces' names.
    fn find(what: &str) -> Result<Option<Cluster>> {
        let Some(admin) = cluster_kubeconfig() else {
            only_on(Ground::Kubernetes, "the chart is for clusters");
            return Ok(None);
        };
        let open = Open::new();
        let kubectl = Kubectl::new(&admin)?;
        let ground = format!("chart-{what}-{}", std::process::id());
        let work = format!("{ground}-work");
        for namespace in [&ground, &work] {
            make_namespace(&kubectl, namespace)?;
        }
        let helm = Helm::on(&admin)?;
        Ok(Some(Cluster { admin, kubectl, helm, ground, work, scratch: tempfile::tempdir()?, _open: open }))
    }

    /// Applies objects for good, or only asks whether the API server would.
    fn apply(&self, objects: &[Value], dry: bool) -> Result<()> {
        let documents = objects.iter().map(|object| format!("---\n{object}\n")).collect::<String>();
        let mut arguments = vec!["apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-"];
        arguments.extend(dry.then_some("--dry-run=server"));
        let said = self.kubectl.say(&arguments, &documents)?;
        ensure!(said.code == 0, "{}{}", said.out, said.err);
        Ok(())
    }

    /// A kubeconfig of one of the release's ServiceAccounts.
    fn account(&self, name: &str) -> Result<PathBuf> {
        let token = self.kubectl.run(&format!("create token {name} -n {}", self.ground))?;
        let cluster = self.kubectl.run("config view --minify --raw --flatten -o json")?;
        let mut config: Value = serde_json::from_str(&cluster)?;
        config["users"][0]["user"] = json!({"token": token});
        let file = self.scratch.path().join(format!("{name}.kubeconfig"));
        std::fs::write(&file, config.to_string())?;
        Ok(file)
    }

    /// A role as a process of this machine, as a ServiceAccount.
    fn start(&self, role: &str, account: &str, arguments: &[String]) -> Result<Process> {
        let mut command = Command::new(tools::roadstead()?);
        command.arg(role).arg("--kubeconfig").arg(self.account(account)?).args(arguments);
        command.arg(format!("--system-namespace={}", self.ground)).arg("--log-format=json");
        command.env_remove("KUBECONFIG").env("RUST_LOG", "info,roadstead_reconcile=debug");
        Process::start(&format!("roadstead {role}"), &mut command, &self.scratch.path().join(format!("{role}.log")))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The test has its answer already.
        let _ = self.kubectl.run(&format!("delete namespace {} {} --wait=false", self.ground, self.work));
        let mine = format!("-l app.kubernetes.io/instance={}", self.ground);
        let _ = self.kubectl.run(&format!("delete clusterrole,clusterrolebinding --ignore-not-found {mine}"));
        let _ = self.kubectl.run(&format!("delete role,rolebinding -n default --ignore-not-found {mine}"));
    }
}

/// A free port of the loopback address.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[test]
fn chart_objects_are_valid_on_a_real_api() -> Result<()> {
    let Some(cluster) = Cluster::find("valid")? else { return Ok(()) };
    for (values, file) in values_files()? {
        let ground = cluster.ground.as_str();
        let watch = format!("watchNamespaces={{{ground},{}}}", cluster.work);
        let mut arguments = vec!["-n", ground, "-f", path(&file)?];
        if values == "namespaced-values" {
            arguments.extend(["--set", &watch]);
        }
        let mut objects = cluster.helm.objects(&arguments)?;
        // Kinds of others, which this cluster may not have.
        objects.retain(|object| {
            let group = object["apiVersion"].as_str().unwrap_or_default();
            !group.starts_with("cert-manager.io/") && !group.starts_with("monitoring.coreos.com/")
        });
        cluster.apply(&objects, true)?;
        eprintln!("{values}: {} objects", objects.len());
    }
    Ok(())
}

/// Runs hub, agent and operator with exactly the rights of the chart, and lets them do all that they do.
#[tokio::test]
async fn chart_rights_suffice() -> Result<()> {
    let Some(cluster) = Cluster::find("rights")? else { return Ok(()) };
    let (ground, work) = (cluster.ground.clone(), cluster.work.clone());
    let (hub_values, agent_values) = (values_file("hub"), values_file("agent"));
    let chart = helm::chart();
    let rendered = cluster.helm.run(&[
        "template",
        &ground,
        path(&chart)?,
        "-n",
        &ground,
        "-f",
        path(&agent_values)?,
        "-f",
        path(&hub_values)?,
        "--set",
        &format!("hub.enabled=true,operator.enabled=true,fullnameOverride=sea,watchNamespaces={{{work}}}"),
    ])?;
    let mut objects = helm::parse(&rendered)?;
    objects.retain(|object| {
        ["ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]
            .iter()
            .any(|k| object["kind"] == *k)
    });
    cluster.apply(&objects, false)?;

    // The operator brings the definitions.
    let admin_port = free_port()?;
    let lease = "--leader-elect-resource-name=sea-operator".to_string();
    let operator =
        cluster.start("operator", "sea-operator", &[format!("--admin-listen=127.0.0.1:{admin_port}"), lease])?;
    eventually("the operator is ready", async || {
        let answer = get(&format!("http://127.0.0.1:{admin_port}/readyz")).await?;
        ensure!(answer.status == 200, "{}", answer.text()?);
        Ok(Some(()))
    })
    .await?;

    let hub_port = free_port()?;
    let hub = cluster.start(
        "hub",
        "sea-hub",
        &[
            format!("--hub-listen=127.0.0.1:{hub_port}"),
            "--admin-listen=127.0.0.1:0".into(),
            "--public-url=https://hub.example.com".into(),
            "--trusted-proxy=127.0.0.1/32".into(),
            format!("--watch-namespace={work}"),
            format!("--data-dir={}", cluster.scratch.path().join("hub").display()),
        ],
    )?;
    cluster.kubectl.apply(&format!(
        r#"
apiVersion: v1
kind: Secret
metadata: {{name: shop-hook, namespace: {work}}}
stringData: {{token: "it is a secret"}}
---
apiVersion: roadstead.dev/v1alpha1
kind: WebhookEndpoint
metadata: {{name: shop, namespace: {work}}}
spec: {{provider: github, secrets: [{{name: shop-hook, key: token}}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: told, namespace: {work}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: teller, namespace: {work}}}
rules: [{{apiGroups: [""], resources: [configmaps], verbs: [get, patch]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: teller, namespace: {work}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: teller}}
subjects: [{{kind: ServiceAccount, name: default, namespace: {work}}}]
"#
    ))?;
    let url = eventually("the endpoint has a URL", async || {
        let jsonpath = "-o jsonpath={.status.url}";
        let url = cluster.kubectl.run(&format!("get webhookendpoint shop -n {work} {jsonpath}"))?;
        Ok((!url.is_empty()).then_some(url))
    })
    .await?;
    let of_place = ["--namespace", &work, "--system-namespace", &ground];
    let mut add = vec!["subscriber", "add", "edge", "--endpoint", "shop", "-o", "json"];
    add.extend(of_place);
    let mut access: Value = eventually("the hub knows the subscriber", async || {
        Ok(Some(serde_json::from_str(&cli(&cluster.admin, &add)?)?))
    })
    .await?;
    access["clusters"][0]["cluster"]["server"] = format!("http://127.0.0.1:{hub_port}").into();
    let file = cluster.scratch.path().join("edge.kubeconfig");
    std::fs::write(&file, access.to_string())?;

    let receiver = Receiver::start().await?;
    receiver.answer_always(400);
    let agent = cluster.start(
        "agent",
        "sea-agent",
        &[
            format!("--hub=main={}", file.display()),
            "--admin-listen=127.0.0.1:0".into(),
            "--allow-forward=loopback".into(),
            format!("--watch-namespace={work}"),
            "--leader-elect".into(),
            "--leader-elect-resource-name=sea-agent".into(),
        ],
    )?;
    let trigger = |name: &str, action: Value| {
        let mut spec = json!({"endpoint": {"hub": "main", "namespace": work, "name": "shop"}, "start": "earliest"});
        spec.as_object_mut().expect("an object").extend(action.as_object().cloned().unwrap_or_default());
        let metadata = json!({"name": name, "namespace": work});
        json!({"apiVersion": "roadstead.dev/v1alpha1", "kind": "Trigger", "metadata": metadata, "spec": spec})
    };
    let annotate = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "told", "annotation": "example.com/event"});
    let forward = json!({"url": receiver.url("/"), "headersFrom": {"secretRef": {"name": "shop-hook"}}});
    cluster.apply(
        &[
            trigger("told", json!({"annotate": annotate})),
            trigger("sent", json!({"forward": forward, "retry": {"attempts": 1}})),
        ],
        false,
    )?;

    // Deliver, act as another account, give up, and replay.
    let body = br#"{"ref":"refs/heads/main","repository":{"full_name":"team/shop"}}"#;
    let hook = format!("http://127.0.0.1:{hub_port}{}", url.trim_start_matches("https://hub.example.com"));
    let answer = post(&hook, &sign::github("it is a secret", "push", "one", body), body.to_vec()).await?;
    ensure!(answer.status == 202, "{} {}", answer.status, answer.text()?);
    let letter = eventually("the agent gave up on the forward", async || {
        let letters = cluster.kubectl.run(&format!("get deadletters -n {work} -o name"))?;
        Ok((!letters.is_empty()).then_some(letters))
    })
    .await?;
    receiver.answer_always(200);
    cluster.kubectl.run(&format!("annotate {letter} -n {work} roadstead.dev/replay=1"))?;
    for (what, words, done) in [
        ("the replayed letter is gone", format!("get deadletters -n {work} -o name"), ""),
        (
            "the object is annotated",
            format!("get configmap told -n {work} -o jsonpath={{.metadata.annotations.example\\.com/event}}"),
            " one",
        ),
        ("the endpoint counts", format!("get webhookendpoint shop -n {work} -o jsonpath={{.status.sequence}}"), "1"),
        ("the trigger's position is kept", format!("get trigger sent -n {work} -o jsonpath={{.status.sequence}}"), "1"),
        (
            "the subscriber's position is reported",
            format!("get subscriber edge -n {work} -o jsonpath={{.status.positions[0].sequence}}"),
            "1",
        ),
    ] {
        eventually(what, async || {
            let said = cluster.kubectl.run(&words)?;
            ensure!(said.contains(done) && said.is_empty() == done.is_empty(), "{said:?}");
            Ok(Some(()))
        })
        .await?;
    }
    for process in [operator, hub, agent] {
        let log = process.log();
        let refused: Vec<&str> =
            log.lines().filter(|line| line.contains("orbidden") && line.contains("system:serviceaccount:")).collect();
        ensure!(refused.is_empty(), "rights are missing: {refused:?}");
    }
    // And what no role has any business with.
    for (account, words) in [
        ("sea-hub", format!("create pods -n {work}")),
        ("sea-hub", format!("update secrets -n {work}")),
        ("sea-hub", format!("get configmaps -n {work}")),
        ("sea-agent", format!("list secrets -n {work}")),
        ("sea-agent", format!("impersonate serviceaccounts/{ground} -n {work}")),
        ("sea-agent", "impersonate groups".into()),
        ("sea-operator", "patch customresourcedefinitions/others.example.com".into()),
        ("sea-operator", format!("get secrets -n {work}")),
    ] {
        let said = cluster.kubectl.say(
            &["auth", "can-i", "--as", &format!("system:serviceaccount:{ground}:{account}")]
                .into_iter()
                .chain(words.split_whitespace())
                .collect::<Vec<_>>(),
            "",
        )?;
        ensure!(said.out.trim() == "no", "{account} may {words}: {}{}", said.out, said.err);
    }
    Ok(())
}

/// Install, upgrade with other values, uninstall: the claim is the same object all the time.
#[test]
fn chart_upgrade_keeps_the_claim() -> Result<()> {
    let Some(cluster) = Cluster::find("upgrade")? else { return Ok(()) };
    let (ground, values, chart) = (cluster.ground.as_str(), values_file("hub"), helm::chart());
    let upgrade = |set: &str| {
        // The definitions may be there already, and be somebody else's.
        let set = format!("crds.install=false,{set}");
        let arguments =
            ["upgrade", "--install", ground, path(&chart)?, "-n", ground, "-f", path(&values)?, "--set", &set];
        cluster.helm.run(&arguments)
    };
    let claim = || {
        let words = format!(
            "get pvc -n {ground} -l app.kubernetes.io/instance={ground} -o jsonpath={{.items[*].metadata.uid}}"
        );
        cluster.kubectl.run(&words)
    };
    upgrade("fullnameOverride=sea,operator.enabled=false")?;
    let before = claim()?;
    ensure!(!before.is_empty() && !before.contains(' '), "claims: {before:?}");
    // For the first release the previous chart is this one, with other values.
    upgrade(
        "fullnameOverride=sea,operator.enabled=true,image.tag=9.9.9,hub.publicUrl=https://other.example.com,\
         hub.logQuota=1Gi,hub.podLabels.a=b,hub.tls.secretName=other,hub.service.type=NodePort,\
         agent.enabled=true,agent.hubs[0].name=main,agent.hubs[0].secretName=x",
    )?;
    assert_eq!(claim()?, before, "the upgrade made another claim");
    let image = cluster
        .kubectl
        .run(&format!("get statefulset sea-hub -n {ground} -o jsonpath={{.spec.template.spec.containers[0].image}}"))?;
    ensure!(image.ends_with(":9.9.9"), "not upgraded: {image}");
    cluster.helm.run(&["uninstall", ground, "-n", ground])?;
    assert_eq!(claim()?, before, "uninstalling took the events");
    let left = cluster.kubectl.run(&format!("get statefulset,deployment,role,secret -n {ground} -o name"))?;
    if !left.is_empty() {
        bail!("left behind: {left}");
    }
    Ok(())
}
