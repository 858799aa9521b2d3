//! Healing what registries lose: their tags are compared with what the log has told of them, and the differences become events.
//!
//! A registry keeps its events in memory and forgets them when it restarts; a sender may be down, a delivery refused, a confirmation late. So
//! for each endpoint of a registry provider with `spec.registry`, its log is folded into the [`TagStore`], and the registry is asked what it
//! has: when the hub starts, when the registry has restarted (another `source.instanceID`), when an event shows a gap (`journal`), and every
//! `spec.registry.reconcileInterval`. Each difference is appended to the endpoint's log like a delivery, with `reconciled: true`.
//!
//! Promised: no accepted event is lost, and the final state of every tag is announced, at least once. Not promised: states in between that
//! the registry neither told nor still holds.
//!
//! What makes that true, whatever crashes: the store is only a fold of the log (and of tags that nobody was told of at first contact, taken
//! over in silence). A difference is announced by appending it; if the hub dies before the fold, the fold finds it. Deliveries go on
//! meanwhile: a look that an event overtook is looked at again (`comparison`).

mod announce;
mod comparison;
mod healer;
mod signals;
mod supervisor;

use std::time::Duration;

pub use self::signals::{Report, Signals};
pub(crate) use self::supervisor::Supervisor;

/// Least time between two comparisons of one endpoint, whoever asks for them.
const SPACING: Duration = Duration::from_secs(10);
/// How long after an event asked for it a comparison begins: what the registry still has in its queue comes first.
const SETTLE: Duration = Duration::from_secs(2);
/// How long a difference must last: the event that tells of it may be under way.
const GRACE: Duration = Duration::from_secs(2);
