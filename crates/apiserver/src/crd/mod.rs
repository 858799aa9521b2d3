//! CustomResourceDefinitions become served resources, and go away with everything of theirs.
//!
//! What flows in: the stored CRDs. What flows out: their statuses, and a catalog with a registry for each served version.
//! [`hooks`] checks and completes a CRD before it is stored; [`plan`] decides which names are accepted and what each status
//! should be; [`compile`] turns a version into a kind; [`manager`] observes and acts. Whoever writes a CRD is answered when
//! the catalog shows it, so that the next request can use it.
//!
//! Versions differ in name alone (conversion `None`): an object is shown under whatever version it is asked for.

pub mod compile;
pub mod ensure;
pub mod hooks;
pub mod manager;
pub mod plan;
mod validate;

pub use self::manager::Crds;

/// The store's name of CRDs.
pub const RESOURCE: &str = "customresourcedefinitions.apiextensions.k8s.io";
/// Holds a CRD until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
