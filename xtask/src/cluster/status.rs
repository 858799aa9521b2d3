//! `cluster status`: each process with pid, age, version, readiness and address.

use anyhow::Result;
use serde_json::json;

use super::component::Report;
use super::state::Settings;
use super::{Format, Which, external};

/// Shows it on stdout. Fails if something is not ready, so that scripts can ask.
pub fn status(format: Format, which: &Which) -> Result<()> {
    let api = which.api()?;
    if which.kubeconfig.is_some() {
        let version = external::version(&api)?;
        return show(format, &version, &[], &api.kubeconfig.display().to_string());
    }
    let layout = which.layout()?;
    let Some(settings) = Settings::load(&layout)? else {
        anyhow::bail!("there is no cluster in {}: `cargo xtask cluster up` makes one", layout.root().display());
    };
    let components = super::components(&layout, &settings);
    let reports: Vec<Report> = components.iter().map(|component| component.report(&layout, &api.kubectl)).collect();
    let version = settings.versions.get("kube-apiserver").map(String::as_str).unwrap_or_default();
    show(format, version, &reports, &api.kubeconfig.display().to_string())?;
    let waiting: Vec<&str> = reports.iter().filter(|report| !report.ready).map(|report| report.name).collect();
    if !waiting.is_empty() {
        anyhow::bail!("not ready: {}", waiting.join(", "));
    }
    Ok(())
}

fn show(format: Format, version: &str, reports: &[Report], kubeconfig: &str) -> Result<()> {
    match format {
        Format::Json => {
            let answer = json!({"version": version, "kubeconfig": kubeconfig, "processes": reports});
            println!("{}", serde_json::to_string_pretty(&answer)?);
        }
        Format::Table => {
            print!("{}", table(reports));
            println!("Kubernetes {version}, KUBECONFIG={kubeconfig}");
        }
    }
    Ok(())
}

fn table(reports: &[Report]) -> String {
    let dash = || "-".to_string();
    let mut text = String::new();
    let mut line = |cells: [&str; 6]| {
        let [name, pid, age, version, ready, address] = cells;
        text += &format!("{name:<24} {pid:<8} {age:<7} {version:<9} {ready:<5} {address}\n");
    };
    if !reports.is_empty() {
        line(["NAME", "PID", "AGE", "VERSION", "READY", "ADDRESS"]);
    }
    for report in reports {
        let pid = report.pid.map_or_else(dash, |pid| pid.to_string());
        let age = report.age.map_or_else(dash, age);
        let ready = if report.ready { "yes" } else { "no" };
        line([report.name, &pid, &age, &report.version, ready, &report.address]);
    }
    text
}

/// `45s`, `12m`, `7h`, `3d`.
fn age(seconds: u64) -> String {
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        assert_eq!([0, 119, 120, 7_200, 172_800].map(age), ["0s", "119s", "2m", "2h", "2d"]);
    }

    #[test]
    fn what_does_not_run_has_no_pid() {
        let report = |pid, ready| Report {
            name: "etcd",
            pid,
            age: pid.map(|_| 61),
            version: "v3.6.4".into(),
            ready,
            address: "https://127.0.0.1:1".into(),
        };
        let text = table(&[report(Some(7), true), report(None, false)]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["etcd", "7", "61s", "v3.6.4", "yes", "https://127.0.0.1:1"]);
        assert_eq!(lines[2], ["etcd", "-", "-", "v3.6.4", "no", "https://127.0.0.1:1"]);
    }
}
