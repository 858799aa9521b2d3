use std::sync::Arc;

use super::*;

fn message(kind: &str, image: ImageChange) -> Message {
    Message {
        number: 7,
        id: "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W".into(),
        webhook: "0d1e0a2c".into(),
        key: Some(image.repository.clone()),
        event: Arc::new(Event {
            id: "320678d8/0".into(),
            kind: kind.into(),
            image,
            at: "2026-11-20T09:00:00.123456Z".parse().unwrap(),
            reconciled: false,
            origin: "registry".into(),
        }),
        accepted_at: "2026-11-20T09:00:01Z".parse().unwrap(),
        attempts: 0,
    }
}

fn image(action: &str) -> ImageChange {
    ImageChange {
        registry: "registry.example.com:5000".into(),
        repository: "team-a/shop".into(),
        tag: "v1".into(),
        digest: "sha256:fea8".into(),
        action: action.into(),
        actor: "alice".into(),
    }
}

fn rendered(format: Format, message: &Message) -> Value {
    serde_json::from_slice(&render(format, message).bytes).unwrap()
}

#[test]
fn roadstead_is_type_timestamp_and_data() {
    let body = render(Format::Roadstead, &message("push", image("push")));
    assert_eq!(body.content_type, "application/json");
    assert_eq!(
        std::str::from_utf8(&body.bytes).unwrap(),
        "{\"type\":\"image.push\",\"timestamp\":\"2026-11-20T09:00:00.123456Z\",\"data\":{\
         \"registry\":\"registry.example.com:5000\",\"repository\":\"team-a/shop\",\"tag\":\"v1\",\"digest\":\"sha256:fea8\",\
         \"reference\":\"registry.example.com:5000/team-a/shop@sha256:fea8\",\"actor\":\"alice\",\"source\":\"registry\",\
         \"event\":\"320678d8/0\",\"sequence\":7,\"reconciled\":false}}"
    );
}

#[test]
fn cloudevents_has_the_required_attributes() {
    let body = rendered(Format::Cloudevents, &message("delete", image("delete")));
    for (name, value) in [
        ("specversion", "1.0"),
        ("id", "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"),
        ("source", "//registry.example.com:5000/team-a/shop"),
        ("type", "dev.roadstead.image.delete"),
        ("subject", "v1"),
        ("time", "2026-11-20T09:00:00.123456Z"),
        ("datacontenttype", "application/json"),
    ] {
        assert_eq!(body[name], value, "{name}");
    }
    assert_eq!((&body["reconciled"], &body["data"]["reconciled"]), (&Value::Bool(false), &Value::Bool(false)));
    assert_eq!(body["data"].get("reference"), None, "what was deleted cannot be pulled");
    let strange = ImageChange { registry: "a b".into(), repository: "ü?#".into(), ..image("push") };
    let body = rendered(Format::Cloudevents, &message("push", strange));
    assert_eq!(body["source"], "//a%20b/%C3%BC%3F%23");
}

#[test]
fn distribution_is_an_envelope_of_one() {
    let mut message = message("push", image("push"));
    let body = rendered(Format::Distribution, &message);
    let event = &body["events"][0];
    assert_eq!(body["events"].as_array().unwrap().len(), 1);
    assert_eq!((&event["action"], &event["id"]), (&"push".into(), &message.id.clone().into()));
    assert_eq!(event["target"]["digest"], "sha256:fea8");
    assert_eq!(event["request"]["host"], "registry.example.com:5000");
    assert_eq!(event["source"]["instanceID"], "0d1e0a2c");
    Arc::make_mut(&mut message.event).kind = "test".into();
    assert_eq!(rendered(Format::Distribution, &message), serde_json::json!({"events": []}));
}

#[test]
fn all_formats_mark_what_a_comparison_found_and_repeat_themselves() {
    for format in [Format::Roadstead, Format::Cloudevents, Format::Distribution] {
        for reconciled in [false, true] {
            let mut message = message("push", image("push"));
            Arc::make_mut(&mut message.event).reconciled = reconciled;
            let body = render(format, &message);
            assert!(
                String::from_utf8_lossy(&body.bytes).contains(&format!("\"reconciled\":{reconciled}")),
                "{format:?}"
            );
            message.attempts = 3;
            assert_eq!(render(format, &message), body, "the same at each attempt");
        }
    }
}

#[test]
fn the_longest_names_stay_under_20_kb() {
    // Each of these becomes six characters of JSON.
    let long = "\u{1}".repeat(MAX_NAME);
    let worst = ImageChange {
        registry: long.clone(),
        repository: long.clone(),
        tag: String::new(),
        digest: "sha256:1".into(),
        action: "push".into(),
        actor: long.clone(),
    };
    for format in [Format::Roadstead, Format::Cloudevents, Format::Distribution] {
        let size = render(format, &message("push", worst.clone())).bytes.len();
        assert!(size < 20_000, "{format:?}: {size}");
    }
}

#[test]
fn references_pull_what_was_pushed() {
    for (action, tag, digest, expected) in [
        ("push", "v1", "sha256:1", "r/a@sha256:1"),
        ("push", "v1", "", "r/a:v1"),
        ("push", "", "", ""),
        ("delete", "v1", "sha256:1", ""),
    ] {
        let image = ImageChange {
            registry: "r".into(),
            repository: "a".into(),
            tag: tag.into(),
            digest: digest.into(),
            action: action.into(),
            actor: String::new(),
        };
        assert_eq!(reference(&image), expected);
    }
    assert_eq!(reference(&ImageChange { registry: String::new(), ..image("push") }), "", "it is not Docker Hub's");
}
