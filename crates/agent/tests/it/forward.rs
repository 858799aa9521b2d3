//! `forward` against real receivers: what arrives, what counts as failure, what the status may tell.

use bytes::Bytes;
use http::Method;
use roadstead_api::event::Header;
use roadstead_hub::log::Draft;
use serde_json::json;

use crate::{
    receiver::{Receiver, answer},
    world::{World, create, push, until},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn method_headers_and_body_arrive_byte_for_byte() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    let agent = world.agent().await;
    let token = json!({"metadata": {"name": "extra"}, "data": {"Authorization": "QmVhcmVyIGh1bnRlcjIK"}});
    create::<k8s_openapi::api::core::v1::Secret>(&world.own.handle().client(), token).await;
    let headers_from = json!({"secretRef": {"name": "extra"}});
    world.trigger("bytes", json!({"forward": {"url": receiver.url(), "headersFrom": headers_from}})).await;
    world.watching("bytes").await;
    // One below and one above what comes with the event, each with every byte; and nothing at all.
    let all: Vec<u8> = (0..=255).collect();
    for (id, size) in [("small", 1000), ("large", 200_000), ("empty", 0)] {
        let body: Vec<u8> = all.iter().copied().cycle().take(size).collect();
        let headers = [
            ("x-github-delivery", id),
            ("X-Hub-Signature-256", "sha256=00"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("host", "hub.example.com"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("x-twice", "a"),
            ("x-twice", "b"),
        ];
        let headers = headers.map(|(name, value)| Header { name: name.into(), value: value.into() }).into();
        world.deliver(Draft { method: "PUT".into(), headers, body: body.into(), ..push(id, "octo/shop") }).await;
    }
    until("three", async || (receiver.ids() == ["small", "large", "empty"]).then_some(())).await;
    for request in receiver.received() {
        assert_eq!((&request.method, request.path.as_str()), (&Method::PUT, "/hook?a=b"));
        assert_eq!(request.header("x-hub-signature-256"), "sha256=00");
        assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
        assert_eq!(request.header("authorization"), "Bearer hunter2");
        assert_eq!(request.header("host"), receiver.address.to_string());
        assert_eq!(request.headers.get_all("x-twice").iter().count(), 2);
        assert!(!request.headers.contains_key("x-hop") && !request.headers.contains_key("connection"));
    }
    for (request, size) in receiver.received().iter().zip([1000, 200_000, 0]) {
        assert_eq!(request.body, all.iter().copied().cycle().take(size).collect::<Bytes>());
    }
    assert_eq!(receiver.connections(), 1, "the connection is used again");
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_answer_gets_its_number_of_attempts() {
    for (code, attempts) in [(500, 4), (503, 4), (429, 4), (408, 4), (404, 3), (401, 3), (302, 3)] {
        let world = World::start().await;
        let receiver = Receiver::start().await;
        let elsewhere = receiver.url();
        receiver.answers(move |_| {
            let mut response = answer(code, "go away");
            response.headers_mut().insert("location", elsewhere.parse().unwrap());
            response
        });
        let agent = world.agent().await;
        world.trigger("tries", json!({"forward": {"url": receiver.url()}, "retry": {"attempts": 4}})).await;
        world.watching("tries").await;
        let last = world.deliver(push("a", "octo/shop")).await.to_string();
        let letter = until("the dead letter", async || {
            world.letters().list(&Default::default()).await.unwrap().items.into_iter().next()
        })
        .await;
        assert_eq!((letter.spec.attempts, receiver.ids().len()), (attempts, attempts as usize), "{code}");
        assert!(letter.spec.reason.contains(&format!("answered {code}")), "{}", letter.spec.reason);
        assert!(letter.spec.reason.contains("go away"), "{}", letter.spec.reason);
        let position =
            |t: &roadstead_api::Trigger| t.status.as_ref().is_some_and(|s| s.position.as_ref() == Some(&last));
        let trigger = world.status("tries", "goes on", position).await;
        assert_eq!(trigger.status.unwrap().failed, u64::from(attempts));
        agent.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_away_or_silent_is_tried_again() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    let address = receiver.address;
    drop(receiver);
    let agent = world.agent().await;
    let url = format!("http://{address}/");
    let retry = json!({"attempts": 1000, "timeout": "1h"});
    world.trigger("patient", json!({"forward": {"url": url, "timeout": "100ms"}, "retry": retry})).await;
    world.watching("patient").await;
    world.deliver(push("a", "octo/shop")).await;
    let failed = |t: &roadstead_api::Trigger| t.status.as_ref().is_some_and(|s| s.failed > 0);
    let trigger = world.status("patient", "refused", failed).await;
    let said = trigger.status.unwrap().last_result.unwrap().message;
    assert!(said.to_lowercase().contains("refused"), "{said}");
    // It comes back, but does not answer.
    let receiver = Receiver::on(tokio::net::TcpListener::bind(address).await.unwrap());
    receiver.close();
    let late = |t: &roadstead_api::Trigger| {
        t.status
            .as_ref()
            .and_then(|s| s.last_result.as_ref())
            .is_some_and(|r| r.message.contains("no answer within 100ms"))
    };
    world.status("patient", "late", late).await;
    receiver.open();
    let done = |t: &roadstead_api::Trigger| t.status.as_ref().is_some_and(|s| s.succeeded == 1);
    world.status("patient", "done", done).await;
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_do_not_reach_the_status() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    receiver.answers(|request| {
        answer(500, format!("your token {} is bad\n{}", request.header("x-token"), "x".repeat(5000)))
    });
    let agent = world.agent().await;
    let token = json!({"metadata": {"name": "extra"}, "data": {"x-token": "aHVudGVyMmh1bnRlcjI="}});
    create::<k8s_openapi::api::core::v1::Secret>(&world.own.handle().client(), token).await;
    let forward = json!({"url": receiver.url(), "headersFrom": {"secretRef": {"name": "extra"}}});
    world.trigger("quiet", json!({"forward": forward, "retry": {"attempts": 1}})).await;
    world.watching("quiet").await;
    world.deliver(push("a", "octo/shop")).await;
    let trigger = world.status("quiet", "failed", |t| t.status.as_ref().is_some_and(|s| s.dead_letters == 1)).await;
    assert_eq!(receiver.received()[0].header("x-token"), "hunter2hunter2");
    let letters = world.letters().list(&Default::default()).await.unwrap();
    let told = format!("{:?} {:?} {:?}", trigger.status, letters.items, world.told().await);
    assert!(!told.contains("hunter2"), "{told}");
    assert!(told.contains("your token *** is bad"), "{told}");
    assert!(letters.items[0].spec.reason.len() < 1200);
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_of_a_private_ca_needs_its_certificate() {
    let world = World::start().await;
    let (receiver, pem) = Receiver::start_tls().await;
    let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
    let ca = json!({"metadata": {"name": "ca"}, "data": {"ca.crt": data}});
    create::<k8s_openapi::api::core::v1::Secret>(&world.own.handle().client(), ca).await;
    let agent = world.agent().await;
    let url = format!("https://{}/", receiver.address);
    world.trigger("stranger", json!({"forward": {"url": url}, "retry": {"attempts": 2}})).await;
    world.trigger("friend", json!({"forward": {"url": url, "caRef": {"name": "ca"}}})).await;
    world.watching("stranger").await;
    world.watching("friend").await;
    world.deliver(push("a", "octo/shop")).await;
    world.deliver(push("b", "octo/shop")).await;
    let done = |t: &roadstead_api::Trigger| t.status.as_ref().is_some_and(|s| s.succeeded == 2);
    world.status("friend", "done", done).await;
    let dead = |t: &roadstead_api::Trigger| t.status.as_ref().is_some_and(|s| s.dead_letters == 2);
    let trigger = world.status("stranger", "refused", dead).await;
    let said = trigger.status.unwrap().last_result.unwrap().message;
    assert!(said.contains("certificate"), "{said}");
    assert_eq!(receiver.ids(), ["a", "b"]);
    agent.shutdown().await;
}
