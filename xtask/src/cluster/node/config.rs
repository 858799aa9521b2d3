//! The configuration files of a node's processes. Pure: paths and ports in, text out.

use serde_json::{Value, json};

use super::packages::Packages;
use super::{DNS_ADDRESS, POD_BRIDGE, POD_RANGE};
use crate::cluster::NODE_ADDRESS;
use crate::cluster::pki::NODE;
use crate::cluster::state::{Layout, Settings};

/// The image that holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "localhost/roadstead/pause:1";
/// The small HTTP server for tests.
pub const HELLO_IMAGE: &str = "localhost/roadstead/hello:1";

/// All files, by name below `node/` in the cluster's directory.
pub fn files(layout: &Layout, settings: &Settings, packages: &Packages, resolver: bool) -> [(&'static str, String); 5] {
    [
        ("containerd.toml", containerd(layout, packages)),
        ("cni/10-pods.conflist", network(layout).to_string()),
        ("kubelet.yaml", kubelet(layout, settings).to_string()),
        ("kube-proxy.yaml", proxy(layout, settings).to_string()),
        ("Corefile", corefile(layout, settings, resolver)),
    ]
}

/// containerd keeps everything below the cluster's directory, network namespaces too.
fn containerd(layout: &Layout, packages: &Packages) -> String {
    let node = |name: &str| layout.path("node").join(name).display().to_string();
    let package = |name: &str| packages.path(name).display().to_string();
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt",
]

[grpc]
address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# A machine may forbid to lower oom_score_adj, and runc would fail.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
BinaryName = "{runc}"
Root = "{runc_root}"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{networks}"
"#,
        root = node("containerd/root"),
        state = node("containerd/state"),
        socket = node("containerd.sock"),
        runc = package("usr/sbin/runc"),
        runc_root = node("runc"),
        plugins = package("usr/lib/cni"),
        networks = node("cni"),
    )
}

/// A bridge for pods, whose traffic to the outside takes this machine's address.
fn network(layout: &Layout) -> Value {
    let leases = layout.path("node/cni-leases");
    let ipam = json!({
        "type": "host-local",
        "dataDir": leases,
        "ranges": [[{"subnet": POD_RANGE}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    });
    let bridge = json!({
        "type": "bridge", "bridge": POD_BRIDGE, "isGateway": true, "ipMasq": true, "hairpinMode": true, "ipam": ipam,
    });
    let ports = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    json!({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]})
}

/// Source: <https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/>.
fn kubelet(layout: &Layout, settings: &Settings) -> Value {
    let node = |name: &str| layout.path("node").join(name);
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "port": settings.port("kubelet"),
        "healthzPort": 0,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": layout.pki("kubelet-serving.pem"),
        "tlsPrivateKeyFile": layout.pki("kubelet-serving.pem"),
        "containerRuntimeEndpoint": format!("unix://{}", node("containerd.sock").display()),
        "podLogsDir": node("pod-logs"),
        "volumePluginDir": node("volume-plugins"),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "nodeStatusUpdateFrequency": "2s",
        // Images come by `cluster load` and cannot be fetched again.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    })
}

/// Source: <https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/>.
fn proxy(layout: &Layout, settings: &Settings) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": layout.pki("kube-proxy.kubeconfig")},
        "hostnameOverride": NODE,
        "bindAddress": NODE_ADDRESS,
        "clusterCIDR": POD_RANGE,
        "healthzBindAddress": format!("127.0.0.1:{}", settings.port("kube-proxy")),
        "metricsBindAddress": format!("127.0.0.1:{}", settings.port("kube-proxy-metrics")),
        // The host's own settings stay as they are.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"localhostNodePorts": false},
    })
}

/// CoreDNS runs on the host; names that are not the cluster's go to the host's resolver, if it has one.
fn corefile(layout: &Layout, settings: &Settings, resolver: bool) -> String {
    format!(
        ".:{port} {{
    bind {NODE_ADDRESS}
    errors
    ready 127.0.0.1:{ready}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        fallthrough in-addr.arpa ip6.arpa
    }}
{forward}    cache 5
    loadbalance
}}
",
        port = settings.port("dns"),
        ready = settings.port("dns-ready"),
        kubeconfig = layout.pki("coredns.kubeconfig").display(),
        forward = if resolver { "    forward . /etc/resolv.conf\n" } else { "" },
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn rendered(resolver: bool) -> BTreeMap<&'static str, String> {
        let mut settings = Settings::new(true, true);
        settings.ports.extend([("dns".into(), 1053), ("kubelet".into(), 10_250)]);
        files(&Layout::new("/state".into()), &settings, &Packages::at("/packages".into()), resolver).into()
    }

    #[test]
    fn what_containerd_and_kubelet_write_is_below_the_clusters_directory() {
        let files = rendered(true);
        for line in files["containerd.toml"].lines() {
            let key = line.split(" = ").next().unwrap();
            if ["root", "state", "address", "Root", "conf_dir"].contains(&key) {
                assert!(line.contains("\"/state/node/"), "{line}");
            }
        }
        let kubelet: Value = serde_json::from_str(&files["kubelet.yaml"]).unwrap();
        assert_eq!(kubelet["podLogsDir"], "/state/node/pod-logs");
        assert_eq!(kubelet["containerRuntimeEndpoint"], "unix:///state/node/containerd.sock");
    }

    #[test]
    fn nobody_asks_the_kubelet_unnamed() {
        let kubelet: Value = serde_json::from_str(&rendered(true)["kubelet.yaml"]).unwrap();
        assert_eq!(kubelet["authentication"]["anonymous"]["enabled"], false);
        assert_eq!(kubelet["authorization"]["mode"], "Webhook");
    }

    #[test]
    fn without_a_resolver_nothing_is_forwarded() {
        assert!(rendered(true)["Corefile"].starts_with(".:1053 {\n    bind 10.200.0.1\n"));
        assert!(rendered(true)["Corefile"].contains("forward . /etc/resolv.conf\n"));
        assert!(!rendered(false)["Corefile"].contains("forward"));
    }
}
