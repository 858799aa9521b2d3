//! Tests of the log through its handle, over real files.

mod basics;
mod damage;
mod full;
mod kill;
mod retention;
pub(crate) mod support;
