//! placeholder
pub mod authn;
pub mod authz;
pub mod objects;
