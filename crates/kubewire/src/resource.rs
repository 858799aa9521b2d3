//! The seam between the wire and whatever holds the objects: the [`Resource`] trait and what it is described by.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Response, StatusCode, request::Parts};
use serde_json::Value;

use crate::{
    auth::User,
    error::{ApiError, ApiResult},
    options::{DeleteOptions, ListOptions, PatchKind, Payload, WatchOptions, WriteOptions},
    watch::WatchStream,
};

/// A verb of the Kubernetes API, as RBAC and discovery name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are Kubernetes' own verbs")]
pub enum Verb {
    Create,
    Delete,
    DeleteCollection,
    Get,
    List,
    Patch,
    Update,
    Watch,
}

impl Verb {
    /// Lower-case name as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Patch => "patch",
            Verb::Update => "update",
            Verb::Watch => "watch",
        }
    }
}

/// A printer column: what `kubectl get` shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// OpenAPI type: `string`, `integer`, `number`, `boolean`, `date`.
    pub kind: String,
    /// OpenAPI format, e.g. `name`; may be empty.
    pub format: String,
    /// For people.
    pub description: String,
    /// 0 is always shown, above 0 with `-o wide`.
    pub priority: i32,
    /// Where the value is: Kubernetes' JSONPath without braces, e.g. `.status.url`.
    pub json_path: String,
}

/// A subresource, e.g. `status`.
#[derive(Clone, Debug, PartialEq)]
pub struct Subresource {
    /// Name in the path, e.g. `status`, `scale`, `token`, `body`.
    pub name: String,
    /// Kind that is sent and answered; for `status` the resource's own.
    pub kind: String,
    /// Group and version of that kind where they differ from the resource's, e.g. `authentication.k8s.io/v1`.
    pub group_version: Option<(String, String)>,
    /// What can be done with it.
    pub verbs: Vec<Verb>,
}

/// What discovery, routing and printing need to know about a resource.
#[derive(Clone, Debug, Default)]
pub struct ResourceInfo {
    /// API group; empty for core.
    pub group: String,
    /// Version, e.g. `v1alpha1`.
    pub version: String,
    /// Kind, e.g. `WebhookEndpoint`.
    pub kind: String,
    /// Kind of lists, e.g. `WebhookEndpointList`.
    pub list_kind: String,
    /// Name in paths, e.g. `webhookendpoints`.
    pub plural: String,
    /// Singular name, e.g. `webhookendpoint`.
    pub singular: String,
    /// Short names, e.g. `hook`.
    pub short_names: Vec<String>,
    /// Categories, e.g. `all`.
    pub categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: Vec<Verb>,
    /// Its subresources.
    pub subresources: Vec<Subresource>,
    /// Printer columns after NAME; where none is given, AGE is shown.
    pub columns: Vec<Column>,
    /// JSON paths that field selectors may use beside `metadata.name` and `metadata.namespace`, e.g. `.spec.endpoint`.
    pub selectable_fields: Vec<String>,
    /// Name of its schema among [`definitions`](Self::definitions), e.g. `io.k8s.api.core.v1.Secret`.
    pub schema_name: String,
    /// OpenAPI v3 schemas by name; shared by many resources. `$ref`s are `#/components/schemas/<name>`.
    pub definitions: Arc<serde_json::Map<String, Value>>,
    /// Whether strategic merge patch is understood (built-in kinds).
    pub strategic_merge: bool,
}

impl ResourceInfo {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// Which object: namespace (empty for cluster-scoped kinds) and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The namespace, if the kind has any.
    pub fn namespace_or_none(&self) -> Option<&str> {
        Some(self.namespace.as_str()).filter(|namespace| !namespace.is_empty())
    }
}

/// Who asks, and what is told back beside the answer.
#[derive(Debug, Default)]
pub struct Context {
    /// The authenticated user, after impersonation.
    pub user: User,
    /// Unique id of the request, also answered as `Audit-Id`.
    pub request_id: String,
    warnings: Mutex<Vec<String>>,
}

impl Context {
    /// A context for `user`.
    pub fn new(user: User, request_id: impl Into<String>) -> Self {
        Self { user, request_id: request_id.into(), warnings: Mutex::default() }
    }

    /// Adds a warning; kubectl prints it.
    pub fn warn(&self, message: impl Into<String>) {
        if let Ok(mut warnings) = self.warnings.lock() {
            warnings.push(message.into());
        }
    }

    /// Takes the warnings, for the response's `Warning` headers.
    pub fn take_warnings(&self) -> Vec<String> {
        self.warnings.lock().map(|mut warnings| std::mem::take(&mut *warnings)).unwrap_or_default()
    }
}

/// One page of a list.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// The items, each a serialised object with apiVersion and kind.
    pub items: Vec<Bytes>,
    /// resourceVersion of the snapshot.
    pub resource_version: String,
    /// Token for the next page, if there is one.
    pub continue_token: Option<String>,
    /// How many items follow, if known.
    pub remaining: Option<u64>,
}

/// The answer to a write.
#[derive(Clone, Debug)]
pub struct Written {
    /// The object (or a `Status`), serialised.
    pub json: Bytes,
    /// 200, 201 for a new object, 202 for a deletion that waits.
    pub code: StatusCode,
}

impl Written {
    /// 200 with `json`.
    pub fn ok(json: Bytes) -> Self {
        Self { json, code: StatusCode::OK }
    }

    /// 201 with `json`.
    pub fn created(json: Bytes) -> Self {
        Self { json, code: StatusCode::CREATED }
    }
}

/// Objects of one kind, behind the wire. Every default refuses plainly.
///
/// `namespace: None` in [`list`](Self::list), [`watch`](Self::watch) and [`delete_collection`](Self::delete_collection) means
/// all namespaces (or a cluster-scoped kind). Implementations check existence of namespaces, validity and conflicts; who may
/// ask has been decided before they are called. Only verbs named in [`ResourceInfo::verbs`] are dispatched.
#[async_trait]
pub trait Resource: Send + Sync + 'static {
    /// What this resource is. Cheap; called for every request.
    fn info(&self) -> &ResourceInfo;

    /// One object. Errors: 404.
    async fn get(&self, _cx: &Context, _key: &Key) -> ApiResult<Bytes> {
        Err(self.refuse("get"))
    }

    /// One page of objects. Errors: 400 for bad selectors or tokens, 410 for an expired token.
    async fn list(&self, _cx: &Context, _namespace: Option<&str>, _options: &ListOptions) -> ApiResult<List> {
        Err(self.refuse("list"))
    }

    /// Changes from `options.resource_version` on. An expired version is answered by a stream of one 410 error event.
    async fn watch(&self, _cx: &Context, _namespace: Option<&str>, _options: &WatchOptions) -> ApiResult<WatchStream> {
        Err(self.refuse("watch"))
    }

    /// A new object. `namespace` is from the path.
    async fn create(
        &self,
        _cx: &Context,
        _namespace: Option<&str>,
        _payload: Payload,
        _options: &WriteOptions,
    ) -> ApiResult<Written> {
        Err(self.refuse("create"))
    }

    /// Replaces an object, or its subresource (`Some("status")`).
    async fn update(
        &self,
        _cx: &Context,
        _key: &Key,
        _sub: Option<&str>,
        _payload: Payload,
        _options: &WriteOptions,
    ) -> ApiResult<Written> {
        Err(self.refuse("update"))
    }

    /// Patches an object or its subresource.
    async fn patch(
        &self,
        _cx: &Context,
        _key: &Key,
        _sub: Option<&str>,
        _kind: PatchKind,
        _payload: Payload,
        _options: &WriteOptions,
    ) -> ApiResult<Written> {
        Err(self.refuse("patch"))
    }

    /// Deletes an object, or marks it while finalizers remain.
    async fn delete(&self, _cx: &Context, _key: &Key, _options: &DeleteOptions) -> ApiResult<Written> {
        Err(self.refuse("delete"))
    }

    /// Deletes all that is selected.
    async fn delete_collection(
        &self,
        _cx: &Context,
        _namespace: Option<&str>,
        _list: &ListOptions,
        _options: &DeleteOptions,
    ) -> ApiResult<Written> {
        Err(self.refuse("deletecollection"))
    }

    /// Reads a subresource: `status` answers the object, `scale` a Scale.
    async fn get_subresource(&self, cx: &Context, key: &Key, sub: &str) -> ApiResult<Bytes> {
        if sub == "status" { self.get(cx, key).await } else { Err(self.refuse(sub)) }
    }

    /// Creates through a subresource, e.g. `serviceaccounts/x/token`.
    async fn create_subresource(
        &self,
        _cx: &Context,
        _key: &Key,
        sub: &str,
        _payload: Payload,
        _options: &WriteOptions,
    ) -> ApiResult<Written> {
        Err(self.refuse(sub))
    }

    /// A subresource that answers in a form of its own (e.g. `webhookevents/x/body`). `None`: not such a one.
    async fn connect(
        &self,
        _cx: &Context,
        _key: &Key,
        _sub: &str,
        _parts: &Parts,
    ) -> Option<ApiResult<Response<Bytes>>> {
        None
    }

    /// The cells of `object` in a Table, one for each of [`ResourceInfo::columns`], where they are not simply the values at the
    /// columns' paths (e.g. the number of keys of a Secret). Cells of `date` columns are RFC 3339 times and shown as ages. `None`: they are.
    fn table_cells(&self, _object: &Value) -> Option<Vec<Value>> {
        None
    }

    /// The error for what this resource does not do.
    fn refuse(&self, what: &str) -> ApiError {
        ApiError::method_not_allowed(format!("{} is not supported on {}", what, self.info().plural))
    }
}
