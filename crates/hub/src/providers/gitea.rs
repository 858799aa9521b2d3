//! Gitea; Forgejo is the same under another name.
//!
//! Type in `X-Gitea-Event`, id in `X-Gitea-Delivery`, body as GitHub's or a form around it. Source: docs.gitea.com, "Webhooks".
//! Its registry's pushes and deletions come as `package`.

use roadstead_api::event::ImageChange;
use serde::Deserialize;

use super::forge::{self, Person};
use super::json::{self, Object, Text};
use super::{Reading, id, kind, reference};
use crate::incoming::Incoming;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    action: Text,
    package: Object<Package>,
    sender: Object<Person>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Package {
    r#type: Text,
    name: Text,
    version: Text,
    html_url: Text,
    owner: Object<Person>,
}

pub(super) fn read(incoming: &Incoming<'_>) -> Reading {
    read_as(incoming, &["x-gitea", "x-gogs", "x-github"])
}

/// Reads id and type from the first header family that is there: each sender also imitates its ancestors'.
pub(super) fn read_as(incoming: &Incoming<'_>, families: &[&str]) -> Reading {
    let header = |name: &str| families.iter().find_map(|family| incoming.header(&format!("{family}-{name}")));
    let kind = kind(header("event").unwrap_or_default());
    forge::read(incoming, header("delivery").and_then(id), kind, image)
}

fn image(kind: &str, document: &[u8]) -> Option<ImageChange> {
    if kind != "package" {
        return None;
    }
    let body: Body = json::root(document).ok()?;
    let package = body.package.0.filter(|package| &*package.r#type == "container")?;
    let (tag, digest) = reference(package.version.0);
    Some(ImageChange {
        // https://git.example.com/octo/-/packages/container/app/v1
        registry: package.html_url.split('/').nth(2).unwrap_or_default().to_owned(),
        repository: format!("{}/{}", package.owner.get().login.to_lowercase(), &*package.name),
        tag,
        digest,
        action: match &*body.action {
            "created" => "push".to_owned(),
            "deleted" => "delete".to_owned(),
            _ => body.action.0,
        },
        actor: body.sender.get().login.0,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Delivery;
    use super::*;

    const PUSH: &str = r#"{"ref":"refs/heads/develop","before":"28e1","after":"bffe","compare_url":"https://git.example.com/c",
        "commits":[{"id":"bffe","message":"Webhooks Yay!","author":{"name":"Ada","email":"a@example.com","username":"ada"}}],
        "repository":{"full_name":"octo/webhooks","html_url":"https://git.example.com/octo/webhooks"},
        "pusher":{"login":"ada","full_name":"Ada"},"sender":{"login":"bot"}}"#;

    #[test]
    fn reads_a_push_of_either_sender() {
        for (family, read) in
            [("X-Gitea", read as fn(&Incoming<'_>) -> Reading), ("X-Forgejo", super::super::forgejo::read)]
        {
            let reading = Delivery::new(PUSH)
                .header(&format!("{family}-Event"), "push")
                .header(&format!("{family}-Delivery"), "own")
                .header("X-GitHub-Event", "ancestor")
                .header("X-GitHub-Delivery", "ancestor")
                .read(read);
            let change = &reading.changes[0];
            assert_eq!((change.id.as_deref(), change.kind.as_str()), (Some("own"), "push"), "{family}");
            let git = change.git.clone().unwrap();
            let parts = [git.repository, git.reference, git.before, git.after, git.author, git.url];
            let url = "https://git.example.com/c";
            assert_eq!(parts, ["octo/webhooks", "refs/heads/develop", "28e1", "bffe", "ada", url]);
            assert_eq!((git.commits[0].id.as_str(), git.commits[0].author.as_str()), ("bffe", "Ada"));
        }
    }

    #[test]
    fn reads_a_container_package() {
        for (action, version, expected) in
            [("created", "v1", ["push", "v1", ""]), ("deleted", "sha256:d", ["delete", "", "sha256:d"])]
        {
            let body = format!(
                r#"{{"action":"{action}","package":{{"type":"container","name":"app","version":"{version}",
                "owner":{{"login":"Octo"}},"html_url":"https://git.example.com:3000/octo/-/packages/container/app/v1"}},
                "sender":{{"login":"ada"}}}}"#
            );
            let reading = Delivery::new(&body).header("X-Gitea-Event", "package").read(read);
            let image = reading.changes[0].image.clone().unwrap();
            assert_eq!([image.action.as_str(), image.tag.as_str(), image.digest.as_str()], expected);
            assert_eq!([image.registry, image.repository], ["git.example.com:3000", "octo/app"]);
        }
    }
}
