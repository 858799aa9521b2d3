//! Every delivery that GitHub's own package records, signed by GitHub's own signer.

use std::collections::BTreeMap;

use futures::StreamExt;
use roadstead_e2e::endpoint::SECRET;
use roadstead_e2e::{Hook, Platform, Receiver, Result, ensure, octokit, post, sign, trigger};

/// Deliveries at the same time.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recorded_delivery_comes_out_of_the_log_and_of_forward_byte_for_byte() -> Result<()> {
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "github").await?;
    let recorded = octokit::recorded()?;
    let bodies: Vec<&[u8]> = recorded.iter().map(|delivery| delivery.body.as_slice()).collect();
    let signatures = octokit::sign(SECRET, &bodies)?;

    let posts = recorded.iter().zip(&signatures).enumerate().map(|(number, (delivery, signature))| {
        let mut headers = sign::github_unsigned(&delivery.event, &format!("delivery-{number}"));
        headers.push(("x-hub-signature-256".into(), signature.clone()));
        let url = hook.url.clone();
        async move { (number, post(&url, &headers, delivery.body.clone()).await) }
    });
    let mut answers = futures::stream::iter(posts).buffer_unordered(AT_ONCE);
    while let Some((number, answer)) = answers.next().await {
        let answer = answer?;
        ensure!(answer.is_success(), "delivery {number} ({}): {answer:?}", recorded[number].event);
    }

    let receiver = Receiver::start().await?;
    let client = up.client().await?;
    trigger::create(&client, "relay", trigger::forward(&hook, &receiver.url("/webhook"))).await?;

    let events = hook.events().await?;
    ensure!(events.len() == recorded.len(), "{} of {} are recorded", events.len(), recorded.len());
    for event in &events {
        let number: usize = event.spec.id.trim_start_matches("delivery-").parse()?;
        ensure!(event.spec.kind == recorded[number].event && event.spec.verified);
        ensure!(hook.body(event.spec.sequence).await? == recorded[number].body, "{} differs", event.spec.id);
    }

    let received = receiver.wait_for(recorded.len()).await?;
    let by_id: BTreeMap<&str, _> =
        received.iter().map(|request| (request.header("x-github-delivery"), request)).collect();
    for (number, (delivery, signature)) in recorded.iter().zip(&signatures).enumerate() {
        let Some(request) = by_id.get(format!("delivery-{number}").as_str()) else {
            roadstead_e2e::bail!("delivery {number} was not forwarded");
        };
        ensure!(request.method == "POST" && request.path == "/webhook");
        ensure!(request.body == delivery.body, "the body of delivery {number} differs");
        ensure!(
            request.header("x-hub-signature-256") == signature && request.header("x-github-event") == delivery.event
        );
    }
    Ok(())
}
