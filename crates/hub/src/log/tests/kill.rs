//! kill -9 under load: what was acknowledged is there exactly once, and sequences have no gaps.
//!
//! The test starts itself as a child process, which appends as fast as it can and prints the id of each acknowledged event.

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Arc,
};

use tempfile::tempdir;

use super::support::*;
use crate::log::{LocalLog, Log, Outcome};

const DIRECTORY: &str = "ROADSTEAD_TEST_LOG_DIRECTORY";
const ROUND: &str = "ROADSTEAD_TEST_LOG_ROUND";

/// The child's part: does nothing in an ordinary run.
#[test]
fn child() {
    let (Ok(directory), Ok(round)) = (std::env::var(DIRECTORY), std::env::var(ROUND)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let log = LocalLog::open(directory.as_ref(), small()).await.unwrap();
        let workers: Vec<_> =
            (0..16).map(|worker| tokio::spawn(append_for_ever(log.clone(), round.clone(), worker))).collect();
        futures::future::join_all(workers).await;
    });
}

async fn append_for_ever(log: Arc<LocalLog>, round: String, worker: usize) {
    let stream = stream(["a", "b", "c"][worker % 3]);
    for n in 0.. {
        // Two workers send each id, as a sender that retries does.
        let id = format!("{round}-{}-{n}", worker / 2 * 2 % 3 + worker / 2 * 10);
        let drafts = vec![draft(&format!("{id}/0")), draft(&format!("{id}/1"))];
        for (part, outcome) in log.append(&stream, drafts).await.unwrap().into_iter().enumerate() {
            let (Outcome::Recorded { sequence, .. } | Outcome::Duplicate { sequence }) = outcome;
            println!("ack {} {id}/{part} {sequence}", stream.name);
        }
    }
}

#[tokio::test]
async fn acknowledged_events_survive_kill_9_exactly_once() {
    let directory = tempdir().unwrap();
    let mut acknowledged: HashMap<(String, String), u64> = HashMap::new();
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "log::tests::kill::child", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        // At another point in each round; several segments are rolled meanwhile.
        while seen < 700 + round * 331 {
            let line = lines.next().expect("the child goes on").unwrap();
            seen += usize::from(note(&line, &mut acknowledged));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had printed before it died counts too.
        for line in lines.map_while(Result::ok) {
            note(&line, &mut acknowledged);
        }
        check(directory.path(), &acknowledged).await;
    }
}

/// Takes down one `ack STREAM ID SEQUENCE` line; others are the test harness's.
fn note(line: &str, acknowledged: &mut HashMap<(String, String), u64>) -> bool {
    let Some(at) = line.find("ack ") else { return false };
    let words: Vec<&str> = line[at..].split(' ').collect();
    let [_, stream, id, sequence] = words[..] else { return false };
    let Ok(sequence) = sequence.parse() else { return false };
    let earlier = acknowledged.insert((stream.into(), id.into()), sequence);
    assert!(earlier.is_none_or(|earlier| earlier == sequence), "{id} was acknowledged as two events");
    true
}

async fn check(directory: &std::path::Path, acknowledged: &HashMap<(String, String), u64>) {
    let log = LocalLog::open(directory, small()).await.unwrap();
    let mut found: HashMap<(String, String), u64> = HashMap::new();
    let mut sequences: HashMap<String, u64> = HashMap::new();
    for record in read_all(&log, &all(), 0).await {
        let stream = record.stream().name.clone();
        let last = sequences.entry(stream.clone()).or_default();
        assert_eq!(record.sequence, *last + 1, "a gap in {stream}");
        *last = record.sequence;
        let twice = found.insert((stream, record.id.to_string()), record.sequence);
        assert!(twice.is_none(), "{} is there twice", record.id);
    }
    for (event, sequence) in acknowledged {
        assert_eq!(found.get(event), Some(sequence), "{event:?}");
    }
    // A delivery's events are there together.
    let whole: HashSet<_> = found.keys().map(|(stream, id)| (stream.clone(), id[..id.len() - 2].to_string())).collect();
    assert_eq!(whole.len() * 2, found.len());
    log.close().await;
}
