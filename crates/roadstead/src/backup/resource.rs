//! `Backup` of group `admin.roadstead.dev`: asking a running platform for a backup, and hearing how it went.
//!
//! Create starts one on the platform's own machine; get tells its phase. Nothing is stored: the last few are remembered until
//! the process ends, and one runs at a time. RBAC decides who may; by default that is the administrator.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_kubewire::{
    ApiError, ApiResult, Context, Key, Payload, Resource, ResourceInfo, Verb, WriteOptions, Written,
};
use serde_json::{Map, Value, json};

use super::archive::Source;

/// Group of what only administrators do.
pub const GROUP: &str = "admin.roadstead.dev";
/// Its version.
pub const VERSION: &str = "v1alpha1";
/// Kind.
pub const KIND: &str = "Backup";
/// Name in paths.
pub const PLURAL: &str = "backups";

/// Backups that are remembered.
const REMEMBERED: usize = 16;

/// The resource.
pub struct Backups {
    source: Source,
    known: Arc<Mutex<VecDeque<Value>>>,
    info: ResourceInfo,
}

impl Backups {
    /// Makes backups of `source`.
    pub fn new(source: Source) -> Self {
        let name = format!("dev.roadstead.admin.{VERSION}.{KIND}");
        let schema = json!({
            "type": "object",
            "description": "A copy of everything that this platform keeps, as one file on its own machine.",
            "x-kubernetes-group-version-kind": [{"group": GROUP, "version": VERSION, "kind": KIND}],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
                "spec": {"type": "object", "required": ["path"], "properties": {
                    "path": {"type": "string", "description": "Absolute path of the file that is to be made."},
                }},
                "status": {"type": "object", "properties": {
                    "phase": {"type": "string", "description": "Running, Done or Failed."},
                    "message": {"type": "string", "description": "Why it failed."},
                    "bytes": {"type": "integer", "format": "int64", "description": "Size of the file."},
                }},
            },
        });
        let info = ResourceInfo {
            group: GROUP.into(),
            version: VERSION.into(),
            kind: KIND.into(),
            list_kind: "BackupList".into(),
            plural: PLURAL.into(),
            singular: "backup".into(),
            namespaced: false,
            verbs: vec![Verb::Create, Verb::Get],
            schema_name: name.clone(),
            definitions: Arc::new(Map::from_iter([(name, schema)])),
            ..ResourceInfo::default()
        };
        Self { source, known: Arc::default(), info }
    }

    fn known(&self) -> MutexGuard<'_, VecDeque<Value>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Resource for Backups {
    fn info(&self) -> &ResourceInfo {
        &self.info
    }

    async fn get(&self, _cx: &Context, key: &Key) -> ApiResult<Bytes> {
        let found = self.known().iter().find(|backup| backup["metadata"]["name"] == key.name.as_str()).cloned();
        found.map(|backup| Bytes::from(backup.to_string())).ok_or_else(|| ApiError::not_found(GROUP, PLURAL, &key.name))
    }

    async fn create(
        &self,
        _cx: &Context,
        _: Option<&str>,
        payload: Payload,
        options: &WriteOptions,
    ) -> ApiResult<Written> {
        let asked: Value =
            serde_json::from_slice(&payload.bytes).map_err(|error| ApiError::bad_request(error.to_string()))?;
        let path = asked["spec"]["path"].as_str().map(PathBuf::from).filter(|path| path.is_absolute());
        let path = path.ok_or_else(|| ApiError::bad_request("spec.path must be an absolute path"))?;
        if path.exists() {
            return Err(ApiError::already_exists(GROUP, PLURAL, &path.display().to_string()));
        }
        let name = format!("backup-{}", uuid::Uuid::new_v4());
        let backup = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": KIND,
            "metadata": {"name": name, "creationTimestamp": format!("{:.0}", jiff::Timestamp::now())},
            "spec": {"path": path}, "status": {"phase": "Running"},
        });
        if options.dry_run {
            return Ok(Written::created(Bytes::from(backup.to_string())));
        }
        {
            let mut known = self.known();
            if known.iter().any(|backup| backup["status"]["phase"] == "Running") {
                return Err(ApiError::conflict(GROUP, PLURAL, &name, "another backup is running; wait for it"));
            }
            known.push_back(backup.clone());
            if known.len() > REMEMBERED {
                known.pop_front();
            }
        }
        let (source, known) = (self.source.clone(), self.known.clone());
        tokio::spawn(async move {
            let status = match source.backup(path).await {
                Ok(bytes) => json!({"phase": "Done", "bytes": bytes}),
                Err(error) => json!({"phase": "Failed", "message": format!("{error:#}")}),
            };
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(backup) = known.iter_mut().find(|backup| backup["metadata"]["name"] == name.as_str()) {
                backup["status"] = status;
            }
        });
        Ok(Written::created(Bytes::from(backup.to_string())))
    }
}
