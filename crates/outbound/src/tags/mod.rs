//! What was last known of a registry's tags, durably, and what has changed since.
//!
//! Registries lose events: they keep them in memory, and some never had any. What no event tells, a comparison finds. [`look`] reads what a
//! repository has now, and [`walk()`] goes through all of them; [`TagStore`] knows what it had, as far as anybody was told; [`compare()`] is
//! the difference, which the caller announces. The store is only ever moved on together with what it is folded from, so a crash between any two steps repeats a question
//! and loses none.
//!
//! What nobody was ever told of at first contact is taken over in silence (a baseline); see [`Known::news`].

mod compare;
mod open;
mod store;
mod sweep;
mod walk;

use std::collections::BTreeMap;

pub use self::compare::{Difference, compare};
pub use self::store::{Baseline, Found, Source, Step, TagStore, TagStoreError};
pub use self::sweep::{Scope, look, repositories};
pub use self::walk::{Obstacle, Settle, Walked, walk};

/// Digest by tag, of one repository.
pub type Tagged = BTreeMap<String, String>;

/// What is known of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Tags, as they were last told or found.
    pub tags: Tagged,
    /// Position of the last step that changed anything here; 0 if there was none. Makes ids of announcements differ.
    pub touched: u64,
    /// ETag of the list of these tags, if the registry gave one and the list held nothing else.
    pub etag: Option<String>,
    /// Whether a tag that is not among these is new, rather than one that was there before anybody looked.
    pub complete: bool,
}

/// What a registry has of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Tags, as they are now.
    pub tags: Tagged,
    /// Whether these are all; else nothing follows from a tag that is missing.
    pub complete: bool,
    /// ETag of the list, where asking with it the next time is safe.
    pub etag: Option<String>,
}

impl Known {
    /// What is to be announced, given what was seen. Tags that nobody was told of are no news unless the repository was known completely;
    /// one that was told and moved or went away always is.
    pub fn news(&self, seen: &Seen) -> Vec<Difference> {
        let mut differences = compare(&self.tags, seen);
        differences.retain(|difference| self.complete || difference.before.is_some());
        differences
    }

    /// What is to be noted so that `seen` is what is known; None if it is. `touched` is for [`Known::touched`], if anything differs.
    pub fn found(&self, repository: &str, seen: &Seen, touched: u64) -> Option<Found> {
        let differences = compare(&self.tags, seen);
        if differences.is_empty() && self.complete && self.etag == seen.etag {
            return None;
        }
        let touched = if differences.is_empty() { self.touched } else { touched };
        let mut found =
            Found { repository: repository.to_owned(), etag: seen.etag.clone(), touched, ..Found::default() };
        for Difference { tag, after, .. } in differences {
            match after {
                Some(digest) => drop(found.set.insert(tag, digest)),
                None => found.gone.push(tag),
            }
        }
        Some(found)
    }
}
