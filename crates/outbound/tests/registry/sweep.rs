//! Looking through a registry: catalogs, pages, lists that have not changed, and tags that are listed and not there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use roadstead_outbound::registry::RegistryError;
use roadstead_outbound::tags::{Known, Scope, Seen, Tagged, look, repositories};
use serde_json::json;

use super::support::{answer, registry, serve, serve_requests};

fn digest(n: u8) -> String {
    format!("sha256:{}", format!("{n:02x}").repeat(32))
}

fn tagged(pairs: &[(&str, u8)]) -> Tagged {
    pairs.iter().map(|(tag, n)| (tag.to_string(), digest(*n))).collect()
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| name.to_string()).collect()
}

#[tokio::test]
async fn a_look_asks_for_every_tag_and_again_when_the_list_has_not_changed() -> Result<()> {
    let heads = Arc::new(AtomicUsize::new(0));
    let counter = heads.clone();
    let url = serve_requests(move |request| {
        let path = request.uri().path();
        if path.ends_with("/tags/list") {
            let first = request.uri().query() == Some("n=1000");
            return match (path.split('/').nth(2), first) {
                (Some("paged"), true) => answer(
                    200,
                    &[("link", "</v2/paged/tags/list?last=a>; rel=\"next\"")],
                    json!({"tags": ["a"]}).to_string(),
                ),
                (Some("paged"), false) => answer(200, &[], json!({"tags": ["b", "not a tag", "sha256:x"]}).to_string()),
                (Some("steady"), _) if request.headers().get("if-none-match").is_some_and(|etag| etag == "\"one\"") => {
                    answer(304, &[], "")
                }
                (Some("steady"), _) => answer(200, &[("etag", "\"one\"")], json!({"tags": ["a", "b"]}).to_string()),
                (Some("dangling"), _) => {
                    answer(200, &[("etag", "\"two\"")], json!({"tags": ["a", "lost"]}).to_string())
                }
                (Some("empty"), _) => answer(200, &[], json!({"name": "empty", "tags": null}).to_string()),
                _ => answer(404, &[], ""),
            };
        }
        counter.fetch_add(1, Ordering::SeqCst);
        match path.rsplit('/').next() {
            Some("a") => answer(200, &[("docker-content-digest", &digest(1))], ""),
            Some("b") => answer(200, &[("docker-content-digest", &digest(2))], ""),
            _ => answer(404, &[], ""),
        }
    })
    .await?;
    let registry = registry(&url)?;
    let (all, both) = (|_: &str| true, tagged(&[("a", 1), ("b", 2)]));
    let seen =
        |tags: &Tagged, etag: Option<&str>| Seen { tags: tags.clone(), complete: true, etag: etag.map(String::from) };
    let none = Known::default();
    assert_eq!(look(&registry, "paged", &none, all).await?, seen(&both, None));
    assert_eq!(look(&registry, "steady", &none, all).await?, seen(&both, Some("\"one\"")));
    assert_eq!(look(&registry, "absent", &none, all).await?, seen(&Tagged::new(), None));
    assert_eq!(look(&registry, "empty", &none, all).await?, seen(&Tagged::new(), None));
    // Not with its ETag: the tag that is missing must be noticed when it comes.
    assert_eq!(look(&registry, "dangling", &none, all).await?, seen(&tagged(&[("a", 1)]), None));
    assert_eq!(look(&registry, "steady", &none, |tag| tag == "b").await?, seen(&tagged(&[("b", 2)]), None));

    let known = Known { tags: tagged(&[("a", 9), ("b", 2)]), etag: Some("\"one\"".into()), ..Known::default() };
    let before = heads.load(Ordering::SeqCst);
    assert_eq!(look(&registry, "steady", &known, all).await?, seen(&both, Some("\"one\"")), "a tag moved all the same");
    assert_eq!(heads.load(Ordering::SeqCst) - before, 2);
    Ok(())
}

#[tokio::test]
async fn a_question_that_fails_makes_no_half_look() -> Result<()> {
    let url = serve(|path| match path {
        path if path.contains("/tags/list") => answer(200, &[], json!({"tags": ["a", "b"]}).to_string()),
        path if path.ends_with("/b") => answer(500, &[], ""),
        _ => answer(200, &[("docker-content-digest", &digest(1))], ""),
    })
    .await?;
    let error = look(&registry(&url)?, "a", &Known::default(), |_| true).await.expect_err("one tag is not answered");
    assert_eq!(error, RegistryError::Unexpected("500".into()));
    Ok(())
}

#[tokio::test]
async fn repositories_come_from_names_the_catalog_and_what_is_known() -> Result<()> {
    let open =
        serve(|_| answer(200, &[], json!({"repositories": ["team-a/x", "team-b/y", "Not/Valid"]}).to_string())).await?;
    let closed = serve(|_| answer(403, &[], "")).await?;
    let known = || ["team-a/known".to_owned(), "other".to_owned()];
    let z = || Scope::named(["team-b/z".to_owned()]);
    let team_a = |name: &str| name.starts_with("team-a/");
    for (url, scope, expected, catalog) in [
        (&open, Scope::all(), names(&["other", "team-a/known", "team-a/x", "team-b/y"]), true),
        (&open, z().and(team_a), names(&["team-a/known", "team-a/x", "team-b/z"]), true),
        (&open, z(), names(&["team-b/z"]), false),
        (&closed, Scope::all(), names(&["other", "team-a/known"]), false),
        (&closed, z().and(team_a), names(&["team-a/known", "team-b/z"]), false),
    ] {
        assert_eq!(repositories(&registry(url)?, &scope, known()).await?, (expected, catalog), "{scope:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_address_without_a_registry_is_told_from_an_empty_one() -> Result<()> {
    for (status, expected) in [
        (200, Ok(())),
        (401, Ok(())),
        (404, Err(RegistryError::Unexpected("404 to /v2/".into()))),
        (301, Err(RegistryError::Unexpected("301 to /v2/".into()))),
    ] {
        let url = serve(move |_| answer(status, &[], "")).await?;
        assert_eq!(registry(&url)?.check().await, expected);
    }
    Ok(())
}
