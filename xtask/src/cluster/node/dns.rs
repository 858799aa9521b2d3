//! Names in the cluster: CoreDNS runs on the host; a Service without a selector leads to it, as pods expect.

use anyhow::Result;
use serde_json::{Value, json};

use super::DNS_ADDRESS;
use crate::cluster::NODE_ADDRESS;
use crate::cluster::api::Api;
use crate::cluster::state::{Layout, Settings};

/// Applies the Service, its endpoint, and CoreDNS' right to read.
pub fn apply(layout: &Layout, settings: &Settings, api: &Api) -> Result<()> {
    api.apply(&objects(settings.port("dns")), &layout.path("node/dns.json"))
}

fn objects(port: u16) -> Value {
    let ports = |number: u16| {
        let port = |name, protocol| json!({"name": name, "protocol": protocol, "port": number});
        json!([port("dns", "UDP"), port("dns-tcp", "TCP")])
    };
    let namespaced = |labels: Value| json!({"name": "kube-dns", "namespace": "kube-system", "labels": labels});
    let role = "roadstead:coredns";
    let items = json!([
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": namespaced(json!({"k8s-app": "kube-dns"})),
            "spec": {"clusterIP": DNS_ADDRESS, "ports": ports(53)},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": namespaced(json!({"kubernetes.io/service-name": "kube-dns"})),
            "addressType": "IPv4",
            "endpoints": [{"addresses": [NODE_ADDRESS], "conditions": {"ready": true}}],
            "ports": ports(port),
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": role},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role}],
        },
    ]);
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_leads_to_where_coredns_listens() {
        let objects = objects(1053);
        let (service, slice) = (&objects["items"][0], &objects["items"][1]);
        assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], service["metadata"]["name"]);
        assert_eq!(slice["ports"][0], json!({"name": "dns", "protocol": "UDP", "port": 1053}));
        assert_eq!(service["spec"]["ports"][0]["name"], slice["ports"][0]["name"]);
    }
}
