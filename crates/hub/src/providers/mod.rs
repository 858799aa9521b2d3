//! What a verified delivery says, in the few fields that all git hosts and all registries share.
//!
//! In: the raw request. Out: a [`Reading`]: the sender's event type, the ids that make a redelivery recognisable, and for each
//! change a `GitChange` or an `ImageChange`. One file for each provider; none does any I/O, and none fails: a body that
//! cannot be read is one change without normalised fields, since a signed delivery is worth keeping whatever it holds.
//!
//! Bodies may be 25 MiB and hostile. Only the fields that are needed are taken, by structs that skip the rest without building
//! it (`json`); every string is cut, every list is bounded, nesting costs no stack.

mod acr;
mod bitbucket;
mod cloudevents;
mod distribution;
mod dockerhub;
mod forge;
mod forgejo;
mod generic;
mod gitea;
mod github;
mod gitlab;
mod harbor;
mod json;
mod quay;
mod standard;
mod zot;

use ring::digest;
use roadstead_api::endpoint::{Provider, Verify};
use roadstead_api::event::{GitChange, ImageChange};

pub use self::cloudevents::handshake;
use crate::{hex, incoming::Incoming};

/// Changes taken from one delivery. More than that is one event without fields, and `malformed` says so.
pub const MAX_CHANGES: usize = 64;

/// Commits taken from one push.
pub const MAX_COMMITS: usize = 20;

/// What a delivery says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The provider only tries whether the URL works.
    pub ping: bool,
    /// At least one.
    pub changes: Vec<Change>,
    /// Which process of the registry sent it, where it says: another one than before has lost what the earlier one had not delivered.
    pub instance: Option<String>,
    /// Why the body could not be read, for people. The delivery is kept all the same.
    pub malformed: Option<String>,
}

/// One thing that happened; becomes one event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// The provider's id, stable over redeliveries. None: the provider has none, every POST is news.
    pub id: Option<String>,
    /// The provider's event type, e.g. `push`. At most 128 characters, never empty.
    pub kind: String,
    /// When it is about a git repository.
    pub git: Option<GitChange>,
    /// When it is about an image.
    pub image: Option<ImageChange>,
    /// The payload alone is no reason to act, even from a proven sender, because it lacks the digest: confirm it at the
    /// configured registry before anybody acts on it. An image told by an unproven sender is a hint too.
    pub hint: bool,
}

impl Reading {
    /// One change.
    fn one(change: Change) -> Reading {
        Reading { changes: vec![change], ..Reading::default() }
    }

    /// One change without fields, because the body could not be read.
    fn unreadable(id: Option<String>, kind: &str, why: impl Into<String>) -> Reading {
        let change = Change { id, kind: kind.to_owned(), ..Change::default() };
        Reading { changes: vec![change], malformed: Some(why.into()), ..Reading::default() }
    }

    /// Several changes of one delivery; those without an id of their own get `<id>/0`, `<id>/1`. `total` is how many there
    /// were: more than [`MAX_CHANGES`] are one event without fields, none at all too.
    fn several(id: Option<String>, kind: &str, mut changes: Vec<Change>, total: usize) -> Reading {
        if total > MAX_CHANGES {
            return Reading::unreadable(id, kind, format!("{total} changes in one delivery, more than {MAX_CHANGES}"));
        }
        if changes.is_empty() {
            return Reading::one(Change { id, kind: kind.to_owned(), ..Change::default() });
        }
        let several = changes.len() > 1;
        for (index, change) in changes.iter_mut().enumerate().filter(|(_, change)| change.id.is_none()) {
            change.id = id.as_ref().map(|id| if several { format!("{id}/{index}") } else { id.clone() });
        }
        Reading { changes, ..Reading::default() }
    }

    /// The ids of the events, in the order of `changes`. `random` stands in where the provider has none; several changes
    /// without an id of their own share it as `<random>/0`, `<random>/1`.
    pub fn ids(&self, random: &str) -> Vec<String> {
        let several = self.changes.len() > 1;
        let id = |(index, change): (usize, &Change)| match &change.id {
            Some(id) => id.clone(),
            None if several => format!("{random}/{index}"),
            None => random.to_owned(),
        };
        self.changes.iter().enumerate().map(id).collect()
    }
}

/// Reads a delivery. `settings` is `spec.verify`, which tells where a generic sender puts id and type.
pub fn read(provider: Provider, settings: Option<&Verify>, incoming: &Incoming<'_>) -> Reading {
    match provider {
        Provider::Github => github::read(incoming),
        Provider::Gitlab => gitlab::read(incoming),
        Provider::Gitea => gitea::read(incoming),
        Provider::Forgejo => forgejo::read(incoming),
        Provider::Bitbucket => bitbucket::read(incoming),
        Provider::Distribution => distribution::read(incoming),
        Provider::Harbor => harbor::read(incoming),
        Provider::Dockerhub => dockerhub::read(incoming),
        Provider::Quay => quay::read(incoming),
        Provider::Zot => zot::read(incoming),
        Provider::Acr => acr::read(incoming),
        Provider::Standard => standard::read(incoming),
        Provider::Cloudevents => cloudevents::read(incoming),
        Provider::Generic => generic::read(settings, incoming),
    }
}

/// What a registry's provider calls a change of a tag: `action` is `push` or `delete`.
pub(crate) fn kind_of(provider: Provider, action: &str) -> &str {
    match (provider, action) {
        (Provider::Harbor, "push") => "PUSH_ARTIFACT",
        (Provider::Harbor, "delete") => "DELETE_ARTIFACT",
        (Provider::Zot, "push") => "zotregistry.image.updated",
        (Provider::Zot, "delete") => "zotregistry.image.deleted",
        (Provider::Quay, "push") => "repo_push",
        _ => action,
    }
}

/// An id from a header or body, fit to be stored and shown: as it is when it is short and plain, else its SHA-256.
fn id(text: &str) -> Option<String> {
    let text = text.trim();
    match text {
        "" => None,
        _ if text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_graphic()) => Some(text.to_owned()),
        _ => Some(synthetic_id(&[text])),
    }
}

/// An id made from what tells one event from another, where the payload has no id. Parts are length-prefixed: two different
/// lists never give one id.
pub(crate) fn synthetic_id(parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    format!("sha256:{}", hex::encode(context.finish().as_ref()))
}

/// An event type, or `unknown` where there is none.
fn kind(text: &str) -> String {
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(128).collect();
    if text.is_empty() { "unknown".to_owned() } else { text }
}

/// Tag and digest of what may be either: a tag cannot contain a colon, a digest always does.
fn reference(text: String) -> (String, String) {
    if text.contains(':') { (String::new(), text) } else { (text, String::new()) }
}

#[cfg(test)]
mod tests;
