//! Documents: discovery, OpenAPI, health, version.

use std::sync::Arc;

use roadstead_kubewire::Resource;
use serde_json::{Value, json};

use crate::{
    memory::{Memory, secrets},
    plane::Plane,
};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

#[tokio::test]
async fn plain_discovery() {
    let plane = Plane::new();
    let get = async |path: &str| plane.send(&format!("GET {path}"), &[], "").await.json();
    assert_eq!(get("/api").await["versions"], json!(["v1"]));
    let groups = get("/apis").await;
    assert_eq!(groups["groups"][0]["preferredVersion"]["groupVersion"], "harbour.test/v1");
    assert_eq!(get("/apis/harbour.test").await["kind"], "APIGroup");
    assert_eq!(get("/apis/none.test").await["code"], 404);
    let resources = get("/apis/harbour.test/v1").await;
    assert_eq!(resources["groupVersion"], "harbour.test/v1");
    let names: Vec<_> = resources["resources"].as_array().unwrap().iter().map(|r| r["name"].clone()).collect();
    assert_eq!(names, ["ships", "ships/status", "ships/log"]);
    assert_eq!(resources["resources"][0]["shortNames"], json!(["sh"]));
    assert_eq!(resources["resources"][1]["verbs"], json!(["get", "patch", "update"]));
}

#[tokio::test]
async fn aggregated_discovery_is_tagged() {
    let plane = Plane::new();
    let first = plane.send("GET /apis", &[("accept", AGGREGATED)], "").await;
    assert_eq!(first.header("content-type"), "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let ships = first.json()["items"][0]["versions"][0]["resources"][0].clone();
    assert_eq!((&ships["resource"], &ships["scope"]), (&json!("ships"), &json!("Namespaced")));
    assert_eq!(ships["subresources"][0]["subresource"], "status");
    let tag = first.header("etag").to_string();
    let again = plane.send("GET /apis", &[("accept", AGGREGATED), ("if-none-match", &tag)], "").await;
    assert_eq!((again.status.as_u16(), again.bytes.len()), (304, 0));
    let resources: Vec<Arc<dyn Resource>> = vec![Memory::new(secrets())];
    plane.catalog.publish(resources);
    let changed = plane.send("GET /apis", &[("accept", AGGREGATED), ("if-none-match", &tag)], "").await;
    assert_eq!((changed.status.as_u16(), changed.json()["items"].clone()), (200, json!([])));
}

#[tokio::test]
async fn open_api_documents_can_be_kept() {
    let plane = Plane::new();
    let index = plane.send("GET /openapi/v3", &[], "").await.json();
    let url = index["paths"]["apis/harbour.test/v1"]["serverRelativeURL"].as_str().unwrap().to_string();
    let answer = plane.send(&format!("GET {url}"), &[], "").await;
    assert!(answer.header("cache-control").contains("immutable"));
    assert!(url.contains(answer.header("etag").trim_matches('"')));
    let document = answer.json();
    let schemas: Vec<_> = document["components"]["schemas"].as_object().unwrap().keys().collect();
    assert_eq!(schemas, ["test.harbour.v1.Ship", "test.harbour.v1.ShipSpec"]);
    let patch = &document["paths"]["/apis/harbour.test/v1/namespaces/{namespace}/ships/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Ship");
    assert!(
        patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation" && p["in"] == "query")
    );
    assert_eq!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json"), None);
    let core = plane.send("GET /openapi/v3/api/v1", &[], "").await.json();
    let patch: &Value =
        &core["paths"]["/api/v1/namespaces/{namespace}/secrets/{name}"]["patch"]["requestBody"]["content"];
    assert!(patch.get("application/strategic-merge-patch+json").is_some());

    let path = "GET /openapi/v3/apis/harbour.test/v1";
    let known = plane.send(path, &[("if-none-match", answer.header("etag"))], "").await;
    assert_eq!((known.status.as_u16(), known.bytes.len()), (304, 0));
    let stale = plane.send(&format!("{path}?hash=00"), &[], "").await;
    assert_eq!((stale.status.as_u16(), stale.header("location")), (301, url.as_str()));
    let protobuf = [("accept", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf")];
    assert_eq!(plane.send(path, &protobuf, "").await.status, 406);
}

#[tokio::test]
async fn health_and_version() {
    let plane = Plane::new();
    assert_eq!(plane.send("GET /readyz", &[], "").await.text(), "ok");
    assert_eq!(plane.send("GET /livez?verbose", &[], "").await.text(), "[+]ping ok\nlivez check passed\n");
    assert_eq!(plane.send("GET /healthz/ping", &[], "").await.text(), "ok");
    assert_eq!(plane.send("GET /healthz/none", &[], "").await.status, 404);
    let version = plane.send("GET /version", &[], "").await.json();
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("34")));
}
