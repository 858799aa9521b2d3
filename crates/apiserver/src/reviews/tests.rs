//! The reviews as a client sees them.

use roadstead_kubewire::User;

use super::*;
use crate::{
    authn::{FixedToken, ServiceAccounts, jwt::SigningKey},
    authz::{bootstrap, index::GROUP},
    objects::memory::Memory,
};

struct House {
    resources: Vec<Arc<dyn Resource>>,
    tokens: Tokens,
}

fn house() -> House {
    let memory = Arc::new(Memory::default());
    for role in bootstrap::cluster_roles() {
        memory.put(GROUP, "clusterroles", role);
    }
    for binding in bootstrap::cluster_role_bindings() {
        memory.put(GROUP, "clusterrolebindings", binding);
    }
    memory.put(
        GROUP,
        "rolebindings",
        json!({
            "metadata": {"name": "b", "namespace": "team"},
            "roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "User", "name": "ann"}],
        }),
    );
    memory.put("", "serviceaccounts", json!({"metadata": {"name": "bot", "namespace": "team", "uid": "u1"}}));
    let key = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
    let accounts = Arc::new(ServiceAccounts::new(key, memory.clone()));
    let tokens = Tokens::new(Vec::<FixedToken>::new(), accounts);
    assert_eq!(resources(&Rbac::new(memory.clone()), &tokens).len(), Question::ALL.len());
    House { resources: resources(&Rbac::new(memory), &tokens), tokens }
}

fn ann() -> User {
    User { name: "ann".into(), groups: vec!["system:authenticated".into()], ..User::default() }
}

impl House {
    async fn ask(&self, plural: &str, namespace: Option<&str>, review: Value) -> ApiResult<Value> {
        let resource = self.resources.iter().find(|resource| resource.info().plural == plural).unwrap();
        let payload = Payload { bytes: review.to_string().into(), media: Media::Json };
        let cx = Context::new(ann(), "r");
        let written = resource.create(&cx, namespace, payload, &WriteOptions::default()).await?;
        assert_eq!(written.code, 201);
        Ok(serde_json::from_slice(&written.json).unwrap())
    }

    async fn status(&self, plural: &str, spec: Value) -> Value {
        self.ask(plural, None, json!({"spec": spec})).await.unwrap()["status"].clone()
    }
}

fn pods(verb: &str, namespace: &str) -> Value {
    json!({"resourceAttributes": {"verb": verb, "resource": "pods", "namespace": namespace}})
}

#[tokio::test]
async fn access_reviews_answer() {
    let house = house();
    let by = "RBAC: allowed by RoleBinding \"b/team\" of ClusterRole \"view\" to User \"ann\"";
    assert_eq!(
        house.status("selfsubjectaccessreviews", pods("get", "team")).await,
        json!({"allowed": true, "reason": by})
    );
    assert_eq!(house.status("selfsubjectaccessreviews", pods("delete", "team")).await, json!({"allowed": false}));
    assert_eq!(house.status("selfsubjectaccessreviews", pods("get", "")).await, json!({"allowed": false}));
    let path = json!({"nonResourceAttributes": {"verb": "get", "path": "/apis"}});
    assert_eq!(house.status("selfsubjectaccessreviews", path.clone()).await["allowed"], true);
    let mut about = pods("create", "team");
    about["user"] = json!("somebody");
    assert_eq!(house.status("subjectaccessreviews", about.clone()).await["allowed"], false);
    about["groups"] = json!(["system:masters"]);
    assert_eq!(house.status("subjectaccessreviews", about.clone()).await["allowed"], true);
    let local = |namespace: &'static str, spec: Value| {
        house.ask("localsubjectaccessreviews", Some(namespace), json!({"spec": spec}))
    };
    assert_eq!(local("team", about.clone()).await.unwrap()["status"]["allowed"], true);
    assert_eq!(local("other", about).await.unwrap_err().code, 422);
    let mut path = path;
    path["user"] = json!("x");
    assert_eq!(local("team", path).await.unwrap_err().code, 422);
}

#[tokio::test]
async fn bad_reviews_are_refused() {
    let house = house();
    let both = json!({"resourceAttributes": {"resource": "pods"}, "nonResourceAttributes": {"path": "/"}});
    for (plural, review, code) in [
        ("selfsubjectaccessreviews", json!({"spec": {}}), 422),
        ("selfsubjectaccessreviews", json!({"spec": both}), 422),
        ("selfsubjectaccessreviews", json!({"spec": {"resourceAttributes": {"verb": "get"}}}), 422),
        ("subjectaccessreviews", json!({"spec": pods("get", "team")}), 422),
        ("selfsubjectrulesreviews", json!({"spec": {}}), 400),
        ("tokenreviews", json!({"spec": {}}), 400),
        ("selfsubjectreviews", json!({"kind": "TokenReview"}), 400),
        ("selfsubjectreviews", json!([]), 400),
    ] {
        assert_eq!(house.ask(plural, None, review.clone()).await.unwrap_err().code, code, "{plural} {review}");
    }
}

#[tokio::test]
async fn rules_are_listed() {
    let status = house().status("selfsubjectrulesreviews", json!({"namespace": "team"})).await;
    let has = |list: &str, field: &str, item: &str| {
        status[list].as_array().unwrap().iter().any(|rule| rule[field].as_array().unwrap().contains(&json!(item)))
    };
    assert!(has("resourceRules", "resources", "pods") && has("nonResourceRules", "nonResourceURLs", "/healthz"));
    assert!(!has("resourceRules", "resources", "secrets"));
    assert_eq!(status["incomplete"], false);
}

#[tokio::test]
async fn identities_are_told() {
    let house = house();
    let own = house.ask("selfsubjectreviews", None, json!({})).await.unwrap();
    assert_eq!(own["kind"], "SelfSubjectReview");
    assert_eq!(own["status"]["userInfo"], json!({"username": "ann", "groups": ["system:authenticated"]}));
    let payload = Payload { bytes: r#"{"spec": {}}"#.into(), media: Media::Json };
    let written = token_request(&house.tokens, &Key::new("team", "bot"), &payload).unwrap();
    let request: Value = serde_json::from_slice(&written.json).unwrap();
    let token = request["status"]["token"].as_str().unwrap();
    let status = house.status("tokenreviews", json!({"token": token})).await;
    assert_eq!(status["user"]["username"], "system:serviceaccount:team:bot");
    assert_eq!(status["user"]["uid"], "u1");
    assert_eq!(status["audiences"], json!([crate::authn::ISSUER]));
    let status = house.status("tokenreviews", json!({"token": format!("{token}x")})).await;
    assert_eq!(status, json!({"user": {}, "error": "invalid bearer token"}));
}
