//! `roadstead config`: which control plane the verbs talk to and why, without talking to it.

use anyhow::Result;
use serde_json::json;

use super::connect::{self, Connection};
use super::failure::Failure;
use super::output::Output;

/// Arguments of `config`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// Prints where the control plane is found, the context, and the default data directory.
pub fn run(args: Args) -> Result<()> {
    let data_dir = connect::default_data_dir();
    let (source, paths) = args.connection.locate()?;
    let shown = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":");
    let bad = |error: String| Failure::BadKubeconfig(shown.clone(), error);
    let kubeconfig = connect::read(&paths).map_err(bad)?;
    let name = args.connection.context.clone().or(kubeconfig.current_context.clone()).unwrap_or_default();
    let found = kubeconfig.contexts.iter().find(|context| context.name == name);
    let context = found
        .and_then(|named| named.context.as_ref())
        .ok_or_else(|| bad(format!("it has no context `{name}`; there are: {}", names(&kubeconfig))))?;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster);
    let server = cluster.and_then(|named| named.cluster.as_ref()).and_then(|cluster| cluster.server.clone());
    let namespace = args.connection.namespace.clone().or(context.namespace.clone()).unwrap_or_else(|| "default".into());
    let contexts: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
    let value = json!({
        "kubeconfig": shown,
        "source": source.as_str(),
        "context": name,
        "contexts": contexts,
        "server": server,
        "user": context.user,
        "namespace": namespace,
        "dataDir": data_dir,
    });
    let mut text = String::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        let value = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(_) => contexts.join(", "),
            _ => "-".into(),
        };
        text += &format!("{:<12} {value}\n", format!("{key}:"));
    }
    args.output.value(&value, &text)
}

fn names(kubeconfig: &kube::config::Kubeconfig) -> String {
    kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect::<Vec<_>>().join(", ")
}
