//! The whole thing as pods: the image that `cargo xtask image` packs, installed by the chart, on a cluster with a node.
//!
//! `cargo xtask e2e --node` plays it: it takes a cluster with a node on this machine, and `ROADSTEAD_E2E_IMAGE`, the name under which
//! the image was loaded there.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use roadstead_e2e::{
    Ground, Kubectl, Result, bail, cluster_kubeconfig, ensure,
    ground::Open,
    helm::{self, Helm, path},
    leave_out, make_namespace, only_on, post, sign,
    up::cli,
    wait::within,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Pods start, elect and connect within this.
const PATIENCE: Duration = Duration::from_secs(180);

/// The secret of the webhook.
const SECRET: &str = "it is a secret to every pod";

struct Pods {
    admin: PathBuf,
    kubectl: Kubectl,
    helm: Helm,
    image: String,
    /// Namespace of the release, and the release's name.
    ground: String,
    work: String,
    scratch: TempDir,
    _open: Open,
}

impl Pods {
    fn find() -> Result<Option<Pods>> {
        let Some(admin) = cluster_kubeconfig() else {
            only_on(Ground::Kubernetes, "nothing runs pods here");
            return Ok(None);
        };
        let Ok(image) = std::env::var("ROADSTEAD_E2E_IMAGE") else {
            leave_out("ROADSTEAD_E2E_IMAGE names no image: `cargo xtask e2e --node` makes one and sets it");
            return Ok(None);
        };
        let open = Open::new();
        let kubectl = Kubectl::new(&admin)?;
        ensure!(!kubectl.run("get nodes -o name")?.is_empty(), "there is an image, and no node for it");
        let ground = format!("pods-{}", std::process::id());
        let work = format!("{ground}-work");
        make_namespace(&kubectl, &ground)?;
        // What is not restricted is not admitted.
        kubectl.run(&format!("label namespace {ground} pod-security.kubernetes.io/enforce=restricted"))?;
        make_namespace(&kubectl, &work)?;
        let helm = Helm::on(&admin)?;
        Ok(Some(Pods { admin, kubectl, helm, image, ground, work, scratch: tempfile::tempdir()?, _open: open }))
    }

    /// A certificate for the hub's Service, as a Secret; gives its PEM, which is its own authority.
    fn certificate(&self) -> Result<String> {
        let (cert, key) = (self.scratch.path().join("tls.crt"), self.scratch.path().join("tls.key"));
        let host = format!("sea-hub.{}.svc", self.ground);
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"])
            // An authority's certificate would be refused as a server's.
            .args(["-subj", "/CN=hub", "-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-addext", &format!("subjectAltName=DNS:{host}"), "-keyout", path(&key)?])
            .args(["-out", path(&cert)?])
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (cert_file, key_file) = (path(&cert)?, path(&key)?);
        self.kubectl
            .run(&format!("create secret tls hub-tls -n {} --cert {cert_file} --key {key_file}", self.ground))?;
        Ok(std::fs::read_to_string(cert)?)
    }

    /// A volume for the log where the cluster makes none itself: a directory of this machine, which is the node.
    fn volume(&self) -> Result<()> {
        let classes = self.kubectl.run("get storageclasses -o json")?;
        if classes.contains("\"storageclass.kubernetes.io/is-default-class\": \"true\"") {
            return Ok(());
        }
        let directory = self.scratch.path().join("volume");
        std::fs::create_dir(&directory)?;
        let node = self.kubectl.run("get nodes -o jsonpath={.items[0].metadata.name}")?;
        let ground = &self.ground;
        let volume = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": ground},
            "spec": {
                "capacity": {"storage": "20Gi"},
                "accessModes": ["ReadWriteOnce"],
                "claimRef": {"namespace": ground, "name": "sea-hub"},
                "local": {"path": directory},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]},
                ]}]}},
            },
        });
        self.kubectl.apply(&volume.to_string())?;
        Ok(())
    }

    fn upgrade(&self, more: &[&str]) -> Result<()> {
        let chart = helm::chart();
        let (name, tag) = self.image.rsplit_once(':').unwrap_or((&self.image, "latest"));
        let set = format!(
            "fullnameOverride=sea,image.repository={name},image.tag={tag},image.pullPolicy=Never,\
             hub.publicUrl=https://sea-hub.{0}.svc,hub.tls.secretName=hub-tls,hub.trustedProxies={{10.0.0.0/8}},\
             agent.enabled=true,agent.hubs[0].name=main,agent.hubs[0].secretName=hub-main,\
             agent.allowForward={{http://sea-hub.{0}.svc}}",
            self.ground
        );
        let ground = self.ground.as_str();
        let mut arguments = vec!["upgrade", "--install", ground, path(&chart)?, "-n", ground, "--set", &set];
        arguments.extend(more);
        self.helm.run(&arguments).map(drop)
    }

    /// Looks at one field of one object until it is as wanted.
    async fn until(&self, namespace: &str, object: &str, field: &str, wanted: &str) -> Result<()> {
        let words = format!("get {object} -n {namespace} -o jsonpath={{{field}}}");
        within(PATIENCE, &format!("{object} has {field} {wanted}"), async || {
            let seen = self.kubectl.run(&words)?;
            ensure!(seen == wanted, "it is {seen:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Where the hub's Service forwards plain HTTP from: its address in the cluster, which a node can dial.
    fn service(&self) -> Result<String> {
        let address =
            self.kubectl.run(&format!("get service sea-hub -n {} -o jsonpath={{.spec.clusterIP}}", self.ground))?;
        Ok(format!("http://{address}"))
    }

    /// Path of an endpoint's URL.
    async fn hook(&self, name: &str) -> Result<String> {
        let words = format!("get webhookendpoint {name} -n {} -o jsonpath={{.status.url}}", self.work);
        within(PATIENCE, &format!("endpoint {name} has a URL"), async || {
            let url = self.kubectl.run(&words)?;
            Ok(url.split_once(".svc").map(|(_, path)| path.to_string()))
        })
        .await
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        // The test has its answer already.
        let _ = self.helm.run(&["uninstall", &self.ground, "-n", &self.ground]);
        let _ = self.kubectl.run(&format!("delete namespace {} {} --wait=false", self.ground, self.work));
        let _ = self.kubectl.run(&format!("delete persistentvolume {} --ignore-not-found --wait=false", self.ground));
    }
}

#[tokio::test]
async fn e2e_a_signed_delivery_to_the_hub_s_pod_reaches_the_agent_s() -> Result<()> {
    let Some(pods) = Pods::find()? else { return Ok(()) };
    let result = delivery(&pods).await;
    if result.is_err() {
        let logs = format!("logs -l app.kubernetes.io/part-of=roadstead --prefix -n {}", pods.ground);
        let pods_and_events = format!("get pods,events -o wide -n {}", pods.ground);
        for words in [pods_and_events, logs, format!("get trigger mirror -o yaml -n {}", pods.work)] {
            let said = pods.kubectl.run(&words);
            eprintln!("--- kubectl {words}\n{}", said.unwrap_or_else(|error| error.to_string()));
        }
    }
    result
}

async fn delivery(pods: &Pods) -> Result<()> {
    let (ground, work) = (pods.ground.as_str(), pods.work.as_str());
    let authority = pods.certificate()?;
    pods.volume()?;
    // The agents' pods wait for this Secret; it can only be made when the hub is there.
    pods.upgrade(&[])?;
    pods.until(ground, "deployment/sea-operator", ".status.readyReplicas", "2").await?;
    pods.until(ground, "statefulset/sea-hub", ".status.readyReplicas", "1").await?;

    pods.kubectl.apply(&format!(
        r#"
apiVersion: v1
kind: Secret
metadata: {{name: hook, namespace: {work}}}
stringData: {{token: {SECRET}}}
---
apiVersion: roadstead.dev/v1alpha1
kind: WebhookEndpoint
metadata: {{name: shop, namespace: {work}}}
spec: {{provider: github, secrets: [{{name: hook, key: token}}]}}
---
apiVersion: roadstead.dev/v1alpha1
kind: WebhookEndpoint
metadata: {{name: mirror, namespace: {work}}}
spec: {{provider: github, secrets: [{{name: hook, key: token}}]}}
"#
    ))?;
    let (shop, mirror) = (pods.hook("shop").await?, pods.hook("mirror").await?);
    let add =
        ["subscriber", "add", "edge", "--endpoint", "shop", "-n", work, "--system-namespace", ground, "-o", "json"];
    let mut access: Value = serde_json::from_str(&cli(&pods.admin, &add)?)?;
    access["clusters"][0]["cluster"]["certificate-authority-data"] = base64(&authority).into();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hub-main", "namespace": ground},
        "stringData": {"kubeconfig": access.to_string()},
    });
    pods.kubectl.apply(&secret.to_string())?;
    pods.until(ground, "deployment/sea-agent", ".status.readyReplicas", "2").await?;

    // The forward goes by the Service's name, with the sender's own signature: the second endpoint verifies it again.
    let trigger = json!({
        "apiVersion": "roadstead.dev/v1alpha1", "kind": "Trigger", "metadata": {"name": "mirror", "namespace": work},
        "spec": {
            "endpoint": {"hub": "main", "namespace": work, "name": "shop"},
            "start": "earliest",
            "forward": {"url": format!("http://sea-hub.{ground}.svc{mirror}")},
        },
    });
    pods.kubectl.apply(&trigger.to_string())?;
    for (sequence, delivery) in [("1", "one"), ("2", "two")] {
        if sequence == "2" {
            // All pods are replaced; the log stays.
            pods.upgrade(&["--set", "log.level=debug"])?;
            for workload in ["statefulset/sea-hub", "deployment/sea-agent", "deployment/sea-operator"] {
                let words = format!("get {workload} -n {ground} -o json");
                within(PATIENCE, &format!("{workload} is rolled out"), async || {
                    let object: Value = serde_json::from_str(&pods.kubectl.run(&words)?)?;
                    let (status, replicas) = (&object["status"], &object["spec"]["replicas"]);
                    let done = status["observedGeneration"] == object["metadata"]["generation"]
                        && [&status["updatedReplicas"], &status["readyReplicas"], &status["replicas"]]
                            .iter()
                            .all(|count| *count == replicas);
                    ensure!(done, "{status}");
                    Ok(Some(()))
                })
                .await?;
            }
        }
        let body = format!(r#"{{"ref":"refs/heads/main","after":"{delivery}","repository":{{"full_name":"a/b"}}}}"#);
        let headers = sign::github(SECRET, "push", delivery, body.as_bytes());
        let answer = post(&format!("{}{shop}", pods.service()?), &headers, body).await?;
        if answer.status != 202 {
            bail!("the hub answered {} {}", answer.status, answer.text()?);
        }
        eprintln!("the hub's pod answered {} {}", answer.status, answer.text()?);
        pods.until(work, "webhookendpoint/shop", ".status.sequence", sequence).await?;
        pods.until(work, "trigger/mirror", ".status.sequence", sequence).await?;
        pods.until(work, "webhookendpoint/mirror", ".status.sequence", sequence).await?;
        pods.until(work, "subscriber/edge", ".status.positions[0].sequence", sequence).await?;
    }
    eprintln!("{}", pods.kubectl.run(&format!("get pods -n {ground} -o wide"))?);
    eprintln!("{}", pods.kubectl.run(&format!("get webhookendpoints,subscribers,triggers -n {work}"))?);
    Ok(())
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}
