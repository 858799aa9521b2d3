//! Backup and restore of a whole data directory, as one file.
//!
//! A backup is made by the running platform itself, asked for through its API ([`resource`]), so that whoever may make one is
//! decided by RBAC and nothing is copied behind the writers' backs. The file is a tar archive ([`archive`]): consistent copies of
//! the event log and of the store, the certificate authority, the key that signs tokens, and, unless it lives elsewhere, the
//! key that Secrets are sealed with. It is as precious as the data directory.
//!
//! A restore begins another life: resourceVersions and log positions move forward, so that whoever watched the old one is told
//! to list again (410) instead of missing something. The administrator's token is new.

mod archive;
mod resource;

pub use archive::{Source, restore};
pub use resource::{Backups, GROUP, KIND, PLURAL, VERSION};
