//! Plain kubectl against the control plane: every verb that people use.

use std::os::unix::fs::PermissionsExt;

use roadstead_e2e::{Kubectl, Platform, Result, ensure, eventually};
use serde_json::{Value, json};

const HOOK: &str = "
apiVersion: roadstead.dev/v1alpha1
kind: WebhookEndpoint
metadata: {name: shop, labels: {team: a}}
spec: {provider: github, authentication: urlOnly}
";

async fn started() -> Result<(Platform, Kubectl)> {
    let up = Platform::start().await?;
    let kubectl = up.kubectl()?;
    Ok((up, kubectl))
}

#[tokio::test]
async fn create_get_describe_label_patch_delete() -> Result<()> {
    let (_up, kubectl) = started().await?;
    ensure!(kubectl.apply(HOOK)?.contains("created"));
    ensure!(kubectl.apply(HOOK)?.contains("unchanged"));
    ensure!(kubectl.run("get hook")?.contains("PROVIDER"));
    ensure!(kubectl.run("get webhookendpoints.roadstead.dev shop -o name")? == "webhookendpoint.roadstead.dev/shop");
    ensure!(kubectl.run("get roadstead -o name")?.contains("shop"), "the category");
    ensure!(kubectl.run("describe hook shop")?.contains("Provider:"));
    kubectl.run("label hook shop tier=web")?;
    kubectl.run("annotate hook shop example.com/note=hello")?;
    ensure!(kubectl.run("get hook -l team=a,tier=web -o name")?.contains("shop"));
    ensure!(kubectl.run("get hook -l team!=a -o name")?.is_empty());
    ensure!(kubectl.run("get hook --field-selector metadata.name=shop -o name")?.contains("shop"));
    kubectl.args(&["patch", "hook", "shop", "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#])?;
    kubectl.args(&[
        "patch",
        "hook",
        "shop",
        "--type=json",
        "-p",
        r#"[{"op":"replace","path":"/spec/provider","value":"gitea"}]"#,
    ])?;
    ensure!(kubectl.run("get hook shop -o jsonpath={.spec.provider}/{.spec.suspend}")? == "gitea/true");
    kubectl.run("wait hook/shop --for=jsonpath={.spec.suspend}=true --timeout=10s")?;
    ensure!(kubectl.run("delete hook shop")?.contains("deleted"));
    let said = kubectl.say(&["get", "hook", "shop"], "")?;
    ensure!(said.code != 0 && said.err.contains("NotFound"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn built_in_kinds_take_strategic_merge_patches() -> Result<()> {
    let (_up, kubectl) = started().await?;
    kubectl.run("create deployment web --image=nginx:1 --replicas=2")?;
    kubectl.run("set image deployment/web nginx=nginx:2")?;
    kubectl.run("set env deployment/web A=1 B=2")?;
    let patch = r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"busybox"}]}}}}"#;
    kubectl.args(&["patch", "deployment", "web", "-p", patch])?;
    let images = kubectl.run("get deployment web -o jsonpath={.spec.template.spec.containers[*].image}")?;
    let mut images: Vec<&str> = images.split(' ').collect();
    images.sort_unstable();
    ensure!(images == ["busybox", "nginx:2"], "{images:?}");
    kubectl.run("create secret generic s --from-literal=a=b")?;
    kubectl.args(&["patch", "secret", "s", "-p", r#"{"stringData":{"c":"d"}}"#])?;
    ensure!(kubectl.run("get secret s -o jsonpath={.data}")? == r#"{"a":"Yg==","c":"ZA=="}"#);
    kubectl.run("create configmap m --from-literal=k=v")?;
    kubectl.run("create serviceaccount robot")?;
    kubectl.run("create service clusterip web --tcp=80:80")?;
    ensure!(
        kubectl
            .run("get deployments,services,secrets,configmaps,serviceaccounts -o name")?
            .contains("deployment.apps/web")
    );
    Ok(())
}

#[tokio::test]
async fn server_side_apply_tracks_owners_and_reports_conflicts() -> Result<()> {
    let (_up, kubectl) = started().await?;
    let apply = |manager: &str, manifest: &str, more: &[&str]| {
        let manager = format!("--field-manager={manager}");
        let mut arguments = vec!["apply", "--server-side", manager.as_str(), "-f", "-"];
        arguments.extend(more);
        kubectl.say(&arguments, manifest)
    };
    ensure!(apply("one", HOOK, &[])?.code == 0);
    let conflicting = HOOK.replace("github", "gitea");
    let said = apply("two", &conflicting, &[])?;
    ensure!(said.code != 0 && said.err.contains("conflict") && said.err.contains(".spec.provider"), "{said:?}");
    ensure!(apply("two", &conflicting, &["--force-conflicts"])?.code == 0);
    let fields = kubectl.run("get hook shop --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}")?;
    ensure!(fields.contains("one") && fields.contains("two"), "{fields}");
    Ok(())
}

#[tokio::test]
async fn edit_and_explain_and_discovery() -> Result<()> {
    let (up, kubectl) = started().await?;
    kubectl.apply(HOOK)?;
    let editor = up.scratch().join("editor");
    std::fs::write(&editor, "#!/bin/sh\nsed -i 's/provider: github/provider: forgejo/' \"$1\"\n")?;
    std::fs::set_permissions(&editor, std::fs::Permissions::from_mode(0o755))?;
    let output = kubectl.command().args(["edit", "hook", "shop"]).env("KUBE_EDITOR", &editor).output()?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(kubectl.run("get hook shop -o jsonpath={.spec.provider}")? == "forgejo");

    ensure!(kubectl.run("explain webhookendpoint.spec.filter")?.contains("CEL"));
    ensure!(kubectl.run("explain webhookendpoint --recursive")?.contains("retention"));
    ensure!(kubectl.run("explain deployment.spec.template.spec.containers.image")?.contains("image"));
    let resources = kubectl.run("api-resources")?;
    for kind in ["WebhookEndpoint", "Subscriber", "Trigger", "DeadLetter", "Deployment", "Secret", "Lease"] {
        ensure!(resources.contains(kind), "{kind} is missing in {resources}");
    }
    // Events come from who serves them: the embedded control plane itself, or the hub beside a cluster.
    let events = up.events_kubectl()?;
    ensure!(events.run("api-resources")?.contains("WebhookEvent"));
    ensure!(events.run("api-versions")?.contains("log.roadstead.dev/v1alpha1"));
    Ok(())
}

#[tokio::test]
async fn unknown_fields_and_broken_rules_are_refused_with_the_place() -> Result<()> {
    let (_up, kubectl) = started().await?;
    for (manifest, expected) in [
        (HOOK.replace("authentication", "authentification"), "authentification"),
        (HOOK.replace("github", "githubb"), "githubb"),
        (HOOK.replace("provider: github", "provider: github, maxBodyBytes: 0"), "maxBodyBytes"),
        (HOOK.replace("provider: github, ", ""), "provider"),
        (HOOK.replace("name: shop", "name: Shop_"), "Shop_"),
    ] {
        let said = kubectl.say(&["apply", "-f", "-"], &manifest)?;
        ensure!(said.code != 0 && said.err.contains(expected), "{expected}: {said:?}");
    }
    ensure!(kubectl.run("get hook -o name")?.is_empty());
    let said = kubectl.say(&["apply", "--validate=ignore", "-f", "-"], &HOOK.replace("authentication", "unheardOf"))?;
    ensure!(said.code == 0, "{said:?}");
    ensure!(
        kubectl.run("get hook shop -o yaml")?.matches("unheardOf").count() <= 1,
        "pruned, but for kubectl's own annotation"
    );
    Ok(())
}

#[tokio::test]
async fn dry_run_changes_nothing_and_diff_shows_what_would() -> Result<()> {
    let (_up, kubectl) = started().await?;
    ensure!(kubectl.say(&["apply", "--dry-run=server", "-f", "-"], HOOK)?.code == 0);
    ensure!(kubectl.run("get hook -o name")?.is_empty());
    kubectl.apply(HOOK)?;
    let said = kubectl.say(&["diff", "-f", "-"], &HOOK.replace("github", "gitea"))?;
    ensure!(said.code == 1 && said.out.contains("gitea"), "{said:?}");
    ensure!(kubectl.run("get hook shop -o jsonpath={.spec.provider}")? == "github");
    Ok(())
}

#[tokio::test]
async fn rbac_answers_and_binds() -> Result<()> {
    let (up, kubectl) = started().await?;
    ensure!(kubectl.run("auth can-i delete hooks")? == "yes");
    ensure!(kubectl.run("auth whoami -o name").is_ok());
    kubectl.run("create serviceaccount robot")?;
    let robot = format!("--as=system:serviceaccount:{}:robot", up.namespace());
    let robot = robot.as_str();
    let said = kubectl.say(&["auth", "can-i", "get", "secrets", robot], "")?;
    ensure!(said.code == 1 && said.out.trim() == "no", "{said:?}");
    ensure!(kubectl.say(&["get", "secrets", robot], "")?.err.contains("Forbidden"));
    kubectl.run("create role reader --verb=get,list,watch --resource=secrets")?;
    kubectl.run(&format!("create rolebinding reader --role=reader --serviceaccount={}:robot", up.namespace()))?;
    eventually("the binding counts", async || {
        Ok((kubectl.say(&["auth", "can-i", "list", "secrets", robot], "")?.out.trim() == "yes").then_some(()))
    })
    .await?;
    ensure!(kubectl.say(&["auth", "can-i", "delete", "secrets", robot], "")?.out.trim() == "no");
    ensure!(kubectl.run("create token robot")?.split('.').count() == 3, "a signed token");
    Ok(())
}

#[tokio::test]
async fn owners_and_namespaces_take_along_what_is_theirs() -> Result<()> {
    let up = Platform::with_namespaces(&["team-b"]).await?;
    let (kubectl, team) = (up.kubectl()?, up.other("team-b"));
    kubectl.run(&format!("create configmap one -n {team}"))?;
    kubectl.run("create configmap owner")?;
    let uid = kubectl.run("get configmap owner -o jsonpath={.metadata.uid}")?;
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid});
    let owned = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned", "ownerReferences": [owner]},
    });
    kubectl.apply(&owned.to_string())?;
    kubectl.run("delete configmap owner")?;
    eventually("the owned object goes too", async || {
        Ok((kubectl.say(&["get", "configmap", "owned"], "")?.code != 0).then_some(()))
    })
    .await?;
    kubectl.run(&format!("delete namespace {team} --timeout=30s"))?;
    ensure!(kubectl.say(&["get", "namespace", &team], "")?.code != 0);
    ensure!(kubectl.say(&["create", "configmap", "late", "-n", &team], "")?.code != 0);
    Ok(())
}

#[tokio::test]
async fn custom_resources_of_users_work_too() -> Result<()> {
    const CRD: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ships.GROUP, annotations: {example.com/made-by: test}}
spec:
  group: GROUP
  scope: Namespaced
  names: {plural: ships, singular: ship, kind: Ship}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              required: [name]
              properties:
                name: {type: string, minLength: 2}
                crew: {type: integer, default: 1}
              x-kubernetes-validations: [{rule: 'self.crew < 100', message: 'too many'}]
";
    let (up, kubectl) = started().await?;
    // Kinds belong to the whole cluster; that of this test has a group of its own.
    let group = format!("{}.example.com", up.namespace());
    kubectl.apply(&CRD.replace("GROUP", &group))?;
    kubectl.run(&format!("wait crd/ships.{group} --for=condition=Established --timeout=10s"))?;
    let ship = |spec: Value| {
        json!({"apiVersion": format!("{group}/v1"), "kind": "Ship", "metadata": {"name": "a"}, "spec": spec})
            .to_string()
    };
    let wrong = [
        json!({"name": "x"}),
        json!({}),
        json!({"name": "ship", "crew": 100}),
        json!({"name": "ship", "crew": "many"}),
        json!({"name": "ship", "sails": 3}),
    ];
    for wrong in wrong {
        ensure!(kubectl.apply(&ship(wrong.clone())).is_err(), "{wrong}");
    }
    eventually("a good one is taken", async || kubectl.apply(&ship(json!({"name": "ship"}))).map(Some)).await?;
    ensure!(kubectl.run(&format!("get ships.{group} a -o jsonpath={{.spec.crew}}"))? == "1");
    kubectl.run(&format!("delete crd ships.{group}"))?;
    let ships = format!("ships.{group}");
    eventually("the kind is gone", async || Ok((kubectl.say(&["get", &ships], "")?.code != 0).then_some(()))).await
}
