//! A control plane that misbehaves: hub and agent take deliveries all the while, do what is due as soon as they can, say why they
//! could not, and never ask in a hot loop.

use std::time::{Duration, Instant};

use http::Method;
use roadstead_e2e::http::get;
use roadstead_e2e::{Faults, Faulty, Hook, Platform, Receiver, Result, ensure, eventually, trigger, wait::within};

/// Of both roles together, whatever goes wrong, once they are up; a control plane bears it easily, and a hot loop makes thousands.
const MOST_REQUESTS_A_MINUTE: usize = 600;

/// An endpoint whose events an agent forwards, with a control plane that can be told to misbehave.
struct Scene {
    up: Platform,
    faulty: Faulty,
    hook: Hook,
    receiver: Receiver,
    delivered: usize,
}

impl Scene {
    async fn set() -> Result<Scene> {
        let (up, faulty) = Platform::faulty().await?;
        let hook = Hook::github(&up, "shop").await?;
        let receiver = Receiver::start().await?;
        trigger::create(&up.client().await?, "relay", trigger::forward(&hook, &receiver.url("/"))).await?;
        let mut scene = Scene { up, faulty, hook, receiver, delivered: 0 };
        scene.deliver().await?;
        scene.all_forwarded().await?;
        Ok(scene)
    }

    /// Posts one delivery, which must be taken at once.
    async fn deliver(&mut self) -> Result<()> {
        self.delivered += 1;
        let answer = self.hook.deliver("push", &format!("delivery-{}", self.delivered), b"{}").await?;
        ensure!(answer.status == 202, "answered {}: {}", answer.status, answer.text()?);
        Ok(())
    }

    /// Waits until the receiver has everything, and the resources say so: endpoint and trigger.
    async fn all_forwarded(&self) -> Result<()> {
        self.receiver.wait_for(self.delivered).await?;
        let (client, count) = (self.up.client().await?, self.delivered as u64);
        within(Duration::from_secs(90), "endpoint and trigger tell the last event", async || {
            let endpoint = self.hook.get().await?.status.unwrap_or_default();
            let trigger = trigger::status(&client, "relay").await?;
            let (have, done) = (endpoint.sequence, trigger.sequence);
            ensure!(have >= count && done >= count, "{count} were posted; endpoint {have}, trigger {done}");
            Ok(Some(()))
        })
        .await
    }

    /// Lets `faults` last for `length` from now on, with a delivery at its beginning and its end, and asserts how much was asked.
    async fn endure(&mut self, faults: Faults, length: Duration) -> Result<()> {
        let since = Instant::now();
        self.faulty.set(faults);
        self.deliver().await?;
        // The length of the outage is what is tried here, not a wait for something.
        tokio::time::sleep(length).await;
        self.deliver().await?;
        let minutes = (length.as_secs_f64() / 60.0).max(1.0);
        let asked = self.faulty.asked_since(since).len() + self.faulty.refused_since(since).len();
        let most = (MOST_REQUESTS_A_MINUTE as f64 * minutes) as usize;
        ensure!(asked <= most, "{asked} requests in {length:?}:\n{}", self.faulty.profile_since(since));
        eprintln!("{asked} requests in {length:?}:\n{}", self.faulty.profile_since(since));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_plane_is_gone_for_a_minute() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.endure(Faults { gone: true, ..Faults::default() }, Duration::from_secs(60)).await?;
    let log = scene.up.process_log();
    ensure!(log.to_lowercase().contains("control plane"), "the hub's log does not name the cause");
    scene.faulty.set(Faults::default());
    scene.all_forwarded().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_go_on_without_the_control_plane_and_a_start_waits_for_it() -> Result<()> {
    let (mut up, faulty) = Platform::faulty().await?;
    let hook = Hook::github(&up, "shop").await?;
    let ready = format!("http://{}/readyz", up.hub());
    ensure!(hook.deliver("push", "before", b"{}").await?.status == 202);

    faulty.set(Faults { gone: true, ..Faults::default() });
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

    faulty.set(Faults::default());
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_takes_two_seconds() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.endure(Faults { late: Duration::from_secs(2), ..Faults::default() }, Duration::from_secs(10)).await?;
    scene.all_forwarded().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_end_every_second() -> Result<()> {
    let mut scene = Scene::set().await?;
    let faults = Faults { watches_end: Some(Duration::from_secs(1)), ..Faults::default() };
    scene.endure(faults, Duration::from_secs(20)).await?;
    scene.all_forwarded().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_third_watch_has_expired() -> Result<()> {
    let mut scene = Scene::set().await?;
    let ends = Some(Duration::from_secs(1));
    scene.endure(Faults { watches_end: ends, expired: Some(3), ..Faults::default() }, Duration::from_secs(20)).await?;
    scene.all_forwarded().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_second_write_conflicts() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.endure(Faults { conflict: Some(2), ..Faults::default() }, Duration::from_secs(10)).await?;
    scene.all_forwarded().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_second_answer_to_a_write_is_lost() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.endure(Faults { lost: Some(2), ..Faults::default() }, Duration::from_secs(10)).await?;
    scene.all_forwarded().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_is_named_and_asked_for_again_in_peace() -> Result<()> {
    let mut scene = Scene::set().await?;
    for (method, plural) in [(Method::PATCH, "webhookendpoints"), (Method::PATCH, "triggers"), (Method::GET, "secrets")]
    {
        let faults = Faults { forbidden: Some((method.clone(), plural)), ..Faults::default() };
        scene.endure(faults, Duration::from_secs(10)).await?;
        if method == Method::PATCH {
            let logs = scene.up.process_log() + &scene.up.agent_log();
            ensure!(logs.contains(&format!("{plural} is forbidden")), "no log line names {plural}");
        }
    }
    scene.faulty.set(Faults::default());
    scene.all_forwarded().await
}
