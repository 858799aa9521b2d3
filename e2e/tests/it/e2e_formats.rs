//! Files keep their meaning: a data directory of every release is opened, read and written to; and a backup comes back.

use std::path::{Path, PathBuf};
use std::process::Command;

use roadstead_e2e::{Ground, Hook, Platform, Result, ensure, eventually, only_on, up};

/// Data directories of all releases, made by `examples/make_fixture.rs`.
fn fixtures() -> Result<Vec<PathBuf>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let files = std::fs::read_dir(directory)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    Ok(files.filter(|path| path.to_string_lossy().ends_with(".tar.gz")).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_releases_data_directory_is_opened_and_goes_on() -> Result<()> {
    if !only_on(Ground::Embedded, "the fixtures are data directories of `roadstead up`") {
        return Ok(());
    }
    let fixtures = fixtures()?;
    ensure!(!fixtures.is_empty(), "there are no fixtures");
    for fixture in fixtures {
        let scratch = tempfile::tempdir()?;
        let unpacked = Command::new("tar").arg("-xzf").arg(&fixture).arg("-C").arg(scratch.path()).status()?;
        ensure!(unpacked.success(), "{} can't be unpacked", fixture.display());
        let up = Platform::on(&scratch.path().join("data")).await?;
        let hook = Hook::existing(&up, "shop").await?;
        let events = hook.events().await?;
        let known: Vec<_> = events.iter().map(|event| (event.spec.sequence, event.spec.id.as_str())).collect();
        ensure!(known == [(1, "fixture-1"), (2, "fixture-2"), (3, "fixture-3")], "{}: {known:?}", fixture.display());
        ensure!(hook.body(2).await? == r#"{"ref":"refs/heads/main","after":"2"}"#.as_bytes());
        let again = hook.deliver("push", "fixture-3", br#"{"ref":"refs/heads/main","after":"3"}"#).await?;
        ensure!(again.status == 200, "a known delivery was answered {}", again.status);
        let new = hook.deliver("push", "fixture-4", br#"{"ref":"refs/heads/main","after":"4"}"#).await?;
        ensure!(new.status == 202, "a new delivery was answered {}", new.status);
        ensure!(hook.wait_for(4).await?.last().is_some_and(|event| event.spec.sequence == 4));
        let kept = up.kubectl()?.run("get subscriber/edge trigger/shop configmap/note -o name")?;
        ensure!(kept.lines().count() == 3, "{kept}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_under_way_comes_back_and_old_watchers_are_told() -> Result<()> {
    if !only_on(Ground::Embedded, "a backup is one of everything that `roadstead up` keeps; a cluster has its own") {
        return Ok(());
    }
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    for n in 1..=3 {
        hook.deliver("push", &format!("before-{n}"), b"{}").await?;
    }
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("backup.tar");
    up.cli(&["backup", &file.to_string_lossy()])?;
    ensure!(up.cli(&["backup", &file.to_string_lossy()]).is_err(), "a backup was overwritten");
    hook.deliver("push", "after", b"{}").await?;
    let position = hook.events().await?.last().and_then(|event| event.metadata.resource_version.clone());

    let restored = scratch.path().join("restored");
    let config = up.kubeconfig();
    up::cli(&config, &["restore", &file.to_string_lossy(), "--data-dir", &restored.to_string_lossy()])?;
    let again = up::cli(&config, &["restore", &file.to_string_lossy(), "--data-dir", &restored.to_string_lossy()]);
    ensure!(again.is_err(), "a restore overwrote a data directory");
    drop(up);

    let up = Platform::on(&restored).await?;
    let hook = Hook::existing(&up, "shop").await?;
    let events = hook.events().await?;
    ensure!(events.iter().map(|event| event.spec.sequence).eq(1..=3), "{} events came back", events.len());
    let answer = hook.deliver("push", "new", b"{}").await?;
    ensure!(answer.status == 202, "{}", answer.status);
    ensure!(hook.wait_for(4).await?.last().is_some_and(|event| event.spec.id == "new"));
    // Whoever had read past the backup holds a position that means nothing here.
    let path = format!(
        "/apis/log.roadstead.dev/v1alpha1/namespaces/{}/webhookevents?watch=1&resourceVersion={}",
        hook.namespace,
        position.unwrap_or_default()
    );
    let watched = up.kubectl()?.args(&["get", "--raw", &format!("{path}&timeoutSeconds=2")])?;
    ensure!(watched.contains(r#""code":410"#), "{watched}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_or_newer_file_is_refused_with_the_reason() -> Result<()> {
    if !only_on(
        Ground::Embedded,
        "the control plane's own file; those of the log are damaged in e2e_durability on both",
    ) {
        return Ok(());
    }
    let mut up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    hook.deliver("push", "one", b"{}").await?;
    up.kill()?;
    let store = up.data().join("store.db");
    // What the write-ahead log holds goes into the file first: else it would heal what is cut off here.
    let connection = rusqlite::Connection::open(&store)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
    drop(connection);
    let good = std::fs::read(&store)?;
    std::fs::write(&store, &good[..good.len() / 2])?;
    refused(&up, "store.db").await?;
    std::fs::write(&store, &good)?;

    let catalogue = up.data().join("log/catalogue.db");
    let connection = rusqlite::Connection::open(&catalogue)?;
    let version: i64 = connection.query_row("PRAGMA user_version", (), |row| row.get(0))?;
    connection.pragma_update(None, "user_version", version + 1)?;
    drop(connection);
    refused(&up, "newer").await?;
    let connection = rusqlite::Connection::open(&catalogue)?;
    connection.pragma_update(None, "user_version", version)?;
    drop(connection);
    up.start_again().await?;
    ensure!(hook.events().await?.len() == 1);
    Ok(())
}

/// Starts on the directory as it is and expects it to end with a reason that names `what`.
async fn refused(up: &Platform, what: &str) -> Result<()> {
    let mut process = up.spawn_second()?;
    eventually("it refuses to start", async || Ok(process.ended()?)).await?;
    let log = process.log();
    ensure!(log.contains("error: ") && log.contains(what), "{log}");
    Ok(())
}
