//! The parts that other tests stand on, tested without the platform: signers agree, the receiver obeys, the registry notifies.

use roadstead_e2e::registry::Registry;
use roadstead_e2e::{Receiver, Result, ensure, octokit, post, sign};

#[test]
fn two_independent_signers_agree_on_every_recorded_delivery() -> Result<()> {
    let recorded = octokit::recorded()?;
    let bodies: Vec<&[u8]> = recorded.iter().map(|delivery| delivery.body.as_slice()).collect();
    let theirs = octokit::sign("secret", &bodies)?;
    for (body, theirs) in bodies.iter().zip(theirs) {
        ensure!(sign::github_signature("secret", body) == theirs);
    }
    Ok(())
}

#[tokio::test]
async fn the_receiver_remembers_and_obeys() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.answer_next(&[500, 429]);
    let mut statuses = Vec::new();
    for body in ["one", "two", "three"] {
        statuses.push(post(&receiver.url("/x?y=z"), &[("x-test".into(), body.into())], body).await?.status);
    }
    ensure!(statuses == [500, 429, 200], "{statuses:?}");
    let received = receiver.received();
    ensure!(
        received.iter().map(|request| request.body.as_ref()).collect::<Vec<_>>() == [b"one".as_ref(), b"two", b"three"]
    );
    ensure!(received[2].path == "/x?y=z" && received[2].header("x-test") == "three");
    receiver.close();
    let url = receiver.url("/");
    let waiting = tokio::spawn(async move { post(&url, &[], "four").await });
    receiver.wait_for(4).await?;
    ensure!(!waiting.is_finished());
    receiver.open();
    ensure!(waiting.await??.status == 200);
    Ok(())
}

#[tokio::test]
async fn the_registry_tells_pushes_tags_and_deletes() -> Result<()> {
    let receiver = Receiver::start().await?;
    let registry = Registry::start(&Registry::free_address()?, &receiver.url("/hook"), "token").await?;
    let digest = registry.push("team/shop", "v1", "first")?;
    registry.tag("team/shop", "v1", "latest")?;
    registry.delete("team/shop", "v1")?;
    let actions = |action: &str| {
        let received = receiver.received();
        let count = received.iter().filter(|request| {
            let text = String::from_utf8_lossy(&request.body).replace(' ', "");
            request.header("authorization") == "Bearer token"
                && text.contains(&format!("\"action\":\"{action}\""))
                && text.contains(&format!("\"digest\":\"{digest}\""))
        });
        count.count()
    };
    roadstead_e2e::eventually("push, tag and delete were told", async || {
        Ok((actions("push") >= 2 && actions("delete") == 1).then_some(()))
    })
    .await
}
