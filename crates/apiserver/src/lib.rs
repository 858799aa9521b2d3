//! placeholder
pub mod authz;
pub mod objects;
