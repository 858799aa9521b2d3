//! Scenarios of two and three managers, then laws that hold for any objects.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::*;

fn request(manager: &str) -> Request {
    Request {
        manager: manager.into(),
        force: false,
        subresource: String::new(),
        api_version: "example.com/v1".into(),
        resets: &[],
        blank: Value::Null,
        now: "2026-11-20T09:00:00Z".parse().unwrap(),
    }
}

fn forced(manager: &str) -> Request {
    Request { force: true, ..request(manager) }
}

fn later(request: Request) -> Request {
    Request { now: "2026-11-20T10:00:00Z".parse().unwrap(), ..request }
}

/// A kind with every sort of list and map.
fn schema() -> Arc<Schema> {
    static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(compiled);
    SCHEMA.clone()
}

fn compiled() -> Arc<Schema> {
    let port = json!({"type": "object", "properties": {"port": {"type": "integer"},
        "protocol": {"type": "string", "default": "TCP"}, "name": {"type": "string"}}});
    let root = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "replicas": {"type": "integer"},
        "name": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "args": {"type": "array", "items": {"type": "string"}},
        "ports": {"type": "array", "items": port, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port", "protocol"]},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
        "selector": {"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
        "status": {"type": "object", "properties": {"phase": {"type": "string"}}}}});
    Schema::compile(&root, &Map::new()).unwrap()
}

fn thing(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec})
}

/// What a manager owns, by paths.
fn owned(object: &Value, manager: &str) -> Vec<String> {
    let entries = Managed::of(object).0;
    entries.iter().filter(|entry| entry.manager.name == manager).flat_map(|entry| entry.fields.paths()).collect()
}

fn spec(object: &Value) -> &Value {
    &object["spec"]
}

#[test]
fn the_first_apply_creates_and_owns_what_it_says() {
    let made = apply(None, &thing(json!({"replicas": 1, "args": ["a"]})), &request("one"), &schema()).unwrap();
    assert_eq!(
        made["metadata"]["managedFields"],
        json!([{"manager": "one", "operation": "Apply", "apiVersion": "example.com/v1", "time": "2026-11-20T09:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:args": {}}}}])
    );
}

#[test]
fn another_value_is_a_conflict_and_the_same_value_is_shared() {
    let schema = schema();
    let live = apply(None, &thing(json!({"replicas": 1, "name": "x"})), &request("one"), &schema).unwrap();
    let error = apply(Some(&live), &thing(json!({"replicas": 2})), &request("two"), &schema).unwrap_err();
    assert_eq!((error.code, error.reason), (409, "Conflict"));
    assert_eq!(error.message, "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
    let cause = &error.details.unwrap().causes[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("FieldManagerConflict", ".spec.replicas"));

    let shared = apply(Some(&live), &thing(json!({"replicas": 1})), &request("two"), &schema).unwrap();
    assert_eq!(owned(&shared, "two"), [".spec.replicas"]);
    assert_eq!(owned(&shared, "one"), [".spec.name", ".spec.replicas"]);
}

#[test]
fn several_conflicts_are_told_by_manager() {
    let schema = schema();
    let live = apply(None, &thing(json!({"replicas": 1, "name": "x"})), &request("one"), &schema).unwrap();
    let mut live = apply(Some(&live), &thing(json!({"args": ["a"]})), &request("two"), &schema).unwrap();
    let before = live.clone();
    live["spec"]["env"] = json!({"K": "v"});
    track_update(Some(&before), &mut live, &request("three"), &schema);
    let all = thing(json!({"replicas": 2, "name": "y", "args": [], "env": {"K": "w"}}));
    let error = apply(Some(&live), &all, &request("four"), &schema).unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 4 conflicts: conflicts with \"one\":\n- .spec.name\n- .spec.replicas\n\
         conflicts with \"three\" using example.com/v1:\n- .spec.env.K\nconflicts with \"two\":\n- .spec.args"
    );
}

#[test]
fn force_takes_the_field_away() {
    let schema = schema();
    let live = apply(None, &thing(json!({"replicas": 1})), &request("one"), &schema).unwrap();
    let taken = apply(Some(&live), &thing(json!({"replicas": 2})), &forced("two"), &schema).unwrap();
    assert_eq!(spec(&taken), &json!({"replicas": 2}));
    assert!(owned(&taken, "one").is_empty());
    assert_eq!(owned(&taken, "two"), [".spec.replicas"]);
}

#[test]
fn what_is_no_longer_applied_goes_unless_it_is_shared() {
    let schema = schema();
    let live = apply(None, &thing(json!({"replicas": 1, "name": "x", "env": {"A": "1"}})), &request("one"), &schema);
    let live = apply(Some(&live.unwrap()), &thing(json!({"name": "x"})), &request("two"), &schema).unwrap();
    let less = apply(Some(&live), &thing(json!({"replicas": 1})), &request("one"), &schema).unwrap();
    assert_eq!(spec(&less), &json!({"replicas": 1, "name": "x"}));
    assert_eq!(owned(&less, "one"), [".spec.replicas"]);
    let gone = apply(Some(&less), &thing(json!({})), &request("two"), &schema).unwrap();
    assert_eq!(spec(&gone), &json!({"replicas": 1}));
}

#[test]
fn what_an_update_set_is_kept_when_an_apply_drops_it() {
    let schema = schema();
    let live = apply(None, &thing(json!({"replicas": 1, "name": "x"})), &request("one"), &schema).unwrap();
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = json!(5);
    track_update(Some(&live), &mut scaled, &request("scaler"), &schema);
    assert_eq!(owned(&scaled, "one"), [".spec.name"]);
    // The owner gives the field up by not naming it; the scaler keeps it.
    let after = apply(Some(&scaled), &thing(json!({"name": "x"})), &request("one"), &schema).unwrap();
    assert_eq!(spec(&after), &json!({"replicas": 5, "name": "x"}));
    assert_eq!(owned(&after, "scaler"), [".spec.replicas"]);
}

#[test]
fn items_of_keyed_lists_belong_to_whoever_applied_them() {
    let schema = schema();
    let ports = |list: Value| thing(json!({"ports": list}));
    let live = apply(None, &ports(json!([{"port": 80, "name": "web"}])), &request("one"), &schema).unwrap();
    let live = apply(Some(&live), &ports(json!([{"port": 443, "protocol": "TCP"}])), &request("two"), &schema).unwrap();
    assert_eq!(spec(&live)["ports"], json!([{"port": 80, "name": "web"}, {"port": 443, "protocol": "TCP"}]));
    // The default of a key field counts as its value.
    assert_eq!(
        owned(&live, "one"),
        [
            ".spec.ports[port=80,protocol=\"TCP\"]",
            ".spec.ports[port=80,protocol=\"TCP\"].name",
            ".spec.ports[port=80,protocol=\"TCP\"].port"
        ]
    );
    let named = apply(Some(&live), &ports(json!([{"port": 80, "name": "http"}])), &request("two"), &schema);
    assert!(named.unwrap_err().message.ends_with(".spec.ports[port=80,protocol=\"TCP\"].name"));
    let less = apply(Some(&live), &ports(json!([])), &request("one"), &schema).unwrap();
    assert_eq!(spec(&less)["ports"], json!([{"port": 443, "protocol": "TCP"}]));
}

#[test]
fn sets_merge_and_keep_the_applied_order() {
    let schema = schema();
    let tags = |list: Value| thing(json!({"tags": list}));
    let live = apply(None, &tags(json!(["a", "b", "c"])), &request("one"), &schema).unwrap();
    let live = apply(Some(&live), &tags(json!(["d", "b"])), &request("two"), &schema).unwrap();
    assert_eq!(spec(&live)["tags"], json!(["a", "d", "b", "c"]));
    let live = apply(Some(&live), &tags(json!(["c"])), &request("one"), &schema).unwrap();
    assert_eq!(spec(&live)["tags"], json!(["d", "b", "c"]));
}

#[test]
fn atomic_lists_and_maps_are_one_field() {
    let schema = schema();
    for (field, one, two) in
        [("args", json!(["a"]), json!(["a", "b"])), ("selector", json!({"a": "1"}), json!({"b": "1"}))]
    {
        let live = apply(None, &thing(json!({field: one})), &request("one"), &schema).unwrap();
        let applied = thing(json!({field: two}));
        let error = apply(Some(&live), &applied, &request("two"), &schema).unwrap_err();
        assert!(error.message.ends_with(&format!(": .spec.{field}")), "{error}");
        let taken = apply(Some(&live), &applied, &forced("two"), &schema).unwrap();
        assert_eq!(spec(&taken)[field], two);
    }
}

#[test]
fn what_the_schema_leaves_open_is_owned_field_by_field() {
    let schema = schema();
    let live = apply(None, &thing(json!({"open": {"a": {"b": 1}, "l": [1]}})), &request("one"), &schema).unwrap();
    let live = apply(Some(&live), &thing(json!({"open": {"a": {"c": 2}}})), &request("two"), &schema).unwrap();
    assert_eq!(spec(&live)["open"], json!({"a": {"b": 1, "c": 2}, "l": [1]}));
    let error = apply(Some(&live), &thing(json!({"open": {"l": [2]}})), &request("two"), &schema).unwrap_err();
    assert!(error.message.ends_with(".spec.open.l"), "{error}");
}

#[test]
fn updates_own_what_they_change_and_identity_belongs_to_nobody() {
    let schema = schema();
    let mut made = thing(json!({"replicas": 1, "env": {"A": "1"}}));
    made["metadata"]["labels"] = json!({"app": "x"});
    track_update(None, &mut made, &request("kubectl-create"), &schema);
    assert_eq!(
        made["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {".": {}, "f:env": {".": {}, "f:A": {}}, "f:replicas": {}}})
    );
    let mut edited = made.clone();
    edited["spec"]["replicas"] = json!(2);
    track_update(Some(&made), &mut edited, &later(request("kubectl-edit")), &schema);
    assert_eq!(owned(&edited, "kubectl-edit"), [".spec.replicas"]);
    assert!(!owned(&edited, "kubectl-create").contains(&".spec.replicas".to_string()));
    // A second write of the same manager adds to its entry.
    let before = edited.clone();
    edited["spec"]["name"] = json!("y");
    track_update(Some(&before), &mut edited, &later(request("kubectl-edit")), &schema);
    assert_eq!(owned(&edited, "kubectl-edit"), [".spec.name", ".spec.replicas"]);
}

#[test]
fn an_apply_after_updates_without_tracking_finds_an_owner() {
    let schema = schema();
    let mut untracked = thing(json!({"replicas": 1}));
    untracked["metadata"]["uid"] = json!("u");
    let error = apply(Some(&untracked), &thing(json!({"replicas": 2})), &request("one"), &schema).unwrap_err();
    assert!(error.message.contains("conflict with \"before-first-apply\" using example.com/v1: .spec.replicas"));
}

#[test]
fn status_written_through_its_subresource_has_an_entry_of_its_own() {
    let schema = schema();
    let live = apply(None, &thing(json!({"replicas": 1})), &request("one"), &schema).unwrap();
    let through = Request { subresource: "status".into(), resets: &["/spec"], ..request("one") };
    let mut new = live.clone();
    new["status"] = json!({"phase": "Ready"});
    new["spec"]["replicas"] = json!(7);
    new["metadata"]["managedFields"] = json!([]);
    track_update(Some(&live), &mut new, &through, &schema);
    let entries = new["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "managedFields cannot be set through a subresource");
    assert_eq!(entries[1]["subresource"], "status");
    assert_eq!(entries[1]["fieldsV1"], json!({"f:status": {".": {}, "f:phase": {}}}));

    let mut applied = thing(json!({"replicas": 9}));
    applied["status"] = json!({"phase": "Gone"});
    let applied = apply(Some(&live), &applied, &Request { force: true, ..through }, &schema).unwrap();
    let status = &applied["metadata"]["managedFields"][1];
    assert_eq!(status["fieldsV1"], json!({"f:status": {"f:phase": {}}}));
}

#[test]
fn where_status_is_apart_the_main_resource_does_not_own_it() {
    let schema = schema();
    let apart = Request { resets: &["/status"], ..request("one") };
    let mut whole = thing(json!({"replicas": 1}));
    whole["status"] = json!({"phase": "New"});
    let applied = apply(None, &whole, &apart, &schema).unwrap();
    assert_eq!(owned(&applied, "one"), [".spec.replicas"]);
    track_update(None, &mut whole, &apart, &schema);
    assert_eq!(owned(&whole, "one"), [".spec", ".spec.replicas"]);
}

#[test]
fn clients_may_clear_managed_fields() {
    let schema = schema();
    let live = apply(None, &thing(json!({"replicas": 1})), &request("one"), &schema).unwrap();
    for empty in [json!([]), json!([{}])] {
        let mut new = live.clone();
        new["spec"]["replicas"] = json!(2);
        new["metadata"]["managedFields"] = empty;
        track_update(Some(&live), &mut new, &request("two"), &schema);
        assert_eq!(new["metadata"].get("managedFields"), None);
    }
    // Leaving them out is what clients do that do not know them.
    let mut new = live.clone();
    new["metadata"].as_object_mut().unwrap().remove("managedFields");
    track_update(Some(&live), &mut new, &request("two"), &schema);
    assert_eq!(owned(&new, "one"), [".spec.replicas"]);
}

#[test]
fn only_the_newest_updaters_are_told_apart() {
    let schema = schema();
    let mut live = thing(json!({"env": {}}));
    for index in 0..14 {
        let before = live.clone();
        live["spec"]["env"][format!("K{index}")] = json!("v");
        let at: Timestamp = format!("2026-11-20T09:00:{index:02}Z").parse().unwrap();
        let request = Request { now: at, ..request(&format!("m{index}")) };
        track_update((index > 0).then_some(&before), &mut live, &request, &schema);
    }
    let entries = Managed::of(&live).0;
    assert_eq!(entries.len(), 10);
    assert_eq!(entries[0].manager.name, "ancient-changes");
    for index in 0..5 {
        assert!(owned(&live, "ancient-changes").contains(&format!(".spec.env.K{index}")));
    }
    assert_eq!(owned(&live, "m13"), [".spec.env.K13"]);
}

#[test]
fn kubectl_may_move_from_client_side_apply() {
    let schema = schema();
    let mut live = thing(json!({"replicas": 1, "name": "x"}));
    let last = thing(json!({"replicas": 1, "name": "x"})).to_string();
    live["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": last});
    track_update(None, &mut live, &request("kubectl-client-side-apply"), &schema);
    let wanted = thing(json!({"replicas": 2}));
    assert!(apply(Some(&live), &wanted, &request("other"), &schema).is_err());
    let moved = apply(Some(&live), &wanted, &request("kubectl"), &schema).unwrap();
    assert_eq!(spec(&moved)["replicas"], 2);
    let renewed = last_applied_of(&moved);
    assert_eq!(spec(&renewed), &json!({"replicas": 2}));

    // What somebody else changed since is a conflict for kubectl too.
    let before = live.clone();
    live["spec"]["replicas"] = json!(3);
    track_update(Some(&before), &mut live, &request("scaler"), &schema);
    assert!(apply(Some(&live), &wanted, &request("kubectl"), &schema).is_err());
}

fn last_applied_of(object: &Value) -> Value {
    let text = object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str();
    serde_json::from_str(text.unwrap()).unwrap()
}

#[test]
fn objects_that_cannot_be_applied_are_refused_with_the_place() {
    let schema = schema();
    let mut with_fields = thing(json!({}));
    with_fields["metadata"]["managedFields"] = json!([]);
    let mut other_version = thing(json!({}));
    other_version["apiVersion"] = json!("example.com/v2");
    for (applied, why) in [
        (with_fields, "metadata.managedFields must be nil"),
        (other_version, "Specified patch version: example.com/v2, expected: example.com/v1"),
        (thing(json!({"x": 1})), ".spec.x: field not declared in schema"),
        (thing(json!({"ports": [{"name": "a", "protocol": "TCP"}, {"protocol": "TCP"}]})), "duplicate entries for key"),
        (thing(json!({"ports": ["a"]})), "may not have non-map elements"),
        (thing(json!({"tags": ["a", "a"]})), "duplicate entries for key [\"a\"]"),
        (thing(json!({"tags": [{}]})), "has an element that's a map type"),
    ] {
        let error = apply(None, &applied, &request("one"), &schema).unwrap_err();
        assert_eq!(error.code, 400);
        assert!(error.message.contains(why), "{error} should say {why}");
    }
}

#[test]
fn built_in_kinds_merge_by_their_published_keys() {
    let schema = crate::builtin::schema("io.k8s.api.apps.v1.Deployment").unwrap();
    let deployment = |containers: Value| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
            "spec": {"template": {"spec": {"containers": containers}}}})
    };
    let request = |manager| Request { api_version: "apps/v1".into(), ..request(manager) };
    let live = apply(None, &deployment(json!([{"name": "web", "image": "a:1"}])), &request("one"), &schema).unwrap();
    let sidecar = deployment(json!([{"name": "sidecar", "image": "b:1"}]));
    let live = apply(Some(&live), &sidecar, &request("two"), &schema).unwrap();
    assert_eq!(live["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(), 2);
    let error = apply(Some(&live), &deployment(json!([{"name": "web", "image": "a:2"}])), &request("two"), &schema);
    assert!(
        error
            .unwrap_err()
            .message
            .ends_with("conflict with \"one\": .spec.template.spec.containers[name=\"web\"].image")
    );
}

/// Any spec of the test's kind, in a small world so that values meet.
fn any_spec() -> impl Strategy<Value = Value> {
    let word = prop_oneof![Just("a"), Just("b"), Just("c")];
    let map = proptest::collection::btree_map(word.clone(), word.clone(), 0..3);
    let tags = proptest::sample::subsequence(vec!["a", "b", "c"], 0..=3).prop_shuffle();
    let ports = proptest::sample::subsequence(vec![1, 2, 3], 0..=3).prop_shuffle();
    let open = prop_oneof![
        Just(json!({"x": 1})),
        Just(json!({"x": {"y": 1}})),
        Just(json!({"x": {"y": [1], "z": {}}})),
        Just(json!({}))
    ];
    let parts = (
        proptest::option::of(0..3),
        proptest::option::of(tags),
        proptest::option::of((ports, word)),
        proptest::option::of(map),
        proptest::option::of(open),
    );
    parts.prop_map(|(replicas, tags, ports, map, open)| {
        let mut spec = Map::new();
        spec.extend(replicas.map(|n| ("replicas".to_string(), json!(n))));
        spec.extend(tags.map(|tags| ("tags".to_string(), json!(tags))));
        spec.extend(ports.map(|(ports, name)| {
            let ports: Vec<Value> = ports.into_iter().map(|port| json!({"port": port, "name": name})).collect();
            ("ports".to_string(), json!(ports))
        }));
        spec.extend(map.clone().map(|map| ("env".to_string(), json!(map))));
        spec.extend(map.map(|map| ("selector".to_string(), json!(map))));
        spec.extend(open.map(|open| ("open".to_string(), open)));
        Value::Object(spec)
    })
}

proptest! {
    #[test]
    fn applying_the_same_twice_changes_nothing(a in any_spec(), b in any_spec()) {
        let schema = schema();
        let live = apply(None, &thing(a), &request("one"), &schema).unwrap();
        let once = apply(Some(&live), &thing(b.clone()), &forced("two"), &schema).unwrap();
        let twice = apply(Some(&once), &thing(b), &later(request("two")), &schema).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn there_is_no_conflict_without_a_difference(a in any_spec()) {
        let schema = schema();
        let live = apply(None, &thing(a.clone()), &request("one"), &schema).unwrap();
        let shared = apply(Some(&live), &thing(a), &request("two"), &schema).unwrap();
        prop_assert_eq!(spec(&shared), spec(&live));
        prop_assert_eq!(owned(&shared, "one"), owned(&shared, "two"));
    }

    #[test]
    fn a_forced_apply_owns_what_it_says_and_gets_it(a in any_spec(), b in any_spec()) {
        let schema = schema();
        let live = apply(None, &thing(a), &request("one"), &schema).unwrap();
        let taken = apply(Some(&live), &thing(b.clone()), &forced("two"), &schema).unwrap();
        let alone = apply(None, &thing(b.clone()), &request("two"), &schema).unwrap();
        prop_assert_eq!(owned(&taken, "two"), owned(&alone, "two"));
        let again = apply(Some(&taken), &thing(b), &request("three"), &schema).unwrap();
        prop_assert_eq!(spec(&again), spec(&taken), "what was applied is there");
    }

    #[test]
    fn applying_nothing_undoes_an_apply(a in any_spec(), b in any_spec()) {
        let schema = schema();
        let live = apply(None, &thing(a.clone()), &request("one"), &schema).unwrap();
        if let Ok(both) = apply(Some(&live), &thing(b), &request("two"), &schema) {
            let nothing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}});
            let alone = apply(Some(&both), &nothing, &request("two"), &schema).unwrap();
            prop_assert!(owned(&alone, "two").is_empty());
            // By force: what two has emptied is null by now, where one may have an empty list.
            let kept = apply(Some(&alone), &thing(a), &later(forced("one")), &schema).unwrap();
            prop_assert_eq!(owned(&kept, "one"), owned(&live, "one"));
        }
    }

    #[test]
    fn an_update_owns_exactly_what_it_changed(a in any_spec(), b in any_spec()) {
        let schema = schema();
        let live = apply(None, &thing(a), &request("one"), &schema).unwrap();
        let mut new = live.clone();
        new["spec"] = b;
        track_update(Some(&live), &mut new, &request("two"), &schema);
        let mine: Vec<String> = owned(&new, "two");
        prop_assert!(owned(&new, "one").iter().all(|path| !mine.contains(path)), "nobody shares what changed");
        let mut same = new.clone();
        track_update(Some(&new), &mut same, &later(request("three")), &schema);
        prop_assert_eq!(new, same, "a write that changes nothing leaves no trace");
    }

    #[test]
    fn sets_survive_the_wire(a in any_spec()) {
        let set = collect::fields(Types::new(&schema()), &thing(a));
        prop_assert_eq!(Set::from_fields(&set.to_fields()), Some(set));
    }

    #[test]
    fn hostile_managed_fields_never_panic(text in "\\PC{0,40}", nested in any_spec()) {
        let schema = schema();
        for fields in [json!({&text: {}}), json!({"f:spec": {&text: nested.clone()}}), nested.clone(), json!([text])] {
            let mut live = thing(nested.clone());
            live["metadata"]["managedFields"] = json!([{"manager": text, "operation": "Update",
                "apiVersion": "example.com/v1", "fieldsType": "FieldsV1", "fieldsV1": fields}]);
            let _ = apply(Some(&live), &thing(json!({"replicas": 1})), &forced("one"), &schema);
            let mut new = live.clone();
            track_update(Some(&live), &mut new, &request("two"), &schema);
        }
    }
}
