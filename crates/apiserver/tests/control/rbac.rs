//! Access control as clients meet it: kube-rs in process, kubectl over TLS.

use futures::StreamExt;
use k8s_openapi::api::{
    authorization::v1::SelfSubjectAccessReview,
    core::v1::{ConfigMap, Secret, ServiceAccount},
    rbac::v1::{ClusterRole, Role, RoleBinding},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    config::{Config, KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::plane::{ADMIN, PATIENCE, Plane, kubectl, until};

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("{other:?}"),
    }
}

async fn bind(
    client: &Client,
    namespace: &str,
    name: &str,
    kind: &str,
    role: &str,
    user: &str,
) -> kube::Result<RoleBinding> {
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "User", "name": user}],
    });
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &read(binding)).await
}

#[tokio::test]
async fn a_grant_holds_at_once_and_so_does_its_withdrawal() {
    let plane = Plane::start().await;
    let secrets: Api<Secret> = Api::namespaced(plane.user("ann"), "default");
    let denied = secrets.list(&ListParams::default()).await.unwrap_err();
    let kube::Error::Api(status) = denied else { panic!("{denied:?}") };
    assert_eq!(
        status.message,
        "secrets is forbidden: User \"ann\" cannot list resource \"secrets\" in API group \"\" in the namespace \"default\""
    );
    bind(&plane.admin(), "default", "ann", "ClusterRole", "edit", "ann").await.unwrap();
    secrets.list(&ListParams::default()).await.unwrap();
    let elsewhere: Api<Secret> = Api::namespaced(plane.user("ann"), "kube-system");
    assert_eq!(code(elsewhere.list(&ListParams::default()).await), 403);
    let bindings: Api<RoleBinding> = Api::namespaced(plane.admin(), "default");
    bindings.delete("ann", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(secrets.list(&ListParams::default()).await), 403);
    plane.stop().await;
}

#[tokio::test]
async fn nobody_raises_their_own_rights() {
    let plane = Plane::start().await;
    bind(&plane.admin(), "default", "ann", "ClusterRole", "admin", "ann").await.unwrap();
    let roles: Api<Role> = Api::namespaced(plane.user("ann"), "default");
    let role = |name: &str, group: &str, verbs: &[&str]| -> Role {
        read(json!({"metadata": {"name": name},
            "rules": [{"apiGroups": [group], "resources": ["secrets"], "verbs": verbs}]}))
    };
    roles.create(&PostParams::default(), &role("mine", "", &["get"])).await.unwrap();
    assert_eq!(code(roles.create(&PostParams::default(), &role("more", "*", &["get"])).await), 403);
    let grow = json!([{"op": "add", "path": "/rules/0/verbs/-", "value": "escalate"}]);
    let grow = Patch::<()>::Json(serde_json::from_value(grow).unwrap());
    assert_eq!(code(roles.patch("mine", &PatchParams::default(), &grow).await), 403);
    bind(&plane.user("ann"), "default", "mine", "Role", "mine", "bob").await.unwrap();
    assert_eq!(code(bind(&plane.user("ann"), "default", "all", "ClusterRole", "cluster-admin", "ann").await), 403);
    // What is not allowed is invalid or forbidden also for the mighty, where it makes no sense.
    assert_eq!(code(bind(&plane.admin(), "default", "odd", "Robot", "x", "ann").await), 422);
    let rebind = json!({"roleRef": {"name": "cluster-admin", "kind": "ClusterRole"}});
    let bindings: Api<RoleBinding> = Api::namespaced(plane.admin(), "default");
    assert_eq!(code(bindings.patch("mine", &PatchParams::default(), &Patch::Merge(rebind)).await), 422);
    plane.stop().await;
}

#[tokio::test]
async fn aggregated_roles_follow_their_parts() {
    let plane = Plane::start().await;
    let roles: Api<ClusterRole> = Api::all(plane.admin());
    let shows = async |resource: &str| {
        let rules = roles.get("view").await.unwrap().rules.unwrap_or_default();
        rules.iter().any(|rule| rule.resources.iter().flatten().any(|found| found == resource))
    };
    assert!(shows("pods").await);
    bind(&plane.admin(), "default", "ann", "ClusterRole", "view", "ann").await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(plane.user("ann"), "default");
    assert_eq!(code(secrets.list(&ListParams::default()).await), 403);
    let part = json!({
        "metadata": {"name": "more", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}],
    });
    roles.create(&PostParams::default(), &read(part)).await.unwrap();
    secrets.list(&ListParams::default()).await.unwrap();
    until("view shows its new part", async || shows("secrets").await.then_some(())).await;
    roles.delete("more", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(secrets.list(&ListParams::default()).await), 403);
    until("view no longer shows it", async || (!shows("secrets").await).then_some(())).await;
    plane.stop().await;
}

#[tokio::test]
async fn defaults_come_back_and_what_people_changed_stays() {
    let plane = Plane::start().await;
    let roles: Api<ClusterRole> = Api::all(plane.admin());
    roles.delete("system:discovery", &DeleteParams::default()).await.unwrap();
    let extra =
        json!([{"op": "add", "path": "/rules/-", "value": {"apiGroups": [""], "resources": ["x"], "verbs": ["get"]}}]);
    let extra = Patch::<()>::Json(serde_json::from_value(extra).unwrap());
    roles.patch("system:basic-user", &PatchParams::default(), &extra).await.unwrap();
    let (control, catalog) = (plane.handle.control(), plane.handle.catalog());
    control.ensure(catalog).await.unwrap();
    roles.get("system:discovery").await.unwrap();
    let before = roles.get("system:basic-user").await.unwrap();
    assert_eq!(before.rules.as_ref().unwrap().len(), 3);
    control.ensure(catalog).await.unwrap();
    let after = roles.get("system:basic-user").await.unwrap();
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version, "a second time changes nothing");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_asks_about_rights() {
    let plane = Plane::start().await;
    let admin = plane.kubeconfig(ADMIN).await;
    for (arguments, expected) in [
        (&["auth", "can-i", "*", "*"][..], "yes\n"),
        (&["auth", "can-i", "create", "secrets", "--as", "ann"], "no\n"),
        (&["auth", "can-i", "get", "/healthz", "--as", "ann"], "yes\n"),
        (
            &["create", "rolebinding", "ann", "--clusterrole=edit", "--user=ann"],
            "rolebinding.rbac.authorization.k8s.io/ann created\n",
        ),
        (&["auth", "can-i", "create", "secrets", "--as", "ann"], "yes\n"),
        (&["auth", "can-i", "update", "deployments.apps", "--subresource=scale", "--as", "ann"], "yes\n"),
        (&["auth", "can-i", "create", "secrets", "-n", "kube-system", "--as", "ann"], "no\n"),
    ] {
        let (output, text) = kubectl(&admin, arguments).await;
        assert_eq!(text, expected, "{arguments:?} {}", String::from_utf8_lossy(&output.stderr));
    }
    let (_, list) = kubectl(&admin, &["auth", "can-i", "--list", "--as", "ann"]).await;
    assert!(list.contains("selfsubjectreviews.authentication.k8s.io") && list.contains("secrets"), "{list}");
    let (_, who) = kubectl(&admin, &["auth", "whoami", "-o", "json"]).await;
    let who: Value = serde_json::from_str(&who).unwrap();
    assert_eq!(who["status"]["userInfo"]["username"], "system:admin");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_lives_by_its_token_until_it_is_deleted() {
    let plane = Plane::start().await;
    let admin = plane.kubeconfig(ADMIN).await;
    let (_, created) = kubectl(&admin, &["create", "serviceaccount", "bot"]).await;
    assert_eq!(created, "serviceaccount/bot created\n");
    let grant = ["create", "rolebinding", "bot", "--clusterrole=view", "--serviceaccount=default:bot"];
    kubectl(&admin, &grant).await;
    let (output, token) = kubectl(&admin, &["create", "token", "bot", "--duration=1h"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bot = plane.kubeconfig(token.trim()).await;
    let (_, who) = kubectl(&bot, &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]).await;
    assert_eq!(who, "system:serviceaccount:default:bot");
    assert!(kubectl(&bot, &["get", "configmaps"]).await.0.status.success());
    assert!(!kubectl(&bot, &["get", "secrets"]).await.0.status.success());
    let accounts: Api<ServiceAccount> = Api::namespaced(plane.admin(), "default");
    accounts.delete("bot", &DeleteParams::default()).await.unwrap();
    let (output, _) = kubectl(&bot, &["get", "configmaps"]).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("logged in"), "{told}");
    // Another account under the old name does not revive it.
    accounts.create(&PostParams::default(), &read(json!({"metadata": {"name": "bot"}}))).await.unwrap();
    assert!(!kubectl(&bot, &["get", "configmaps"]).await.0.status.success());
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_the_account_behind_it() {
    let plane = Plane::start().await;
    let accounts: Api<ServiceAccount> = Api::namespaced(plane.admin(), "default");
    let account = read(json!({"metadata": {"name": "bot"}}));
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let request = read(json!({"spec": {"audiences": []}}));
    let answer = accounts.create_token_request("bot", &PostParams::default(), &request).await.unwrap();
    let token = answer.status.unwrap().token;
    bind(&plane.admin(), "default", "view", "ClusterRole", "view", "system:serviceaccount:default:bot").await.unwrap();
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig(&token).await).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(Client::try_from(config).unwrap(), "default");
    let mut watch = Box::pin(maps.watch(&WatchParams::default().fields("metadata.name=x"), "0").await.unwrap());
    let seen: Api<ConfigMap> = Api::namespaced(plane.admin(), "default");
    seen.create(&PostParams::default(), &read(json!({"metadata": {"name": "x"}}))).await.unwrap();
    let first = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
    assert!(matches!(first, Some(Ok(WatchEvent::Added(_)))), "{first:?}");
    accounts.delete("bot", &DeleteParams::default()).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, watch.next()).await.expect("the watch ends");
    assert!(!matches!(end, Some(Ok(WatchEvent::Added(_)))), "{end:?}");
    assert_eq!(code(maps.list(&ListParams::default()).await), 401);
    plane.stop().await;
}

#[tokio::test]
async fn reviews_go_through_the_front_door() {
    let plane = Plane::start().await;
    let reviews: Api<SelfSubjectAccessReview> = Api::all(plane.user("ann"));
    let review =
        json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "configmaps", "namespace": "default"}}});
    let answer = reviews.create(&PostParams::default(), &read(review)).await.unwrap();
    assert!(!answer.status.unwrap().allowed);
    plane.stop().await;
}

#[tokio::test]
async fn the_audit_log_tells_who_did_what() {
    let plane = Plane::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(plane.admin(), "default");
    let map = json!({"metadata": {"generateName": "map-"}, "data": {"password": "hunter2"}});
    let made = maps.create(&PostParams::default(), &read(map)).await.unwrap().metadata.name.unwrap();
    maps.get(&made).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(plane.user("ann"), "default");
    assert_eq!(code(secrets.get("x").await), 403);
    maps.delete(&made, &DeleteParams::default()).await.unwrap();
    plane.handle.audit().unwrap().flush();
    let text = std::fs::read_to_string(plane.directory.path().join("audit.log")).unwrap();
    assert!(!text.contains("hunter2"));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| ["user", "verb", "resource", "name"].map(|field| line[field].as_str().unwrap_or_default()))
        .zip(lines.iter().map(|line| line["code"].as_u64().unwrap()))
        .collect();
    let admin = "system:admin";
    assert_eq!(
        told,
        [
            ([admin, "create", "configmaps", &made], 201),
            (["ann", "get", "secrets", "x"], 403),
            ([admin, "delete", "configmaps", &made], 200),
        ]
    );
    plane.stop().await;
}
