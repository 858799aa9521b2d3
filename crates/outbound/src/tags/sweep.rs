//! Looking at a registry: which repositories there are, and what one of them has.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};

use super::{Known, Seen, Tagged};
use crate::glob;
use crate::registry::{Registry, RegistryError, Tags, is_tag};

/// Questions to one registry at the same time.
const CONCURRENCY: usize = 4;

/// Repositories to look at, and whether the registry's catalog is among them.
///
/// `patterns` are names and globs; none stands for all. Names are looked at whether the registry lists them or not; globs choose from its
/// catalog and from `known`, since many registries give their catalog to nobody.
///
/// # Errors
/// The catalog could not be asked for; a refusal is none.
pub async fn repositories(
    registry: &Registry,
    patterns: &[String],
    known: impl IntoIterator<Item = String>,
) -> Result<(BTreeSet<String>, bool), RegistryError> {
    let mut names: BTreeSet<String> = patterns.iter().filter(|pattern| glob::is_literal(pattern)).cloned().collect();
    if !patterns.is_empty() && names.len() == patterns.len() {
        return Ok((names, false));
    }
    let wanted = |name: &String| patterns.is_empty() || patterns.iter().any(|pattern| glob::matches(pattern, name));
    let catalog = registry.catalog().await?;
    let has_catalog = catalog.is_some();
    names.extend(catalog.into_iter().flatten().chain(known).filter(wanted));
    Ok((names, has_catalog))
}

/// What a repository has now, of the tags that are `wanted`. With an ETag the list is only sent if it changed; each tag's digest is asked
/// for all the same.
///
/// # Errors
/// Any question that was not answered: half a look proves nothing.
pub async fn look(
    registry: &Registry,
    repository: &str,
    known: &Known,
    wanted: impl Fn(&str) -> bool,
) -> Result<Seen, RegistryError> {
    let (names, etag, complete) = match registry.tags_since(repository, known.etag.as_deref()).await? {
        Tags::Absent => return Ok(Seen { complete: true, ..Seen::default() }),
        Tags::Unchanged => (known.tags.keys().cloned().collect(), known.etag.clone(), true),
        Tags::Listed { tags, etag, complete } => (tags, etag, complete),
    };
    let listed = names.len();
    let names: BTreeSet<String> = names.into_iter().filter(|tag| is_tag(tag) && wanted(tag)).collect();
    let asked = names.into_iter().map(|tag| async move {
        let digest = registry.digest(repository, &tag).await?;
        Ok::<_, RegistryError>(digest.map(|digest| (tag, digest)))
    });
    let found: Vec<_> = stream::iter(asked).buffer_unordered(CONCURRENCY).try_collect().await?;
    let tags: Tagged = found.into_iter().flatten().collect();
    // A tag that is listed and not there would be missed when it comes, if the list were not asked for again.
    let etag = etag.filter(|_| tags.len() == listed);
    Ok(Seen { tags, complete, etag })
}
