//! `cargo xtask openapi`: writes the schemas of the built-in kinds that the embedded control plane serves.
//!
//! In: the OpenAPI v3 documents that Kubernetes publishes in its own source tree, fetched as a Go module of a pinned version.
//! Out: one JSON file, all schemas by name, which is the transitive closure of [`ROOTS`] and nothing else. The documents are
//! 11 MB, the closure is half a megabyte; so it is kept in the tree, reviewed as a diff, and a build needs no Go.
//!
//! One thing is changed on the way: a published `default` that is only the zero value of a Go field (`""`, `0`, `false`,
//! `{}`) is dropped. It says how the field is decoded, not what a server fills in.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

/// The Go module, with its version, that holds the documents.
const SOURCE: &str = "k8s.io/kubernetes@v1.34.2";

/// Where the result goes, from the workspace's root.
const TARGET: &str = "crates/apiserver/src/builtin/openapi.json";

/// The documents that define the roots.
const DOCUMENTS: [&str; 9] = [
    "api__v1",
    "apis__apiextensions.k8s.io__v1",
    "apis__apps__v1",
    "apis__authentication.k8s.io__v1",
    "apis__authorization.k8s.io__v1",
    "apis__autoscaling__v1",
    "apis__coordination.k8s.io__v1",
    "apis__events.k8s.io__v1",
    "apis__rbac.authorization.k8s.io__v1",
];

/// The schemas that are served; what they refer to follows.
const ROOTS: [&str; 26] = [
    "io.k8s.api.apps.v1.DaemonSet",
    "io.k8s.api.apps.v1.Deployment",
    "io.k8s.api.apps.v1.StatefulSet",
    "io.k8s.api.authentication.v1.SelfSubjectReview",
    "io.k8s.api.authentication.v1.TokenRequest",
    "io.k8s.api.authentication.v1.TokenReview",
    "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
    "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    "io.k8s.api.authorization.v1.SubjectAccessReview",
    "io.k8s.api.autoscaling.v1.Scale",
    "io.k8s.api.coordination.v1.Lease",
    "io.k8s.api.core.v1.ConfigMap",
    "io.k8s.api.core.v1.Event",
    "io.k8s.api.core.v1.Namespace",
    "io.k8s.api.core.v1.Secret",
    "io.k8s.api.core.v1.Service",
    "io.k8s.api.core.v1.ServiceAccount",
    "io.k8s.api.events.v1.Event",
    "io.k8s.api.rbac.v1.ClusterRole",
    "io.k8s.api.rbac.v1.ClusterRoleBinding",
    "io.k8s.api.rbac.v1.Role",
    "io.k8s.api.rbac.v1.RoleBinding",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
];

/// Fetches the module, trims its documents and writes the target below `workspace`.
pub fn run(workspace: &Path) -> Result<()> {
    let output = Command::new("go").args(["mod", "download", "-json", SOURCE]).output().context("go is needed")?;
    ensure!(output.status.success(), "go mod download {SOURCE}: {}", String::from_utf8_lossy(&output.stderr));
    let module: Value = serde_json::from_slice(&output.stdout)?;
    let directory = module["Dir"].as_str().context("go mod download answered no directory")?;

    let mut published = BTreeMap::new();
    for document in DOCUMENTS {
        let path = Path::new(directory).join("api/openapi-spec/v3").join(format!("{document}_openapi.json"));
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        let mut parsed: Value = serde_json::from_slice(&text)?;
        let Value::Object(schemas) = parsed["components"]["schemas"].take() else {
            bail!("{} has no schemas", path.display());
        };
        published.extend(schemas);
    }

    let mut text = serde_json::to_string_pretty(&closure(&published)?)?;
    text.push('\n');
    let target = workspace.join(TARGET);
    fs::write(&target, &text)?;
    eprintln!("{}: {} bytes", target.display(), text.len());
    Ok(())
}

/// The roots and all that they refer to, sorted by name.
fn closure(published: &BTreeMap<String, Value>) -> Result<Value> {
    let mut waiting: Vec<String> = ROOTS.map(String::from).to_vec();
    let mut kept = BTreeMap::new();
    while let Some(name) = waiting.pop() {
        if kept.contains_key(&name) {
            continue;
        }
        let mut schema = published.get(&name).with_context(|| format!("{name} is not published"))?.clone();
        trim(&mut schema, &mut waiting);
        kept.insert(name, schema);
    }
    Ok(Value::Object(Map::from_iter(kept)))
}

/// Drops zero defaults below `schema` and notes the names that it refers to.
fn trim(schema: &mut Value, refers: &mut Vec<String>) {
    let Value::Object(fields) = schema else { return };
    if fields.get("default").is_some_and(is_zero) {
        fields.remove("default");
    }
    if let Some(name) = fields.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
        refers.push(name.to_string());
    }
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(|p| trim(p, refers)),
            ("items" | "additionalProperties" | "not", value) => trim(value, refers),
            ("allOf" | "anyOf" | "oneOf", Value::Array(list)) => list.iter_mut().for_each(|s| trim(s, refers)),
            _ => {}
        }
    }
}

/// Whether `value` is what Go decodes an absent field to.
fn is_zero(value: &Value) -> bool {
    [json!(""), json!(0), json!(false), json!({})].contains(value)
}
