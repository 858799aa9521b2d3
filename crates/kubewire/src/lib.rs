//! Serving the Kubernetes wire format over handlers that are plugged in.
//!
//! What flows in: HTTP requests in the shape that `kubectl`, client-go and kube-rs send. What flows out: the answers that
//! they expect: discovery, OpenAPI, lists, watches, tables, `Status` errors. What this crate does not know: where objects
//! live. Each kind is a [`Resource`]; the embedded control plane plugs in its store, the hub its event log.
//!
//! One request goes: [`server`] (connection) → [`service`] ([`route`], authenticate, authorise, dispatch) → a [`Resource`] from
//! the [`catalog`] → back through the [`view`] that was negotiated (objects, Table, metadata only) → the client. Bodies come in as
//! JSON, YAML or [`protobuf`] and reach a resource as one of the first two.
//!
//! Why a crate of its own: the hub's gateway and the embedded API server must speak exactly the same dialect, and neither
//! may import the other.

mod accept;
pub mod auth;
pub mod body;
pub mod catalog;
mod discovery;
pub mod duration;
pub mod error;
pub mod health;
pub mod jsonpath;
pub mod observe;
mod openapi;
pub mod options;
pub mod protobuf;
pub mod query;
pub mod resource;
pub mod route;
pub mod selector;
pub mod server;
pub mod service;
mod table;
mod view;
pub mod watch;

pub use auth::{Attributes, Authenticator, Authorizer, Decision, Origin, User};
pub use body::Body;
pub use catalog::Catalog;
pub use error::{ApiError, ApiResult};
pub use observe::{Observer, Record};
pub use options::{DeleteOptions, ListOptions, Payload, WatchOptions, WriteOptions};
pub use resource::{Column, Context, Key, List, Resource, ResourceInfo, Subresource, Verb, Written};
pub use service::ApiService;
pub use watch::{EventKind, WatchEvent, WatchStream};
