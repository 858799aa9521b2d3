//! Makes the data directory of a release, which every later one must be able to open:
//! `cargo run -p roadstead-e2e --example make_fixture -- 0.1.0`. The keys inside are good for nothing else.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use kube::Api;
use roadstead_api::Subscriber;
use roadstead_e2e::{Hook, Platform, trigger};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<()> {
    let version = std::env::args().nth(1).context("which release?")?;
    let scratch = tempfile::tempdir()?;
    let mut up = Platform::on(&scratch.path().join("data")).await?;
    let hook = Hook::github(&up, "shop").await?;
    for n in 1..=3 {
        let body = format!(r#"{{"ref":"refs/heads/main","after":"{n}"}}"#);
        let answer = hook.deliver("push", &format!("fixture-{n}"), body.as_bytes()).await?;
        ensure!(answer.status == 202, "delivery {n} was answered {}", answer.status);
    }
    let client = up.client().await?;
    let subscribers: Api<Subscriber> = Api::namespaced(client.clone(), "default");
    let spec = json!({"endpoints": [{"name": "shop"}], "tokens": [{"sha256": "00".repeat(32)}]});
    subscribers.create(&Default::default(), &Subscriber::new("edge", serde_json::from_value(spec)?)).await?;
    trigger::create(&client, "shop", trigger::forward(&hook, "http://127.0.0.1:9/")).await?;
    up.kubectl()?.run("create configmap note --from-literal=made-by=make_fixture")?;
    // Killed, not stopped: write-ahead logs are part of what must be readable.
    up.kill()?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/data-{version}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg(&file).arg("-C").arg(scratch.path()).args([
        "--exclude=*.lock",
        "--exclude=addresses.json",
        "data",
    ]);
    ensure!(tar.status()?.success(), "tar failed");
    println!("{}", file.display());
    Ok(())
}
