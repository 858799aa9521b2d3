//! Owner garbage collection: what nobody owns any more goes, in the order and manner that its owner was deleted in.
//!
//! In: all objects, and the kinds that are served. Out: deletes and small patches through the same resources that clients use.
//! [`kinds`] knows what is served, [`graph`] keeps who depends on whom, [`plan`] decides, [`collector`] looks and acts. Nothing is remembered that cannot be
//! read again: after a crash between any two actions the same plan is made from what is there.

pub mod collector;
pub mod graph;
pub mod kinds;
pub mod plan;
#[cfg(test)]
mod tests;

pub use self::{collector::Collector, kinds::Kinds};
