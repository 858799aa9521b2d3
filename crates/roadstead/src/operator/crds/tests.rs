//! The controller on the embedded API server: what it installs, what it mends, what it leaves alone, and what it says when it may
//! not.

use std::{sync::Arc, time::Duration};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use prometheus_client::registry::Registry;
use roadstead_api::names::LABEL_VERSION;
use roadstead_apiserver::{Options, Server};
use roadstead_kubewire::User;
use roadstead_reconcile::{Controller, Lead};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::Crds;

const PATIENCE: Duration = Duration::from_secs(60);
const NAME: &str = "triggers.roadstead.dev";

async fn server() -> (Server, Api<CustomResourceDefinition>) {
    let server = Server::open(Options::default()).await.unwrap();
    let api = Api::all(server.handle().client());
    (server, api)
}

fn run(client: Client) -> (Arc<Crds>, AbortOnDropHandle<()>) {
    let crds = Arc::new(Crds::new(client, roadstead_api::crds(), &mut Registry::default()));
    let running = crds.clone();
    let lead = Lead::unelected(CancellationToken::new());
    (crds, AbortOnDropHandle::new(tokio::spawn(async move { running.run(lead).await })))
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// Whether all are there, and none is from an older version.
async fn are_there(api: &Api<CustomResourceDefinition>) -> bool {
    let live = api.list(&Default::default()).await.unwrap().items;
    live.len() == roadstead_api::crds().len() && live.iter().all(|crd| crd.labels()[LABEL_VERSION] != "0.0.1")
}

/// Ours, as another version would have left it: labelled so, and with a field less.
fn from_version(version: &str) -> CustomResourceDefinition {
    let mut crd = roadstead_api::crds().into_iter().find(|crd| crd.name_any() == NAME).unwrap();
    crd.labels_mut().insert(LABEL_VERSION.into(), version.into());
    assert!(fields(&mut crd).remove("orderBy").is_some());
    crd
}

type Fields = std::collections::BTreeMap<String, JSONSchemaProps>;

fn fields(crd: &mut CustomResourceDefinition) -> &mut Fields {
    let schema = crd.spec.versions[0].schema.as_mut().unwrap().open_api_v3_schema.as_mut().unwrap();
    schema.properties.as_mut().unwrap().get_mut("spec").unwrap().properties.as_mut().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_installed_and_what_is_older_converges() {
    let (server, api) = server().await;
    api.create(&PostParams::default(), &from_version("0.0.1")).await.unwrap();
    let (crds, _running) = run(server.handle().client());
    until("all are there, current and served", async || are_there(&api).await && crds.ready().is_ok()).await;
    for wanted in roadstead_api::crds() {
        let live = api.get(&wanted.name_any()).await.unwrap();
        assert_eq!(live.labels()[LABEL_VERSION], env!("CARGO_PKG_VERSION"), "{}", wanted.name_any());
    }
    let mut mended = api.get(NAME).await.unwrap();
    assert!(fields(&mut mended).contains_key("orderBy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_newer_is_left_alone_and_told() {
    let (server, api) = server().await;
    let newer = api.create(&PostParams::default(), &from_version("99.0.0")).await.unwrap();
    let (crds, _running) = run(server.handle().client());
    until("the others are there, and all is well", async || are_there(&api).await && crds.ready().is_ok()).await;
    let live = api.get(NAME).await.unwrap();
    assert_eq!(live.spec, newer.spec);
    assert_eq!(live.labels()[LABEL_VERSION], "99.0.0");
    let events: Api<k8s_openapi::api::core::v1::Event> = Api::all(server.handle().client());
    until("an Event tells", async || {
        let events = events.list(&Default::default()).await.unwrap();
        events.items.iter().any(|event| {
            event.reason.as_deref() == Some("NewerVersion") && event.involved_object.name.as_deref() == Some(NAME)
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_verb_is_named_and_work_goes_on_once_it_is_given() {
    let (server, _) = server().await;
    let user = User { name: "operator".into(), ..User::default() };
    let client = server.handle().client();
    let allow = async |verbs: &[&str]| {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "o"},
            "rules": [{"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": verbs}]});
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "o"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "o"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "operator"}]});
        let apply = PatchParams::apply("test").force();
        let roles: Api<k8s_openapi::api::rbac::v1::ClusterRole> = Api::all(client.clone());
        roles.patch("o", &apply, &Patch::Apply(role)).await.unwrap();
        let bindings: Api<k8s_openapi::api::rbac::v1::ClusterRoleBinding> = Api::all(client.clone());
        bindings.patch("o", &apply, &Patch::Apply(binding)).await.unwrap();
    };
    allow(&["get"]).await;
    let (crds, _running) = run(server.handle().client_as(user));
    let says = |what: &str| crds.ready().is_err_and(|why| why.contains(what));
    until("the verb is named", async || {
        says("missing permission: verb patch on customresourcedefinitions") || says("verb create on")
    })
    .await;
    assert!(says("\"operator\""));
    allow(&["get", "create", "patch"]).await;
    until("it goes on", async || crds.ready().is_ok()).await;
}
