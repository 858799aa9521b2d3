//! Appending, reading, following, deduplicating; over a roll and a restart.

use bytes::Bytes;
use futures::future::join_all;
use serde_json::Value;
use tempfile::tempdir;

use super::support::*;
use crate::log::{INLINE_BODY, Log, Outcome};

#[tokio::test]
async fn an_event_is_served_in_the_form_of_the_contract() {
    let directory = tempdir().unwrap();
    let log = open(&directory, small()).await;
    append(&log, &stream("shop"), "first").await;
    let record = log.get("default", "shop", 1).await.unwrap().unwrap();
    let event: roadstead_api::WebhookEvent = serde_json::from_slice(&record.frame().object).unwrap();
    assert_eq!(event.api_version, "log.roadstead.dev/v1alpha1");
    assert_eq!(event.metadata.name.as_deref(), Some("shop-00000000000000000001"));
    assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
    assert_eq!(event.metadata.resource_version, Some(record.position.to_string()));
    assert_eq!(event.metadata.labels.unwrap()["roadstead.dev/endpoint"], "shop");
    assert_eq!((event.spec.endpoint.as_str(), event.spec.sequence, event.spec.id.as_str()), ("shop", 1, "first"));
    assert_eq!(event.spec.request.body.as_deref(), Some("eyJpZCI6ImZpcnN0In0="));
    let frame: Value = serde_json::from_slice(&record.frame().line).unwrap();
    assert_eq!((&frame["type"], &frame["object"]["kind"]), (&Value::from("ADDED"), &Value::from("WebhookEvent")));
    assert!(record.frame().line.ends_with(b"}\n"));
}

#[tokio::test]
async fn live_and_stored_frames_are_the_same() {
    let directory = tempdir().unwrap();
    let log = open(&directory, small()).await;
    let mut follow = log.follow(all(), log.head());
    append(&log, &stream("shop"), "a \"quoted\" id \u{1F6A2}").await;
    let live = take(&mut follow, 1).await.unwrap().remove(0);
    let stored = log.get("default", "shop", 1).await.unwrap().unwrap();
    assert_eq!(live.frame().line, stored.frame().line);
}

#[tokio::test]
async fn a_large_body_is_only_under_the_subresource() {
    let directory = tempdir().unwrap();
    let log = open(&directory, small()).await;
    for (id, size) in [("inline", INLINE_BODY), ("large", INLINE_BODY + 1), ("huge", 5 << 20), ("empty", 0)] {
        let body = Bytes::from(vec![7; size]);
        log.append(&stream("shop"), vec![draft_of(id, body.clone())]).await.unwrap();
        let record = log.find("default", "shop", id).await.unwrap().unwrap();
        let event: Value = serde_json::from_slice(&record.frame().object).unwrap();
        assert_eq!(event["spec"]["request"].get("body").is_some(), size <= INLINE_BODY, "{id}");
        let stored = log.body("default", "shop", record.sequence).await.unwrap().unwrap();
        assert_eq!((stored.body, stored.id.as_str()), (body, id));
        assert_eq!(stored.headers[0].value, "application/json");
    }
}

#[tokio::test]
async fn one_of_two_simultaneous_duplicates_is_recorded() {
    let directory = tempdir().unwrap();
    let log = open(&directory, small()).await;
    let stream = stream("shop");
    let outcomes = join_all((0..50).map(|n| log.append(&stream, vec![draft(&format!("id-{}", n % 10))]))).await;
    let mut recorded: Vec<u64> = Vec::new();
    let mut duplicates = 0;
    for outcome in outcomes {
        match outcome.unwrap()[0] {
            Outcome::Recorded { sequence, .. } => recorded.push(sequence),
            Outcome::Duplicate { .. } => duplicates += 1,
        }
    }
    recorded.sort_unstable();
    assert_eq!((recorded, duplicates), ((1..=10).collect(), 40));
}

#[tokio::test]
async fn ids_are_scoped_to_the_stream_and_survive_rolls_and_restarts() {
    let directory = tempdir().unwrap();
    let mut log = open(&directory, small()).await;
    let (shop, blog) = (stream("shop"), stream("blog"));
    for n in 0..200 {
        assert_eq!(append(&log, &shop, &format!("id-{n}")).await, n + 1);
    }
    append(&log, &blog, "id-7").await;
    until("several segments", async || log.metrics().segments > 3).await;
    for round in 0..3 {
        for n in [0, 7, 50, 100, 150, 199] {
            let outcome = log.append(&shop, vec![draft(&format!("id-{n}"))]).await.unwrap();
            assert_eq!(outcome, [Outcome::Duplicate { sequence: n + 1 }], "round {round}");
        }
        log.close().await;
        log = open(&directory, small()).await;
    }
    assert_eq!(append(&log, &shop, "new").await, 201);
    let found = read_all(&log, &only(&["shop"]), 0).await;
    assert_eq!(found.iter().map(|record| record.sequence).collect::<Vec<_>>(), (1..=201).collect::<Vec<_>>());
}

#[tokio::test]
async fn without_dedupe_every_draft_is_an_event() {
    let directory = tempdir().unwrap();
    let log = open(&directory, small()).await;
    let same = || crate::log::Draft { dedupe: false, ..draft("same") };
    log.append(&stream("shop"), vec![same(), same()]).await.unwrap();
    log.append(&stream("shop"), vec![same()]).await.unwrap();
    assert_eq!(log.stats(&stream("shop")).unwrap().last, 3);
}

#[tokio::test]
async fn a_delivery_of_several_events_is_all_or_nothing_and_in_order() {
    let directory = tempdir().unwrap();
    let log = open(&directory, small()).await;
    let drafts = (0..5).map(|n| draft(&format!("delivery/{n}"))).collect();
    let outcomes = log.append(&stream("shop"), drafts).await.unwrap();
    let first = log.head() - 4;
    let expected: Vec<_> = (0..5).map(|n| Outcome::Recorded { position: first + n, sequence: n + 1 }).collect();
    assert_eq!(outcomes, expected);
}

#[tokio::test]
async fn followers_get_every_event_of_their_selection_from_any_position() {
    let directory = tempdir().unwrap();
    let log = open(&directory, small()).await;
    let names = ["a", "b", "c"];
    let mut positions = vec![log.head()];
    for n in 0..300 {
        append(&log, &stream(names[n % 3]), &format!("{n}")).await;
        positions.push(log.head());
    }
    for (selection, wanted) in
        [(all(), vec![0, 1, 2]), (only(&["b"]), vec![1]), (only(&["a", "c", "later"]), vec![0, 2])]
    {
        for start in [0, 1, 17, 150, 290, 299] {
            let expected: Vec<String> =
                (start..300).filter(|n| wanted.contains(&(n % 3))).map(|n| n.to_string()).collect();
            let mut follow = log.follow(selection.clone(), positions[start]);
            assert_eq!(ids(&take(&mut follow, expected.len()).await.unwrap()), expected, "{selection:?} from {start}");
        }
    }
}

#[tokio::test]
async fn a_follower_is_woken_by_its_own_endpoints_only_and_its_position_moves_on() {
    let directory = tempdir().unwrap();
    let log = open(&directory, small()).await;
    let mut follow = log.follow(only(&["later"]), log.head());
    append(&log, &stream("noise"), "1").await;
    assert_eq!(follow.position(), log.head(), "others' events move the position");
    {
        let mut next = Box::pin(follow.next());
        assert!(futures::poll!(&mut next).is_pending());
        append(&log, &stream("noise"), "2").await;
        assert!(futures::poll!(&mut next).is_pending());
    }
    append(&log, &stream("later"), "mine").await;
    assert!(follow.position() < log.head(), "not past an event that was not returned");
    assert_eq!(ids(&take(&mut follow, 1).await.unwrap()), ["mine"]);
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let directory = tempdir().unwrap();
    let _log = open(&directory, small()).await;
    let error = crate::log::LocalLog::open(directory.path(), small()).await.err().unwrap();
    assert!(error.to_string().contains("in use by another process"), "{error}");
}
