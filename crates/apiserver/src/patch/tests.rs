use super::*;
use serde_json::json;

#[test]
fn json_patch_applies_in_order() {
    let document = json!({"a": {"b": [1, 2]}});
    let patch = json!([{"op": "test", "path": "/a/b/0", "value": 1}, {"op": "add", "path": "/a/b/-", "value": 3},
        {"op": "move", "from": "/a/b", "path": "/c"}, {"op": "copy", "from": "/c", "path": "/d"},
        {"op": "replace", "path": "/d/0", "value": 9}, {"op": "remove", "path": "/a"}]);
    assert_eq!(json(&document, &patch).unwrap(), json!({"c": [1, 2, 3], "d": [9, 2, 3]}));
}
