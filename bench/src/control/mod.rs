//! The embedded control plane beside a real kube-apiserver with etcd: the same requests over the same kind of connection, one after
//! the other in one run, both on empty directories of the same disk and both syncing before they answer.
//!
//! In: the `roadstead` binary, and a directory with `etcd` and `kube-apiserver` (`cargo xtask bench` builds them). Out: rows with
//! both figures and their ratio. The embedded side is the whole of `up`, hub and agent included; the real one is the API server
//! and etcd alone, without the controller-manager that collects garbage there.

mod kubernetes;
mod measure;
mod session;

use std::{path::Path, time::Duration};

use anyhow::Result;

use self::{
    kubernetes::Kubernetes,
    measure::{Figures, measure},
    session::Access,
};
use crate::{
    machine::resident,
    platform::Platform,
    report::{Report, ms},
};

/// Measures the real one, then the embedded one, and reports both.
pub async fn run(binary: &Path, kubernetes: &Path, seconds: u64, report: &mut Report) -> Result<()> {
    let length = Duration::from_secs(seconds);
    let (real_start, real_idle, real) = {
        let mut starts = Vec::new();
        for _ in 0..2 {
            starts.push(Kubernetes::start(kubernetes).await?.ready_after);
        }
        let real = Kubernetes::start(kubernetes).await?;
        starts.push(real.ready_after);
        starts.sort_unstable();
        settle().await;
        let memory = || real.pids().into_iter().map(resident).sum();
        let idle = memory();
        (starts[1], idle, measure(&real.access, length, memory).await?)
    };
    let (own_start, own_idle, own) = {
        let mut starts = Vec::new();
        for _ in 0..2 {
            starts.push(Platform::start(binary, &[]).await?.ready_after);
        }
        let own = Platform::start(binary, &[]).await?;
        starts.push(own.ready_after);
        starts.sort_unstable();
        settle().await;
        let memory = || resident(own.pid());
        let idle = memory();
        (starts[1], idle, measure(&Access::of_kubeconfig(&own.kubeconfig()).await?, length, memory).await?)
    };
    report_times(report, "API ready on an empty directory (median of 3)", own_start, real_start, 0.1);
    report_memory(report, "idle, resident", own_idle, real_idle, 15.0);
    rows(report, &own, &real);
    Ok(())
}

/// Lets what runs once after a start end.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

fn rows(report: &mut Report, own: &Figures, real: &Figures) {
    for (writers, own, real, target) in
        [(1, own.creates_1, real.creates_1, 4.0), (64, own.creates_64, real.creates_64, 8.0)]
    {
        let what = format!("ConfigMaps of 1 KiB created, {writers} writer{}", if writers == 1 { "" } else { "s" });
        let ratio = format!("{real:.0}/s, {:.1} times", own / real);
        report.add(what, format!("{own:.0}/s"), ratio, format!(">= {target} times"));
    }
    report_times(report, "create to watcher, 1 watcher, p50", own.watch_1, real.watch_1, 1.0 / 3.0);
    report_times(report, "create to each of 1,000 watchers, p50", own.watch_1000, real.watch_1000, 1.0 / 3.0);
    report_times(report, "create to the last of 1,000 watchers, p50", own.watch_last, real.watch_last, 1.0 / 3.0);
    report_times(report, "list of 10,000 ConfigMaps", own.list, real.list, 1.0);
    report_times(report, "deletecollection of 5,000 ConfigMaps", own.delete, real.delete, 1.0);
    report_memory(report, "with 30,000 objects more, resident", own.full, real.full, 15.0);
}

fn report_times(report: &mut Report, what: &str, own: Duration, real: Duration, target: f64) {
    let share = own.as_secs_f64() / real.as_secs_f64();
    report.add(what, ms(own), format!("{}, {share:.3} of it", ms(real)), format!("<= {target:.2} of it"));
}

fn report_memory(report: &mut Report, what: &str, own: u64, real: u64, target: f64) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let times = real as f64 / own as f64;
    let beside = format!("{:.0} MiB, {times:.1} times as much", mib(real));
    report.add(what, format!("{:.1} MiB", mib(own)), beside, format!(">= {target:.0} times"));
}
