//! What somebody new does first, with nothing but kubectl and a signed POST.

use roadstead_e2e::endpoint::SECRET;
use roadstead_e2e::{Ground, Platform, Result, ensure, eventually, post, sign};

const ENDPOINT: &str = "
apiVersion: roadstead.dev/v1alpha1
kind: WebhookEndpoint
metadata: {name: shop}
spec:
  provider: github
  secrets: [{name: shop-hook, key: token}]
";

const BODY: &[u8] = br#"{"ref":"refs/heads/main","repository":{"full_name":"octo/shop"},"after":"c0ffee"}"#;

#[tokio::test]
async fn kubectl_makes_an_endpoint_and_sees_what_is_posted_also_after_kill_9() -> Result<()> {
    let mut up = Platform::start().await?;
    let kubectl = up.kubectl()?;
    kubectl.args(&["create", "secret", "generic", "shop-hook", &format!("--from-literal=token={SECRET}")])?;
    kubectl.apply(ENDPOINT)?;
    kubectl.run("wait webhookendpoint/shop --for=condition=Ready --timeout=30s")?;
    let url = kubectl.run("get webhookendpoint shop -o jsonpath={.status.url}")?;
    ensure!(url.starts_with("https://"), "{url}");
    let id = url.rsplit('/').next().unwrap_or_default();
    ensure!(id.len() >= 22, "128 random bits need more characters than {id}");

    let events = up.events_kubectl()?;
    eventually("its events can be read", async || events.run("get webhookevents").map(Some)).await?;
    let watch = events.spawn("get webhookevents -w")?;
    let answer = post(&up.hook_url(&url)?, &sign::github(SECRET, "push", "delivery-1", BODY), BODY).await?;
    ensure!(answer.is_success(), "{answer:?}");
    eventually("kubectl get -w shows the event", async || {
        Ok(watch.log().contains("shop-00000000000000000001").then_some(()))
    })
    .await?;

    up.crash().await?;
    ensure!(kubectl.run("get secret shop-hook -o name")? == "secret/shop-hook");
    ensure!(kubectl.run("get webhookendpoint shop -o jsonpath={.status.url}")? == url);
    ensure!(events.run("get webhookevents -o jsonpath={.items[*].spec.id}")? == "delivery-1");
    let git = events.run("get hev shop-00000000000000000001 -o jsonpath={.spec.git.repository}/{.spec.git.after}")?;
    ensure!(git == "octo/shop/c0ffee", "{git}");
    eventually("the endpoint tells its last event", async || {
        let status = kubectl
            .run("get hook shop -o jsonpath={.status.sequence}/{.status.lastEvent.id}/{.status.counters.accepted}")?;
        Ok((status == "1/delivery-1/1").then_some(()))
    })
    .await
}

#[tokio::test]
async fn what_runs_says_so() -> Result<()> {
    let up = Platform::start().await?;
    let metrics = up.admin_page("/metrics").await?;
    ensure!(metrics.contains("# TYPE "), "{metrics}");
    let version = up.kubectl()?.run("version -o json")?;
    ensure!(version.contains("serverVersion"), "{version}");
    if Ground::here() == Ground::Embedded {
        // Elsewhere nobody of ours writes one.
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(up.kubeconfig())?.permissions());
        ensure!(mode & 0o777 == 0o600, "kubeconfig has mode {mode:o}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(up.data())?.permissions());
    ensure!(mode & 0o777 == 0o700, "the data directory has mode {mode:o}");
    Ok(())
}

#[tokio::test]
async fn a_second_one_on_the_same_data_is_refused() -> Result<()> {
    let up = Platform::start().await?;
    let second = Platform::on(up.data()).await.err().map(|error| format!("{error:#}"));
    ensure!(second.as_ref().is_some_and(|error| error.contains("ended with")), "{second:?}");
    ensure!(up.kubectl()?.run("get namespaces -o name")?.contains("namespace/default"));
    Ok(())
}
