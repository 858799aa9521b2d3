//! Requests that a user's manifest causes: webhook deliveries, and questions to image registries.
//!
//! A URL in a manifest comes from somebody who may write a manifest, not from the administrator. Whatever is sent to it goes through
//! [`guard`], the one HTTP client that never dials an address it may not, never follows a redirect, and never reads or waits without
//! a bound. On top of it [`registry`] asks image registries, and [`tags`] knows what they had and finds what has changed. [`headers`] are
//! those that a manifest takes from a Secret.

pub mod glob;
pub mod guard;
pub mod headers;
pub mod registry;
pub mod tags;
