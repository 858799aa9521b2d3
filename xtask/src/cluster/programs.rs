//! What a cluster is built from: Go modules that pin each version.

use crate::golang::Module;

/// Kubernetes and etcd.
pub const KUBERNETES: Module = Module {
    directory: "cluster/kubernetes",
    main: "k8s.io/kubernetes",
    stamps: kubernetes_version,
    programs: &[
        ("etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3"),
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes"),
        ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", "k8s.io/kubernetes"),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", "k8s.io/kubernetes"),
        ("kubelet", "k8s.io/kubernetes/cmd/kubelet", "k8s.io/kubernetes"),
        ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", "k8s.io/kubernetes"),
    ],
};

/// What a node has beside them: CoreDNS, and what is in the images.
pub const NODE: Module = Module {
    directory: "cluster/node",
    main: "github.com/coredns/coredns",
    stamps: kubernetes_version,
    programs: &[
        ("coredns", "./coredns", "github.com/coredns/coredns"),
        ("pause", "./pause", "github.com/coredns/coredns"),
        ("hello", "./hello", "github.com/coredns/coredns"),
    ],
};

/// The definitions of Gateway API's kinds; nothing is built from it.
pub const GATEWAY: Module = Module {
    directory: "cluster/gateway-api",
    main: "sigs.k8s.io/gateway-api",
    stamps: kubernetes_version,
    programs: &[],
};

/// All of them.
#[cfg(test)]
pub const MODULES: [&Module; 3] = [&KUBERNETES, &NODE, &GATEWAY];

/// Where Kubernetes' programs look for their version.
pub fn kubernetes_version(version: &str) -> Vec<(&'static str, String)> {
    let minor = version.split('.').nth(1).unwrap_or_default();
    vec![
        ("k8s.io/component-base/version.gitVersion", version.into()),
        ("k8s.io/component-base/version.gitMajor", "1".into()),
        ("k8s.io/component-base/version.gitMinor", minor.into()),
        ("k8s.io/component-base/version.gitTreeState", "clean".into()),
        ("k8s.io/client-go/pkg/version.gitVersion", version.into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_stamped() {
        let stamps = kubernetes_version("v1.34.4");
        assert!(stamps.contains(&("k8s.io/component-base/version.gitVersion", "v1.34.4".into())), "{stamps:?}");
        assert!(stamps.contains(&("k8s.io/component-base/version.gitMinor", "34".into())), "{stamps:?}");
    }
}
