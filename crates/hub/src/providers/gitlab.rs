//! GitLab, hosted or self-managed.
//!
//! Type from `X-Gitlab-Event`, as the documentation's `object_kind` writes it: `Push Hook` is `push`, `Merge Request Hook` is
//! `merge_request`; a system hook has its `event_name`. Id in `webhook-id`, the same as `Idempotency-Key`, stable over retries;
//! versions without it get a random one. Source: docs.gitlab.com, "Webhook events".

use roadstead_api::event::{GitChange, GitCommit};
use serde::Deserialize;

use super::forge::MAX_MESSAGE;
use super::json::{self, List, Object, Text};
use super::{Change, MAX_COMMITS, Reading, id, kind};
use crate::incoming::Incoming;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    object_kind: Text,
    event_name: Text,
    r#ref: Text,
    before: Text,
    after: Text,
    user_username: Text,
    user_name: Text,
    user: Object<User>,
    project: Object<Project>,
    commits: List<Object<Commit>, MAX_COMMITS>,
    object_attributes: Object<Attributes>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct User {
    username: Text,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Project {
    path_with_namespace: Text,
    web_url: Text,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Commit {
    id: Text,
    message: Text,
    author: Object<Author>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Author {
    name: Text,
}

/// What a merge request is about.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Attributes {
    iid: Text,
    url: Text,
    oldrev: Text,
    last_commit: Object<Commit>,
}

pub(super) fn read(incoming: &Incoming<'_>) -> Reading {
    let id = incoming.header("webhook-id").or_else(|| incoming.header("idempotency-key")).and_then(id);
    let header = incoming.header("x-gitlab-event").unwrap_or_default();
    let mut event = kind(header.strip_suffix(" Hook").unwrap_or(header)).to_ascii_lowercase().replace(' ', "_");
    let body = match json::root::<Body>(incoming.body) {
        Err(why) => return Reading::unreadable(id, &event, why),
        Ok(body) => body,
    };
    if event == "system" || event == "unknown" {
        event = kind(if body.object_kind.is_empty() { &body.event_name } else { &body.object_kind });
    }
    Reading::one(Change { id, git: git(&event, body), kind: event, ..Change::default() })
}

fn git(event: &str, body: Body) -> Option<GitChange> {
    let project = body.project.0?;
    let author =
        [body.user_username, body.user.get().username, body.user_name].into_iter().find(|name| !name.is_empty());
    let mut git = GitChange {
        repository: project.path_with_namespace.0,
        author: author.unwrap_or_default().0,
        url: project.web_url.0,
        ..GitChange::default()
    };
    match (event, body.object_attributes.0) {
        ("push" | "tag_push", _) => {
            git.reference = body.r#ref.0;
            git.before = body.before.0;
            git.after = body.after.0;
            git.commits = body.commits.items.iter().map(commit).collect();
        }
        ("merge_request", Some(request)) => {
            git.reference = format!("refs/merge-requests/{}/head", &*request.iid);
            git.before = request.oldrev.0;
            git.after = request.last_commit.get().id.0;
            git.url = request.url.0;
        }
        _ => {}
    }
    Some(git)
}

fn commit(commit: &Object<Commit>) -> GitCommit {
    let commit = commit.get();
    GitCommit { message: commit.message.line(MAX_MESSAGE), id: commit.id.0, author: commit.author.get().name.0 }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Delivery;
    use super::*;

    const PUSH: &str = r#"{"object_kind":"push","event_name":"push","before":"95790bf8","after":"da156088","ref":"refs/heads/master",
        "checkout_sha":"da156088","user_id":4,"user_name":"John Smith","user_username":"jsmith","project_id":15,
        "project":{"id":15,"name":"Diaspora","web_url":"http://example.com/mike/diaspora",
        "path_with_namespace":"mike/diaspora","default_branch":"master"},
        "commits":[{"id":"b6568db1","message":"Update Catalan translation to e38cb41.\n\nSee","author":{"name":"Jordi"}}],
        "total_commits_count":4}"#;

    #[test]
    fn reads_a_push() {
        let reading = Delivery::new(PUSH)
            .header("X-Gitlab-Event", "Push Hook")
            .header("Idempotency-Key", "f5e5f430")
            .header("X-Gitlab-Event-UUID", "not this one")
            .read(read);
        let change = &reading.changes[0];
        assert_eq!((change.id.as_deref(), change.kind.as_str()), (Some("f5e5f430"), "push"));
        let git = change.git.clone().unwrap();
        assert_eq!(
            [git.repository, git.reference, git.before, git.after, git.author, git.url],
            [
                "mike/diaspora",
                "refs/heads/master",
                "95790bf8",
                "da156088",
                "jsmith",
                "http://example.com/mike/diaspora"
            ]
        );
        assert_eq!(git.commits[0].message, "Update Catalan translation to e38cb41.");
    }

    #[test]
    fn names_events_as_the_documentation_does() {
        for (header, body, expected) in [
            ("Tag Push Hook", "{}", "tag_push"),
            ("Merge Request Hook", "{}", "merge_request"),
            ("Note Hook", "{}", "note"),
            ("System Hook", r#"{"event_name":"repository_update"}"#, "repository_update"),
            ("System Hook", r#"{"object_kind":"push"}"#, "push"),
            ("", "{}", "unknown"),
            ("Push Hook", "not json", "push"),
        ] {
            let reading = Delivery::new(body).header("X-Gitlab-Event", header).read(read);
            assert_eq!(reading.changes[0].kind, expected, "{header} {body}");
            assert_eq!(reading.changes[0].id, None);
        }
    }

    #[test]
    fn reads_a_merge_request() {
        let body = r#"{"object_kind":"merge_request","user":{"username":"root"},"project":{"path_with_namespace":"g/p"},
            "object_attributes":{"iid":1,"url":"http://example.com/diaspora/merge_requests/1","oldrev":"old",
            "last_commit":{"id":"da156088"}}}"#;
        let git = Delivery::new(body).header("X-Gitlab-Event", "Merge Request Hook").read(read).changes[0].git.clone();
        let git = git.unwrap();
        assert_eq!(
            [git.reference, git.before, git.after, git.author],
            ["refs/merge-requests/1/head", "old", "da156088", "root"]
        );
    }
}
