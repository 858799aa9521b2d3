//! What the hub measures, in Prometheus' names: seconds, bytes, `_total`.

mod deliveries;
mod log;
mod unlisted;

pub use deliveries::{Metrics, Verdict};
pub(crate) use log::register_watches;
pub use log::{on_commit, register_log};
pub(crate) use unlisted::Unlisted;
