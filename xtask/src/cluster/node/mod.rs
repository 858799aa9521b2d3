//! A node, so that pods run: containerd, kubelet, kube-proxy and CoreDNS, on this machine, as root.
//!
//! The runtime, network plugins and iptables are Debian packages unpacked beside the host's files (`packages`); what is changed
//! on the host is recorded before and undone after (`host`). Pods get addresses on a bridge; the API server listens on an
//! address of a bridge without ports, which pods and processes of the host reach alike.

mod config;
mod dns;
mod host;
mod packages;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use self::config::HELLO_IMAGE;
use self::packages::Packages;
use super::api::Api;
use super::component::{Component, Probe};
use super::pki::NODE;
use super::process::Program;
use super::programs;
use super::state::{Layout, Settings, private_directory, write_private};
use super::{kubeconfig, wait};
use crate::image;
use crate::step::{on_path, output, step};
use crate::tools;

/// Where CoreDNS is reached by pods.
const DNS_ADDRESS: &str = "10.96.0.10";
/// Addresses of pods.
const POD_RANGE: &str = "10.88.0.0/24";
/// The bridge of the pods.
const POD_BRIDGE: &str = "rs-pods0";
/// The bridge that carries the API server's address.
const API_BRIDGE: &str = "rs-api0";
/// How long a part may take to be ready.
const READY: Duration = Duration::from_secs(120);

/// Ports on the node's address, and on the loopback address.
pub const NODE_PORTS: [&str; 2] = ["kubelet", "dns"];
/// See `NODE_PORTS`.
pub const LOCAL_PORTS: [&str; 3] = ["kube-proxy", "kube-proxy-metrics", "dns-ready"];
/// The programs, in the order in which they start.
pub const PROGRAMS: [&str; 4] = ["containerd", "kubelet", "kube-proxy", "coredns"];

/// Provides the programs, and notes them in the settings.
pub fn provide(settings: &mut Settings, cache: &Path) -> Result<()> {
    if output(Command::new("id").arg("-u"))? != "0" {
        bail!("a node needs root: containers, network and mounts are the kernel's");
    }
    if !on_path("ip") {
        tools::install(&["iproute2"])?;
    }
    let packages = Packages::provide(cache)?;
    let containerd = packages.path("usr/bin/containerd");
    let answer = output(packages.command("usr/bin/containerd").arg("--version"))?;
    let version = answer.split_whitespace().nth(2).unwrap_or_default().split(['~', '+']).next().unwrap_or_default();
    let mut note = |name: &str, version: String, path| {
        settings.versions.insert(name.into(), version);
        settings.programs.insert(name.into(), path);
    };
    note("containerd", format!("v{version}"), containerd);
    note("packages", String::new(), packages.root().into());
    for (module, names) in
        [(programs::KUBERNETES, &["kubelet", "kube-proxy"][..]), (programs::NODE, &["coredns", "pause", "hello"])]
    {
        for name in names {
            let built = module.provide(cache, name)?;
            note(name, built.version, built.path);
        }
    }
    Ok(())
}

/// Prepares this machine.
pub fn prepare(layout: &Layout, settings: &Settings) -> Result<()> {
    step("host", || host::claim(layout, &packages(settings)))
}

/// Writes what the node's processes read.
pub fn configure(layout: &Layout, settings: &Settings, server: &str) -> Result<()> {
    for directory in ["node", "node/cni", "node/kubelet", "node/volume-plugins"] {
        private_directory(&layout.path(directory))?;
    }
    for client in ["kubelet", "kube-proxy", "coredns"] {
        kubeconfig::write(layout, client, "ca", server)?;
    }
    let resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let resolver = resolver.lines().any(|line| line.starts_with("nameserver"));
    for (name, text) in config::files(layout, settings, &packages(settings), resolver) {
        write_private(&layout.path("node").join(name), &text)?;
    }
    Ok(())
}

/// The node's processes, in the order in which they start.
pub fn components(layout: &Layout, settings: &Settings) -> [Component; 4] {
    let packages = packages(settings);
    let file = |name: &str| layout.path("node").join(name).display().to_string();
    let listens = |ip: &str, port: &str| format!("{ip}:{}", settings.port(port));
    let part = |name: &'static str, arguments: Vec<String>, address, probe| Component {
        program: Program {
            name,
            path: settings.programs.get(name).cloned().unwrap_or_default(),
            arguments,
            environment: packages.environment(),
        },
        version: settings.versions.get(name).cloned().unwrap_or_default(),
        address,
        probe,
        limit: READY,
    };
    let asks = |server: String, path| Probe::Http { kubeconfig: layout.kubeconfig(), server, path };
    let ctr = Probe::Command {
        program: packages.path("usr/bin/ctr"),
        arguments: vec!["--address".into(), file("containerd.sock"), "version".into()],
        environment: packages.environment(),
    };
    let kubelet = vec![
        format!("--config={}", file("kubelet.yaml")),
        format!("--kubeconfig={}", layout.pki("kubelet.kubeconfig").display()),
        format!("--root-dir={}", file("kubelet")),
        format!("--cert-dir={}", file("kubelet")),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={}", super::NODE_ADDRESS),
    ];
    let health = format!("/api/v1/nodes/{NODE}/proxy/healthz");
    [
        part("containerd", vec!["--config".into(), file("containerd.toml")], file("containerd.sock"), ctr),
        part(
            "kubelet",
            kubelet,
            listens(super::NODE_ADDRESS, "kubelet"),
            asks(super::control_plane::server(settings), health),
        ),
        part(
            "kube-proxy",
            vec![format!("--config={}", file("kube-proxy.yaml"))],
            listens("127.0.0.1", "kube-proxy"),
            asks(format!("http://{}", listens("127.0.0.1", "kube-proxy")), "/healthz".into()),
        ),
        part(
            "coredns",
            vec!["-conf".into(), file("Corefile")],
            listens(super::NODE_ADDRESS, "dns"),
            asks(format!("http://{}", listens("127.0.0.1", "dns-ready")), "/ready".into()),
        ),
    ]
}

/// Starts it; gives the names of what was started.
pub fn up(layout: &Layout, settings: &Settings, api: &Api) -> Result<Vec<&'static str>> {
    dns::apply(layout, settings, api)?;
    let mut started = Vec::new();
    for component in components(layout, settings) {
        let title = format!("{} {} on {}", component.program.name, component.version, component.address);
        if step(&title, || component.up(layout, &api.kubectl))? {
            started.push(component.program.name);
        }
        if component.program.name == "containerd" {
            step("images", || images(layout, settings))?;
        }
    }
    step("node is ready", || api.wait("node", &format!("{NODE} --for=condition=Ready"), READY))
        .with_context(|| wait::tail(&layout.log("kubelet")))?;
    Ok(started)
}

fn images(layout: &Layout, settings: &Settings) -> Result<()> {
    for (image, name) in [(config::PAUSE_IMAGE, "pause"), (config::HELLO_IMAGE, "hello")] {
        let archive = layout.path("node").join(format!("{name}.tar"));
        let program = settings.programs.get(name).with_context(|| format!("{name} was not built"))?;
        image::of_program(&archive, image, name, program)?;
        load(layout, settings, &archive)?;
    }
    Ok(())
}

/// Imports an image archive (of `docker save`, or an OCI layout in a tar).
pub fn load(layout: &Layout, settings: &Settings, archive: &Path) -> Result<()> {
    let mut ctr = packages(settings).command("usr/bin/ctr");
    ctr.arg("--address").arg(layout.path("node/containerd.sock")).args(["--namespace", "k8s.io", "images", "import"]);
    output(ctr.arg(archive)).map(|names| eprintln!("    {}", names.replace('\n', "\n    ")))
}

/// Undoes what is left on the host once the processes are stopped.
pub fn release(layout: &Layout, settings: &Settings) -> Result<()> {
    host::release(layout, &packages(settings))
}

fn packages(settings: &Settings) -> Packages {
    Packages::at(settings.programs.get("packages").cloned().unwrap_or_default())
}
