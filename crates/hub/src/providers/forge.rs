//! The document that GitHub made and Gitea and Forgejo imitate: pushes, refs, pull requests, releases.
//!
//! Every event with a repository gets a `GitChange` with the repository and who did it; those about a ref or a commit, more.

use std::borrow::Cow;

use roadstead_api::event::{GitChange, GitCommit};
use serde::Deserialize;

use super::json::{self, List, Object, Text};
use super::{Change, MAX_COMMITS, Reading};
use crate::incoming::{FORM, Incoming, form_payload};

/// Longest line of a commit's message that is kept, in characters.
pub(super) const MAX_MESSAGE: usize = 200;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    r#ref: Text,
    ref_type: Text,
    before: Text,
    after: Text,
    /// GitHub's name for the comparison.
    compare: Text,
    /// Gitea's.
    compare_url: Text,
    commits: List<Object<Commit>, MAX_COMMITS>,
    repository: Object<Repository>,
    pusher: Object<Person>,
    sender: Object<Person>,
    pull_request: Object<PullRequest>,
    release: Object<Release>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Commit {
    id: Text,
    message: Text,
    author: Object<Person>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Repository {
    full_name: Text,
    html_url: Text,
}

/// Somebody, by account or by name.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Person {
    pub(super) login: Text,
    pub(super) name: Text,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct PullRequest {
    number: Text,
    html_url: Text,
    base: Object<End>,
    head: Object<End>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct End {
    sha: Text,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Release {
    tag_name: Text,
    html_url: Text,
}

/// Reads a delivery of this family: `image` finds what its registry told, if it did.
pub(super) fn read(
    incoming: &Incoming<'_>,
    id: Option<String>,
    kind: String,
    image: impl Fn(&str, &[u8]) -> Option<roadstead_api::event::ImageChange>,
) -> Reading {
    let document = if incoming.is(FORM) {
        form_payload(incoming.body).map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(incoming.body.as_ref()))
    };
    let Some(document) = document else {
        return Reading::unreadable(id, &kind, "the body is a form without the field payload");
    };
    match json::root::<Body>(&document) {
        Err(why) => Reading::unreadable(id, &kind, why),
        Ok(body) => {
            let (git, image) = (git(&kind, body), image(&kind, &document));
            Reading::one(Change { id, git, image, kind, hint: false })
        }
    }
}

fn git(kind: &str, body: Body) -> Option<GitChange> {
    let repository = body.repository.0?;
    let sender = body.sender.get().login.0;
    let mut git = GitChange {
        repository: repository.full_name.0,
        author: sender,
        url: repository.html_url.0,
        ..GitChange::default()
    };
    match kind {
        "push" => {
            let pusher = body.pusher.get();
            let pusher = if pusher.name.is_empty() { pusher.login } else { pusher.name };
            if !pusher.is_empty() {
                git.author = pusher.0;
            }
            let compare = if body.compare.is_empty() { body.compare_url } else { body.compare };
            if !compare.is_empty() {
                git.url = compare.0;
            }
            git.reference = body.r#ref.0;
            git.before = body.before.0;
            git.after = body.after.0;
            git.commits = body.commits.items.iter().map(commit).collect();
        }
        "create" | "delete" => git.reference = full_ref(&body.ref_type, &body.r#ref),
        "release" => {
            let release = body.release.get();
            git.reference = full_ref("tag", &release.tag_name);
            git.url = release.html_url.0;
        }
        _ => {
            if let Some(pull_request) = body.pull_request.0 {
                git.reference = format!("refs/pull/{}/head", &*pull_request.number);
                git.before = pull_request.base.get().sha.0;
                git.after = pull_request.head.get().sha.0;
                git.url = pull_request.html_url.0;
            }
        }
    }
    Some(git)
}

fn commit(commit: &Object<Commit>) -> GitCommit {
    let commit = commit.get();
    GitCommit { message: commit.message.line(MAX_MESSAGE), id: commit.id.0, author: commit.author.get().name.0 }
}

/// `refs/heads/main` from the short name that some events carry.
pub(super) fn full_ref(ref_type: &str, name: &str) -> String {
    match ref_type {
        _ if name.is_empty() => String::new(),
        "tag" => format!("refs/tags/{name}"),
        "branch" | "named_branch" => format!("refs/heads/{name}"),
        _ => name.to_owned(),
    }
}
