//! The receivers in `examples/receivers`, each with its language's official library: they verify what Roadstead signs, act on a push
//! once, and refuse what was changed on the way.

use std::path::{Path, PathBuf};
use std::process::Command;

use roadstead_api::registry_webhook::DeliveryState;
use roadstead_e2e::notify::{Registered, SIGNING};
use roadstead_e2e::process::Process;
use roadstead_e2e::registry::Registry;
use roadstead_e2e::{Context, Ground, Platform, Receiver, Result, ensure, eventually, only_on, post, tools};
use serde_json::json;

/// The directory of the examples.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/receivers")
}

/// A receiver's program with the arguments that come before the port.
fn program(language: &str) -> Result<Command> {
    let mut command = match language {
        "python" => {
            let mut python = Command::new("python3");
            python.arg(examples().join("python/receiver.py")).env("PYTHONPATH", tools::python()?);
            python
        }
        "node" => {
            // Modules are looked for beside the script.
            let script = tools::npm()?.join(format!("receiver-{}.mjs", std::process::id()));
            std::fs::copy(examples().join("node/receiver.mjs"), &script)?;
            let mut node = Command::new("node");
            node.arg(script);
            node
        }
        _ => Command::new(tools::example("receiver")?),
    };
    command.env("WEBHOOK_SECRET", SIGNING);
    Ok(command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_in_three_languages_verify_and_act() -> Result<()> {
    if !only_on(Ground::Embedded, "deliveries are served by the platform's own control plane") {
        return Ok(());
    }
    let (up, recorder) = (Platform::start().await?, Receiver::start().await?);
    // What a message looks like on the wire, for a forgery.
    let sample = Registered::ready(&up, "sample", &recorder.url("/"), json!({})).await?;
    sample.push("s", "team-a/shop", "v1").await?;
    let sent = recorder.wait_for(2).await?.remove(1);

    for language in ["python", "node", "rust"] {
        let address = Registry::free_address()?;
        let port = address.rsplit(':').next().context("no port")?;
        let acted = up.scratch().join(language);
        let act = ["sh", "-c", "echo \"$1\" >> \"$0\"", &acted.display().to_string()].map(String::from);
        let mut command = program(language)?;
        let log = up.scratch().join(format!("{language}.log"));
        let _receiver = Process::start(language, command.arg(port).args(act), &log)?;
        let url = format!("http://{address}/");
        eventually(&format!("the receiver in {language} answers"), async || {
            Ok((post(&url, &[], "{}").await?.status == 401).then_some(()))
        })
        .await?;

        let webhook = Registered::ready(&up, language, &url, json!({})).await?;
        webhook.push("a", "team-a/shop", "v1").await?;
        eventually(&format!("the receiver in {language} takes test and push"), async || {
            let status = webhook.status().await?;
            ensure!(status.delivered == 2, "{status:?}");
            Ok(Some(()))
        })
        .await?;
        up.cli(&["notify", "redeliver", language, "2"])?;
        eventually("the repetition is answered", async || {
            let deliveries = webhook.deliveries().await?;
            let mut again = deliveries.iter().filter_map(|delivery| delivery.status.as_ref());
            Ok(again.any(|status| status.attempt == 2 && status.state == DeliveryState::Delivered).then_some(()))
        })
        .await?;
        let digest = format!("sha256:{}", "0".repeat(64));
        let expected = format!("registry.example.com/team-a/shop@{digest}\n");
        ensure!(std::fs::read_to_string(&acted)? == expected, "{language} acts once for each message");

        // The same request again, and with another body.
        let headers: Vec<(String, String)> = ["webhook-id", "webhook-timestamp", "webhook-signature"]
            .map(|name| (name.to_string(), sent.header(name).to_string()))
            .to_vec();
        ensure!(post(&url, &headers, sent.body.clone()).await?.is_success(), "{language} takes the original");
        let forged = String::from_utf8(sent.body.to_vec())?.replace("team-a", "team-b");
        ensure!(post(&url, &headers, forged).await?.status == 401, "{language} refuses a forgery");
    }
    Ok(())
}
