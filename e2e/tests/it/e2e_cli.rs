//! The command line from nothing to a delivery: `hook`, `subscriber` and `trigger` as somebody uses them.

use std::os::unix::fs::PermissionsExt;

use roadstead_e2e::up::cli;
use roadstead_e2e::wait::within;
use roadstead_e2e::{PATIENCE, Platform, Receiver, Result, ensure, eventually, post, sign};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_is_made_shown_followed_replayed_and_deleted() -> Result<()> {
    let up = Platform::start().await?;
    let file = up.scratch().join("secret");
    let file = file.to_str().unwrap_or_default();
    let url = up.cli(&["hook", "create", "shop", "--provider", "github", "--secret-file", file])?;
    ensure!(url.starts_with("https://") && url.lines().count() == 1, "stdout is the URL alone: {url}");
    ensure!(up.cli(&["hook", "url", "shop"])? == url);
    let secret = std::fs::read_to_string(file)?.trim().to_string();
    ensure!(std::fs::metadata(file)?.permissions().mode() & 0o777 == 0o600);
    ensure!(!up.cli(&["hook", "show", "shop"])?.contains(&secret));
    ensure!(up.cli(&["hook", "show", "shop", "--show-secret"])?.contains(&secret));

    let address = up.hook_url(url.trim())?;
    let body = br#"{"ref":"refs/heads/main",  "repository":{"full_name":"octo/shop"}}"#;
    let deliver = async |id: &str| post(&address, &sign::github(&secret, "push", id, body), body.as_slice()).await;
    for id in ["one", "two", "three"] {
        ensure!(deliver(id).await?.is_success());
    }
    eventually("the status has counted", async || {
        Ok(up.cli(&["hook", "list"])?.contains("octo/shop refs/heads/main").then_some(()))
    })
    .await?;
    let kubectl = up.kubectl()?;
    eventually("all three are counted", async || {
        Ok((kubectl.run("get hook shop -o jsonpath={.status.sequence}")? == "3").then_some(()))
    })
    .await?;
    ensure!(up.events_cli(&["hook", "events", "shop"])?.lines().count() == 4, "a header and three events");
    let last = up.events_cli(&["hook", "events", "shop", "--last", "1", "-o", "json"])?;
    ensure!(last.lines().count() == 1 && last.contains("\"three\""), "{last}");

    let mut follow = up.spawn_events_cli(&["hook", "events", "shop", "-f", "--last", "1"])?;
    eventually("the last one is shown", async || Ok(follow.log().contains("three").then_some(()))).await?;
    ensure!(deliver("four").await?.is_success());
    within(PATIENCE, "the new one is shown", async || Ok(follow.log().contains("four").then_some(()))).await?;
    ensure!(!follow.log().contains("two"), "{}", follow.log());
    follow.kill()?;

    let receiver = Receiver::start().await?;
    let answer = up.events_cli(&["hook", "replay", "shop", "--sequence", "2", "--to", &receiver.url("/again")])?;
    ensure!(answer == "200 OK\n", "{answer}");
    let received = receiver.received();
    ensure!(received.len() == 1 && received[0].body == body.as_slice() && received[0].path == "/again");
    ensure!(received[0].header("x-hub-signature-256") == sign::github_signature(&secret, body));

    up.cli(&["hook", "delete", "shop"])?;
    eventually("its URL is gone", async || Ok((deliver("late").await?.status == 404).then_some(()))).await?;
    eventually("its secret is gone too", async || {
        Ok((kubectl.say(&["get", "secret", "shop-hook"], "")?.code != 0).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_is_made_and_shown() -> Result<()> {
    let up = Platform::start().await?;
    let url = up.cli(&["hook", "create", "open", "--provider", "generic", "--url-only"])?;
    let receiver = Receiver::start().await?;
    let endpoint = format!("{}/open", up.namespace());
    let made = up.cli(&["trigger", "create", "relay", "--endpoint", &endpoint, "--forward", &receiver.url("/")])?;
    ensure!(made == "trigger.roadstead.dev/relay\n", "{made}");
    ensure!(post(&up.hook_url(url.trim())?, &[], "hello").await?.is_success());
    ensure!(receiver.wait_for(1).await?[0].body == "hello".as_bytes());
    eventually("it is counted", async || {
        Ok(up.cli(&["trigger", "show", "relay"])?.contains("1 succeeded").then_some(()))
    })
    .await?;
    ensure!(up.cli(&["trigger", "list", "-o", "name"])? == made);
    Ok(())
}

#[tokio::test]
async fn dry_runs_keep_nothing_and_version_names_the_control_plane() -> Result<()> {
    let up = Platform::start().await?;
    up.cli(&["hook", "create", "shop", "--provider", "github", "--dry-run", "server"])?;
    ensure!(up.cli(&["hook", "list", "-o", "name"])?.is_empty());
    ensure!(up.cli(&["version"])?.contains("control plane v1."));
    let error =
        cli(&up.kubeconfig(), &["hook", "show", "nothing"]).err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(error.contains("exit status: 3") && error.contains("not found"), "{error}");
    Ok(())
}
