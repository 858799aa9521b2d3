//! The command lines of the control plane: etcd, API server, controller manager, scheduler. Pure: paths and ports in, arguments out.

use std::time::Duration;

use super::component::{Component, Probe};
use super::process::Program;
use super::state::{Layout, Settings};
use super::{NODE_ADDRESS, SERVICE_RANGE};

/// How long a part of the control plane may take to be ready on a slow machine.
const READY: Duration = Duration::from_secs(120);
/// What has a port on the loopback address.
pub const PORTS: [&str; 4] = ["etcd", "etcd-peer", "kube-controller-manager", "kube-scheduler"];
/// The programs, in the order in which they start.
pub const PROGRAMS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
/// Controllers that would wait for a cloud, or hand out address ranges that the node's network doesn't take from them.
const CONTROLLERS: &str =
    "*,-node-ipam-controller,-node-route-controller,-service-lb-controller,-cloud-node-lifecycle-controller";

/// The address of the API server: one that pods reach too, where there are pods.
pub fn address(node: bool) -> &'static str {
    if node { NODE_ADDRESS } else { "127.0.0.1" }
}

/// The API server's URL.
pub fn server(settings: &Settings) -> String {
    format!("https://{}:{}", address(settings.node), settings.port("kube-apiserver"))
}

/// All of it, in the order in which it starts.
pub fn components(layout: &Layout, settings: &Settings) -> [Component; 4] {
    let local = |port: &str| format!("https://127.0.0.1:{}", settings.port(port));
    let part = |name: &'static str, address: String, arguments: Vec<String>, kubeconfig, path: &str| Component {
        version: settings.versions.get(name).cloned().unwrap_or_default(),
        program: Program {
            name,
            path: settings.programs.get(name).cloned().unwrap_or_default(),
            arguments,
            environment: vec![],
        },
        probe: Probe::Http { server: address.clone(), path: path.into(), kubeconfig },
        limit: READY,
        address,
    };
    let admin = || layout.kubeconfig();
    let ours = layout.pki("etcd.kubeconfig");
    [
        part("etcd", local("etcd"), etcd(layout, settings), ours, "/health"),
        part("kube-apiserver", server(settings), apiserver(layout, settings), admin(), "/readyz"),
        part(
            "kube-controller-manager",
            local("kube-controller-manager"),
            controller_manager(layout, settings),
            admin(),
            "/healthz",
        ),
        part("kube-scheduler", local("kube-scheduler"), scheduler(layout, settings), admin(), "/healthz"),
    ]
}

fn etcd(layout: &Layout, settings: &Settings) -> Vec<String> {
    let (client, peer) = (
        format!("https://127.0.0.1:{}", settings.port("etcd")),
        format!("https://127.0.0.1:{}", settings.port("etcd-peer")),
    );
    let pair = layout.pki("etcd.pem");
    let authority = layout.pki("etcd-ca.crt");
    let (pair, authority) = (pair.display(), authority.display());
    let mut arguments = vec![
        "--name=cluster".into(),
        format!("--data-dir={}", layout.path("etcd").display()),
        "--log-level=warn".into(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=cluster={peer}"),
    ];
    for prefix in ["", "peer-"] {
        arguments.push(format!("--{prefix}cert-file={pair}"));
        arguments.push(format!("--{prefix}key-file={pair}"));
        arguments.push(format!("--{prefix}trusted-ca-file={authority}"));
        arguments.push(format!("--{prefix}client-cert-auth=true"));
    }
    if !settings.fsync {
        arguments.push("--unsafe-no-fsync".into());
    }
    arguments
}

fn apiserver(layout: &Layout, settings: &Settings) -> Vec<String> {
    let pki = |file: &str| layout.pki(file).display().to_string();
    let ip = address(settings.node);
    let mut arguments = vec![
        format!("--bind-address={ip}"),
        format!("--advertise-address={ip}"),
        format!("--secure-port={}", settings.port("kube-apiserver")),
        format!("--etcd-servers=https://127.0.0.1:{}", settings.port("etcd")),
        format!("--etcd-cafile={}", pki("etcd-ca.crt")),
        format!("--etcd-certfile={}", pki("etcd.pem")),
        format!("--etcd-keyfile={}", pki("etcd.pem")),
        format!("--tls-cert-file={}", pki("apiserver.pem")),
        format!("--tls-private-key-file={}", pki("apiserver.pem")),
        format!("--client-ca-file={}", pki("ca.crt")),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", pki("service-accounts.pub")),
        format!("--service-account-signing-key-file={}", pki("service-accounts.key")),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        format!("--kubelet-client-certificate={}", pki("apiserver-kubelet.pem")),
        format!("--kubelet-client-key={}", pki("apiserver-kubelet.pem")),
        format!("--kubelet-certificate-authority={}", pki("ca.crt")),
        "--kubelet-preferred-address-types=InternalIP".into(),
        // The aggregation layer: other API servers are asked with this certificate and these headers, at the addresses of their
        // EndpointSlices, since without a node nothing carries a Service's address.
        format!("--requestheader-client-ca-file={}", pki("front-proxy-ca.crt")),
        "--requestheader-allowed-names=front-proxy-client".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
        format!("--proxy-client-cert-file={}", pki("front-proxy.pem")),
        format!("--proxy-client-key-file={}", pki("front-proxy.pem")),
        "--enable-aggregator-routing=true".into(),
    ];
    if !settings.node {
        // An endpoint may not be a loopback address; without pods nobody asks for the Service `kubernetes`.
        arguments.push("--endpoint-reconciler-type=none".into());
    }
    arguments
}

/// What the controller manager and the scheduler share.
fn with_kubeconfig(layout: &Layout, settings: &Settings, short: &str, name: &str) -> Vec<String> {
    let pki = |file: String| layout.pki(&file).display().to_string();
    let kubeconfig = pki(format!("{short}.kubeconfig"));
    let serving = pki(format!("{short}-serving.pem"));
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={}", settings.port(name)),
        format!("--tls-cert-file={serving}"),
        format!("--tls-private-key-file={serving}"),
        "--leader-elect=false".into(),
    ]
}

fn controller_manager(layout: &Layout, settings: &Settings) -> Vec<String> {
    let pki = |file: &str| layout.pki(file).display().to_string();
    let mut arguments = with_kubeconfig(layout, settings, "controller-manager", "kube-controller-manager");
    arguments.extend([
        format!("--controllers={CONTROLLERS}"),
        "--use-service-account-credentials=true".into(),
        format!("--service-account-private-key-file={}", pki("service-accounts.key")),
        format!("--root-ca-file={}", pki("ca.crt")),
        format!("--cluster-signing-cert-file={}", pki("ca.pem")),
        format!("--cluster-signing-key-file={}", pki("ca.pem")),
        // Tests make and delete namespaces by the hundred; the defaults are for clusters that must be spared.
        "--kube-api-qps=400".into(),
        "--kube-api-burst=800".into(),
        "--concurrent-namespace-syncs=40".into(),
    ]);
    arguments
}

fn scheduler(layout: &Layout, settings: &Settings) -> Vec<String> {
    with_kubeconfig(layout, settings, "scheduler", "kube-scheduler")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(node: bool, fsync: bool) -> Vec<Component> {
        let mut settings = Settings::new(node, fsync);
        for (port, name) in (7000..).zip(["kube-apiserver"].into_iter().chain(PORTS)) {
            settings.ports.insert(name.into(), port);
        }
        components(&Layout::new("/state".into()), &settings).into()
    }

    fn has(component: &Component, argument: &str) -> bool {
        component.program.arguments.iter().any(|given| given == argument)
    }

    #[test]
    fn etcd_syncs_unless_told_otherwise() {
        assert!(!has(&rendered(false, true)[0], "--unsafe-no-fsync"));
        assert!(has(&rendered(false, false)[0], "--unsafe-no-fsync"));
    }

    #[test]
    fn nothing_listens_beyond_this_machine() {
        for component in rendered(false, true) {
            let listens = |argument: &&String| argument.starts_with("--bind-address") || argument.contains("listen-");
            let listeners: Vec<_> = component.program.arguments.iter().filter(listens).collect();
            assert!(!listeners.is_empty(), "{}", component.program.name);
            assert!(listeners.iter().all(|argument| argument.contains("127.0.0.1")), "{listeners:?}");
        }
    }

    #[test]
    fn with_a_node_the_api_is_where_pods_reach_it() {
        let with = &rendered(true, true)[1];
        assert!(has(with, "--advertise-address=10.200.0.1") && !has(with, "--endpoint-reconciler-type=none"));
        assert_eq!(with.address, "https://10.200.0.1:7000");
        assert!(has(&rendered(false, true)[1], "--endpoint-reconciler-type=none"));
    }

    #[test]
    fn every_process_can_be_told_from_another_clusters() {
        for component in rendered(true, true) {
            assert!(component.program.arguments.iter().any(|argument| argument.contains("/state/")));
        }
    }

    #[test]
    fn no_secret_is_on_a_command_line() {
        for component in rendered(true, true) {
            assert!(component.program.arguments.iter().all(|argument| !argument.contains("token")));
        }
    }
}
