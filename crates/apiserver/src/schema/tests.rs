use super::*;
use serde_json::json;

#[test]
fn every_published_definition_compiles() {
    let definitions = crate::builtin::definitions();
    assert!(definitions.len() > 200);
    for name in definitions.keys() {
        crate::builtin::schema(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn a_secret_goes_through() {
    let schema = crate::builtin::schema("io.k8s.api.core.v1.Secret").unwrap();
    let body = br#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","creationTimestamp":null,"x":1},"data":{"k":"dg=="},"dta":{}}"#;
    let payload = Payload { bytes: body.to_vec().into(), ..Payload::default() };
    let (value, warnings) = schema.decode(&payload, FieldValidation::Warn).unwrap();
    assert_eq!(value, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"k": "dg=="}}));
    assert_eq!(warnings, ["unknown field \"metadata.x\"", "unknown field \"dta\""]);
    assert_eq!(schema.validate(&value, None), []);
    let error = schema.decode(&payload, FieldValidation::Strict).unwrap_err();
    assert_eq!(error.message, "strict decoding error: unknown field \"metadata.x\", unknown field \"dta\"");
}
