//! Tables for each kind of patch, then laws.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema::Schema;

#[test]
fn json_patch_applies_in_order() {
    let document = json!({"a": {"b": [1, 2]}});
    let patch = json!([{"op": "test", "path": "/a/b/0", "value": 1}, {"op": "add", "path": "/a/b/-", "value": 3},
        {"op": "move", "from": "/a/b", "path": "/c"}, {"op": "copy", "from": "/c", "path": "/d"},
        {"op": "replace", "path": "/d/0", "value": 9}, {"op": "remove", "path": "/a"}]);
    assert_eq!(json(&document, &patch).unwrap(), json!({"c": [1, 2, 3], "d": [9, 2, 3]}));
}

#[test]
fn json_patches_that_do_not_apply_are_refused() {
    let document = json!({"a": {"b": [1, 2]}, "~x/y": 0});
    for (patch, code, why) in [
        (json!({"op": "add"}), 400, "is an array"),
        (json!([1]), 400, "operation 0"),
        (json!([{"op": "jump", "path": "/a"}]), 422, "operation 0"),
        (json!([{"op": "add", "path": "/a"}]), 422, "operation 0"),
        (json!([{"op": "add", "path": "a", "value": 1}]), 422, "operation 0"),
        (json!([{"op": "test", "path": "/a/b/0", "value": 2}]), 422, "test failed: /a/b/0"),
        (json!([{"op": "remove", "path": "/x"}]), 422, "doc is missing path: /x"),
        (json!([{"op": "replace", "path": "/x/c", "value": 1}]), 422, "doc is missing path: /x/c"),
        (json!([{"op": "add", "path": "/a/b/9", "value": 1}]), 422, "doc is missing path"),
        (json!([{"op": "add", "path": "/x/y", "value": 1}]), 422, "doc is missing path"),
        (json!([{"op": "copy", "from": "/x", "path": "/y"}]), 422, "nothing at the path"),
        (json!([{"op": "move", "from": "/a", "path": "/a/b"}]), 422, "cannot be moved into itself"),
    ] {
        let error = json(&document, &patch).expect_err(&patch.to_string());
        assert_eq!(error.code, code, "{patch}: {error}");
        assert!(error.message.contains(why), "{patch}: {error}");
    }
    let escaped = json!([{"op": "replace", "path": "/~0x~1y", "value": 1}]);
    assert_eq!(json(&document, &escaped).unwrap()["~x/y"], 1);
    let absent = json!([{"op": "replace", "path": "/a/c", "value": 1}]);
    assert_eq!(json(&document, &absent).unwrap()["a"]["c"], 1, "a field that is absent is added");
}

#[test]
fn json_patches_cannot_blow_a_document_up() {
    let double: Vec<Value> = (0..64).map(|n| json!({"op": "copy", "from": "", "path": format!("/k{n}")})).collect();
    let error = json(&json!({"a": "x".repeat(1000)}), &Value::Array(double)).unwrap_err();
    assert_eq!(error.code, 413);
    // Each copies all of `a` to its own deepest place.
    let places = std::iter::successors(Some(2_usize), |tokens| Some(2 * tokens - 1)).take(20);
    let deepen = places.map(|tokens| json!({"op": "copy", "from": "/a", "path": "/a".repeat(tokens)}));
    let error = json(&json!({"a": {}}), &deepen.collect()).unwrap_err();
    assert_eq!(error.code, 413);
    let many = vec![json!({"op": "test", "path": "", "value": {}}); 10_001];
    assert_eq!(json(&json!({}), &Value::Array(many)).unwrap_err().code, 413);
}

/// The examples of RFC 7386, appendix A.
#[test]
fn merge_patch_does_as_its_rfc_says() {
    for (document, patch, result) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "b"}), json!(["c"]), json!(["c"])),
        (json!({"a": "foo"}), json!(null), json!(null)),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        assert_eq!(merge(&document, &patch), result, "{document} + {patch}");
    }
}

fn deployment() -> Arc<Schema> {
    crate::builtin::schema("io.k8s.api.apps.v1.Deployment").unwrap()
}

fn pod(containers: Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": containers}}}})
}

fn containers(document: &Value) -> &Value {
    &document["spec"]["template"]["spec"]["containers"]
}

#[test]
fn lists_with_a_merge_key_merge_item_by_item() {
    let document = pod(json!([{"name": "web", "image": "web:1", "args": ["a"]}, {"name": "log", "image": "log:1"}]));
    for (patch, result) in [
        (
            json!([{"name": "web", "image": "web:2"}]),
            json!([{"name": "web", "image": "web:2", "args": ["a"]}, {"name": "log", "image": "log:1"}]),
        ),
        // What is new goes first.
        (
            json!([{"name": "new", "image": "new:1"}]),
            json!([{"name": "new", "image": "new:1"}, {"name": "web", "image": "web:1", "args": ["a"]},
                {"name": "log", "image": "log:1"}]),
        ),
        (json!([{"name": "web", "$patch": "delete"}]), json!([{"name": "log", "image": "log:1"}])),
        (json!([{"$patch": "replace"}, {"name": "new"}]), json!([{"name": "new"}])),
        // A list without a merge key is replaced, a null removes.
        (
            json!([{"name": "web", "args": ["b"], "image": null}]),
            json!([{"name": "web", "args": ["b"]}, {"name": "log", "image": "log:1"}]),
        ),
        (json!([]), json!([{"name": "web", "image": "web:1", "args": ["a"]}, {"name": "log", "image": "log:1"}])),
    ] {
        let patched = strategic(&document, &pod(patch.clone()), &deployment()).unwrap();
        assert_eq!(containers(&patched), &result, "{patch}");
    }
}

#[test]
fn the_order_of_a_merged_list_can_be_said() {
    let document = pod(json!([{"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}]));
    let patch = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "d"}, {"name": "new"}, {"name": "a"}],
        "containers": [{"name": "new"}]}}}});
    let patched = strategic(&document, &patch, &deployment()).unwrap();
    let names: Vec<&str> = containers(&patched).as_array().unwrap().iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(names, ["b", "c", "d", "new", "a"]);

    let wrong = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "new"}]}}}});
    let error = strategic(&document, &wrong, &deployment()).unwrap_err();
    assert!(error.message.contains("doesn't match $setElementOrder"), "{error}");
}

#[test]
fn lists_of_scalars_merge_as_sets() {
    let document = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    for (patch, result) in [
        (json!({"finalizers": ["d", "b"]}), json!(["d", "a", "b", "c"])),
        (json!({"$deleteFromPrimitiveList/finalizers": ["b"]}), json!(["a", "c"])),
        (json!({"$setElementOrder/finalizers": ["c", "a"]}), json!(["b", "c", "a"])),
        (
            json!({"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["b", "d", "c"],
                "finalizers": ["d"]}),
            json!(["b", "d", "c"]),
        ),
    ] {
        let patched = strategic(&document, &json!({"metadata": patch.clone()}), &deployment()).unwrap();
        assert_eq!(patched["metadata"]["finalizers"], result, "{patch}");
    }
}

#[test]
fn directives_replace_delete_and_retain() {
    let document = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"strategy": {"type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1}}}});
    for (patch, result) in [
        (
            json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}}}),
            json!({"metadata": {"labels": {"b": "2"}}, "spec": document["spec"]}),
        ),
        (
            json!({"metadata": {"labels": {"$patch": "delete"}}}),
            json!({"metadata": {"labels": {}}, "spec": document["spec"]}),
        ),
        (
            json!({"metadata": {"labels": {"$patch": "merge", "b": "2"}}}),
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": document["spec"]}),
        ),
        (
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
            json!({"metadata": document["metadata"], "spec": {"strategy": {"type": "Recreate"}}}),
        ),
        (
            json!({"status": {"$patch": "delete"}, "spec": {"paused": {"$patch": "merge", "x": null}}}),
            json!({"metadata": document["metadata"], "spec": {"strategy": document["spec"]["strategy"], "paused": {}}}),
        ),
    ] {
        assert_eq!(strategic(&document, &patch, &deployment()).unwrap(), result, "{patch}");
    }
}

#[test]
fn strategic_patches_that_contradict_themselves_are_refused() {
    let mut document = pod(json!([{"name": "a"}]));
    document["metadata"] = json!({});
    for (patch, why) in [
        (json!([]), "is an object"),
        (pod(json!([{"image": "x"}])), "declared merge key: name"),
        (pod(json!([{"$patch": "delete"}])), "declared merge key: name"),
        (pod(json!(["x"])), "is an object"),
        (json!({"metadata": {"$patch": "shred"}}), "Unknown patch type"),
        (json!({"metadata": {"$patch": 1}}), "Unknown patch type"),
        (json!({"spec": {"$retainKeys": ["a"], "replicas": 1}}), "not among its $retainKeys"),
        (json!({"spec": {"$retainKeys": "a"}}), "is a list"),
        (json!({"metadata": {"$setElementOrder/finalizers": 1}}), "is a list"),
        (json!({"metadata": {"$deleteFromPrimitiveList/finalizers": {}}}), "is a list"),
    ] {
        let error = strategic(&document, &patch, &deployment()).expect_err(&patch.to_string());
        assert_eq!(error.code, 400);
        assert!(error.message.contains(why), "{patch}: {error}");
    }
}

/// Any JSON without lists.
fn maps() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), (0..3).prop_map(Value::from)];
    let map = |inner| proptest::collection::btree_map("[abc]", inner, 0..3).prop_map(|map| json!(map));
    map(leaf.prop_recursive(3, 12, 3, move |inner| map(inner).boxed()).boxed())
}

/// Any JSON.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(Value::Null), (0..3).prop_map(Value::from), "[a$]{0,2}".prop_map(Value::from)];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let key = prop_oneof![
            Just("spec"),
            Just("template"),
            Just("containers"),
            Just("name"),
            Just("metadata"),
            Just("finalizers"),
            Just("$patch"),
            Just("$retainKeys"),
            Just("$setElementOrder/containers"),
            Just("$setElementOrder/finalizers"),
            Just("$deleteFromPrimitiveList/finalizers")
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            proptest::collection::btree_map(key, inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// Without nulls in objects, which a patch cannot set.
fn dense(value: Value) -> Value {
    merge(&json!({}), &value)
}

proptest! {
    #[test]
    fn a_merge_patch_applied_twice_is_applied_once(document in maps(), patch in maps()) {
        let once = merge(&document, &patch);
        prop_assert_eq!(merge(&once, &patch), once);
    }

    #[test]
    fn an_empty_patch_changes_nothing(document in maps()) {
        prop_assert_eq!(merge(&document, &json!({})), document.clone());
        prop_assert_eq!(json(&document, &json!([])).unwrap(), document.clone());
        prop_assert_eq!(strategic(&document, &json!({}), &deployment()).unwrap(), document);
    }

    #[test]
    fn without_lists_strategic_is_merge(document in maps(), patch in maps()) {
        let document = dense(document);
        prop_assert_eq!(strategic(&document, &patch, &deployment()).unwrap(), merge(&document, &patch));
    }

    #[test]
    fn a_json_patch_that_replaces_the_root_gives_it(document in maps(), other in maps()) {
        let patch = json!([{"op": "replace", "path": "", "value": other}, {"op": "test", "path": "", "value": other}]);
        prop_assert_eq!(json(&document, &patch).unwrap(), other);
    }

    #[test]
    fn a_strategic_patch_applied_twice_is_applied_once(document in anything(), patch in anything()) {
        if let Ok(once) = strategic(&document, &patch, &deployment())
            && let Ok(twice) = strategic(&once, &patch, &deployment())
            && !patch.to_string().contains('$')
        {
            prop_assert_eq!(once, twice);
        }
    }

    #[test]
    fn hostile_patches_never_panic(document in anything(), patch in anything()) {
        let _ = strategic(&document, &patch, &deployment());
        let _ = json(&document, &patch);
        let _ = json(&document, &json!([patch.clone()]));
        let _ = merge(&document, &patch);
    }
}
