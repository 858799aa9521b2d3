//! Doing what was decided: read, decide, write on condition, and decide again when somebody else was first.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::StatusCode;
use jiff::Timestamp;
use roadstead_kubewire::{
    ApiError, ApiResult, Context, DeleteOptions, Key, ListOptions, Payload, Resource, WriteOptions, Written,
    options::PatchKind,
};
use serde_json::{Value, json};

use super::{Registry, create, delete, kind::KindSchema, mechanics, meta, update};
use crate::{
    namespaces::rules,
    store::{Action, Draft, Expect, Guard, Object, Refusal, Write, WriteError},
};

/// How often a decision is made again before the client is told of the conflict.
pub(super) const ATTEMPTS: usize = 8;
/// Deletes of one collection that are under way at once.
const DELETES_AT_ONCE: usize = 64;
/// Largest stored object, in bytes of JSON; the limit of etcd, so that objects can move to a cluster.
pub const OBJECT_MAX: usize = 1536 << 10;

impl Registry {
    pub(super) async fn do_create(
        &self,
        cx: &Context,
        namespace: Option<&str>,
        payload: &Payload,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        let mut object = mechanics::decode(&self.kind, payload, options, cx)?;
        once(&mut object, "", cx);
        create::stamp(&self.kind, namespace, &mut object, &uuid::Uuid::new_v4().to_string(), Timestamp::now())?;
        self.insert(cx, namespace, object, None, options, false).await
    }

    /// Stores a stamped object that was sent to `sub`; `tracked`: its `managedFields` are right already.
    async fn insert(
        &self,
        cx: &Context,
        namespace: Option<&str>,
        object: Value,
        sub: Option<&str>,
        options: &WriteOptions,
        tracked: bool,
    ) -> ApiResult<Written> {
        for attempt in 1..=ATTEMPTS {
            let mut object = object.clone();
            let generated = create::name(&mut object);
            let guard = self.live_namespace(namespace, meta::text(&object, "name"))?;
            mechanics::complete(&self.kind, &mut object)?;
            if !tracked {
                mechanics::track(&self.kind, None, &mut object, sub, options)?;
            }
            if sub.is_some() {
                create::without_status(&self.kind, &mut object);
                mechanics::complete(&self.kind, &mut object)?;
            }
            self.kind.hooks.admit(cx, &mut object, None, sub)?;
            self.valid(&object, None)?;
            if attempt == 1 {
                self.kind.hooks.warnings(&object, None, sub).into_iter().for_each(|warning| cx.warn(warning));
                meta::warnings(&self.kind, &object, None).into_iter().for_each(|warning| cx.warn(warning));
            }
            let draft = self.sized(&object)?;
            let key = Key::new(namespace.unwrap_or_default(), meta::text(&object, "name"));
            match self.put(&key, Expect::Absent, guard, draft, options.dry_run).await {
                Ok(json) => return Ok(Written::created(self.shown(&json))),
                // Another name, or another look at the namespace.
                Err(WriteError::Refused(Refusal::Exists)) if generated && attempt < ATTEMPTS => {}
                Err(WriteError::Refused(Refusal::Guarded)) => {}
                Err(WriteError::Refused(Refusal::Exists)) if !meta::text(&object, "generateName").is_empty() => {
                    return Err(create::not_unique(self.failed(&key, Refusal::Exists.into())));
                }
                Err(error) => return Err(self.failed(&key, error)),
            }
        }
        Err(ApiError::unavailable("the namespace keeps changing; try again", 1))
    }

    pub(super) async fn do_update(
        &self,
        cx: &Context,
        key: &Key,
        sub: Option<&str>,
        payload: &Payload,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        let mut sent = mechanics::decode(&self.kind, payload, options, cx)?;
        update::aimed(&self.kind, key, &mut sent)?;
        once(&mut sent, "", cx);
        for _ in 0..ATTEMPTS {
            let live = match self.find(key) {
                Err(_) if self.kind.update_creates => {
                    return self.create_by_update(cx, key, sent, sub, options).await;
                }
                live => live?,
            };
            let before = self.value(&live)?;
            let mut sent = sent.clone();
            let insists = !meta::text(&sent, "resourceVersion").is_empty();
            update::same(&self.kind, key, &before, &sent)?;
            update::addressed(&self.kind, key, &before, &mut sent)?;
            let new = self.composed(&before, sent, sub, Some(options))?;
            match self.replace(cx, key, &live, &before, new, sub, options.dry_run).await {
                Err(WriteError::Refused(Refusal::Changed | Refusal::Missing)) if !insists => {}
                result => return self.answer(key, result),
            }
        }
        Err(update::stale(&self.kind, &key.name))
    }

    pub(super) async fn do_patch(
        &self,
        cx: &Context,
        key: &Key,
        sub: Option<&str>,
        how: PatchKind,
        payload: &Payload,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        let patch = mechanics::Patch::parse(&self.kind, how, payload, options, cx)?;
        for _ in 0..ATTEMPTS {
            let live = match self.find(key) {
                Err(_) if how == PatchKind::Apply && (sub.is_none() || self.kind.update_creates) => {
                    return self.apply_new(cx, key, &patch, sub, options).await;
                }
                live => live?,
            };
            let before = self.value(&live)?;
            let mut sent = patch.to(&self.kind, Some(&before), sub, options, cx)?;
            // A patch that does not speak of the version leaves it as it is; one that does is as good as an update.
            let insists = patch.names_version();
            once(&mut sent, " after mutating admission happens", cx);
            update::addressed(&self.kind, key, &before, &mut sent)?;
            let new = self.composed(&before, sent, sub, Some(options).filter(|_| !patch.tracks()))?;
            match self.replace(cx, key, &live, &before, new, sub, options.dry_run).await {
                Err(WriteError::Refused(Refusal::Changed | Refusal::Missing)) if !insists => {}
                result => return self.answer(key, result),
            }
        }
        Err(update::stale(&self.kind, &key.name))
    }

    /// What `before` becomes when `sent` is written to `sub`; `track`: whose write it is, where `managedFields` do not say so yet.
    fn composed(
        &self,
        before: &Value,
        mut sent: Value,
        sub: Option<&str>,
        track: Option<&WriteOptions>,
    ) -> ApiResult<Value> {
        if sub.is_some_and(|sub| sub != "status") {
            sent = update::merge(&self.kind, before, sent, sub);
        }
        mechanics::complete(&self.kind, &mut sent)?;
        update::kept(&mut sent, before);
        if let Some(options) = track {
            // Of what was sent, not of what comes of it: who sends a label to a custom resource's status owns that label.
            mechanics::track(&self.kind, Some(before), &mut sent, sub, options)?;
        }
        let mut new = update::merge(&self.kind, before, sent, sub);
        if sub.is_some() {
            mechanics::complete(&self.kind, &mut new)?;
        }
        Ok(new)
    }

    /// An update of what does not exist, of a kind that is created by it.
    async fn create_by_update(
        &self,
        cx: &Context,
        key: &Key,
        mut object: Value,
        sub: Option<&str>,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        let wanted = meta::text(&object, "uid");
        if !wanted.is_empty() {
            let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: ");
            return Err(ApiError::conflict(&self.kind.info.group, &self.kind.info.plural, &key.name, &why));
        }
        let version = meta::text(&object, "resourceVersion");
        if !version.is_empty() && version.parse::<u64>().is_err() {
            return Err(ApiError::bad_request("metadata.resourceVersion is no number"));
        }
        meta::set(&mut object, "resourceVersion", None);
        let status = object.get("status").cloned().filter(|_| sub.is_some());
        self.stamp_for(key, &mut object)?;
        if let Some(status) = status {
            // It is not stored, but counts as its sender's.
            object["status"] = status;
        }
        self.insert(cx, key.namespace_or_none(), object, sub, options, false).await
    }

    /// Stamps a new object whose name is in the path.
    fn stamp_for(&self, key: &Key, object: &mut Value) -> ApiResult<()> {
        let uid = uuid::Uuid::new_v4().to_string();
        create::stamp(&self.kind, key.namespace_or_none(), object, &uid, Timestamp::now())?;
        update::aimed(&self.kind, key, object)
    }

    /// Server-side apply of what does not exist yet.
    async fn apply_new(
        &self,
        cx: &Context,
        key: &Key,
        patch: &mechanics::Patch,
        sub: Option<&str>,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        let mut object = patch.to(&self.kind, None, sub, options, cx)?;
        meta::set(&mut object, "resourceVersion", None);
        self.stamp_for(key, &mut object)?;
        self.insert(cx, key.namespace_or_none(), object, sub, options, true).await
    }

    /// Writes `new` over `live`; with nothing changed writes nothing, and with nothing holding it any more deletes it.
    #[expect(clippy::too_many_arguments, reason = "all of one step's facts; a struct for one caller's sake hides them")]
    pub(super) async fn replace(
        &self,
        cx: &Context,
        key: &Key,
        live: &Object,
        before: &Value,
        mut new: Value,
        sub: Option<&str>,
        dry_run: bool,
    ) -> Result<ApiResult<Bytes>, WriteError> {
        let mut decide = || -> ApiResult<Option<Draft>> {
            self.kind.hooks.admit(cx, &mut new, Some(before), sub)?;
            update::count_generation(&self.kind, before, &mut new, sub);
            self.valid(&new, Some(before))?;
            let warnings = self.kind.hooks.warnings(&new, Some(before), sub);
            let more = meta::warnings(&self.kind, &new, Some(before));
            warnings.into_iter().chain(more).for_each(|warning| cx.warn(warning));
            // Through a Scale, even a lost time counts.
            let unchanged = if sub == Some("scale") { *before == new } else { update::unchanged(before, &new) };
            // What is stored in another shape is written anew with the first occasion.
            if unchanged && self.reshaped(live).is_none() { Ok(None) } else { self.sized(&new).map(Some) }
        };
        let draft = match decide() {
            Ok(Some(draft)) => draft,
            Ok(None) => return Ok(Ok(self.current(live))),
            Err(error) => return Ok(Err(error)),
        };
        let expect = Expect::Version(live.version);
        if delete::released(&self.kind, &new) {
            let last = draft.preview(Some(live.version));
            self.remove(key, live.version, dry_run).await?;
            return Ok(Ok(self.shown(&last)));
        }
        Ok(Ok(self.shown(&self.put(key, expect, None, draft, dry_run).await?)))
    }

    pub(super) fn answer(&self, key: &Key, result: Result<ApiResult<Bytes>, WriteError>) -> ApiResult<Written> {
        match result {
            Ok(result) => result.map(Written::ok),
            Err(error) => Err(self.failed(key, error)),
        }
    }

    pub(super) async fn do_delete(&self, cx: &Context, key: &Key, options: &DeleteOptions) -> ApiResult<Written> {
        for _ in 0..ATTEMPTS {
            let live = self.find(key)?;
            let before = self.value(&live)?;
            self.kind.hooks.admit_delete(cx, &before)?;
            let result = match delete::plan(&self.kind, key, &before, options, Timestamp::now())? {
                delete::Plan::Wait => return Ok(Written::ok(self.current(&live))),
                delete::Plan::Remove => {
                    let gone = self.remove(key, live.version, options.dry_run).await;
                    gone.map(|version| match self.kind.returns_deleted {
                        true => self.shown(&Draft::new(&before).preview(Some(version.unwrap_or(live.version)))),
                        false => self.success(key, &live.uid),
                    })
                }
                delete::Plan::Mark(marked) => {
                    let draft = Draft::new(&marked);
                    let put = self.put(key, Expect::Version(live.version), None, draft, options.dry_run).await;
                    put.map(|json| self.shown(&json))
                }
            };
            match result {
                Ok(json) => return Ok(Written::ok(json)),
                Err(WriteError::Refused(Refusal::Changed | Refusal::Missing)) => {}
                Err(error) => return Err(self.failed(key, error)),
            }
        }
        Err(update::stale(&self.kind, &key.name))
    }

    pub(super) async fn do_delete_collection(
        &self,
        cx: &Context,
        namespace: Option<&str>,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> ApiResult<Written> {
        let found = self.list(cx, namespace, list).await?;
        let delete = async |json: Bytes| {
            let mut object: Value = serde_json::from_slice(&json).map_err(|_| unreadable())?;
            let key = Key::new(meta::text(&object, "namespace"), meta::text(&object, "name"));
            match self.do_delete(cx, &key, options).await {
                Err(error) if error.code != StatusCode::NOT_FOUND => return Err(error),
                _ => {}
            }
            // A list of a built-in kind names the type once.
            if let (KindSchema::Builtin, Some(fields)) = (&self.kind.schema, object.as_object_mut()) {
                ["apiVersion", "kind"].iter().for_each(|name| drop(fields.shift_remove(*name)));
            }
            Ok(object)
        };
        // Those under way at once share a commit.
        let items: Vec<Value> = stream::iter(found.items).map(delete).buffered(DELETES_AT_ONCE).try_collect().await?;
        let info = &self.kind.info;
        let metadata = json!({"resourceVersion": found.resource_version});
        let list =
            json!({"kind": info.list_kind, "apiVersion": info.api_version(), "metadata": metadata, "items": items});
        Ok(Written::ok(list.to_string().into()))
    }

    /// The namespace that an object is created in, to be as it is now when the object is written.
    fn live_namespace(&self, namespace: Option<&str>, name: &str) -> ApiResult<Option<Guard>> {
        let Some(namespace) = namespace.filter(|_| self.kind.info.namespaced) else { return Ok(None) };
        let key = Key::new("", namespace);
        let found = self.store.get("namespaces", &key);
        let value = found.as_ref().map(|found| self.value(found)).transpose()?;
        let info = &self.kind.info;
        rules::may_create(value.as_ref(), &info.group, &info.plural, &Key::new(namespace, name))?;
        Ok(found.map(|found| Guard { resource: "namespaces".into(), key, version: found.version }))
    }

    fn valid(&self, new: &Value, old: Option<&Value>) -> ApiResult<()> {
        let kind = new["kind"].as_str().unwrap_or_default();
        if kind != self.kind.info.kind {
            let why = format!("Invalid value: {kind:?}: must be {}", self.kind.info.kind);
            let cause = meta::cause("FieldValueInvalid", "kind", why);
            return Err(ApiError::invalid(&self.kind.info.group, kind, meta::text(new, "name"), vec![cause]));
        }
        let mut causes = meta::validate(&self.kind, new, old);
        if let Some(old) = old {
            causes.extend(meta::validate_update(new, old));
        }
        if !self.kind.hooks.knows_its_shape() {
            let found = mechanics::validate(&self.kind, new, old, &causes)?;
            causes.extend(found);
        }
        for cause in self.kind.hooks.validate(new, old) {
            // A kind's own rules may ask for what its schema asks for too.
            if !causes.contains(&cause) {
                causes.push(cause);
            }
        }
        if causes.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid(&self.kind.info.group, &self.kind.info.kind, meta::text(new, "name"), causes))
    }

    fn sized(&self, object: &Value) -> ApiResult<Draft> {
        let draft = Draft::new(object);
        if draft.len() > OBJECT_MAX {
            let (name, length) = (meta::text(object, "name"), draft.len());
            let what = &self.kind.info.plural;
            return Err(ApiError::too_large(format!(
                "{what} \"{name}\" is too large: {length} bytes, of at most {OBJECT_MAX}"
            )));
        }
        Ok(draft)
    }

    async fn put(
        &self,
        key: &Key,
        expect: Expect,
        guard: Option<Guard>,
        draft: Draft,
        dry_run: bool,
    ) -> Result<Bytes, WriteError> {
        if dry_run {
            let found = self.store.get(&self.kind.resource, key).map(|object| object.version);
            return match (expect, found) {
                (Expect::Absent, Some(_)) => Err(Refusal::Exists.into()),
                (Expect::Absent, None) => Ok(draft.preview(None)),
                (Expect::Version(wanted), Some(found)) if wanted == found => Ok(draft.preview(Some(found))),
                _ => Err(Refusal::Changed.into()),
            };
        }
        let resource = self.kind.resource.clone();
        let write = Write { resource, key: key.clone(), expect, guard, action: Action::Put(draft) };
        let change = self.store.write(write).await?;
        self.kind.hooks.written(change.version).await;
        Ok(change.after.as_ref().map(|object| object.json.clone()).unwrap_or_default())
    }

    /// Removes an object; answers the version of the removal, if it was done.
    async fn remove(&self, key: &Key, version: u64, dry_run: bool) -> Result<Option<u64>, WriteError> {
        if dry_run {
            return Ok(None);
        }
        let (resource, expect) = (self.kind.resource.clone(), Expect::Version(version));
        let write = Write { resource, key: key.clone(), expect, guard: None, action: Action::Delete };
        let change = self.store.write(write).await?;
        self.kind.hooks.written(change.version).await;
        Ok(Some(change.version))
    }

    /// What the client is told of a write that was not done.
    fn failed(&self, key: &Key, error: WriteError) -> ApiError {
        let info = &self.kind.info;
        match error {
            WriteError::Refused(Refusal::Exists) => {
                let mut error = ApiError::already_exists(&info.group, &info.plural, &key.name);
                let live = self.find(key).and_then(|live| self.value(&live));
                if live.is_ok_and(|live| meta::deleting(&live)) {
                    error.message = format!("object is being deleted: {}", error.message);
                }
                error
            }
            WriteError::Refused(Refusal::Missing) => self.not_found(&key.name),
            WriteError::Refused(_) => update::stale(&self.kind, &key.name),
            error => ApiError::unavailable(error.to_string(), 1),
        }
    }

    /// The `Status` that answers a deletion.
    fn success(&self, key: &Key, uid: &str) -> Bytes {
        let info = &self.kind.info;
        let mut details = json!({"name": key.name, "kind": info.plural, "uid": uid});
        if !info.group.is_empty() {
            details["group"] = info.group.clone().into();
        }
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
        status.to_string().into()
    }

    /// A stored object as JSON, in this version and shape.
    pub(super) fn value(&self, object: &Object) -> ApiResult<Value> {
        serde_json::from_slice(&self.current(object)).map_err(|_| unreadable())
    }
}

/// Keeps each owner reference once, and warns of the rest; `when` they were found, in Kubernetes' words.
fn once(object: &mut Value, when: &str, cx: &Context) {
    let duplicates = meta::single_owners(object);
    if !duplicates.is_empty() {
        cx.warn(format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may \
             reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            duplicates.join(", ")
        ));
    }
}

fn unreadable() -> ApiError {
    ApiError::internal("a stored object cannot be read")
}
