//! The disk or the quota is full: deliveries are refused with 503, nothing is damaged, and it goes on when there is room again.

use std::path::Path;
use std::process::Command;

use roadstead_e2e::{Context, Hook, Platform, Result, ensure, eventually};

/// A small file system of its own; only root may mount one.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(path: &'a Path, size: &str) -> Option<Tmpfs<'a>> {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(path).status();
        mounted.is_ok_and(|status| status.success()).then_some(Tmpfs(path))
    }

    fn resize(&self, size: &str) -> Result<()> {
        let done = Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(self.0).status()?;
        ensure!(done.success(), "cannot remount");
        Ok(())
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        // Lazily: the platform may still be ending.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_answers_503_and_recovers_by_itself() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let Some(disk) = Tmpfs::mount(directory.path(), "48m") else {
        eprintln!("not root: no file system can be mounted, so nothing is tested here");
        return Ok(());
    };
    let mut up = Platform::on(&directory.path().join("data")).await?;
    let hook = Hook::github(&up, "shop").await?;
    let body = vec![b' '; 256 * 1024];
    let mut kept = Vec::new();
    let mut refused = None;
    for number in 0..1000 {
        let id = number.to_string();
        let answer = hook.deliver("push", &id, &body).await?;
        if answer.is_success() {
            kept.push(id);
            continue;
        }
        ensure!(answer.status == 503, "{answer:?}");
        refused = Some(answer);
        break;
    }
    let refused = refused.context("the disk never became full")?;
    ensure!(refused.headers.contains_key("retry-after"), "{refused:?}");
    ensure!(kept.len() > 10, "only {} fitted", kept.len());
    up.kubectl()?.run("get webhookendpoints")?;

    disk.resize("200m")?;
    eventually("deliveries are taken again", async || {
        let answer = hook.deliver("push", "after", &body).await?;
        Ok(answer.is_success().then_some(()))
    })
    .await?;
    kept.push("after".into());
    up.crash().await?;
    let ids: Vec<String> = hook.events().await?.into_iter().map(|event| event.spec.id).collect();
    ensure!(ids == kept, "answered 2xx: {kept:?}, recorded: {ids:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_quota_answers_503_before_the_disk_is_full() -> Result<()> {
    let up = Platform::with(&["--log-quota", "8Mi"]).await?;
    let hook = Hook::github(&up, "shop").await?;
    let body = vec![b' '; 256 * 1024];
    let mut kept = 0;
    let refused = loop {
        let answer = hook.deliver("push", &kept.to_string(), &body).await?;
        if !answer.is_success() {
            break answer;
        }
        kept += 1;
        ensure!(kept < 100, "25 MiB fitted into 8");
    };
    ensure!(refused.status == 503 && refused.headers.contains_key("retry-after"), "{refused:?}");
    ensure!(hook.events().await?.len() == kept && kept > 5, "{kept} were answered 2xx");
    Ok(())
}
