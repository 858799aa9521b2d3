//! Bitbucket Cloud and Bitbucket Data Center, told apart by their bodies.
//!
//! Type in `X-Event-Key`. Id in `X-Request-UUID` (Cloud, the same on a retry) or `X-Request-Id` (Data Center). One delivery can
//! carry several changes of refs; each becomes an event. A test of Data Center has the key `diagnostics:ping`. Source:
//! support.atlassian.com, "Event payloads"; confluence.atlassian.com, "Event payload".

use roadstead_api::event::{GitChange, GitCommit};
use serde::Deserialize;

use super::forge::{MAX_MESSAGE, full_ref};
use super::json::{self, List, Object, Text};
use super::{Change, MAX_CHANGES, MAX_COMMITS, Reading, id, kind};
use crate::incoming::Incoming;

/// Hash of no commit, which Data Center writes and Cloud leaves out.
const ZEROS: &str = "0000000000000000000000000000000000000000";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    actor: Object<Actor>,
    repository: Object<Repository>,
    /// Cloud.
    push: Object<Push>,
    /// Data Center.
    changes: List<Object<RefChange>, MAX_CHANGES>,
    commits: List<Object<Commit>, MAX_COMMITS>,
    /// Cloud.
    pullrequest: Object<CloudRequest>,
    /// Data Center.
    #[serde(rename = "pullRequest")]
    pull_request: Object<ServerRequest>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Actor {
    nickname: Text,
    display_name: Text,
    name: Text,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Repository {
    full_name: Text,
    slug: Text,
    project: Object<Project>,
    links: Object<Links>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Project {
    key: Text,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Links {
    html: Object<Link>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Link {
    href: Text,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Push {
    changes: List<Object<CloudChange>, MAX_CHANGES>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct CloudChange {
    new: Object<Branch>,
    old: Object<Branch>,
    links: Object<Links>,
    commits: List<Object<Commit>, MAX_COMMITS>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Branch {
    r#type: Text,
    name: Text,
    target: Object<Commit>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Commit {
    /// Cloud.
    hash: Text,
    /// Data Center.
    id: Text,
    message: Text,
    author: Object<Author>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Author {
    /// Cloud: `Name <address>`.
    raw: Text,
    /// Data Center.
    name: Text,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct RefChange {
    #[serde(rename = "refId")]
    ref_id: Text,
    #[serde(rename = "fromHash")]
    from: Text,
    #[serde(rename = "toHash")]
    to: Text,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct CloudRequest {
    source: Object<CloudEnd>,
    destination: Object<CloudEnd>,
    links: Object<Links>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct CloudEnd {
    branch: Object<Branch>,
    commit: Object<Commit>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct ServerRequest {
    #[serde(rename = "fromRef")]
    from: Object<ServerEnd>,
    #[serde(rename = "toRef")]
    to: Object<ServerEnd>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct ServerEnd {
    id: Text,
    #[serde(rename = "latestCommit")]
    latest_commit: Text,
}

pub(super) fn read(incoming: &Incoming<'_>) -> Reading {
    let id = incoming.header("x-request-uuid").or_else(|| incoming.header("x-request-id")).and_then(id);
    let kind = kind(incoming.header("x-event-key").unwrap_or_default());
    let ping = kind == "diagnostics:ping";
    let body = match json::root::<Body>(incoming.body) {
        Err(why) => return Reading { ping, ..Reading::unreadable(id, &kind, why) },
        Ok(body) => body,
    };
    let push = body.push.get();
    let total = push.changes.total.max(body.changes.total);
    let base = body.repository.0.as_ref().map(|repository| base(&body, repository));
    let of_pushes =
        push.changes.items.iter().map(|change| cloud_change(&change.get(), base.clone().unwrap_or_default()));
    let of_refs = body.changes.items.iter().map(|change| {
        // The payload does not say which change its commits belong to.
        let commits = if total == 1 { commits(&body.commits) } else { Vec::new() };
        ref_change(change.get(), commits, base.clone().unwrap_or_default())
    });
    let mut changes: Vec<GitChange> = of_pushes.chain(of_refs).collect();
    changes.extend(if changes.is_empty() { base.map(|base| request(&body, base)) } else { None });
    let changes = changes.into_iter().map(|git| Change { git: Some(git), kind: kind.clone(), ..Change::default() });
    Reading { ping, ..Reading::several(id, &kind, changes.collect(), total) }
}

fn base(body: &Body, repository: &Repository) -> GitChange {
    let actor = body.actor.get();
    let author = [actor.nickname, actor.name, actor.display_name].into_iter().find(|name| !name.is_empty());
    let full_name = if repository.full_name.is_empty() {
        format!("{}/{}", &*repository.project.get().key, &*repository.slug)
    } else {
        repository.full_name.0.clone()
    };
    GitChange {
        repository: full_name,
        author: author.unwrap_or_default().0,
        url: repository.links.get().html.get().href.0,
        ..GitChange::default()
    }
}

fn cloud_change(change: &CloudChange, base: GitChange) -> GitChange {
    let hash = |end: &Object<Branch>| match &end.0 {
        Some(branch) => branch.target.get().hash.0,
        None => ZEROS.to_owned(),
    };
    let branch = change.new.0.clone().or(change.old.0.clone()).unwrap_or_default();
    let url = change.links.get().html.get().href.0;
    GitChange {
        reference: full_ref(&branch.r#type, &branch.name),
        before: hash(&change.old),
        after: hash(&change.new),
        commits: commits(&change.commits),
        url: if url.is_empty() { base.url } else { url },
        ..base
    }
}

fn ref_change(change: RefChange, commits: Vec<GitCommit>, base: GitChange) -> GitChange {
    GitChange { reference: change.ref_id.0, before: change.from.0, after: change.to.0, commits, ..base }
}

/// What an event that is no push is about: a pull request's source, or the repository.
fn request(body: &Body, base: GitChange) -> GitChange {
    if let Some(request) = &body.pullrequest.0 {
        let (source, destination) = (request.source.get(), request.destination.get());
        return GitChange {
            reference: full_ref("branch", &source.branch.get().name),
            before: destination.commit.get().hash.0,
            after: source.commit.get().hash.0,
            url: request.links.get().html.get().href.0,
            ..base
        };
    }
    let Some(request) = &body.pull_request.0 else { return base };
    let (from, to) = (request.from.get(), request.to.get());
    GitChange { reference: from.id.0, before: to.latest_commit.0, after: from.latest_commit.0, ..base }
}

fn commits(list: &List<Object<Commit>, MAX_COMMITS>) -> Vec<GitCommit> {
    let commit = |commit: &Object<Commit>| {
        let commit = commit.get();
        let author = commit.author.get();
        let raw = author.raw.split('<').next().unwrap_or_default().trim().to_owned();
        GitCommit {
            id: if commit.hash.is_empty() { commit.id.0 } else { commit.hash.0 },
            message: commit.message.line(MAX_MESSAGE),
            author: if raw.is_empty() { author.name.0 } else { raw },
        }
    };
    list.items.iter().map(commit).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::Delivery;
    use super::*;

    fn gits(reading: &Reading) -> Vec<GitChange> {
        reading.changes.iter().map(|change| change.git.clone().unwrap()).collect()
    }

    #[test]
    fn reads_every_change_of_a_cloud_push() {
        let body = r#"{"actor":{"display_name":"Ada L","nickname":"ada"},
            "repository":{"full_name":"team/shop","links":{"html":{"href":"https://bitbucket.org/team/shop"}}},
            "push":{"changes":[
              {"new":{"type":"branch","name":"main","target":{"hash":"bbb"}},"old":{"type":"branch","name":"main","target":{"hash":"aaa"}},
               "links":{"html":{"href":"https://bitbucket.org/team/shop/compare"}},"truncated":false,
               "commits":[{"hash":"bbb","message":"Fix\n","author":{"raw":"Ada <a@example.com>"}}]},
              {"new":{"type":"tag","name":"v1","target":{"hash":"bbb"}},"old":null,"created":true},
              {"new":null,"old":{"type":"branch","name":"old","target":{"hash":"ccc"}},"closed":true}]}}"#;
        let reading = Delivery::new(body).header("X-Event-Key", "repo:push").header("X-Request-UUID", "u-1").read(read);
        assert_eq!(reading.ids("unused"), ["u-1/0", "u-1/1", "u-1/2"]);
        assert!(reading.changes.iter().all(|change| change.kind == "repo:push"));
        let gits = gits(&reading);
        let parts: Vec<_> =
            gits.iter().map(|git| [git.reference.as_str(), git.before.as_str(), git.after.as_str()]).collect();
        assert_eq!(
            parts,
            [["refs/heads/main", "aaa", "bbb"], ["refs/tags/v1", ZEROS, "bbb"], ["refs/heads/old", "ccc", ZEROS]]
        );
        assert!(gits.iter().all(|git| git.repository == "team/shop" && git.author == "ada"));
        assert_eq!(gits[0].commits, [GitCommit { id: "bbb".into(), message: "Fix".into(), author: "Ada".into() }]);
        assert_eq!(gits[0].url, "https://bitbucket.org/team/shop/compare");
        assert_eq!(gits[1].url, "https://bitbucket.org/team/shop");
    }

    #[test]
    fn reads_a_data_center_push() {
        let change = |name: &str| {
            format!(
                r#"{{"ref":{{"id":"refs/heads/{name}","displayId":"{name}","type":"BRANCH"}},"refId":"refs/heads/{name}",
                "fromHash":"aaa","toHash":"bbb","type":"UPDATE"}}"#
            )
        };
        let body = |changes: &str| {
            format!(
                r#"{{"eventKey":"repo:refs_changed","date":"2017-09-19T09:45:32+1000","actor":{{"name":"admin","displayName":"A"}},
                "repository":{{"slug":"repository","id":84,"project":{{"key":"PROJ"}}}},"changes":[{changes}],
                "commits":[{{"id":"bbb","message":"m","author":{{"name":"Ada"}}}}]}}"#
            )
        };
        let delivery = |body: &str| {
            Delivery::new(body).header("X-Event-Key", "repo:refs_changed").header("X-Request-Id", "r-1").read(read)
        };
        let one = delivery(&body(&change("master")));
        assert_eq!(one.ids("unused"), ["r-1"]);
        let git = gits(&one).remove(0);
        assert_eq!(
            [git.repository, git.reference, git.before, git.after, git.author],
            ["PROJ/repository", "refs/heads/master", "aaa", "bbb", "admin"]
        );
        assert_eq!(git.commits.len(), 1);
        let two = delivery(&body(&[change("a"), change("b")].join(",")));
        assert_eq!(two.ids("unused"), ["r-1/0", "r-1/1"]);
        assert!(gits(&two).iter().all(|git| git.commits.is_empty()));
    }

    #[test]
    fn more_changes_than_anybody_makes_are_one_event() {
        let body = format!(r#"{{"repository":{{"full_name":"t/s"}},"changes":[{}]}}"#, ["{}"; 65].join(","));
        let reading = Delivery::new(&body).header("X-Event-Key", "k").header("X-Request-Id", "r").read(read);
        assert_eq!(reading.ids("unused"), ["r"]);
        assert_eq!(reading.changes[0].git, None);
        assert!(reading.malformed.unwrap().contains("65"));
    }

    #[test]
    fn reads_pull_requests_of_both() {
        for body in [
            r#"{"repository":{"full_name":"t/s"},"pullrequest":{"id":1,"source":{"branch":{"name":"topic"},"commit":{"hash":"h"}},
                "destination":{"branch":{"name":"main"},"commit":{"hash":"b"}},"links":{"html":{"href":"u"}}}}"#,
            r#"{"repository":{"full_name":"t/s"},"pullRequest":{"id":1,"fromRef":{"id":"refs/heads/topic","latestCommit":"h"},
                "toRef":{"id":"refs/heads/main","latestCommit":"b"}}}"#,
        ] {
            let git = gits(&Delivery::new(body).header("X-Event-Key", "pullrequest:created").read(read)).remove(0);
            assert_eq!([git.repository, git.reference, git.before, git.after], ["t/s", "refs/heads/topic", "b", "h"]);
        }
    }

    #[test]
    fn a_test_is_a_ping() {
        let reading = Delivery::new(r#"{"test":true}"#).header("X-Event-Key", "diagnostics:ping").read(read);
        assert!(reading.ping);
        assert_eq!((reading.changes.len(), &reading.changes[0].git), (1, &None));
    }
}
