//! The `scale` subresource: the number of replicas of any kind that has one, as an `autoscaling/v1` Scale.

use roadstead_kubewire::{
    ApiError, ApiResult, Context, Key, Payload, Resource, Subresource, Verb, WriteOptions, Written, options::PatchKind,
};
use serde_json::{Value, json};

use super::{Registry, kind::Kind, mechanics, meta, update, write::ATTEMPTS};
use crate::{
    patch,
    schema::document,
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

/// The Scale of an object.
pub fn show(paths: &Paths, object: &Value) -> Value {
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {}, "spec": {"replicas": number(&paths.wanted)}, "status": {"replicas": number(&paths.present)},
    });
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        let value = meta::text(object, field);
        meta::set(&mut scale, field, Some(value.into()).filter(|_| !value.is_empty()));
    }
    if let Some(selector) = paths.selector.as_ref().and_then(|path| object.pointer(path)) {
        scale["status"]["selector"] = selector_text(selector).into();
    }
    scale
}

/// A label selector as text, e.g. `app=shop,tier in (a,b)`.
fn selector_text(selector: &Value) -> String {
    if let Some(text) = selector.as_str() {
        return text.into();
    }
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let equal = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten().map(|expression| {
        let key = expression["key"].as_str().unwrap_or_default();
        let values = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let values: Vec<_> = values.collect();
        match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_string(),
        }
    });
    equal.chain(expressions).collect::<Vec<_>>().join(",")
}

/// What `live` becomes when `scale` is written to it.
///
/// # Errors
/// 409 and 422 as for an update of the object itself; 422 for a number of replicas that cannot be.
pub fn written(kind: &Kind, paths: &Paths, key: &Key, live: &Value, scale: &Value) -> ApiResult<Value> {
    let mut address = live.clone();
    for field in ["name", "namespace", "uid", "resourceVersion"] {
        match meta::text(scale, field) {
            "" => {}
            text => meta::set(&mut address, field, Some(text.into())),
        }
    }
    update::addressed(kind, key, live, &mut address)?;
    let wanted = scale.pointer("/spec/replicas").cloned().unwrap_or_else(|| 0.into());
    if wanted.as_i64().is_none_or(|wanted| !(0..=i64::from(i32::MAX)).contains(&wanted)) {
        let why = format!("Invalid value: {wanted}: must be greater than or equal to 0");
        let cause = meta::cause("FieldValueInvalid", "spec.replicas", why);
        return Err(ApiError::invalid("autoscaling", "Scale", &key.name, vec![cause]));
    }
    let mut new = live.clone();
    put(&mut new, &paths.wanted, wanted);
    Ok(new)
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
        let body = document::parse(payload)?.value;
        for _ in 0..ATTEMPTS {
            let live = self.find(key)?;
            let before = self.value(&live)?;
            let scale = match how {
                None => body.clone(),
                Some(PatchKind::Json) => patch::json(&show(paths, &before), &body)?,
                // A Scale has no lists: a strategic merge is a merge.
                Some(PatchKind::Merge | PatchKind::Strategic) => patch::merge(&show(paths, &before), &body),
                Some(PatchKind::Apply) => {
                    return Err(ApiError::unsupported_media_type("server-side apply is not supported on scale"));
                }
            };
            let insists = !meta::text(&body, "resourceVersion").is_empty();
            let mut new = written(&self.kind, paths, key, &before, &scale)?;
            mechanics::track(&self.kind, Some(&before), &mut new, Some("scale"), options)?;
            match self.replace(cx, key, &live, &before, new, Some("scale"), options.dry_run).await {
                Err(WriteError::Refused(Refusal::Changed | Refusal::Missing)) if !insists => {}
                result => {
                    let object = self.answer(key, result)?;
                    let object: Value = serde_json::from_slice(&object.json).unwrap_or_default();
                    return Ok(Written::ok(show(paths, &object).to_string().into()));
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
        client.create(json!({"metadata": {"name": "x"}, "spec": {"replicas": 1}})).await.unwrap();
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
        assert_eq!(negative.reason, "Invalid");
        let shown: Value =
            serde_json::from_slice(&registry.get_subresource(&cx, &key, "scale").await.unwrap()).unwrap();
        assert_eq!(shown["spec"]["replicas"], 7);
        assert_eq!(client.get("x").await.unwrap()["metadata"]["generation"], 3);
    }

    #[test]
    fn a_scale_shows_and_changes_the_replicas() {
        let object = json!({"metadata": {"name": "x", "resourceVersion": "5"}, "spec": {"replicas": 3, "selector": {
            "matchLabels": {"app": "x"}, "matchExpressions": [{"key": "t", "operator": "In", "values": ["a", "b"]}]}}});
        let shown = show(&Paths::workload(), &object);
        assert_eq!(shown["spec"]["replicas"], 3);
        assert_eq!(shown["status"], json!({"replicas": 0, "selector": "app=x,t in (a,b)"}));
        let mut new = json!({});
        put(&mut new, "/spec/replicas", 4.into());
        assert_eq!(new, json!({"spec": {"replicas": 4}}));
    }
}
