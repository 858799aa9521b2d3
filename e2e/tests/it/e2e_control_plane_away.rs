//! The hub without its control plane: it starts, says what it waits for, and takes what it can.

use roadstead_e2e::http::get;
use roadstead_e2e::{Ground, Hook, Platform, Result, ensure, eventually, only_on};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_go_on_without_the_control_plane_and_a_start_waits_for_it() -> Result<()> {
    if !only_on(Ground::Kubernetes, "hub and control plane of `roadstead up` are one process: neither is there alone") {
        return Ok(());
    }
    let mut up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let cable = up.hub_on_a_cable().await?;
    let ready = format!("http://{}/readyz", up.hub());
    ensure!(hook.deliver("push", "before", b"{}").await?.status == 202);

    cable.cut();
    for number in 0..20 {
        let answer = hook.deliver("push", &number.to_string(), b"{}").await?;
        ensure!(answer.status == 202, "without the control plane: {answer:?}");
    }
    ensure!(get(&ready).await?.status == 200, "a hub that knows its endpoints is ready");

    up.restart_hub()?;
    let told = eventually("it answers that it is not ready", async || {
        let answer = get(&ready).await?;
        Ok((answer.status == 503).then_some(answer.text()?))
    })
    .await?;
    ensure!(told.contains("control plane"), "{told}");
    let refused = hook.deliver("push", "too early", b"{}").await?;
    ensure!(refused.status == 503 && refused.headers.contains_key("retry-after"), "{refused:?}");
    eventually("the log says what it waits for", async || {
        let log = up.process_log();
        Ok((log.contains("watching WebhookEndpoints failed") && log.contains("roadstead-hub")).then_some(()))
    })
    .await?;
    ensure!(up.process().ended()?.is_none(), "it stays up");

    cable.mend();
    eventually("it is ready", async || Ok((get(&ready).await?.status == 200).then_some(()))).await?;
    ensure!(hook.deliver("push", "after", b"{}").await?.status == 202);
    eventually("all that was answered 202 is there, and nothing else", async || {
        let count = hook.events().await?.len();
        ensure!(count == 22, "there are {count}");
        Ok(Some(()))
    })
    .await?;
    eventually("the status follows", async || {
        let status = hook.get().await?.status.unwrap_or_default();
        ensure!(status.sequence == 22, "{}", status.sequence);
        Ok(Some(()))
    })
    .await
}
