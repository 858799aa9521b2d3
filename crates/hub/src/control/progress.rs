//! How far the endpoints have been taken up, and what may be decided at that point. Pure.
//!
//! One namespace that cannot be listed must not keep the others' deliveries out, and a delivery to it must not be answered 404, after
//! which a sender does not come again. So: what is known is served at once; an unknown URL is nobody's only when all are known; and the
//! hub calls itself ready when all are known, or as many as could be within [`PATIENCE`].

use std::time::Duration;

use roadstead_reconcile::scope::{Listing, Namespaces};

use super::endpoints::Key;

/// How long a hub that knows some endpoints waits for the others before it is ready without them.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Most endpoints that are named to people at once.
const NAMED: usize = 5;

/// What has been listed and taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Whether anything has been listed.
    listed: bool,
    /// Namespaces of the scope that have not been listed yet.
    awaited: Vec<String>,
    /// Endpoints that were given a URL and could not be taken up.
    unserved: Vec<Key>,
    /// Whether [`PATIENCE`] is over.
    pub(super) patience_over: bool,
}

impl Progress {
    /// Nothing, yet.
    pub(super) fn new(namespaces: &Namespaces) -> Self {
        let awaited = namespaces.names().map(String::from).collect();
        Self { listed: false, awaited, unserved: Vec::new(), patience_over: false }
    }

    /// Takes note of a list.
    pub(super) fn list<K>(&mut self, listing: &Listing<K>) {
        self.listed = true;
        self.awaited.clone_from(&listing.awaited);
    }

    /// Takes note of which endpoints could not be taken up.
    pub(super) fn unserved(&mut self, keys: Vec<Key>) {
        self.unserved = keys;
    }

    /// Namespaces that have not been listed yet.
    pub(super) fn awaited(&self) -> &[String] {
        &self.awaited
    }

    /// Whether every endpoint that was ever given a URL is served.
    pub(super) fn is_complete(&self) -> bool {
        self.missing().is_none()
    }

    /// Whether the hub may call itself ready. Errors: what is missing, for people.
    pub(super) fn ready(&self) -> Result<(), String> {
        match self.missing() {
            Some(missing) if !self.listed || !self.patience_over => Err(missing),
            _ => Ok(()),
        }
    }

    /// What is missing, for people.
    pub(super) fn missing(&self) -> Option<String> {
        if !self.awaited.is_empty() {
            Some(format!("the control plane has not listed them in namespace {}", self.awaited.join(", ")))
        } else if !self.listed {
            Some("the control plane has not listed them".into())
        } else if let Some(first) = self.unserved.first() {
            let more = self.unserved[1..].iter().take(NAMED - 1).map(|key| format!(", {key}")).collect::<String>();
            let rest = self.unserved.len().saturating_sub(NAMED);
            let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            Some(format!("these could not be taken up: {first}{more}{rest}"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(awaited: &[&str]) -> Listing<()> {
        let awaited = awaited.iter().map(|name| name.to_string()).collect();
        Listing { namespace: None, objects: Vec::new(), awaited }
    }

    fn keys(count: usize) -> Vec<Key> {
        (0..count).map(|n| Key { namespace: "a".into(), name: format!("e{n}") }).collect()
    }

    #[test]
    fn it_is_ready_with_all_or_with_some_after_a_while_and_never_with_none() {
        let named = Namespaces::of(["a".into(), "b".into()]);
        for (namespaces, listed, unserved, patience_over, complete, ready) in [
            (&named, None, 0, false, false, Err("namespace a, b")),
            (&named, None, 0, true, false, Err("namespace a, b")),
            (&named, Some(listing(&["b"])), 0, false, false, Err("namespace b")),
            (&named, Some(listing(&["b"])), 0, true, false, Ok(())),
            (&named, Some(listing(&[])), 0, false, true, Ok(())),
            (&named, Some(listing(&[])), 7, false, false, Err("a/e0, a/e1, a/e2, a/e3, a/e4 and 2 more")),
            (&named, Some(listing(&[])), 7, true, false, Ok(())),
            (&Namespaces::default(), None, 0, true, false, Err("has not listed them")),
            (&Namespaces::default(), Some(listing(&[])), 0, false, true, Ok(())),
        ] {
            let mut progress = Progress::new(namespaces);
            listed.iter().for_each(|listing| progress.list(listing));
            progress.unserved(keys(unserved));
            progress.patience_over = patience_over;
            assert_eq!(progress.is_complete(), complete, "{progress:?}");
            match (progress.ready(), ready) {
                (Ok(()), Ok(())) => {}
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                other => panic!("{other:?} for {progress:?}"),
            }
        }
    }
}
