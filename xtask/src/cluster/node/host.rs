//! What a node changes on this machine, and how it is undone.
//!
//! Before anything is changed, a record is written of how it was: kernel settings, and which directories were not there. `release`
//! goes by that record, so it can be repeated after a kill at any point, and removes nothing that was there before. Only one
//! node can be on a machine; a second is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::packages::Packages;
use super::{API_BRIDGE, POD_BRIDGE};
use crate::cluster::NODE_ADDRESS;
use crate::cluster::state::{Layout, write_private};
use crate::cluster::{process, wait};
use crate::step::output;

/// Kernel settings that the node needs (with a value), or that the kubelet changes by itself.
const KERNEL: [(&str, Option<&str>); 8] = [
    ("net/ipv4/ip_forward", Some("1")),
    ("net/bridge/bridge-nf-call-iptables", Some("1")),
    ("vm/overcommit_memory", None),
    ("vm/panic_on_oom", None),
    ("kernel/panic", None),
    ("kernel/panic_on_oops", None),
    ("kernel/keys/root_maxkeys", None),
    ("kernel/keys/root_maxbytes", None),
];
/// Directories that kubelet, containerd and the network plugins make whatever they are told.
const DIRECTORIES: [&str; 7] = [
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/log/containers",
    "/var/log/pods",
    "/run/containerd",
    "/run/kubernetes",
    "/etc/kubernetes",
];
/// Where control groups are mounted, and the group of all pods.
const CGROUPS: &str = "/sys/fs/cgroup";
const PODS: &str = "kubepods";

/// How the machine was.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Before {
    kernel: BTreeMap<String, String>,
    absent: Vec<PathBuf>,
}

fn record(layout: &Layout) -> PathBuf {
    layout.path("host.json")
}

/// Prepares this machine: the record, the address of the API server, kernel settings. Refuses where another node is.
pub fn claim(layout: &Layout, packages: &Packages) -> Result<()> {
    if !record(layout).exists() {
        refuse_another(packages)?;
        let read = |name: &str| fs::read_to_string(kernel(name)).ok().map(|value| value.trim().to_string());
        let before = Before {
            kernel: KERNEL.iter().filter_map(|(name, _)| Some((name.to_string(), read(name)?))).collect(),
            absent: DIRECTORIES.iter().map(PathBuf::from).filter(|path| !path.exists()).collect(),
        };
        write_private(&record(layout), &serde_json::to_string_pretty(&before)?)?;
    }
    if !link_exists(API_BRIDGE) {
        ip(&["link", "add", API_BRIDGE, "type", "bridge"])?;
    }
    ip(&["addr", "replace", &format!("{NODE_ADDRESS}/32"), "dev", API_BRIDGE])?;
    ip(&["link", "set", API_BRIDGE, "up"])?;
    for (name, value) in KERNEL {
        if let Some(value) = value {
            fs::write(kernel(name), value).with_context(|| format!("cannot set {name}"))?;
        }
    }
    Ok(())
}

fn refuse_another(packages: &Packages) -> Result<()> {
    let rules = output(&mut packages.command("path/iptables-save"))?;
    let found = [
        (link_exists(API_BRIDGE) || link_exists(POD_BRIDGE), "the links of another cluster's node"),
        (rules.contains(":KUBE-") || rules.contains(":CNI-"), "iptables rules of a kube-proxy or of network plugins"),
        (!pod_groups().is_empty(), "control groups of a kubelet"),
    ];
    match found.iter().find(|(there, _)| *there) {
        Some((_, what)) => {
            bail!("there are {what} on this machine, and it can only hold one node: take that down first")
        }
        None => Ok(()),
    }
}

/// Undoes what the node's processes, all stopped by now, have left.
pub fn release(layout: &Layout, packages: &Packages) -> Result<()> {
    let Ok(text) = fs::read_to_string(record(layout)) else { return Ok(()) };
    let before: Before = serde_json::from_str(&text).context("host.json is not understood")?;
    end_containers(layout, packages)?;
    unmount(layout)?;
    for link in links_of(POD_BRIDGE)?.into_iter().chain([POD_BRIDGE.into(), API_BRIDGE.into()]) {
        // Links to a pod go with its namespace, perhaps in this moment.
        if link_exists(&link) && ip(&["link", "del", &link]).is_err() && link_exists(&link) {
            bail!("cannot remove the link {link}");
        }
    }
    for family in ["iptables", "ip6tables"] {
        remove_rules(layout, packages, family)?;
    }
    for group in pod_groups() {
        remove_group(&group)?;
    }
    for (name, value) in &before.kernel {
        fs::write(kernel(name), value).with_context(|| format!("cannot set {name} back"))?;
    }
    for directory in before.absent.iter().filter(|directory| directory.exists()) {
        fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    fs::remove_file(record(layout)).context("cannot remove host.json")
}

/// Ends the processes of all pods, and the shims that wait for them.
fn end_containers(layout: &Layout, packages: &Packages) -> Result<()> {
    wait::until("the pods' processes end", Duration::from_secs(30), || {
        let mut none = true;
        for group in pod_groups().iter().flat_map(|group| below(group)) {
            let pids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            for pid in pids.lines().filter_map(|line| line.parse().ok()) {
                none &= process::kill(pid)?;
            }
        }
        Ok(none)
    })?;
    let shim = packages.path("usr/bin/containerd-shim-runc-v2");
    wait::until("the containers' shims end", Duration::from_secs(30), || {
        let mut none = true;
        for pid in process::of_program(&shim, layout.root()) {
            none &= process::kill(pid)?;
        }
        Ok(none)
    })
}

/// Unmounts what is mounted below the cluster's directory and below the directories that were not there before.
fn unmount(layout: &Layout) -> Result<()> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let roots = [layout.root().to_path_buf(), "/var/lib/kubelet".into(), "/run/containerd".into()];
    for mount in ours(&mounts, &roots) {
        output(Command::new("umount").arg("-l").arg(&mount)).with_context(|| format!("cannot unmount {mount}"))?;
    }
    Ok(())
}

/// The mount points below some directories, the innermost first.
fn ours(mounts: &str, roots: &[PathBuf]) -> Vec<String> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let mut points: Vec<String> =
        points.filter(|point| roots.iter().any(|root| Path::new(point).starts_with(root))).map(String::from).collect();
    points.sort();
    points.reverse();
    points
}

fn remove_rules(layout: &Layout, packages: &Packages, family: &str) -> Result<()> {
    let Ok(rules) = output(&mut packages.command(&format!("path/{family}-save"))) else {
        return Ok(()); // A kernel without this family.
    };
    let kept = without_ours(&rules);
    if kept == rules {
        return Ok(());
    }
    let file = layout.path(&format!("{family}.rules"));
    write_private(&file, &format!("{kept}\n"))?;
    let result = output(packages.command(&format!("path/{family}-restore")).arg(&file));
    fs::remove_file(file)?;
    result.map(drop).with_context(|| format!("cannot remove the {family} rules"))
}

/// The rules of `iptables-save` without chains and rules of kube-proxy, kubelet, the network plugins, or for the pods' bridge.
fn without_ours(rules: &str) -> String {
    let ours = ["KUBE-", "CNI-", POD_BRIDGE];
    let kept = rules.lines().filter(|line| line.starts_with('#') || !ours.iter().any(|mark| line.contains(mark)));
    kept.collect::<Vec<_>>().join("\n")
}

/// The group of all pods, in each hierarchy.
fn pod_groups() -> Vec<PathBuf> {
    let hierarchies = fs::read_dir(CGROUPS).into_iter().flatten().flatten().map(|entry| entry.path());
    let groups = hierarchies.chain([PathBuf::from(CGROUPS)]).map(|hierarchy| hierarchy.join(PODS));
    groups.filter(|group| group.is_dir()).collect()
}

/// A group and all below it, the innermost first.
fn below(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut all: Vec<PathBuf> = entries.filter(|path| path.is_dir()).flat_map(|path| below(&path)).collect();
    all.push(group.to_path_buf());
    all
}

fn remove_group(group: &Path) -> Result<()> {
    wait::until(&format!("{} can be removed", group.display()), Duration::from_secs(15), || {
        // Busy for a moment after its last process has ended.
        Ok(below(group).iter().all(|group| fs::remove_dir(group).is_ok() || !group.exists()))
    })
}

fn kernel(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

fn link_exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

/// The links that are ports of a bridge.
fn links_of(bridge: &str) -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(Path::new("/sys/class/net").join(bridge).join("brif")) else { return Ok(vec![]) };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

fn ip(arguments: &[&str]) -> Result<()> {
    output(Command::new("ip").args(arguments).stdout(Stdio::null())).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_rules_are_removed() {
        let rules = "# Generated\n*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:DOCKER - [0:0]\n\
                     -A PREROUTING -j KUBE-SERVICES\n-A PREROUTING -j DOCKER\n-A POSTROUTING -j CNI-12ab\n\
                     -A FORWARD -i rs-pods0 -j ACCEPT\nCOMMIT";
        assert_eq!(
            without_ours(rules),
            "# Generated\n*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -j DOCKER\nCOMMIT"
        );
        let foreign = "*filter\n:INPUT ACCEPT [1:2]\nCOMMIT";
        assert_eq!(without_ours(foreign), foreign);
    }

    #[test]
    fn mounts_are_undone_from_the_inside_and_only_ours() {
        let mounts =
            "a /state overlay\nb /state/node/x overlay\nc /state/node/x/y tmpfs\nd /stateful tmpfs\ne / ext4\n";
        assert_eq!(ours(mounts, &["/state".into()]), ["/state/node/x/y", "/state/node/x", "/state"]);
    }

    #[test]
    fn groups_are_listed_from_the_inside() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let all = below(directory.path());
        assert_eq!(all, [inner.clone(), inner.parent().unwrap().into(), directory.path().into()]);
    }
}
