//! Keeps Roadstead's CustomResourceDefinitions on a cluster: there, from this version or a newer one, and Established.
//!
//! In: the definitions that this program was built with. Out: server-side apply under a field manager of our own. Only ever
//! forwards: a definition from a newer version may have objects that an older one would prune, so it is left alone and told of.
//! Looks with `get` and by name, so that it needs no right to list or watch.

mod controller;
mod plan;
#[cfg(test)]
mod tests;

pub use controller::Crds;
