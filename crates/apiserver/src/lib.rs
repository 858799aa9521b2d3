//! The embedded control plane: a Kubernetes API over one SQLite file, as a library.
//!
//! What flows in: requests that `kubewire` has parsed and authorised, and in-process calls through a [`Handle`]. What flows
//! out: objects, watch events, and a file that survives a kill at any moment.
//!
//! The layers only look down:
//!
//! | module | what it is |
//! |---|---|
//! | [`server`], [`handle`] | open everything, hand out clients, serve |
//! | [`crd`] | CustomResourceDefinitions become served resources |
//! | [`registry`] | what a Kubernetes resource does (create, update, patch, delete, list, watch), over the store |
//! | [`schema`], [`patch`], [`apply`] | pure functions over objects: what is valid, and what a patch makes of one |
//! | [`builtin`] | Kubernetes' own kinds: schemas, defaults, rules, columns |
//! | [`store`] | durable objects, resourceVersions, change history |
//! | [`authn`], [`authz`], [`reviews`] | who asks, and what they may |
//! | [`gc`], [`namespaces`] | what follows from a deletion |
//! | [`accounts`], [`events`] | tokens and authorities for namespaces; the second API of Events, and their end |
//! | [`control`] | all of these, put together |
//! | [`hooks`] | what these, and their own rules, make of the built-in kinds |
//! | [`audit`] | who did what |
//! | [`objects`] | what those read of the store |
//! | [`pki`], [`kubeconfig`] | certificates and the administrator's way in |
//! | [`files`], [`metrics`] | private files; what is counted |
//!
//! Why a library first: tests open a whole control plane in memory in milliseconds, and `up` is only one more caller.

mod accounts;
mod apply;
mod audit;
pub mod authn;
mod authz;
pub mod builtin;
mod control;
mod crd;
mod events;
pub mod files;
mod gc;
mod handle;
mod hooks;
mod kubeconfig;
mod metrics;
mod namespaces;
mod objects;
pub mod patch;
pub mod pki;
mod registry;
mod reviews;
mod schema;
pub mod server;
mod store;

pub use self::{
    handle::Handle,
    server::{OpenError, Options, Server, restore},
};
