//! GitHub, and GitHub Enterprise Server.
//!
//! Type in `X-GitHub-Event`, id in `X-GitHub-Delivery` (the same on redelivery), body JSON or a form with the JSON in `payload`.
//! Source: docs.github.com, "Webhook events and payloads". The container registry's pushes come as `registry_package` or, newer,
//! `package`.

use roadstead_api::event::ImageChange;
use serde::Deserialize;

use super::forge::{self, Person};
use super::json::{self, Object, Text};
use super::{Reading, id, kind};
use crate::incoming::Incoming;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    registry_package: Object<Package>,
    package: Object<Package>,
    sender: Object<Person>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Package {
    name: Text,
    package_type: Text,
    owner: Object<Person>,
    package_version: Object<Version>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Version {
    version: Text,
    package_url: Text,
    container_metadata: Object<Container>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Container {
    tag: Object<Tag>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Tag {
    name: Text,
    digest: Text,
}

pub(super) fn read(incoming: &Incoming<'_>) -> Reading {
    let id = incoming.header("x-github-delivery").and_then(id);
    let kind = kind(incoming.header("x-github-event").unwrap_or_default());
    let ping = kind == "ping";
    Reading { ping, ..forge::read(incoming, id, kind, image) }
}

/// The image of a container package. A version without a tag (one platform of an image, or an attestation) keeps an empty tag.
fn image(kind: &str, document: &[u8]) -> Option<ImageChange> {
    if kind != "registry_package" && kind != "package" {
        return None;
    }
    let body: Body = json::root(document).ok()?;
    let package = body.registry_package.0.or(body.package.0)?;
    if !["container", "docker"].iter().any(|kind| package.package_type.eq_ignore_ascii_case(kind)) {
        return None;
    }
    let version = package.package_version.get();
    let tag = version.container_metadata.get().tag.get();
    // ghcr.io/octo/app:v1; a version that was not pushed by tag may end in a colon or a digest.
    let (registry, path) = version.package_url.split_once('/').unwrap_or(("ghcr.io", ""));
    let path = path.split(['@', ':']).next().unwrap_or_default();
    let repository = if path.is_empty() {
        format!("{}/{}", package.owner.get().login.to_lowercase(), &*package.name)
    } else {
        path.to_owned()
    };
    let digest = if tag.digest.is_empty() { version.version.0 } else { tag.digest.0 };
    Some(ImageChange {
        registry: registry.to_owned(),
        repository,
        tag: tag.name.0,
        digest: if digest.contains(':') { digest } else { String::new() },
        action: "push".to_owned(),
        actor: body.sender.get().login.0,
    })
}

#[cfg(test)]
mod tests {
    use roadstead_api::event::{GitChange, GitCommit};

    use super::super::tests::Delivery;
    use super::*;

    #[test]
    fn reads_a_push() {
        let body = r#"{"ref":"refs/heads/main","before":"aaa","after":"bbb","compare":"https://github.com/octo/shop/compare/a...b",
            "commits":[{"id":"bbb","message":"Fix\n\nlong","author":{"name":"Ada","email":"a@example.com"}}],
            "repository":{"full_name":"octo/shop","html_url":"https://github.com/octo/shop"},
            "pusher":{"name":"ada"},"sender":{"login":"ada-l"}}"#;
        let reading =
            Delivery::new(body).header("X-GitHub-Event", "push").header("X-GitHub-Delivery", "72d3").read(read);
        assert_eq!(reading.changes.len(), 1);
        let change = &reading.changes[0];
        assert_eq!((change.id.as_deref(), change.kind.as_str(), reading.ping), (Some("72d3"), "push", false));
        assert_eq!(
            change.git.as_ref().unwrap(),
            &GitChange {
                repository: "octo/shop".into(),
                reference: "refs/heads/main".into(),
                before: "aaa".into(),
                after: "bbb".into(),
                author: "ada".into(),
                commits: vec![GitCommit { id: "bbb".into(), message: "Fix".into(), author: "Ada".into() }],
                url: "https://github.com/octo/shop/compare/a...b".into(),
            }
        );
        assert_eq!((&change.image, change.hint), (&None, false));
    }

    #[test]
    fn reads_the_same_from_a_form() {
        let json = r#"{"ref":"refs/heads/a b","repository":{"full_name":"octo/shop"}}"#;
        let form: String =
            format!("payload={}", percent_encoding::utf8_percent_encode(json, percent_encoding::NON_ALPHANUMERIC));
        let from = |body: &str, media: &str| {
            Delivery::new(body).header("content-type", media).header("x-github-event", "push").read(read)
        };
        let reading = from(&form, "application/x-www-form-urlencoded");
        assert_eq!(reading, from(json, "application/json; charset=utf-8"));
        assert_eq!(reading.changes[0].git.as_ref().unwrap().reference, "refs/heads/a b");
        assert!(from("other=1", "application/x-www-form-urlencoded").malformed.is_some());
    }

    #[test]
    fn reads_refs_of_other_events() {
        for (kind, body, reference, after) in [
            ("create", r#"{"ref":"v1","ref_type":"tag","repository":{}}"#, "refs/tags/v1", ""),
            ("delete", r#"{"ref":"old","ref_type":"branch","repository":{}}"#, "refs/heads/old", ""),
            ("release", r#"{"release":{"tag_name":"v2"},"repository":{}}"#, "refs/tags/v2", ""),
            (
                "pull_request",
                r#"{"number":7,"pull_request":{"number":7,"head":{"sha":"h"},"base":{"sha":"b"}},"repository":{}}"#,
                "refs/pull/7/head",
                "h",
            ),
            ("star", r#"{"ref":"x","repository":{}}"#, "", ""),
        ] {
            let reading = Delivery::new(body).header("x-github-event", kind).read(read);
            let git = reading.changes[0].git.clone().unwrap();
            assert_eq!((git.reference.as_str(), git.after.as_str()), (reference, after), "{kind}");
        }
    }

    #[test]
    fn reads_a_container_package() {
        let package = r#"{"name":"app","namespace":"octo","ecosystem":"CONTAINER","package_type":"CONTAINER",
            "owner":{"login":"Octo"},"package_version":{"version":"sha256:v","name":"sha256:v",
            "package_url":"ghcr.io/octo/app:v1","container_metadata":{"tag":{"name":"v1","digest":"sha256:d"}}}}"#;
        for kind in ["registry_package", "package"] {
            let body = format!(r#"{{"action":"published","{kind}":{package},"sender":{{"login":"ada"}}}}"#);
            let reading = Delivery::new(&body).header("x-github-event", kind).read(read);
            let image = reading.changes[0].image.clone().unwrap();
            let parts = [image.registry, image.repository, image.tag, image.digest, image.action, image.actor];
            assert_eq!(parts, ["ghcr.io", "octo/app", "v1", "sha256:d", "push", "ada"], "{kind}");
        }
        let untagged = r#"{"package":{"name":"app","package_type":"container","owner":{"login":"Octo"},
            "package_version":{"version":"sha256:v","container_metadata":{"tag":{"name":""}}}}}"#;
        let image = Delivery::new(untagged).header("x-github-event", "package").read(read).changes[0].image.clone();
        let image = image.unwrap();
        assert_eq!([image.repository, image.tag, image.digest], ["octo/app", "", "sha256:v"]);
        let npm = r#"{"package":{"name":"app","package_type":"npm"}}"#;
        assert_eq!(Delivery::new(npm).header("x-github-event", "package").read(read).changes[0].image, None);
    }

    #[test]
    fn a_ping_is_one_event_and_said_to_be_a_ping() {
        let reading = Delivery::new(r#"{"zen":"x","hook_id":1}"#).header("x-github-event", "ping").read(read);
        assert!(reading.ping);
        assert_eq!(reading.changes.len(), 1);
        assert_eq!(reading.changes[0].git, None);
    }

    #[test]
    fn at_most_twenty_commits() {
        let commits: Vec<_> = (0..30).map(|n| format!(r#"{{"id":"{n}","message":"{}"}}"#, "m".repeat(500))).collect();
        let body = format!(r#"{{"commits":[{}],"repository":{{}}}}"#, commits.join(","));
        let git = Delivery::new(&body).header("x-github-event", "push").read(read).changes[0].git.clone().unwrap();
        assert_eq!(git.commits.len(), 20);
        assert!(git.commits.iter().all(|commit| commit.message.chars().count() == 200));
    }
}
