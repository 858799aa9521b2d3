//! Watches: how they start, what they carry and what ends them.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use kube::api::{PostParams, WatchParams};
use roadstead_kubewire::{Body, Origin};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    kube_rs::{ship, ships},
    plane::Plane,
};

const WATCH: &str = "/apis/harbour.test/v1/namespaces/default/ships?watch=1";

/// Opens a watch as a user over a connection.
async fn open(plane: &Plane, uri: &str, user: &str, accept: &str) -> Body {
    let request = Request::get(uri).header("authorization", format!("Bearer {user}")).header("accept", accept);
    let origin = Origin { secure: true, ..Origin::default() };
    let response = plane.service.handle(request.body(Empty::<Bytes>::new()).unwrap(), origin).await;
    assert_eq!(response.status(), 200);
    response.into_body()
}

/// The next write of a watch, as the lines in it.
async fn next(body: &mut Body) -> Option<Vec<Value>> {
    let frame = timeout(Duration::from_secs(2), body.frame()).await.expect("an event or the end in time")?;
    let data = frame.unwrap().into_data().unwrap();
    Some(data.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect())
}

#[tokio::test]
async fn events_that_are_ready_together_are_one_write() {
    let plane = Plane::new();
    let mut body = open(&plane, WATCH, "reader", "application/json").await;
    for name in ["a", "b", "c"] {
        ships(plane.client()).create(&PostParams::default(), &ship(name, "tea")).await.unwrap();
    }
    let names: Vec<_> =
        next(&mut body).await.unwrap().iter().map(|e| e["object"]["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test]
async fn tables_are_watched_row_by_row() {
    let plane = Plane::new();
    let mut body = open(&plane, WATCH, "reader", "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    let api = ships(plane.client());
    api.create(&PostParams::default(), &ship("a", "tea")).await.unwrap();
    let first = next(&mut body).await.unwrap().remove(0);
    assert_eq!((&first["type"], &first["object"]["rows"][0]["cells"][1]), (&json!("ADDED"), &json!("tea")));
    api.create(&PostParams::default(), &ship("b", "tea")).await.unwrap();
    assert!(next(&mut body).await.unwrap()[0]["object"]["columnDefinitions"].is_null());
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let plane = Plane::new();
    ships(plane.client()).create(&PostParams::default(), &ship("a", "tea")).await.unwrap();
    let uri = format!("{WATCH}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    let events = next(&mut open(&plane, &uri, "reader", "*/*").await).await.unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["ADDED", "BOOKMARK"]);
    assert_eq!(events[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn revoked_credentials_end_open_watches_and_no_others() {
    let plane = Plane::new();
    let mut readers = open(&plane, WATCH, "reader", "*/*").await;
    let mut admins = open(&plane, WATCH, "admin", "*/*").await;
    plane.revoke("reader");
    assert_eq!(next(&mut readers).await, None);
    ships(plane.client()).create(&PostParams::default(), &ship("a", "tea")).await.unwrap();
    assert_eq!(next(&mut admins).await.unwrap().len(), 1);
}

#[tokio::test]
async fn shutdown_ends_watches() {
    let plane = Plane::new();
    let mut body = open(&plane, WATCH, "reader", "*/*").await;
    plane.shutdown.cancel();
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_at_its_timeout() {
    let plane = Plane::new();
    let started = tokio::time::Instant::now();
    let body = open(&plane, &format!("{WATCH}&timeoutSeconds=7"), "reader", "*/*").await;
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), 0);
    assert_eq!(started.elapsed().as_secs(), 7);
    let unlimited = open(&plane, WATCH, "reader", "*/*").await;
    let started = tokio::time::Instant::now();
    unlimited.collect().await.unwrap();
    let minutes = started.elapsed().as_secs() / 60;
    assert!((30..60).contains(&minutes), "{minutes}");
}

#[tokio::test]
async fn leaving_ends_the_work_behind_a_watch_and_is_recorded_once() {
    let plane = Plane::new();
    let mut body = open(&plane, WATCH, "reader", "*/*").await;
    ships(plane.client()).create(&PostParams::default(), &ship("a", "tea")).await.unwrap();
    next(&mut body).await.unwrap();
    assert_eq!((plane.ships.watchers(), plane.records.started().len()), (1, 1));
    drop(body);
    assert_eq!(plane.ships.watchers(), 0);
    let record = plane.records.wait_for(|record| record.attributes.verb == "watch").await;
    assert_eq!((record.code, record.bytes > 50), (200, true));
}

#[tokio::test]
async fn a_panic_ends_only_its_watch() {
    let plane = Plane::new();
    let mut body = open(&plane, &format!("{WATCH}&resourceVersion=666"), "reader", "*/*").await;
    let events = next(&mut body).await.unwrap();
    assert_eq!((&events[0]["type"], &events[0]["object"]["code"]), (&json!("ERROR"), &json!(500)));
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test]
async fn selectors_apply_to_watches() {
    let plane = Plane::new();
    let api = ships(plane.client());
    let params = WatchParams::default().labels("cargo=ice").fields("spec.cargo!=tea");
    let mut events = std::pin::pin!(api.watch(&params, "0").await.unwrap());
    for (name, cargo) in [("a", "tea"), ("b", "ice")] {
        api.create(&PostParams::default(), &ship(name, cargo)).await.unwrap();
    }
    let first = timeout(Duration::from_secs(2), futures::TryStreamExt::try_next(&mut events)).await.unwrap().unwrap();
    assert!(matches!(first, Some(kube::api::WatchEvent::Added(ship)) if ship.metadata.name.as_deref() == Some("b")));
}
