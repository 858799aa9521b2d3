//! Events: the second of their two APIs, and their end.
//!
//! An Event is stored once, as `v1`. [`renamed`] shows it as `events.k8s.io/v1`, in which the same fields have other names;
//! [`expiry`] removes what nobody has written for an hour.

pub mod expiry;
pub mod renamed;
