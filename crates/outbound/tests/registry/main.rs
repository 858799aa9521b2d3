//! The registry's client before real and hostile registries.

mod hostile;
mod login;
mod sweep;

mod support;
