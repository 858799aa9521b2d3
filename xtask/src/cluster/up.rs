//! `cluster up`: build, certificates, processes, in this order, each step doing only what is missing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::api::Api;
use super::state::{Layout, Settings};
use super::{
    NODE_ADDRESS, UpOptions, Which, control_plane, external, gateway, kubeconfig, node, pki, ports, process, programs,
    wait,
};
use crate::step::step;
use crate::tools;

/// Brings it up; gives the administrator's kubeconfig.
pub fn up(options: &UpOptions, which: &Which) -> Result<PathBuf> {
    let api = step("kubectl", || which.api())?;
    if which.kubeconfig.is_some() {
        return existing(options, api);
    }
    let layout = which.layout()?;
    let _lock = layout.lock()?;
    layout.create()?;
    let settings = settings(options, &layout)?;
    step("certificates", || {
        pki::provide(&layout)?;
        kubeconfigs(&layout, &settings)
    })?;
    let mut started = Vec::new();
    for component in control_plane::components(&layout, &settings) {
        let title = format!("{} {} on {}", component.program.name, component.version, component.address);
        if step(&title, || component.up(&layout, &api.kubectl))? {
            started.push(component.program.name);
        }
    }
    if settings.node {
        started.extend(node::up(&layout, &settings, &api)?);
    }
    if !gateway::installed(&api) {
        step("Gateway API", || gateway::install(&api))?;
    }
    step("first objects", || first_objects(&layout, &api))?;
    match started.as_slice() {
        [] => eprintln!("already up: nothing was started"),
        names => eprintln!("up: started {}", names.join(", ")),
    }
    Ok(api.kubeconfig)
}

/// A cluster that is there already.
fn existing(options: &UpOptions, api: Api) -> Result<PathBuf> {
    let version = external::version(&api)?;
    eprintln!("the cluster of {} answers: {version}; nothing is started", api.kubeconfig.display());
    if !gateway::installed(&api) {
        if options.install_gateway_api {
            step("Gateway API", || gateway::install(&api))?;
        } else {
            eprintln!("it has no Gateway API: --install-gateway-api installs its definitions");
        }
    }
    Ok(api.kubeconfig)
}

/// The settings of the first `up`, with programs and ports as they are now; those of running processes are left as they are.
fn settings(options: &UpOptions, layout: &Layout) -> Result<Settings> {
    let kept = Settings::load(layout)?;
    let running = |kept: &Settings| {
        let mut names = control_plane::PROGRAMS.iter().chain(&node::PROGRAMS);
        names.any(|name| process::find(layout, name, kept.programs.get(*name).map(PathBuf::as_path)).is_some())
    };
    if let Some(kept) = &kept
        && running(kept)
    {
        if kept.node != options.node {
            bail!(
                "the cluster runs {} a node: take it down first to change that",
                if kept.node { "with" } else { "without" }
            );
        }
        if kept.fsync == options.unsafe_no_fsync {
            bail!("the cluster runs with fsync={}: take it down first to change that", kept.fsync);
        }
        return Ok(kept.clone());
    }
    let cache = tools::cache_directory()?;
    let mut settings = Settings::new(options.node, !options.unsafe_no_fsync);
    for name in control_plane::PROGRAMS {
        let built = programs::KUBERNETES.provide(&cache, name)?;
        settings.versions.insert(name.into(), built.version);
        settings.programs.insert(name.into(), built.path);
    }
    let known = kept.map(|kept| kept.ports).unwrap_or_default();
    if settings.node {
        node::provide(&mut settings, &cache)?;
        // How to undo it is known before it is done.
        settings.save(layout)?;
        node::prepare(layout, &settings)?;
    }
    for (ip, names) in listeners(settings.node) {
        settings.ports.extend(ports::choose(ip.parse()?, &names, &known)?);
    }
    settings.save(layout)?;
    Ok(settings)
}

/// Who needs a port, by address.
fn listeners(node: bool) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut all = BTreeMap::from([("127.0.0.1", Vec::from(control_plane::PORTS))]);
    all.entry(control_plane::address(node)).or_default().push("kube-apiserver");
    if node {
        all.entry("127.0.0.1").or_default().extend(node::LOCAL_PORTS);
        all.entry(NODE_ADDRESS).or_default().extend(node::NODE_PORTS);
    }
    all
}

fn kubeconfigs(layout: &Layout, settings: &Settings) -> Result<()> {
    let server = control_plane::server(settings);
    for client in ["admin", "controller-manager", "scheduler"] {
        kubeconfig::write(layout, client, "ca", &server)?;
    }
    if settings.node {
        node::configure(layout, settings, &server)?;
    }
    kubeconfig::write(layout, "etcd", "etcd-ca", &format!("https://127.0.0.1:{}", settings.port("etcd")))?;
    Ok(())
}

/// Waits for what the controllers make in a new cluster, without which no pod can be created.
fn first_objects(layout: &Layout, api: &Api) -> Result<()> {
    for (kind, name) in [("serviceaccount", "default"), ("configmap", "kube-root-ca.crt")] {
        wait::until(&format!("{kind} {name} is made"), Duration::from_secs(60), || {
            Ok(api.output(&["-n", "default", "get", kind, name, "-o", "name"]).is_ok())
        })
        .with_context(|| wait::tail(&layout.log("kube-controller-manager")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listener_has_one_address() {
        let names = |node: bool| listeners(node).into_values().flatten().collect::<Vec<_>>();
        assert_eq!(listeners(false).keys().collect::<Vec<_>>(), [&"127.0.0.1"]);
        assert_eq!(listeners(true)[NODE_ADDRESS], ["kube-apiserver", "kubelet", "dns"]);
        for node in [false, true] {
            let all = names(node);
            let mut once = all.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), all.len(), "{all:?}");
        }
    }
}
