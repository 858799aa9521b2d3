//! Tests of the log through its handle, over real files.

mod basics;
mod damage;
pub(crate) mod full;
mod kill;
mod plans;
mod retention;
pub(crate) mod support;
