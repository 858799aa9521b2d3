//! What filters mean (with the `cel` crate's own interpreter as the measure), what is refused, and what bounds them.

use proptest::prelude::*;
use roadstead_api::event::{GitChange, GitCommit, ImageChange};
use serde_json::json;

use super::*;

fn push() -> Value {
    let commit = |id: &str, message: &str| GitCommit { id: id.into(), message: message.into(), author: "Ada".into() };
    WebhookEventSpec {
        endpoint: "shop".into(),
        id: "72d3".into(),
        provider: "github".into(),
        kind: "push".into(),
        received_at: "2026-11-20T09:00:00.123456Z".into(),
        verified: true,
        git: Some(GitChange {
            repository: "octo/shop".into(),
            reference: "refs/heads/main".into(),
            commits: vec![commit("aaa", "Fix the till"), commit("bbb", "[skip ci] größer")],
            ..GitChange::default()
        }),
        ..WebhookEventSpec::default()
    }
    .filter_view()
}

fn image() -> Value {
    let image = ImageChange { repository: "team-a/shop".into(), tag: "v1.2.3".into(), ..ImageChange::default() };
    WebhookEventSpec { image: Some(image), ..WebhookEventSpec::default() }.filter_view()
}

fn run(expression: &str, event: &Value) -> Result<bool, FilterError> {
    Filter::compile(expression)?.matches(event)
}

#[test]
fn decides_events() {
    for (expression, of_push, of_image) in [
        (r#"event.git.ref == "refs/heads/main""#, true, false),
        (r#"event.type == "push" && event.git.repository.startsWith("octo/")"#, true, false),
        (r#"event.git.commits.exists(c, c.message.contains("[skip ci]"))"#, true, false),
        (r#"event.git.commits.all(c, c.author == "Ada")"#, true, true),
        (r#"event.git.commits.exists_one(c, c.id == "aaa")"#, true, false),
        (r#"event.git.commits.map(c, c.id) == ["aaa", "bbb"]"#, true, false),
        (r#"size(event.git.commits.filter(c, c.message.startsWith("Fix"))) == 1"#, true, false),
        (r#"event.image.tag.matches("^v[0-9]+\\.[0-9]+\\.[0-9]+$")"#, false, true),
        (r#"event.image.repository in ["team-a/shop", "team-a/web"]"#, false, true),
        (r#"event.git.commits[1].message.size() == 16"#, true, false),
        (r#"event.git["repository"] == "octo/shop""#, true, false),
        ("event.verified", true, false),
        ("!event.verified", false, true),
        ("event.verified ? size(event.id) > 3 : event.image.tag.endsWith('3')", true, true),
        ("has(event.git.ref) && has(event.image.tag)", true, true),
        (r#"timestamp(event.receivedAt) > timestamp("2026-11-20T00:00:00Z") + duration("8h")"#, true, false),
        (
            "event.git.ref.upperAscii() == 'REFS/HEADS/MAIN' || event.image.tag.lowerAscii().trim() == 'v1.2.3'",
            true,
            true,
        ),
        ("int('7') + 1 == 8 && uint(7) == 7 && double(1) / 2.0 == 0.5 && string(1) == '1'", true, true),
        (r#"{"octo/shop": true, "": false}[event.git.repository]"#, true, false),
    ] {
        let result = |event: &Value| run(expression, event).unwrap_or(false);
        assert_eq!((result(&push()), result(&image())), (of_push, of_image), "{expression}");
    }
}

#[test]
fn a_side_that_decides_alone_wins_over_a_failure() {
    for (expression, expected) in [
        ("event.git.commits[9].id == 'x' || true", Some(true)),
        ("true || event.git.commits[9].id == 'x'", Some(true)),
        ("event.git.commits[9].id == 'x' && false", Some(false)),
        ("event.git.commits[9].id == 'x' && true", None),
        ("event.git.commits[9].id == 'x' || false", None),
        ("[1, 0].exists(x, 1 / x == 1)", Some(true)),
        ("[1, 0].all(x, 1 / x == 2)", Some(false)),
        ("[1, 0].all(x, 1 / x == 1)", None),
        ("1 / 0 == 1", None),
        ("9223372036854775807 + 1 > 0", None),
        ("'a' < 1", None),
        ("event.id.contains(1)", None),
    ] {
        assert_eq!(run(expression, &push()).ok(), expected, "{expression}");
    }
}

#[test]
fn mistakes_are_found_when_the_filter_is_written() {
    for (expression, place, text) in [
        ("event.gti.ref == 'x'", (1, 7), "event has no field gti; it has endpoint"),
        ("event.verified &&\n  event.git.rev == 'x'", (2, 13), "event.git has no field rev"),
        ("event.id.ref == 'x'", (1, 10), "event.id has no fields"),
        ("evnt.id == 'x'", (1, 1), "evnt is not known"),
        ("event.id.lower() == 'x'", (1, 10), "no method lower with 0 arguments"),
        ("frobnicate(event)", (1, 1), "no function frobnicate"),
        ("event.id.matches(event.type)", (1, 10), "must be a literal"),
        ("event.id.matches('(')", (1, 10), "pattern of matches is wrong"),
        ("b'x' == b'x'", (1, 1), "bytes"),
        ("Message{} == Message{}", (1, 1), "messages"),
    ] {
        match Filter::compile(expression) {
            Err(FilterError::Unknown { line, column, message }) => {
                assert_eq!((line, column), place, "{expression}: {message}");
                assert!(message.contains(text), "{expression}: {message}");
            }
            other => panic!("{expression}: {other:?}"),
        }
    }
    for (expression, place, said) in [
        ("event.", (1, 7), "ends too early"),
        ("a b", (1, 3), "`b` cannot be here"),
        ("(", (1, 1), "`(` is not closed"),
        ("a]", (1, 2), "`]` closes nothing"),
        ("", (1, 1), "ends too early"),
        ("true &&\n&& x", (2, 1), "`&` cannot be here"),
        ("event.id == #", (1, 13), "`#` cannot be here"),
    ] {
        match Filter::compile(expression) {
            Err(FilterError::Syntax { line, column, message }) => {
                assert_eq!((line, column), place, "{expression}: {message}");
                assert!(message.contains(said), "{expression}: {message}");
            }
            other => panic!("{expression}: {other:?}"),
        }
    }
    for (expression, what) in [("event.git.ref", "a string"), ("1", "an int"), ("event", "a map"), ("[true]", "a list")]
    {
        assert_eq!(Filter::compile(expression).unwrap_err(), FilterError::NotBool(what), "{expression}");
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let too_large = |expression: String| match Filter::compile(&expression) {
        Err(FilterError::TooLarge { what, .. }) => what.to_owned(),
        Err(FilterError::Syntax { message, .. }) => message,
        other => panic!("{expression:.40}: {other:?}"),
    };
    assert_eq!(too_large(format!("event.id == '{}'", "x".repeat(5000))), "bytes");
    assert_eq!(too_large(format!("[{}] == []", "1,".repeat(1500) + "1")), "nodes");
    assert_eq!(too_large(format!("event{} == 1", "['a']".repeat(100))), "levels");
    assert_eq!(too_large(format!("event.id.matches('{}')", "x".repeat(300))), "bytes in a pattern");
    let nested = "[1].all(a, [1].all(b, [1].all(c, [1].all(d, true))))";
    assert_eq!(too_large(nested.to_owned()), "macros inside each other");
    for (open, close) in [("(", ")"), ("[", "]"), ("!(", ")"), ("true ? ", " : 1"), ("{1:", "}"), ("event.id", "")] {
        too_large_or_wrong(&format!("{}true{}", open.repeat(400), close.repeat(400)));
    }
    too_large_or_wrong(&format!("event{}", ".id".repeat(1300)));
    for brackets in ["[", "(", "{", "a[", "event.id.matches(("] {
        let error = Filter::compile(&brackets.repeat(4000 / brackets.len())).unwrap_err().to_string();
        assert!(error.contains("nests too deep"), "{brackets}: {error}");
    }
    assert!(Filter::compile("event.id.matches('(a{100}){100}')").is_err());
}

fn too_large_or_wrong(expression: &str) {
    assert!(Filter::compile(expression).is_err(), "{expression:.40}");
}

#[test]
fn costly_filters_are_stopped() {
    let commits: Vec<_> = (0..60).map(|n| json!({"id": n.to_string(), "message": "m".repeat(1000)})).collect();
    let mut event = push();
    event["git"]["commits"] = json!(commits);
    for expression in [
        "event.git.commits.all(a, event.git.commits.all(b, event.git.commits.all(c, a.message + b.message != c.message)))",
        "['aaaaaaaa'].map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a)
            .map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a)
            .map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a) == []",
        "event.git.commits.exists(a, event.git.commits.exists(b, a.message == b.message + 'x')) || true",
    ] {
        assert_eq!(run(expression, &event), Err(FilterError::TooCostly), "{expression:.40}");
    }
    // What people write stays far below.
    assert_eq!(run("event.git.commits.exists(c, c.message.contains('[deploy]'))", &event), Ok(false));
}

#[test]
fn errors_show_nothing_of_the_event() {
    let mut event = push();
    event["id"] = json!("s3cret");
    for expression in ["int(event.id) == 1", "event.id + 1 == 2", "[event.id][7] == ''", "timestamp(event.id) == 1"] {
        let error = run(expression, &event).unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{expression}: {error}");
    }
}

/// Expressions that give a boolean (first) and of other types, over the push event.
fn expressions() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        prop::sample::select(vec![
            "event.id",
            "event.git.ref",
            "event.git.commits[0].message",
            "event.git.commits[5].id"
        ])
        .prop_map(str::to_owned),
        prop::sample::select(vec!["'a'", "'refs/heads/main'", "'Fix'", "''"]).prop_map(str::to_owned),
    ];
    let number = prop_oneof![
        (-3i64..4).prop_map(|number| number.to_string()),
        Just("size(event.git.commits)".to_owned()),
        Just("(7 / (size(event.git.commits) - 2))".to_owned()),
    ];
    let atom = prop_oneof![
        Just("true".to_owned()),
        Just("event.verified".to_owned()),
        (text.clone(), text.clone(), prop::sample::select(vec!["==", "!=", "<", ">="]))
            .prop_map(|(a, b, op)| format!("{a} {op} {b}")),
        (number.clone(), number.clone(), prop::sample::select(vec!["==", "!=", "<", "<=", ">"]))
            .prop_map(|(a, b, op)| format!("{a} {op} {b}")),
        (number.clone(), number, prop::sample::select(vec!["+", "-", "*", "/", "%"]))
            .prop_map(|(a, b, op)| format!("({a} {op} {b}) > 1")),
        (text.clone(), text.clone(), prop::sample::select(vec!["contains", "startsWith", "endsWith"]))
            .prop_map(|(a, b, f)| format!("({a}).{f}({b})")),
        (text.clone(), text.clone(), text).prop_map(|(a, b, c)| format!("({a} + {b}) in [{c}, 'Fixa']")),
    ];
    atom.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone(), prop::sample::select(vec!["&&", "||"]))
                .prop_map(|(a, b, op)| format!("({a} {op} {b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("(({a}) ? ({b}) : ({c}))")),
            (inner, prop::sample::select(vec!["all", "exists", "exists_one"]))
                .prop_map(|(a, f)| format!("event.git.commits.{f}(c, c.id != 'aaa' && ({a}))")),
        ]
    })
}

proptest! {
    #[test]
    fn agrees_with_another_interpreter(expression in expressions()) {
        let event = push();
        let program = cel::Program::compile(&expression).unwrap();
        let mut context = cel::Context::default();
        context.add_variable("event", event.clone()).unwrap();
        let theirs = match program.execute(&context) {
            Ok(cel::Value::Bool(result)) => Some(result),
            _ => None,
        };
        prop_assert_eq!(run(&expression, &event).ok(), theirs, "{}", expression);
    }

    #[test]
    fn nothing_makes_it_panic(expression in "[a-z0-9 .()\\[\\]{}+*/%!<>=&|?:,'\"-]{0,60}") {
        let _ = Filter::compile(&expression).map(|filter| filter.matches(&push()));
    }
}
