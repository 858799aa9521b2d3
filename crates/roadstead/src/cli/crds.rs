//! `roadstead crds`: the CustomResourceDefinitions that a Kubernetes cluster needs before hub and agent can work on it.

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::json;

use super::output::emit;

/// Arguments of `crds`.
#[derive(clap::Args)]
pub struct Args {
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: Form,
}

/// What `kubectl apply -f -` reads.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Form {
    /// One YAML document for each.
    #[default]
    Yaml,
    /// One JSON List.
    Json,
}

/// Prints them: `roadstead crds | kubectl apply --server-side -f -`.
pub fn run(args: &Args) -> Result<()> {
    emit(&text(args.output)?)
}

fn text(form: Form) -> Result<String> {
    let kinds = roadstead_api::crds();
    match form {
        Form::Json => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": kinds});
            Ok(serde_json::to_string_pretty(&list)? + "\n")
        }
        Form::Yaml => {
            let mut text = String::new();
            for kind in kinds {
                text += "---\n";
                text += &serde_saphyr::to_string(&kind).context("cannot write YAML")?;
            }
            Ok(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

    use super::*;

    #[test]
    fn what_is_printed_reads_back_as_the_same_kinds() {
        let kinds = roadstead_api::crds();
        let yaml = text(Form::Yaml).unwrap();
        let documents: Vec<CustomResourceDefinition> = yaml
            .split("---\n")
            .filter(|document| !document.is_empty())
            .map(|document| serde_saphyr::from_str(document).unwrap())
            .collect();
        assert_eq!(documents, kinds);
        let list: serde_json::Value = serde_json::from_str(&text(Form::Json).unwrap()).unwrap();
        let items: Vec<CustomResourceDefinition> = serde_json::from_value(list["items"].clone()).unwrap();
        assert_eq!(items, kinds);
    }
}
