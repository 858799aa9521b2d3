//! The guarded client before real sockets: servers that are slow, endless, broken, elsewhere or not to be trusted.

mod addresses;
mod answers;
mod reuse;
mod support;
