//! Owner garbage collection as clients meet it.

use k8s_openapi::{
    api::{core::v1::ConfigMap, rbac::v1::ClusterRole},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, PropagationPolicy},
    core::GroupVersionKind,
    discovery::ApiResource,
};
use roadstead_apiserver::{Options, Server};
use serde_json::json;

use crate::plane::{Plane, until};

/// ConfigMaps in a namespace, as a family.
struct Family {
    maps: Api<ConfigMap>,
}

fn reference(owner: &ConfigMap, blocks: bool) -> OwnerReference {
    OwnerReference { block_owner_deletion: Some(blocks), ..owner.owner_ref(&()).unwrap() }
}

impl Family {
    fn of(plane: &Plane) -> Self {
        Self { maps: Api::namespaced(plane.admin(), "default") }
    }

    async fn add(&self, name: &str, owners: Vec<OwnerReference>) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.into());
        map.metadata.owner_references = Some(owners).filter(|owners| !owners.is_empty());
        self.maps.create(&PostParams::default(), &map).await.unwrap()
    }

    async fn delete(&self, name: &str, policy: PropagationPolicy) {
        let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
        self.maps.delete(name, &params).await.unwrap();
    }

    async fn gone(&self, names: &[&str]) {
        for name in names {
            until(&format!("{name} goes"), async || self.maps.get_opt(name).await.unwrap().is_none().then_some(()))
                .await;
        }
    }

    async fn owners(&self, name: &str) -> Vec<String> {
        self.maps.get(name).await.unwrap().owner_references().iter().map(|owner| owner.name.clone()).collect()
    }

    async fn hold(&self, name: &str, finalizers: &[&str]) {
        let patch = json!({"metadata": {"finalizers": finalizers}});
        self.maps.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }
}

#[tokio::test]
async fn dependents_follow_in_the_background() {
    let plane = Plane::start().await;
    let family = Family::of(&plane);
    let a = family.add("a", vec![]).await;
    let d = family.add("d", vec![]).await;
    let b = family.add("b", vec![reference(&a, false)]).await;
    family.add("c", vec![reference(&a, false), reference(&d, false)]).await;
    family.add("e", vec![reference(&b, false)]).await;
    family.delete("a", PropagationPolicy::Background).await;
    family.gone(&["a", "b", "e"]).await;
    until("c forgets a", async || (family.owners("c").await == ["d"]).then_some(())).await;
    plane.stop().await;
}

#[tokio::test]
async fn an_owner_deleted_in_the_foreground_waits() {
    let plane = Plane::start().await;
    let family = Family::of(&plane);
    let a = family.add("a", vec![]).await;
    let b = family.add("b", vec![reference(&a, true)]).await;
    family.add("c", vec![reference(&b, true)]).await;
    family.hold("c", &["example.com/hold"]).await;
    family.delete("a", PropagationPolicy::Foreground).await;
    until("the deletion reaches c", async || {
        family.maps.get("c").await.unwrap().metadata.deletion_timestamp.is_some().then_some(())
    })
    .await;
    for name in ["a", "b"] {
        assert!(
            family.maps.get(name).await.unwrap().finalizers().contains(&"foregroundDeletion".to_string()),
            "{name}"
        );
    }
    family.hold("c", &[]).await;
    family.gone(&["c", "b", "a"]).await;
    plane.stop().await;
}

#[tokio::test]
async fn orphans_stay() {
    let plane = Plane::start().await;
    let family = Family::of(&plane);
    let a = family.add("a", vec![]).await;
    family.add("b", vec![reference(&a, true)]).await;
    family.delete("a", PropagationPolicy::Orphan).await;
    family.gone(&["a"]).await;
    assert_eq!(family.owners("b").await, [""; 0]);
    plane.stop().await;
}

#[tokio::test]
async fn only_a_real_owner_keeps() {
    let plane = Plane::start().await;
    plane.namespace("other").await;
    let family = Family::of(&plane);
    let a = family.add("a", vec![]).await;
    let wrong = |change: &dyn Fn(&mut OwnerReference)| {
        let mut owner = reference(&a, false);
        change(&mut owner);
        vec![owner]
    };
    family.add("another-uid", wrong(&|owner| owner.uid = "x".into())).await;
    family.add("another-name", wrong(&|owner| owner.name = "x".into())).await;
    family.add("kind-not-served", wrong(&|owner| owner.kind = "Robot".into())).await;
    let elsewhere = Family { maps: Api::namespaced(plane.admin(), "other") };
    elsewhere.add("another-namespace", vec![reference(&a, false)]).await;
    // A cluster-scoped object cannot belong to a namespaced one: left alone, since nobody can say what was meant.
    let roles: Api<ClusterRole> = Api::all(plane.admin());
    let mut role = ClusterRole::default();
    role.metadata.name = Some("cluster-scoped".into());
    role.metadata.owner_references = Some(vec![reference(&a, false)]);
    roles.create(&PostParams::default(), &role).await.unwrap();
    family.gone(&["another-uid", "another-name"]).await;
    elsewhere.gone(&["another-namespace"]).await;
    family.delete("a", PropagationPolicy::Background).await;
    // What comes after in the same queue has been collected: so what is left was left on purpose.
    let b = family.add("b", vec![]).await;
    family.add("last", vec![reference(&b, false)]).await;
    family.delete("b", PropagationPolicy::Background).await;
    family.gone(&["last"]).await;
    family.maps.get("kind-not-served").await.unwrap();
    roles.get("cluster-scoped").await.unwrap();
    plane.stop().await;
}

/// A definition of widgets; their own objects are made with [`widgets`].
fn definition() -> CustomResourceDefinition {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    serde_json::from_value(json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    }))
    .unwrap()
}

#[tokio::test]
async fn a_kind_that_came_later_owns_like_any_other() {
    let plane = Plane::start().await;
    let family = Family::of(&plane);
    let definitions: Api<CustomResourceDefinition> = Api::all(plane.admin());
    definitions.create(&PostParams::default(), &definition()).await.unwrap();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Widget"));
    let widgets: Api<DynamicObject> = Api::namespaced_with(plane.admin(), "default", &kind);
    let mut owned = Vec::new();
    for name in ["deleted", "undefined"] {
        let widget = widgets.create(&PostParams::default(), &DynamicObject::new(name, &kind)).await.unwrap();
        owned.push(widget.owner_ref(&kind).unwrap());
    }
    for owner in owned {
        family.add(&format!("of-{}", owner.name), vec![owner]).await;
    }
    widgets.delete("deleted", &DeleteParams::default()).await.unwrap();
    family.gone(&["of-deleted"]).await;
    definitions.delete("widgets.example.com", &DeleteParams::default()).await.unwrap();
    family.gone(&["of-undefined"]).await;
    plane.stop().await;
}

#[tokio::test]
async fn what_was_begun_is_finished_after_a_restart() {
    const DEPENDENTS: usize = 300;
    let directory = tempfile::tempdir().unwrap();
    let open = async || {
        let data_dir = Some(directory.path().to_path_buf());
        Server::open(Options { data_dir, ..Options::default() }).await.unwrap()
    };
    let maps = |server: &Server| Api::<ConfigMap>::namespaced(server.handle().client(), "default");
    let server = open().await;
    let family = Family { maps: maps(&server) };
    let owner = family.add("owner", vec![]).await;
    let names: Vec<String> = (0..DEPENDENTS).map(|number| format!("m{number}")).collect();
    futures::future::join_all(names.iter().map(|name| family.add(name, vec![reference(&owner, true)]))).await;
    family.delete("owner", PropagationPolicy::Foreground).await;
    until("some have gone", async || {
        let left = family.maps.list(&Default::default()).await.unwrap().items.len();
        (left <= DEPENDENTS).then_some(())
    })
    .await;
    server.shutdown().await;
    let server = open().await;
    let maps = maps(&server);
    let family = kube::api::ListParams::default().fields("metadata.name!=kube-root-ca.crt");
    until("all have gone", async || maps.list(&family).await.unwrap().items.is_empty().then_some(())).await;
    server.shutdown().await;
}
