//! Requests one by one: what is answered, in which form, and what is refused with which words.

use http::StatusCode;
use roadstead_kubewire::{User, service::Limits};
use serde_json::{Value, json};

use crate::plane::Plane;

const SHIPS: &str = "/apis/harbour.test/v1/namespaces/default/ships";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const SHIP: &str =
    r#"{"apiVersion":"harbour.test/v1","kind":"Ship","metadata":{"name":"aurora"},"spec":{"cargo":"tea","crew":3}}"#;

async fn with_a_ship() -> Plane {
    let plane = Plane::new();
    let made = plane.send(&format!("POST {SHIPS}"), &[], SHIP).await;
    assert_eq!(made.status, StatusCode::CREATED);
    plane
}

#[tokio::test]
async fn refusals_have_the_code_and_words_that_clients_know() {
    let plane = with_a_ship().await;
    let ship = format!("{SHIPS}/aurora");
    let core = "/api/v1/namespaces/default/secrets";
    for (what, headers, body, code, reason, words) in [
        (format!("GET {SHIPS}/none"), vec![], "", 404, "NotFound", r#"ships.harbour.test "none" not found"#),
        (
            "GET /apis/harbour.test/v1/barges".into(),
            vec![],
            "",
            404,
            "NotFound",
            "could not find the requested resource",
        ),
        ("GET /apis/harbour.test/v9/ships".into(), vec![], "", 404, "NotFound", "could not find"),
        ("GET /nowhere".into(), vec![], "", 404, "NotFound", "could not find"),
        ("GET /api/v1/watch/secrets".into(), vec![], "", 404, "NotFound", "?watch=true"),
        (format!("GET {SHIPS}/a%2Fb"), vec![], "", 400, "BadRequest", "may not be part of a path"),
        (format!("GET {SHIPS}?limit=x"), vec![], "", 400, "BadRequest", "ParseInt"),
        (format!("GET {SHIPS}?watch=maybe"), vec![], "", 400, "BadRequest", "watch"),
        (
            format!("GET {SHIPS}?labelSelector=a+b"),
            vec![],
            "",
            400,
            "BadRequest",
            "unable to parse requirement: found 'b'",
        ),
        (
            format!("GET {SHIPS}?fieldSelector=spec.crew=3"),
            vec![],
            "",
            400,
            "BadRequest",
            "field label not supported: spec.crew",
        ),
        (format!("GET {SHIPS}?resourceVersionMatch=Exact"), vec![], "", 422, "Invalid", "ListOptions.meta.k8s.io"),
        (format!("POST {ship}"), vec![], SHIP, 405, "MethodNotAllowed", "does not allow this method"),
        (format!("OPTIONS {SHIPS}"), vec![], "", 405, "MethodNotAllowed", "does not allow this method"),
        ("POST /version".into(), vec![], "", 405, "MethodNotAllowed", "does not allow this method"),
        ("POST /apis/harbour.test/v1/ships".into(), vec![], SHIP, 405, "MethodNotAllowed", ""),
        (format!("DELETE {ship}/status"), vec![], "", 405, "MethodNotAllowed", ""),
        (format!("GET {ship}/sails"), vec![], "", 404, "NotFound", ""),
        (format!("POST {SHIPS}"), vec![], SHIP, 409, "AlreadyExists", r#"ships.harbour.test "aurora" already exists"#),
        (format!("POST {SHIPS}"), vec![], "{", 400, "BadRequest", "cannot read the object"),
        (
            format!("POST {SHIPS}"),
            vec![("content-type", "application/vnd.kubernetes.protobuf")],
            SHIP,
            415,
            "UnsupportedMediaType",
            "unknown format",
        ),
        (format!("POST {SHIPS}"), vec![("content-encoding", "gzip")], SHIP, 415, "UnsupportedMediaType", "compressed"),
        (format!("POST {SHIPS}?dryRun=Some"), vec![], SHIP, 422, "Invalid", "dryRun"),
        (format!("POST {SHIPS}?fieldValidation=Loud"), vec![], SHIP, 422, "Invalid", "fieldValidation"),
        (
            format!("PATCH {ship}"),
            vec![("content-type", "application/strategic-merge-patch+json")],
            "{}",
            415,
            "UnsupportedMediaType",
            "application/merge-patch+json",
        ),
        (
            format!("PATCH {core}/none"),
            vec![("content-type", "application/strategic-merge-patch+json")],
            "{}",
            404,
            "NotFound",
            r#"secrets "none" not found"#,
        ),
        (
            format!("PATCH {ship}"),
            vec![("content-type", "application/apply-patch+yaml")],
            "{}",
            422,
            "Invalid",
            "fieldManager",
        ),
        (
            format!("DELETE {ship}"),
            vec![],
            r#"{"preconditions":{"uid":"other"}}"#,
            409,
            "Conflict",
            "Operation cannot be fulfilled",
        ),
        (
            format!("GET {SHIPS}"),
            vec![("accept", "application/vnd.kubernetes.protobuf")],
            "",
            406,
            "NotAcceptable",
            "application/json",
        ),
        (format!("GET {SHIPS}"), vec![("impersonate-group", "g")], "", 400, "BadRequest", "Impersonate-User"),
        (format!("GET {SHIPS}?includeObject=All"), vec![("accept", TABLE)], "", 400, "BadRequest", "includeObject"),
    ] {
        let answer = plane.send(&what, &headers, body).await;
        let status = answer.json();
        assert_eq!((answer.status.as_u16(), &status["reason"]), (code, &json!(reason)), "{what}: {status}");
        assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(code)), "{what}");
        assert!(status["message"].as_str().unwrap().contains(words), "{what}: {status}");
        assert!(
            !answer.header("audit-id").is_empty() && answer.header("cache-control") == "no-cache, private",
            "{what}"
        );
    }
}

#[tokio::test]
async fn users_get_what_they_may_and_no_more() {
    let plane = with_a_ship().await;
    let reader = ("authorization", "Bearer reader");
    let admin = ("authorization", "Bearer admin");
    for (what, headers, code, words) in [
        (format!("GET {SHIPS}"), vec![reader], 200, ""),
        (format!("GET {SHIPS}"), vec![("authorization", "Bearer wrong")], 401, "Unauthorized"),
        (
            format!("GET {SHIPS}"),
            vec![],
            403,
            r#"ships.harbour.test is forbidden: User "system:anonymous" cannot list resource "ships" in API group "harbour.test" in the namespace "default""#,
        ),
        (
            format!("PUT {SHIPS}/aurora/status"),
            vec![reader],
            403,
            r#"ships.harbour.test "aurora" is forbidden: User "reader" cannot update resource "ships/status" in API group "harbour.test" in the namespace "default""#,
        ),
        (
            "GET /api/v1/secrets?fieldSelector=metadata.name%3Dx".into(),
            vec![reader],
            403,
            r#"secrets "x" is forbidden: User "reader" cannot list resource "secrets" in API group "" at the cluster scope"#,
        ),
        // Whether a resource exists is nobody's business who may not use it.
        ("GET /api/v1/barges".into(), vec![reader], 403, "barges is forbidden"),
        ("GET /version".into(), vec![], 403, r#"forbidden: User "system:anonymous" cannot get path "/version""#),
        ("GET /readyz".into(), vec![], 200, ""),
        (format!("GET {SHIPS}"), vec![admin, ("impersonate-user", "reader")], 200, ""),
        (
            format!("DELETE {SHIPS}/aurora"),
            vec![admin, ("impersonate-user", "reader")],
            403,
            r#"User "reader" cannot delete"#,
        ),
        (
            format!("GET {SHIPS}"),
            vec![reader, ("impersonate-user", "admin")],
            403,
            r#"users "admin" is forbidden: User "reader" cannot impersonate resource "users" in API group "" at the cluster scope"#,
        ),
    ] {
        let answer = plane.send_as(None, &what, &headers, "").await;
        assert_eq!(answer.status.as_u16(), code, "{what}: {:?}", answer.bytes);
        assert!(answer.text().replace("\\\"", "\"").contains(words), "{what}: {}", answer.text());
    }
}

#[tokio::test]
async fn answers_come_in_the_form_that_was_asked_for() {
    let plane = with_a_ship().await;
    let list = plane.send(&format!("GET {SHIPS}"), &[("accept", TABLE)], "").await.json();
    let names: Vec<_> = list["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
    assert_eq!(
        (&list["kind"], names),
        (&json!("Table"), vec![json!("Name"), json!("Cargo"), json!("Crew"), json!("Age")])
    );
    assert_eq!(list["rows"][0]["cells"].as_array().unwrap()[..3], [json!("aurora"), json!("tea"), json!(3)]);
    assert_eq!(list["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let whole = plane.send(&format!("GET {SHIPS}/aurora?includeObject=Object"), &[("accept", TABLE)], "").await.json();
    assert_eq!(whole["rows"][0]["object"]["spec"]["cargo"], "tea");
    let metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let partial = plane.send(&format!("GET {SHIPS}/aurora"), &[("accept", metadata)], "").await.json();
    assert_eq!((&partial["kind"], partial.get("spec")), (&json!("PartialObjectMetadata"), None));
    let pretty = plane.send(&format!("GET {SHIPS}?pretty=true"), &[], "").await;
    assert!(pretty.text().starts_with("{\n  \"kind\": \"ShipList\""), "{}", pretty.text());
    let log = plane.send(&format!("GET {SHIPS}/aurora/log"), &[("authorization", "secret")], "").await;
    assert_eq!((log.text(), log.header("content-type")), ("all well\n", "text/plain"));
}

#[tokio::test]
async fn yaml_bodies_warnings_and_dry_runs() {
    let plane = Plane::new();
    let yaml = "apiVersion: harbour.test/v1\nkind: Ship\nmetadata: {generateName: r-}\nspec: {cargo: rum}\n";
    let headers = [("content-type", "application/yaml")];
    let dry = plane.send(&format!("POST {SHIPS}?dryRun=All"), &headers, yaml).await;
    assert_eq!((dry.status.as_u16(), dry.header("warning")), (201, r#"299 - "rum evaporates""#));
    assert_eq!(plane.send(&format!("GET {SHIPS}/r-x1"), &[], "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(plane.send(&format!("POST {SHIPS}"), &headers, yaml).await.status, StatusCode::CREATED);
    let records = &plane.records;
    assert!(records.wait_for(|record| record.dry_run).await.attributes.name == "r-x1");
    let made = records.wait_for(|record| !record.dry_run && record.code == 201).await;
    assert_eq!((made.attributes.verb.as_str(), made.attributes.name.as_str()), ("create", "r-x1"));
    assert_eq!(made.user.map(|user| user.name).as_deref(), Some("system:admin"));
    assert!(made.bytes > 100);
}

#[tokio::test]
async fn long_lists_are_compressed_for_those_who_take_it() {
    use std::io::Read;
    let plane = Plane::with_limits(Limits { gzip_from: 1000, ..Limits::default() });
    for name in 0..20 {
        let ship = SHIP.replace("aurora", &format!("aurora-{name}"));
        plane.send(&format!("POST {SHIPS}"), &[], &ship).await;
    }
    let plain = plane.send(&format!("GET {SHIPS}"), &[], "").await;
    let packed = plane.send(&format!("GET {SHIPS}"), &[("accept-encoding", "gzip")], "").await;
    assert_eq!((packed.header("content-encoding"), packed.header("vary")), ("gzip", "Accept-Encoding"));
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&packed.bytes[..]).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain.text());
    let one = plane.send(&format!("GET {SHIPS}/aurora-1"), &[("accept-encoding", "gzip")], "").await;
    assert_eq!(one.header("content-encoding"), "");
}

#[tokio::test]
async fn limits_hold() {
    use std::time::Duration;
    let limits = Limits { body_bytes: 1000, request: Duration::from_millis(50), in_flight: 1, ..Limits::default() };
    let plane = Plane::with_limits(limits);
    let large = plane.send(&format!("POST {SHIPS}"), &[], &"x".repeat(1001)).await;
    assert_eq!((large.status.as_u16(), large.json()["reason"].clone()), (413, json!("RequestEntityTooLarge")));
    assert_eq!(large.header("connection"), "close");
    let what = format!("GET {SHIPS}/hangs");
    let (slow, refused) = tokio::join!(plane.send(&what, &[], ""), plane.send(&what, &[], ""));
    assert_eq!((slow.status.as_u16(), refused.status.as_u16()), (504, 429));
    assert_eq!(refused.header("retry-after"), "1");
}

#[tokio::test]
async fn a_panic_is_an_error_and_is_recorded() {
    let plane = Plane::new();
    let answer = plane.send(&format!("GET {SHIPS}/panics"), &[], "").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer.json()["message"].as_str().unwrap().contains(answer.header("audit-id")));
    assert_eq!(plane.records.wait_for(|record| record.code == 500).await.attributes.name, "panics");
}

#[tokio::test]
async fn a_client_that_leaves_is_recorded() {
    let plane = Plane::new();
    let what = format!("GET {SHIPS}/hangs");
    let left = tokio::time::timeout(std::time::Duration::from_millis(20), plane.send(&what, &[], "")).await;
    assert!(left.is_err());
    plane.records.wait_for(|record| record.code == 499 && record.attributes.name == "hangs").await;
}

#[tokio::test]
async fn nobody_is_the_system_over_a_connection() {
    let plane = Plane::new();
    let anonymous = plane.send_as(None, "GET /api", &[], "").await;
    assert_eq!(anonymous.status, StatusCode::FORBIDDEN);
    let system = plane.send_as(Some(User::system()), "GET /api", &[], "").await;
    assert_eq!(system.json()["versions"], json!(["v1"]));
}

#[tokio::test]
async fn namespaces_are_authorised_in_themselves() {
    let plane = Plane::new();
    plane.send("GET /api/v1/namespaces/blue", &[], "").await;
    let record = plane.records.wait_for(|record| record.attributes.resource == "namespaces").await;
    assert_eq!((record.attributes.namespace.as_str(), record.attributes.name.as_str()), ("blue", "blue"));
    let value: Value = plane.send("GET /api/v1/namespaces", &[], "").await.json();
    assert_eq!(value["kind"], "NamespaceList");
}
