//! Bodies as clients send them, written by hand with the few functions below.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn number(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value.cast_unsigned())].concat()
}

fn bytes(field: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn body(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let types = [bytes(1, api_version), bytes(2, kind)].concat();
    [MAGIC.to_vec(), bytes(1, types), bytes(2, message), bytes(3, ""), bytes(4, "")].concat()
}

fn decoded(api_version: &str, kind: &str, message: &[u8]) -> Value {
    serde_json::from_slice(&to_json(&body(api_version, kind, message)).unwrap()).unwrap()
}

#[test]
fn a_secret() {
    let metadata = [
        bytes(1, "x"),
        bytes(2, ""),
        bytes(3, "ns"),
        number(7, 0),
        bytes(8, ""),
        bytes(11, [bytes(1, "a"), bytes(2, "")].concat()),
    ];
    let entry = [bytes(1, "k"), bytes(2, [0, 255])].concat();
    let message = [bytes(1, metadata.concat()), bytes(2, entry), bytes(3, "Opaque"), number(5, 0)].concat();
    assert_eq!(
        decoded("v1", "Secret", &message),
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"k": "AP8="}, "immutable": false,
            "metadata": {"name": "x", "namespace": "ns", "labels": {"a": ""}},
        })
    );
}

#[test]
fn values_with_forms_of_their_own() {
    let port = |kind, number_, text: &str| [number(1, kind), number(2, number_), bytes(3, text)].concat();
    let get = |target: Vec<u8>| bytes(1, bytes(2, [bytes(1, "/"), bytes(2, target)].concat()));
    let container = [
        bytes(1, "c"),
        bytes(8, bytes(1, [bytes(1, "cpu"), bytes(2, bytes(1, "100m"))].concat())),
        bytes(10, [get(port(0, 8080, "")), number(2, -5)].concat()),
        bytes(11, get(port(1, 0, "web"))),
    ];
    let spec = bytes(2, container.concat());
    let created = [number(1, 1_700_000_000), number(2, 5)].concat();
    let message = [bytes(1, bytes(8, created)), bytes(2, spec)].concat();
    let pod = decoded("v1", "Pod", &message);
    let container = &pod["spec"]["containers"][0];
    assert_eq!(pod["metadata"]["creationTimestamp"], "2023-11-14T22:13:20Z");
    assert_eq!(container["resources"]["limits"]["cpu"], "100m");
    assert_eq!(container["livenessProbe"]["httpGet"]["port"], 8080);
    assert_eq!(container["livenessProbe"]["initialDelaySeconds"], -5);
    assert_eq!(container["readinessProbe"]["httpGet"]["port"], "web");
}

#[test]
fn reviews_rules_and_empty_texts() {
    let rule = [bytes(1, "get"), bytes(2, ""), bytes(3, "secrets")].concat();
    let role = decoded("rbac.authorization.k8s.io/v1", "Role", &bytes(2, rule));
    assert_eq!(role["rules"][0]["apiGroups"], json!([""]));
    let extra = bytes(5, [bytes(1, "scopes"), bytes(2, [bytes(1, "a"), bytes(1, "b")].concat())].concat());
    let review = decoded("authorization.k8s.io/v1", "SubjectAccessReview", &bytes(2, extra));
    assert_eq!(review["spec"]["extra"], json!({"scopes": ["a", "b"]}));
    let lease = bytes(2, [number(2, 15), bytes(4, [number(1, 1), number(2, 1000)].concat())].concat());
    let lease = decoded("coordination.k8s.io/v1", "Lease", &lease);
    assert_eq!(lease["spec"], json!({"leaseDurationSeconds": 15, "renewTime": "1970-01-01T00:00:01.000001Z"}));
    let options = decoded("v1", "DeleteOptions", &[number(1, 0), bytes(4, "Orphan")].concat());
    assert_eq!(options["gracePeriodSeconds"], 0);
}

#[test]
fn what_cannot_be_read_is_refused() {
    let deep = (0..100).fold(Vec::new(), |inner, _| bytes(1, inner));
    for (body, code) in [
        (b"{}".to_vec(), 400),
        (b"k8s\0\xff".to_vec(), 400),
        (body("v1", "Secret", b"\x0a\xff"), 400),
        (body("v1", "Secret", &number(1, 5)), 400),
        (body("v1", "Secret", &bytes(3, [0xff])), 400),
        (body("v1", "Secret", &deep), 400),
        (body("apps.example.com/v1", "Deployment", b""), 415),
        (body("v1", "Nothing", b""), 415),
    ] {
        assert_eq!(to_json(&body).unwrap_err().code, code, "{body:?}");
    }
    assert!(knows("", "v1", "Secret") && knows("apps", "v1", "Deployment"));
    assert!(knows("rbac.authorization.k8s.io", "v1", "ClusterRole"));
    assert!(!knows("roadstead.dev", "v1alpha1", "WebhookEndpoint"));
}

#[test]
fn the_number_of_values_is_bounded() {
    let many: Vec<u8> = (0..=VALUES).flat_map(|_| bytes(5, "")).collect();
    assert_eq!(to_json(&body("v1", "DeleteOptions", &many)).unwrap_err().code, 400);
}

proptest! {
    #[test]
    fn any_bytes_are_answered(message in proptest::collection::vec(any::<u8>(), 0..200), kind in "Pod|Secret|Event|Role") {
        let _ = to_json(&message);
        let _ = to_json(&body("v1", &kind, &message));
    }
}
