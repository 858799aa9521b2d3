//! The remote half of the hub: watches it from wherever it runs and acts on its events.

pub mod plan;
