//! kill -9 at any moment: what was answered 2xx is there, exactly once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use roadstead_e2e::{Hook, Platform, Result, ensure, eventually};

/// Senders at the same time.
const SENDERS: usize = 8;
/// Times that the hub is killed.
const ROUNDS: usize = 3;
/// Acknowledged deliveries after which it is killed.
const BETWEEN: usize = 150;

fn body(id: &str) -> Vec<u8> {
    serde_json::json!({"ref": format!("refs/heads/{id}"), "repository": {"full_name": "octo/shop"}})
        .to_string()
        .into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_under_load_loses_nothing_and_doubles_nothing() -> Result<()> {
    let mut up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    // Of each delivery: whether it was answered 2xx. Its sender tries only once in each round.
    let mut sent: BTreeMap<String, bool> = BTreeMap::new();
    for round in 0..ROUNDS {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (hook, acknowledged) = (hook.clone(), acknowledged.clone());
                tokio::spawn(async move {
                    let mut sent = Vec::new();
                    for number in 0.. {
                        let id = format!("{round}-{sender}-{number}");
                        let answer = hook.deliver("push", &id, &body(&id)).await;
                        let good = answer.as_ref().is_ok_and(|answer| answer.is_success());
                        sent.push((id, good));
                        if !good {
                            break;
                        }
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    sent
                })
            })
            .collect();
        eventually("enough is acknowledged", async || {
            Ok((acknowledged.load(Ordering::Relaxed) >= BETWEEN).then_some(()))
        })
        .await?;
        up.kill()?;
        for sender in senders {
            sent.extend(sender.await?);
        }
        up.start_again().await?;
    }
    let check = async |expected: &dyn Fn(&str) -> bool| -> Result<()> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (index, event) in hook.events().await?.iter().enumerate() {
            ensure!(event.spec.sequence == index as u64 + 1, "a gap before {}", event.spec.sequence);
            *seen.entry(event.spec.id.clone()).or_default() += 1;
        }
        for (id, count) in &seen {
            ensure!(*count == 1 && sent.contains_key(id), "{id} is there {count} times");
        }
        for id in sent.keys().filter(|id| expected(id)) {
            ensure!(seen.contains_key(id), "{id} was answered 2xx and is lost");
        }
        Ok(())
    };
    check(&|id| sent[id]).await?;
    // What a sender does not know about it sends again: still once.
    for (id, _) in sent.iter().filter(|(_, good)| !**good) {
        ensure!(hook.deliver("push", id, &body(id)).await?.is_success());
    }
    check(&|_| true).await
}

#[tokio::test]
async fn a_store_of_a_newer_release_is_refused_and_left_alone() -> Result<()> {
    let mut up = Platform::start().await?;
    Hook::github(&up, "shop").await?;
    up.kill()?;
    let files = databases(up.data())?;
    ensure!(!files.is_empty(), "no SQLite file in the data directory");
    for file in files {
        let connection = rusqlite::Connection::open(&file)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        connection.pragma_update(None, "user_version", 1_000_000)?;
        drop(connection);
        let error = up.start_again().await.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(error.contains("ended with"), "{} was opened: {error}", file.display());
        let log = up.process().tail();
        ensure!(log.contains("1000000") || log.contains("newer"), "{log}");
        let connection = rusqlite::Connection::open(&file)?;
        connection.pragma_update(None, "user_version", version)?;
    }
    up.start_again().await
}

#[tokio::test]
async fn a_store_that_is_truncated_is_refused_with_the_reason() -> Result<()> {
    let mut up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    for number in 0..50 {
        ensure!(hook.deliver("push", &number.to_string(), &vec![b' '; 10_000]).await?.is_success());
    }
    // SIGTERM: what is in the WAL moves into the file.
    up.process().signal("TERM")?;
    eventually("it ends", async || Ok(up.process().ended()?)).await?;
    for file in databases(up.data())? {
        let whole = std::fs::read(&file)?;
        std::fs::write(&file, &whole[..whole.len() / 2])?;
        let error = up.start_again().await.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(error.contains("ended with"), "{} was opened though half of it is missing: {error}", file.display());
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = up.process().tail();
        ensure!(log.contains(&name), "{name} is not named: {log}");
        std::fs::write(&file, whole)?;
    }
    up.start_again().await?;
    ensure!(hook.events().await?.len() == 50);
    Ok(())
}

/// SQLite files, by their first bytes.
fn databases(directory: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(databases(&path)?);
        } else if std::fs::read(&path)?.starts_with(b"SQLite format 3\0") {
            found.push(path);
        }
    }
    Ok(found)
}
