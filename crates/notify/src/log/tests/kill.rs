//! kill -9 under load: what was acknowledged is there, each message once, without gaps, and exactly the first of each key is ready.
//!
//! The test starts itself as a child process, which accepts and records as fast as it can and prints what was acknowledged.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use roadstead_api::registry_webhook::DeliveryState;
use tempfile::tempdir;

use super::support::*;
use crate::log::{Decision, Lane, Options, Outcome};

const DIRECTORY: &str = "ROADSTEAD_TEST_DELIVERIES";

/// The child's part: does nothing in an ordinary run.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let log = open(directory.as_ref(), Options::default()).await;
        log.register("uid", "default", "client").await.unwrap();
        let webhook = log.stats("uid").unwrap().key;
        let accepting = async {
            let start = log.cursor("hub").unwrap_or(0);
            for position in start + 1.. {
                let batch = ["a", "b", "c"].map(|key| message("uid", Some(key), &format!("{key}{position}"))).to_vec();
                log.accept("hub", position, batch).await.unwrap();
                println!("ack accepted {position}");
            }
        };
        let recording = async {
            loop {
                for ready in log.ready(webhook, Lane::First, 3).await.unwrap() {
                    let attempt = attempt(crate::delivery::Verdict::Delivered);
                    let number = ready.message.number;
                    let outcome = Outcome { webhook, number, attempt, decision: Decision::Delivered };
                    log.record(vec![outcome]).await.unwrap();
                    println!("ack delivered {number}");
                }
            }
        };
        futures::future::join(accepting, recording).await;
    });
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let directory = tempdir().unwrap();
    let (mut accepted, mut delivered) = (0, Vec::new());
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "log::tests::kill::child", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: &str| {
            let words: Vec<&str> = line[line.find("ack ")?..].split(' ').collect();
            match (words[1], words[2].parse().ok()?) {
                ("accepted", position) => accepted = position,
                (_, number) => delivered.push(number),
            }
            Some(())
        };
        let mut seen = 0;
        // At another point in each round.
        while seen < 60 + round * 37 {
            let line = lines.next().expect("the child goes on").unwrap();
            seen += usize::from(note(&line).is_some());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            note(&line);
        }
        check(directory.path(), accepted, &delivered).await;
    }
}

async fn check(directory: &Path, accepted: u64, delivered: &[u64]) {
    let log = open(directory, Options::default()).await;
    let cursor = log.cursor("hub").unwrap();
    assert!(cursor >= accepted, "{cursor} of {accepted}");
    let found = all(&log).await;
    assert_eq!(found.len() as u64, 3 * cursor, "each once");
    let mut heads: HashMap<String, String> = HashMap::new();
    for (index, delivery) in found.iter().enumerate() {
        assert_eq!(delivery.message.number, index as u64 + 1);
        let key = delivery.message.key.clone().unwrap();
        match delivery.state {
            DeliveryState::Pending => {
                heads.entry(key).or_insert(delivery.message.event.id.clone());
            }
            _ => assert!(!heads.contains_key(&key), "{} overtook one of its key", delivery.message.number),
        }
    }
    for number in delivered {
        assert_eq!(found[*number as usize - 1].state, DeliveryState::Delivered, "{number}");
    }
    let mut ready = ready(&log, "uid", Lane::First).await;
    let mut heads: Vec<String> = heads.into_values().collect();
    ready.sort();
    heads.sort();
    assert_eq!(ready, heads);
    log.close().await;
}
