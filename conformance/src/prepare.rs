//! What both servers need before operations make sense: names for the run, the custom kind, namespaces, and a real cluster
//! whose controllers leave alone what is compared. And the removal of all that.
//!
//! A real cluster's controllers would write statuses, ReplicaSets and ConfigMaps into the test's namespaces, at times that
//! nobody knows. A `ValidatingAdmissionPolicy`, bound to the namespaces of this run only, refuses exactly these writes;
//! garbage collection stays.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    kinds::{self, AUTHORITY, KINDS},
    memory::{Memory, Names},
    operation::Operation,
    side::Side,
};

/// How long a server may take to do what it was asked.
const PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(20);

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// One run: a name that nothing else on the cluster has.
#[derive(Clone, Debug)]
pub struct Run {
    /// Begins the names of all that the run makes.
    pub id: String,
}

impl Run {
    /// A new run.
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Self { id: format!("conformance-{:x}-{:x}", now & 0xFFF_FFFF_FFFF, std::process::id()) }
    }

    /// The names of one attempt at a sequence.
    pub fn names(&self, attempt: u64) -> Names {
        let id = &self.id;
        let names = [
            ("ns0", format!("{id}-{attempt}a")),
            ("ns1", format!("{id}-{attempt}b")),
            ("group", format!("{id}.example.com")),
            ("own", format!("n{attempt}.{id}.example.com")),
        ];
        names.map(|(word, name)| (word.to_string(), name)).into()
    }

    fn memory(&self) -> Memory {
        Memory::new(self.names(0))
    }

    /// Defines the custom kind, and waits until it is served.
    ///
    /// # Errors
    /// When the server refuses it, or doesn't serve it in time.
    pub async fn define(&self, side: &Side) -> Result<()> {
        self.must(side, Operation::create(DEFINITIONS, kinds::definition())).await?;
        let list = Operation::get(kinds::WIDGET.collection("ns0"));
        self.until(side, "the custom kind", &list, |code| code == 200).await
    }

    /// Keeps a real cluster's controllers out of the run's namespaces.
    ///
    /// # Errors
    /// When the server refuses, or does not obey in time.
    pub async fn quiet(&self, side: &Side) -> Result<()> {
        let id = &self.id;
        let rule = |group: &str, operation: &str, resources: &[&str]| json!({"apiGroups": [group], "apiVersions": ["*"], "operations": [operation], "resources": resources});
        let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": id}, "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"conformance": id}},
                    "resourceRules": [
                        rule("apps", "UPDATE", &["deployments/status"]),
                        rule("apps", "CREATE", &["replicasets"]),
                        rule("", "CREATE", &["configmaps"])]},
                "matchConditions": [
                    {"name": "controllers", "expression":
                        "request.userInfo.username == 'system:kube-controller-manager' || \
                         request.userInfo.username.startsWith('system:serviceaccount:kube-system:')"},
                    {"name": "not-the-authority", "expression": format!("request.name != '{AUTHORITY}'")}],
                "validations": [{"expression": "false", "message": "this namespace is kept as its test left it"}]}});
        let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": id}, "spec": {"policyName": id, "validationActions": ["Deny"]}});
        self.must(side, Operation::create(POLICIES, policy)).await?;
        self.must(side, Operation::create(BINDINGS, binding)).await?;
        // The policy is obeyed once a controller's own request is refused.
        let memory = self.memory();
        self.namespace(side, &memory, "ns0").await?;
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}});
        let probe = Operation::create("/api/v1/namespaces/${ns0}/configmaps?dryRun=All", map);
        let probe = Operation { impersonate: Some("system:kube-controller-manager".into()), ..probe };
        self.until(side, "the policy", &probe, |code| code == 422).await
    }

    /// Makes the namespaces of an attempt, and waits for what comes with a namespace.
    ///
    /// # Errors
    /// When the server refuses them, or does not complete them in time.
    pub async fn open(&self, side: &Side, attempt: u64) -> Result<()> {
        let memory = Memory::new(self.names(attempt));
        for namespace in kinds::NAMESPACES {
            self.namespace(side, &memory, namespace).await?;
        }
        Ok(())
    }

    async fn namespace(&self, side: &Side, memory: &Memory, word: &str) -> Result<()> {
        let object = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": format!("${{{word}}}"), "labels": {"conformance": self.id}}});
        let answer = side.send(&Operation::create("/api/v1/namespaces", object), memory).await;
        if answer.code != 201 && answer.code != 409 {
            bail!("namespace: {} {}", answer.code, answer.body);
        }
        for (what, path) in [
            ("the service account", "serviceaccounts/default".into()),
            ("the authority", format!("configmaps/{AUTHORITY}")),
        ] {
            let get = Operation::get(format!("/api/v1/namespaces/${{{word}}}/{path}"));
            until(side, memory, what, &get, |code| code == 200).await?;
        }
        Ok(())
    }

    /// Removes all that `attempts` attempts have left, and the definition and the policy.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn close(&self, side: &Side, attempts: u64) -> Result<()> {
        self.release(side).await;
        for attempt in 0..attempts {
            let memory = Memory::new(self.names(attempt));
            for namespace in kinds::NAMESPACES {
                side.send(&Operation::delete(format!("/api/v1/namespaces/${{{namespace}}}")), &memory).await;
            }
        }
        let memory = self.memory();
        let all = side.send(&Operation::get(DEFINITIONS), &memory).await;
        let names = all.body["items"].as_array().into_iter().flatten();
        let mine = format!(".{}.example.com", self.id);
        for name in names.filter_map(|one| one["metadata"]["name"].as_str()).filter(|name| name.ends_with(&mine)) {
            side.send(&Operation::delete(format!("{DEFINITIONS}/{name}")), &memory).await;
        }
        let id = &self.id;
        for path in [format!("{BINDINGS}/{id}"), format!("{POLICIES}/{id}")] {
            side.send(&Operation::delete(path), &memory).await;
        }
        Ok(())
    }

    /// Takes finalizers off, so that the namespaces can go.
    async fn release(&self, side: &Side) {
        let memory = self.memory();
        for kind in &KINDS {
            let everywhere = kind.collection("ns0").replace("/namespaces/${ns0}", "");
            let list = side.send(&Operation::get(everywhere), &memory).await;
            for object in list.body["items"].as_array().into_iter().flatten() {
                let metadata = &object["metadata"];
                let held = metadata["finalizers"].as_array().is_some_and(|all| !all.is_empty());
                let (Some(name), Some(namespace)) = (metadata["name"].as_str(), metadata["namespace"].as_str()) else {
                    continue;
                };
                if held && namespace.starts_with(&self.id) {
                    let path = kind.path("ns0", name).replace("${ns0}", namespace);
                    let none = json!({"metadata": {"finalizers": null}});
                    side.send(&Operation::patch(path, "merge-patch+json", none), &memory).await;
                }
            }
        }
    }

    async fn must(&self, side: &Side, operation: Operation) -> Result<()> {
        let answer = side.send(&operation, &self.memory()).await;
        if !(200..300).contains(&answer.code) {
            bail!("{}: {} {}", operation.shape(), answer.code, answer.body);
        }
        Ok(())
    }

    async fn until(&self, side: &Side, what: &str, operation: &Operation, good: fn(u16) -> bool) -> Result<()> {
        until(side, &self.memory(), what, operation, good).await
    }
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

async fn until(side: &Side, memory: &Memory, what: &str, operation: &Operation, good: fn(u16) -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = side.send(operation, memory).await;
        if good(answer.code) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "{what} is not there in {} s; the last answer was {} {}",
                PATIENCE.as_secs(),
                answer.code,
                answer.body
            );
        }
        sleep(STEP).await;
    }
}
