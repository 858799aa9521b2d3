//! The `scale` subresource: the number of replicas of any kind that has one, as an `autoscaling/v1` Scale.

use std::sync::OnceLock;

use roadstead_kubewire::{
    ApiError, ApiResult, Context, Key, Payload, Resource, ResourceInfo, Subresource, Verb, WriteOptions, Written,
    error::{Cause, Details},
    options::PatchKind,
};
use serde_json::{Value, json};

use super::{
    Registry,
    kind::{Hooks, Kind, KindSchema, resource_name},
    mechanics, meta,
    names::NameRule,
    update,
    write::ATTEMPTS,
};
use crate::{
    apply,
    schema::field,
    store::{Refusal, WriteError},
};

/// Where a kind keeps what a Scale shows; JSON pointers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Wanted replicas, e.g. `/spec/replicas`.
    pub wanted: String,
    /// Present replicas, e.g. `/status/replicas`.
    pub present: String,
    /// The selector: a string, or a label selector.
    pub selector: Option<String>,
}

impl Paths {
    /// Those of Deployments and their like.
    pub fn workload() -> Self {
        let selector = Some("/spec/selector".into());
        Self { wanted: "/spec/replicas".into(), present: "/status/replicas".into(), selector }
    }
}

/// How discovery shows it.
pub fn subresource() -> Subresource {
    Subresource {
        name: "scale".into(),
        kind: "Scale".into(),
        group_version: Some(("autoscaling".into(), "v1".into())),
        verbs: vec![Verb::Get, Verb::Patch, Verb::Update],
    }
}

/// A Scale as a kind: what is sent is read, patched and tracked as that of any other kind.
fn kind() -> &'static Kind {
    static KIND: OnceLock<Kind> = OnceLock::new();
    KIND.get_or_init(|| {
        let info = ResourceInfo {
            group: "autoscaling".into(),
            version: "v1".into(),
            kind: "Scale".into(),
            plural: "scales".into(),
            namespaced: true,
            schema_name: "io.k8s.api.autoscaling.v1.Scale".into(),
            strategic_merge: true,
            ..ResourceInfo::default()
        };
        Kind {
            info,
            resource: resource_name("autoscaling", "scales"),
            schema: KindSchema::Builtin,
            since: 0,
            names: NameRule::Subdomain,
            counts_generation: false,
            blind_update: true,
            update_creates: false,
            returns_deleted: false,
            scale: None,
            hooks: Box::new(Plain),
        }
    })
}

/// No behaviour of its own.
struct Plain;

impl Hooks for Plain {}

/// The Scale of an object.
///
/// # Errors
/// 500 for an object that does not say how many replicas are wanted.
pub fn show(kind: &Kind, paths: &Paths, object: &Value) -> ApiResult<Value> {
    if matches!(kind.schema, KindSchema::Custom(_)) && object.pointer(&paths.wanted).is_none() {
        let why = format!("the spec replicas field {:?} does not exist", paths.wanted.replace('/', "."));
        let cause = Cause { message: why.clone(), ..Cause::default() };
        let details = Details { causes: vec![cause], ..Details::default() };
        return Err(ApiError::internal(format!("Internal error occurred: {why}")).with_details(details));
    }
    Ok(of(paths, object))
}

/// The Scale of an object; nothing wanted is no field, as everywhere in built-in kinds.
fn of(paths: &Paths, object: &Value) -> Value {
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {}, "spec": {}, "status": {"replicas": number(&paths.present)},
    });
    if number(&paths.wanted) != 0 {
        scale["spec"]["replicas"] = number(&paths.wanted).into();
    }
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        let value = meta::text(object, field);
        meta::set(&mut scale, field, Some(value.into()).filter(|_| !value.is_empty()));
    }
    let selector = paths.selector.as_ref().and_then(|path| object.pointer(path)).map(selector_text);
    if let Some(selector) = selector.filter(|text| !text.is_empty()) {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

/// A label selector as text, e.g. `app=shop,tier in (a,b)`, sorted by key.
fn selector_text(selector: &Value) -> String {
    if let Some(text) = selector.as_str() {
        return text.into();
    }
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let equal = labels.map(|(key, value)| (key.as_str(), format!("{key}={}", value.as_str().unwrap_or_default())));
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten().map(|expression| {
        let key = expression["key"].as_str().unwrap_or_default();
        let values = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut values: Vec<_> = values.collect();
        values.sort_unstable();
        let text = match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_string(),
        };
        (key, text)
    });
    let mut all: Vec<(&str, String)> = equal.chain(expressions).collect();
    all.sort_by_key(|(key, _)| *key);
    all.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// What `live` becomes when `scale`, with its `managedFields`, is written to it.
///
/// # Errors
/// 409 and 422 as for an update of the object itself; of built-in kinds 422 for a number of replicas that cannot be.
pub fn written(kind: &Kind, paths: &Paths, key: &Key, live: &Value, scale: &Value) -> ApiResult<Value> {
    let wanted = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
    // Of a custom kind the schema says what can be.
    if wanted < 0 && matches!(kind.schema, KindSchema::Builtin) {
        let cause = field::invalid("spec.replicas", &wanted.into(), "must be greater than or equal to 0");
        return Err(ApiError::invalid("autoscaling", "Scale", &key.name, vec![cause]));
    }
    let mut address = live.clone();
    for field in ["uid", "resourceVersion"] {
        match meta::text(scale, field) {
            "" => {}
            text => meta::set(&mut address, field, Some(text.into())),
        }
    }
    update::same(kind, key, live, &address)?;
    update::addressed(kind, key, live, &mut address)?;
    let mut new = live.clone();
    put(&mut new, &paths.wanted, wanted.into());
    apply::scale::to_object(scale, &paths.wanted, &mut new);
    Ok(new)
}

/// What is wrong with the numbers of a custom resource that has a scale, whatever its schema says of them.
pub fn causes(kind: &Kind, object: &Value) -> Vec<Cause> {
    let paths = kind.scale.iter().filter(|_| matches!(kind.schema, KindSchema::Custom(_)));
    let wrong = paths.flat_map(|paths| [&paths.wanted, &paths.present]).filter_map(|pointer| {
        let (number, why) = match reach(object, pointer) {
            Ok(number) => (number?, None),
            Err(why) => (0, Some(why)),
        };
        let why = why.or(match number {
            ..0 => Some("should be a non-negative integer".into()),
            2_147_483_648.. => Some("should be less than or equal to 2147483647".into()),
            _ => None,
        })?;
        Some(field::invalid(pointer.replace('/', "."), &number.into(), &why))
    });
    wrong.collect()
}

/// The number at `pointer`, if there is one. Errors: what is in its way, as Go prints it.
fn reach(object: &Value, pointer: &str) -> Result<Option<i64>, String> {
    let (mut at, mut path) = (object, String::new());
    let odd = |path: &str, value: &Value, wanted: &str| {
        let (text, kind) = go(value);
        Err(format!("{path} accessor error: {text} is of the type {kind}, expected {wanted}"))
    };
    for name in pointer.split('/').skip(1) {
        path = format!("{path}.{name}");
        match at {
            Value::Null => return Ok(None),
            Value::Object(fields) => match fields.get(name) {
                Some(value) => at = value,
                None => return Ok(None),
            },
            _ => return odd(&path, at, "map[string]interface{}"),
        }
    }
    at.as_i64().map_or_else(|| odd(&path, at, "int64"), |number| Ok(Some(number)))
}

/// A value as Go prints it, and its type.
fn go(value: &Value) -> (String, &'static str) {
    let all = |items: Vec<String>| items.join(" ");
    match value {
        Value::Null => ("<nil>".into(), "<nil>"),
        Value::Bool(flag) => (flag.to_string(), "bool"),
        Value::Number(number) if number.is_i64() => (number.to_string(), "int64"),
        Value::Number(number) => (number.to_string(), "float64"),
        Value::String(text) => (text.clone(), "string"),
        Value::Array(items) => (format!("[{}]", all(items.iter().map(|item| go(item).0).collect())), "[]interface {}"),
        Value::Object(fields) => {
            let mut fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}:{}", go(value).0)).collect();
            fields.sort();
            (format!("map[{}]", all(fields)), "map[string]interface {}")
        }
    }
}

fn put(object: &mut Value, pointer: &str, value: Value) {
    let mut at = object;
    for member in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[member];
    }
    *at = value;
}

/// What is to be done with a Scale.
enum Change {
    Replace(Value),
    Patch(mechanics::Patch),
}

impl Registry {
    /// Writes the Scale of an object; `how: None` replaces it, else it is patched.
    pub(super) async fn do_scale(
        &self,
        cx: &Context,
        key: &Key,
        how: Option<PatchKind>,
        payload: &Payload,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        let Some(paths) = &self.kind.scale else { return Err(self.refuse("scale")) };
        if how.is_some_and(|how| how != PatchKind::Apply || !options.field_manager.is_empty()) {
            // Before the patch is even read.
            self.find(key)?;
        }
        let change = match how {
            None => {
                let mut sent = mechanics::decode(kind(), payload, options, cx)?;
                update::aimed(kind(), key, &mut sent)?;
                Change::Replace(sent)
            }
            Some(how) => Change::Patch(mechanics::Patch::parse(kind(), how, payload, options, cx)?),
        };
        for _ in 0..ATTEMPTS {
            let live = self.find(key)?;
            let before = self.value(&live)?;
            let mut shown = of(paths, &before);
            apply::scale::to_scale(&before, &paths.wanted, &mut shown);
            let (mut scale, tracked, insists) = match &change {
                Change::Replace(sent) => (sent.clone(), false, !meta::text(sent, "resourceVersion").is_empty()),
                Change::Patch(patch) => {
                    let owned = meta::meta(&shown).is_some_and(|meta| meta.contains_key("managedFields"));
                    if patch.tracks() && !owned && matches!(self.kind.schema, KindSchema::Custom(_)) {
                        let why = "nobody manages the replicas of this custom resource yet, so that its scale cannot be applied";
                        return Err(ApiError::bad_request(why));
                    }
                    let mut patched = patch.to(kind(), Some(&shown), Some("scale"), options, cx)?;
                    update::aimed(kind(), key, &mut patched)?;
                    (patched, patch.tracks(), patch.names_version())
                }
            };
            if !tracked {
                mechanics::track(kind(), Some(&shown), &mut scale, Some("scale"), options)?;
            }
            let new = written(&self.kind, paths, key, &before, &scale)?;
            match self.replace(cx, key, &live, &before, new, Some("scale"), options.dry_run).await {
                Err(WriteError::Refused(Refusal::Changed | Refusal::Missing)) if !insists => {}
                result => {
                    let object = self.answer(key, result)?;
                    let object: Value = serde_json::from_slice(&object.json).unwrap_or_default();
                    return Ok(Written::ok(of(paths, &object).to_string().into()));
                }
            }
        }
        Err(update::stale(&self.kind, &key.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn replicas_are_written_through_the_scale() {
        let client = crate::registry::tests::client().await;
        client.create(json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x"}, "spec": {"replicas": 1}})).await.unwrap();
        let (cx, key, options) = (Context::default(), Key::new("default", "x"), WriteOptions::default());
        let registry = &client.0;
        let send = |value: Value| Payload { bytes: value.to_string().into(), ..Payload::default() };
        let patch = send(json!({"spec": {"replicas": 5}}));
        let patched = registry.patch(&cx, &key, Some("scale"), PatchKind::Merge, patch, &options).await.unwrap();
        let mut scale: Value = serde_json::from_slice(&patched.json).unwrap();
        assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(5)));
        scale["spec"]["replicas"] = json!(7);
        registry.update(&cx, &key, Some("scale"), send(scale.clone()), &options).await.unwrap();
        let stale = registry.update(&cx, &key, Some("scale"), send(scale.clone()), &options).await.unwrap_err();
        assert_eq!(stale.reason, "Conflict");
        meta::set(&mut scale, "resourceVersion", None);
        scale["spec"]["replicas"] = json!(-1);
        let negative = registry.update(&cx, &key, Some("scale"), send(scale), &options).await.unwrap_err();
        assert_eq!((negative.reason, negative.details.unwrap().causes.len()), ("Invalid", 1));
        let shown: Value =
            serde_json::from_slice(&registry.get_subresource(&cx, &key, "scale").await.unwrap()).unwrap();
        assert_eq!(shown["spec"]["replicas"], 7);
        assert_eq!(client.get("x").await.unwrap()["metadata"]["generation"], 3);
    }

    #[test]
    fn a_scale_shows_and_changes_the_replicas() {
        let object = json!({"metadata": {"name": "x", "resourceVersion": "5"}, "spec": {"replicas": 3, "selector": {
            "matchLabels": {"app": "x"}, "matchExpressions": [{"key": "t", "operator": "In", "values": ["a", "b"]}]}}});
        let shown = of(&Paths::workload(), &object);
        assert_eq!(shown["spec"]["replicas"], 3);
        assert_eq!(shown["status"], json!({"replicas": 0, "selector": "app=x,t in (a,b)"}));
        let mut new = json!({});
        put(&mut new, "/spec/replicas", 4.into());
        assert_eq!(new, json!({"spec": {"replicas": 4}}));
    }
}
