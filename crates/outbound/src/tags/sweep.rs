//! Looking at a registry: which repositories there are, and what one of them has.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::{Known, Seen, Tagged};
use crate::registry::{Registry, RegistryError, Tags, is_tag};

/// Questions to one registry at the same time.
const CONCURRENCY: usize = 4;

/// Which repositories of a registry are meant.
#[derive(Clone)]
pub struct Scope {
    names: BTreeSet<String>,
    others: Option<Wanted>,
}

/// Whether a repository of this name is meant.
type Wanted = Arc<dyn Fn(&str) -> bool + Send + Sync>;

impl Scope {
    /// All of them.
    pub fn all() -> Scope {
        Scope::named([]).and(|_| true)
    }

    /// These, whether the registry lists them or not.
    pub fn named(names: impl IntoIterator<Item = String>) -> Scope {
        Scope { names: names.into_iter().collect(), others: None }
    }

    /// Beside those, what `wanted` takes of the registry's catalog, and of what is known: many registries give their catalog to nobody.
    pub fn and(self, wanted: impl Fn(&str) -> bool + Send + Sync + 'static) -> Scope {
        Scope { others: Some(Arc::new(wanted)), ..self }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{}", self.names, if self.others.is_some() { " and others" } else { "" })
    }
}

/// Repositories to look at, and whether the registry's catalog is among them.
///
/// # Errors
/// The catalog could not be asked for; a refusal is none.
pub async fn repositories(
    registry: &Registry,
    scope: &Scope,
    known: impl IntoIterator<Item = String>,
) -> Result<(BTreeSet<String>, bool), RegistryError> {
    let mut names = scope.names.clone();
    let Some(wanted) = &scope.others else { return Ok((names, false)) };
    let catalog = registry.catalog().await?;
    let has_catalog = catalog.is_some();
    names.extend(catalog.into_iter().flatten().chain(known).filter(|name| wanted(name)));
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
