//! Which streams of the log belong to endpoints that were deleted while nobody looked. Pure.
//!
//! A list without an endpoint means that it is gone, and its events go with it. A list without any endpoint that the log knows means
//! rather that this is another control plane (a wrong kubeconfig, a cluster made anew), and throwing the log away would be
//! final: then nothing is dropped, and what is left is bounded by its retention.

use std::collections::HashSet;

use crate::log::Stream;

/// What a list says of the log's streams.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// These are of endpoints that are gone.
    Gone(Vec<Stream>),
    /// None of so many is known: this is not the control plane that the log was written for.
    Foreign(usize),
}

/// Judges the `streams` that a list covers by the uids that are in it.
pub(super) fn judge(streams: Vec<Stream>, listed: &HashSet<String>) -> Verdict {
    let count = streams.len();
    let gone: Vec<_> = streams.into_iter().filter(|stream| !listed.contains(&stream.uid)).collect();
    if count > 0 && gone.len() == count { Verdict::Foreign(count) } else { Verdict::Gone(gone) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_which_nothing_is_known_is_kept() {
        let stream = |uid: &str| Stream { namespace: "default".into(), name: format!("hook-{uid}"), uid: uid.into() };
        let listed = |uids: &[&str]| uids.iter().map(|uid| uid.to_string()).collect::<HashSet<_>>();
        let both = || vec![stream("a"), stream("b")];
        assert_eq!(judge(both(), &listed(&["a", "b", "c"])), Verdict::Gone(vec![]));
        assert_eq!(judge(both(), &listed(&["b"])), Verdict::Gone(vec![stream("a")]));
        assert_eq!(judge(both(), &listed(&[])), Verdict::Foreign(2), "an empty control plane");
        assert_eq!(judge(both(), &listed(&["x"])), Verdict::Foreign(2), "a foreign one");
        assert_eq!(judge(vec![], &listed(&["x"])), Verdict::Gone(vec![]), "a new log");
    }
}
