//! What a resource needs to know about its kind beyond what is served: rules for names, generation, and hooks.

use std::sync::Arc;

use async_trait::async_trait;
use roadstead_kubewire::{ApiError, ApiResult, Context, Payload, ResourceInfo, WriteOptions, Written, error::Cause};
use serde_json::Value;

use super::{names::NameRule, scale::Paths};
use crate::{builtin, schema::Schema, store::ResourceName};

/// Behaviour of one kind that is not common to all. Every default does nothing.
#[async_trait]
pub trait Hooks: Send + Sync + 'static {
    /// The fields that an object has before anybody has written one: kube-apiserver's Go types always have these, so nobody
    /// who writes into them brings them into being.
    fn blank(&self) -> Value {
        Value::Null
    }

    /// Fills in what is absent, after the schema's defaults.
    fn default(&self, _object: &mut Value) {}

    /// The last say before validation: may complete `new` or refuse it for `cx`'s user. `old` is `None` on create; `sub` is
    /// the subresource written to.
    ///
    /// # Errors
    /// What the client is told, e.g. 403 for an attempt to grant more than one has.
    fn admit(&self, _cx: &Context, _new: &mut Value, _old: Option<&Value>, _sub: Option<&str>) -> ApiResult<()> {
        Ok(())
    }

    /// What the client is warned of when `new` is written to `sub`, though nothing is wrong with it.
    fn warnings(&self, _new: &Value, _old: Option<&Value>, _sub: Option<&str>) -> Vec<String> {
        Vec::new()
    }

    /// Whether [`validate`](Self::validate) looks at all that the schema asks for, in places of its own.
    fn knows_its_shape(&self) -> bool {
        false
    }

    /// What is wrong with `new`, beyond its schema.
    fn validate(&self, _new: &Value, _old: Option<&Value>) -> Vec<Cause> {
        Vec::new()
    }

    /// Whether `cx`'s user may delete the object at all.
    ///
    /// # Errors
    /// What the client is told.
    fn admit_delete(&self, _cx: &Context, _object: &Value) -> ApiResult<()> {
        Ok(())
    }

    /// Whether something beside `metadata.finalizers` still holds a deleted object, e.g. a Namespace's `spec.finalizers`.
    fn held(&self, _object: &Value) -> bool {
        false
    }

    /// Marks an object whose deletion has begun, beside its `deletionTimestamp`, e.g. `status.phase`.
    fn mark_deleted(&self, _object: &mut Value) {}

    /// Called when a write is durable and shown, before the client is answered. `version` is that of the write.
    async fn written(&self, _version: u64) {}

    /// Cells of a Table, one for each column; `None`: the values at the columns' paths.
    fn cells(&self, _object: &Value) -> Option<Vec<Value>> {
        None
    }

    /// Creates through a subresource; `None`: there is no such one. `object` is the present object.
    async fn create_subresource(
        &self,
        _cx: &Context,
        _object: &Value,
        _sub: &str,
        _payload: &Payload,
        _options: &WriteOptions,
    ) -> Option<ApiResult<Written>> {
        None
    }
}

/// Where a kind's schema is.
pub enum KindSchema {
    /// Among the built-in ones, by `info.schema_name`; compiled when first needed, so that opening stays quick.
    Builtin,
    /// Compiled from a CustomResourceDefinition.
    Custom(Arc<Schema>),
}

/// One kind in one version, as the registry serves it.
pub struct Kind {
    /// What discovery, routing and printing know.
    pub info: ResourceInfo,
    /// Its resource in the store; shared by all versions of the kind.
    pub resource: ResourceName,
    /// What its objects look like.
    pub schema: KindSchema,
    /// The version of the store up to which objects may have been written under another schema, and are brought into the shape of
    /// this one when they are read.
    pub since: u64,
    /// What names may look like.
    pub names: NameRule,
    /// Whether `metadata.generation` counts changes of what is wanted.
    pub counts_generation: bool,
    /// Whether an update without resourceVersion overwrites whatever is there. Custom resources refuse it.
    pub blind_update: bool,
    /// Whether an update of what is not there creates it.
    pub update_creates: bool,
    /// Whether a deletion is answered with the object rather than a Status.
    pub returns_deleted: bool,
    /// Where the numbers of its `scale` subresource are, if it has one.
    pub scale: Option<Paths>,
    /// The kind's own behaviour.
    pub hooks: Box<dyn Hooks>,
}

impl Kind {
    /// Whether `status` is a subresource, and so not part of the main one.
    pub fn has_status(&self) -> bool {
        self.info.subresources.iter().any(|sub| sub.name == "status")
    }

    /// What a write to `sub` (`None`: the object itself) leaves as it is whatever is sent, as JSON pointers: so nobody owns it by
    /// such a write. Source: `GetResetFields` of each kind's strategy in kube-apiserver.
    pub fn resets(&self, sub: Option<&str>) -> &'static [&'static str] {
        match (sub, &*self.info.plural) {
            (None, _) if self.has_status() => &["/status"],
            (Some("status"), "deployments") => &["/spec", "/metadata/labels"],
            (Some("status"), "customresourcedefinitions") => &["/spec", "/metadata"],
            (Some("status"), _) => &["/spec"],
            _ => &[],
        }
    }

    /// Whether names are looked at in an update too; of most kinds only a new object's are. Source: the function that validates
    /// updates of each kind in kube-apiserver.
    pub fn rechecks_names(&self) -> bool {
        self.info.group.is_empty() && ["configmaps", "secrets", "serviceaccounts"].contains(&&*self.info.plural)
    }

    /// Whether a write to `status` reaches what is neither reset nor status, e.g. annotations. Custom resources are spared that.
    pub fn status_reaches_metadata(&self) -> bool {
        matches!(self.schema, KindSchema::Builtin) && !self.resets(Some("status")).contains(&"/metadata")
    }

    /// The schema.
    ///
    /// # Errors
    /// 500 if it cannot be compiled, which is a fault of this program.
    pub fn schema(&self) -> ApiResult<Arc<Schema>> {
        match &self.schema {
            KindSchema::Custom(schema) => Ok(schema.clone()),
            KindSchema::Builtin => builtin::schema(&self.info.schema_name)
                .map_err(|error| ApiError::internal(format!("the schema of {} is broken: {error}", self.info.kind))),
        }
    }
}

/// The store's name of a resource.
pub fn resource_name(group: &str, plural: &str) -> ResourceName {
    if group.is_empty() { plural.into() } else { format!("{plural}.{group}").into() }
}
