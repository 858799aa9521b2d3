//! Objects in memory: just enough of a store that real clients can work with it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use http::{Response, StatusCode, request::Parts};
use roadstead_kubewire::{
    ApiError, ApiResult, Column, Context, DeleteOptions, EventKind, Key, List, ListOptions, Payload, Resource,
    ResourceInfo, Subresource, Verb, WatchEvent, WatchOptions, WatchStream, WriteOptions, Written,
    options::{Media, PatchKind},
};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast;

/// One kind, kept in memory.
pub struct Memory {
    info: ResourceInfo,
    objects: Mutex<BTreeMap<Key, Value>>,
    version: Mutex<u64>,
    events: broadcast::Sender<(EventKind, Value)>,
}

const ALL: [Verb; 8] =
    [Verb::Create, Verb::Delete, Verb::DeleteCollection, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch];

fn column(name: &str, kind: &str, path: &str) -> Column {
    Column {
        name: name.into(),
        kind: kind.into(),
        format: String::new(),
        description: format!("{name} of the object"),
        priority: 0,
        json_path: path.into(),
    }
}

/// `ships.harbour.test/v1`, namespaced, with a status, a `log` subresource of its own form, and columns.
pub fn ships() -> ResourceInfo {
    let schema = json!({
        "type": "object", "description": "A ship that rides at anchor.",
        "x-kubernetes-group-version-kind": [{"group": "harbour.test", "version": "v1", "kind": "Ship"}],
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
            "spec": {"$ref": "#/components/schemas/test.harbour.v1.ShipSpec"},
            "status": {"type": "object", "properties": {"anchored": {"type": "boolean"}}},
        },
    });
    let spec = json!({
        "type": "object", "description": "What is wanted of it.",
        "properties": {
            "cargo": {"type": "string", "description": "What it carries."},
            "crew": {"type": "integer", "description": "How many sail it."},
        },
    });
    let definitions = Map::from_iter([
        ("test.harbour.v1.Ship".to_string(), schema),
        ("test.harbour.v1.ShipSpec".to_string(), spec),
        ("test.harbour.v1.Unused".to_string(), json!({"type": "object"})),
    ]);
    ResourceInfo {
        group: "harbour.test".into(),
        version: "v1".into(),
        kind: "Ship".into(),
        list_kind: "ShipList".into(),
        plural: "ships".into(),
        singular: "ship".into(),
        short_names: vec!["sh".into()],
        categories: vec!["all".into()],
        namespaced: true,
        verbs: ALL.to_vec(),
        subresources: vec![
            Subresource {
                name: "status".into(),
                kind: "Ship".into(),
                group_version: None,
                verbs: vec![Verb::Get, Verb::Patch, Verb::Update],
            },
            Subresource { name: "log".into(), kind: "Ship".into(), group_version: None, verbs: vec![Verb::Get] },
        ],
        columns: vec![
            column("Cargo", "string", ".spec.cargo"),
            column("Crew", "integer", ".spec.crew"),
            column("Age", "date", ".metadata.creationTimestamp"),
        ],
        selectable_fields: vec![".spec.cargo".into()],
        schema_name: "test.harbour.v1.Ship".into(),
        definitions: Arc::new(definitions),
        strategic_merge: false,
    }
}

/// The core kind Secret, as a built-in kind that understands strategic merge.
pub fn secrets() -> ResourceInfo {
    let schema = json!({
        "type": "object", "description": "Secret data.",
        "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Secret"}],
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
            "type": {"type": "string"},
            "data": {"type": "object", "additionalProperties": {"type": "string", "format": "byte"}},
        },
    });
    ResourceInfo {
        version: "v1".into(),
        kind: "Secret".into(),
        list_kind: "SecretList".into(),
        plural: "secrets".into(),
        singular: "secret".into(),
        namespaced: true,
        verbs: ALL.to_vec(),
        schema_name: "io.k8s.api.core.v1.Secret".into(),
        definitions: Arc::new(Map::from_iter([("io.k8s.api.core.v1.Secret".to_string(), schema)])),
        strategic_merge: true,
        ..ResourceInfo::default()
    }
}

/// The core kind Namespace.
pub fn namespaces() -> ResourceInfo {
    ResourceInfo {
        version: "v1".into(),
        kind: "Namespace".into(),
        list_kind: "NamespaceList".into(),
        plural: "namespaces".into(),
        singular: "namespace".into(),
        short_names: vec!["ns".into()],
        verbs: ALL.to_vec(),
        ..ResourceInfo::default()
    }
}

impl Memory {
    pub fn new(info: ResourceInfo) -> Arc<Self> {
        let (events, _) = broadcast::channel(4096);
        Arc::new(Self { info, objects: Mutex::default(), version: Mutex::new(0), events })
    }

    pub fn watchers(&self) -> usize {
        self.events.receiver_count()
    }

    fn parse(&self, payload: &Payload) -> ApiResult<Value> {
        let bad = |error: String| ApiError::bad_request(format!("cannot read the object: {error}"));
        match payload.media {
            Media::Json => serde_json::from_slice(&payload.bytes).map_err(|error| bad(error.to_string())),
            Media::Yaml => {
                let text = std::str::from_utf8(&payload.bytes).map_err(|error| bad(error.to_string()))?;
                serde_saphyr::from_str(text).map_err(|error| bad(error.to_string()))
            }
        }
    }

    fn store(&self, kind: EventKind, key: Key, mut object: Value, dry_run: bool) -> Value {
        let mut version = self.version.lock().unwrap();
        if dry_run {
            return object;
        }
        *version += 1;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        if kind == EventKind::Deleted {
            self.objects.lock().unwrap().remove(&key);
        } else {
            self.objects.lock().unwrap().insert(key, object.clone());
        }
        let _ = self.events.send((kind, object.clone()));
        object
    }

    fn one(&self, key: &Key) -> ApiResult<Value> {
        let found = self.objects.lock().unwrap().get(key).cloned();
        found.ok_or_else(|| ApiError::not_found(&self.info.group, &self.info.plural, &key.name))
    }

    fn stamp(&self, object: &mut Value, key: &Key) {
        object["apiVersion"] = self.info.api_version().into();
        object["kind"] = self.info.kind.as_str().into();
        object["metadata"]["name"] = key.name.as_str().into();
        if self.info.namespaced {
            object["metadata"]["namespace"] = key.namespace.as_str().into();
        }
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = format!("uid-{}", key.name).into();
            object["metadata"]["creationTimestamp"] =
                jiff::Timestamp::now().round(jiff::Unit::Second).unwrap().to_string().into();
        }
    }
}

fn json(value: &Value) -> Bytes {
    value.to_string().into()
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key.as_str()], value);
        }
    }
}

#[async_trait]
impl Resource for Memory {
    fn info(&self) -> &ResourceInfo {
        &self.info
    }

    async fn get(&self, _cx: &Context, key: &Key) -> ApiResult<Bytes> {
        if key.name == "panics" {
            panic!("asked to");
        }
        if key.name == "hangs" {
            std::future::pending::<()>().await;
        }
        self.one(key).map(|object| json(&object))
    }

    async fn list(&self, _cx: &Context, namespace: Option<&str>, options: &ListOptions) -> ApiResult<List> {
        let version = *self.version.lock().unwrap();
        let objects = self.objects.lock().unwrap();
        let skip: usize = options.continue_token.as_deref().unwrap_or("0").parse().unwrap();
        let limit = if options.limit == 0 { usize::MAX } else { options.limit as usize };
        let selected: Vec<_> = objects
            .iter()
            .filter(|(key, _)| namespace.is_none_or(|namespace| key.namespace == namespace))
            .filter(|(_, object)| options.labels.matches_object(object) && options.fields.matches_object(object))
            .map(|(_, object)| json(object))
            .collect();
        let rest = selected.len().saturating_sub(skip.saturating_add(limit));
        Ok(List {
            items: selected.into_iter().skip(skip).take(limit).collect(),
            resource_version: version.to_string(),
            continue_token: (rest > 0).then(|| (skip + limit).to_string()),
            remaining: (rest > 0).then_some(rest as u64),
        })
    }

    async fn watch(&self, _cx: &Context, namespace: Option<&str>, options: &WatchOptions) -> ApiResult<WatchStream> {
        if options.resource_version == "666" {
            return Ok(futures::stream::once(async { panic!("asked to") }).boxed());
        }
        let live = self.events.subscribe();
        let from: u64 = options.resource_version.parse().unwrap_or(0);
        let initial: Vec<_> = match options.send_initial_events.unwrap_or(from == 0) {
            true => self.objects.lock().unwrap().values().map(|object| (EventKind::Added, object.clone())).collect(),
            false => vec![],
        };
        let end = (options.send_initial_events == Some(true)).then(|| {
            let version = self.version.lock().unwrap().to_string();
            WatchEvent::bookmark(&self.info.api_version(), &self.info.kind, &version, true)
        });
        let live = futures::stream::unfold(live, |mut live| async {
            let event = live.recv().await.ok()?;
            Some((event, live))
        });
        let (namespace, options) = (namespace.map(str::to_string), options.clone());
        let select = move |(kind, object): (EventKind, Value)| {
            let here = namespace.as_deref().is_none_or(|namespace| object["metadata"]["namespace"] == namespace);
            let selected = here && options.labels.matches_object(&object) && options.fields.matches_object(&object);
            let event = selected.then(|| WatchEvent::new(kind, &json(&object)));
            async { event }
        };
        let initial = futures::stream::iter(initial).filter_map(select.clone());
        Ok(initial.chain(futures::stream::iter(end)).chain(live.filter_map(select)).boxed())
    }

    async fn create(
        &self,
        cx: &Context,
        namespace: Option<&str>,
        payload: Payload,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        let mut object = self.parse(&payload)?;
        let generated = || object["metadata"]["generateName"].as_str().map(|prefix| format!("{prefix}x1"));
        let name = object["metadata"]["name"].as_str().map(str::to_string).or_else(generated);
        let key = Key::new(namespace.unwrap_or_default(), name.unwrap_or_default());
        if self.one(&key).is_ok() {
            return Err(ApiError::already_exists(&self.info.group, &self.info.plural, &key.name));
        }
        if object["spec"]["cargo"] == "rum" {
            cx.warn("rum evaporates");
        }
        self.stamp(&mut object, &key);
        Ok(Written {
            json: json(&self.store(EventKind::Added, key, object, options.dry_run)),
            code: StatusCode::CREATED,
        })
    }

    async fn update(
        &self,
        _cx: &Context,
        key: &Key,
        sub: Option<&str>,
        payload: Payload,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        let mut old = self.one(key)?;
        let new = self.parse(&payload)?;
        match sub {
            Some(_) => old["status"] = new["status"].clone(),
            None => {
                let metadata = old["metadata"].clone();
                old = new;
                merge(&mut old["metadata"], &metadata);
            }
        }
        let object = self.store(EventKind::Modified, key.clone(), old, options.dry_run);
        Ok(Written { json: json(&object), code: StatusCode::OK })
    }

    async fn patch(
        &self,
        _cx: &Context,
        key: &Key,
        _sub: Option<&str>,
        kind: PatchKind,
        payload: Payload,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        let patch = self.parse(&payload)?;
        let old = self.one(key);
        let (event, code, mut object) = match (old, kind) {
            (Ok(old), _) => (EventKind::Modified, StatusCode::OK, old),
            (Err(_), PatchKind::Apply) => (EventKind::Added, StatusCode::CREATED, json!({})),
            (Err(error), _) => return Err(error),
        };
        if kind == PatchKind::Json {
            return Err(ApiError::bad_request("no JSON patch here"));
        }
        merge(&mut object, &patch);
        self.stamp(&mut object, key);
        Ok(Written { json: json(&self.store(event, key.clone(), object, options.dry_run)), code })
    }

    async fn delete(&self, _cx: &Context, key: &Key, options: &DeleteOptions) -> ApiResult<Written> {
        let object = self.one(key)?;
        if options.uid.as_deref().is_some_and(|uid| object["metadata"]["uid"] != uid) {
            return Err(ApiError::conflict(&self.info.group, &self.info.plural, &key.name, "the UID does not match"));
        }
        let object = self.store(EventKind::Deleted, key.clone(), object, options.dry_run);
        Ok(Written { json: json(&object), code: StatusCode::OK })
    }

    async fn delete_collection(
        &self,
        cx: &Context,
        namespace: Option<&str>,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> ApiResult<Written> {
        let list = self.list(cx, namespace, list).await?;
        for item in &list.items {
            let object: Value = serde_json::from_slice(item).unwrap();
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_string();
            self.delete(cx, &Key::new(text("namespace"), text("name")), options).await?;
        }
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
        Ok(Written { json: json(&status), code: StatusCode::OK })
    }

    async fn connect(&self, _cx: &Context, _key: &Key, sub: &str, parts: &Parts) -> Option<ApiResult<Response<Bytes>>> {
        assert!(!parts.headers.contains_key("authorization"), "credentials must not reach a resource");
        (sub == "log").then(|| {
            Ok(Response::builder()
                .header("content-type", "text/plain")
                .body(Bytes::from_static(b"all well\n"))
                .unwrap())
        })
    }
}
