//! Namespaces from first to last.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::plane::{ADMIN, Plane, kubectl, until};

fn map(name: &str, finalizers: &[&str]) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "finalizers": finalizers}})).unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> (u16, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_has_a_service_account_always() {
    let plane = Plane::start().await;
    plane.namespace("team").await;
    for namespace in ["default", "kube-system", "team"] {
        let accounts: Api<ServiceAccount> = Api::namespaced(plane.admin(), namespace);
        let there = async || accounts.get_opt("default").await.unwrap();
        let first = until("the account comes", there).await;
        accounts.delete("default", &DeleteParams::default()).await.unwrap();
        let again = until("the account comes back", there).await;
        assert_ne!(first.metadata.uid, again.metadata.uid);
    }
    plane.stop().await;
}

#[tokio::test]
async fn one_goes_with_everything_in_it() {
    let plane = Plane::start().await;
    plane.namespace("team").await;
    let namespaces: Api<Namespace> = Api::all(plane.admin());
    let made = namespaces.get("team").await.unwrap();
    assert_eq!(made.metadata.labels.unwrap()["kubernetes.io/metadata.name"], "team");
    assert_eq!(made.spec.unwrap().finalizers.unwrap(), ["kubernetes"]);
    assert_eq!(made.status.unwrap().phase.unwrap(), "Active");
    let maps: Api<ConfigMap> = Api::namespaced(plane.admin(), "team");
    let secrets: Api<Secret> = Api::namespaced(plane.admin(), "team");
    for number in 0..30 {
        maps.create(&PostParams::default(), &map(&format!("m{number}"), &[])).await.unwrap();
    }
    maps.create(&PostParams::default(), &map("held", &["example.com/hold"])).await.unwrap();
    let neighbour: Api<ConfigMap> = Api::namespaced(plane.admin(), "default");
    neighbour.create(&PostParams::default(), &map("stays", &[])).await.unwrap();
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    let message = until("the conditions tell what is left", async || {
        let status = namespaces.get("team").await.unwrap().status.unwrap();
        assert_eq!(status.phase.as_deref(), Some("Terminating"));
        let conditions = status.conditions.unwrap_or_default();
        let of = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True");
        let remaining = of("NamespaceContentRemaining")?.message.clone()?;
        let held = of("NamespaceFinalizersRemaining")?.message.clone()?;
        remaining.ends_with(": configmaps has 1 resource instances").then_some(held)
    })
    .await;
    assert_eq!(
        message,
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    );
    let secret = serde_json::from_value(json!({"metadata": {"name": "new"}})).unwrap();
    let (status, message) = code(secrets.create(&PostParams::default(), &secret).await);
    assert_eq!(status, 403);
    assert!(
        message.contains("unable to create new content in namespace team because it is being terminated"),
        "{message}"
    );
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &release).await.unwrap();
    until("it goes", async || namespaces.get_opt("team").await.unwrap().is_none().then_some(())).await;
    assert_eq!(code(secrets.create(&PostParams::default(), &secret).await).0, 404);
    neighbour.get("stays").await.unwrap();
    // The name is free again, and nothing of the old one is there.
    plane.namespace("team").await;
    assert!(maps.list(&Default::default()).await.unwrap().items.is_empty());
    plane.stop().await;
}

#[tokio::test]
async fn system_namespaces_and_their_finalizers_stay() {
    let plane = Plane::start().await;
    let namespaces: Api<Namespace> = Api::all(plane.admin());
    for name in ["default", "kube-system"] {
        let (status, message) = code(namespaces.delete(name, &DeleteParams::default()).await);
        assert_eq!(status, 403);
        assert_eq!(message, format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted"));
    }
    plane.namespace("team").await;
    let strip = Patch::Merge(json!({"spec": {"finalizers": []}, "metadata": {"labels": {"a": "b"}}}));
    let patched = namespaces.patch("team", &PatchParams::default(), &strip).await.unwrap();
    assert_eq!(patched.spec.unwrap().finalizers.unwrap(), ["kubernetes"]);
    assert_eq!(patched.metadata.labels.unwrap().len(), 2);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_waits_for_the_end() {
    let plane = Plane::start().await;
    plane.namespace("team").await;
    let admin = plane.kubeconfig(ADMIN).await;
    let (output, text) = kubectl(&admin, &["delete", "namespace", "team", "--timeout=20s"]).await;
    assert_eq!(text.trim_end(), "namespace \"team\" deleted", "{}", String::from_utf8_lossy(&output.stderr));
    let (_, rest) = kubectl(&admin, &["get", "namespaces", "-o", "name"]).await;
    assert_eq!(rest, "namespace/default\nnamespace/kube-system\n");
    plane.stop().await;
}
