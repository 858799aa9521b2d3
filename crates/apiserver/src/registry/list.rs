//! Lists: one consistent version, in pages if wanted.
//!
//! A continue token names the version of the first page and the last key of the page before; later pages show that same
//! version by undoing what the kept history says has changed since. So no snapshots are kept for clients that never come
//! back, and a token outlives a restart.

use std::{ops::Bound, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use roadstead_kubewire::{
    ApiError, ApiResult, Key, List, ListOptions,
    error::{Cause, Details},
    options::VersionMatch,
    query,
};

use super::{Registry, select::Selection};
use crate::store::Table;

/// How long a request waits for a version that the store has not reached.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Continue {
    version: u64,
    after: Key,
}

impl Continue {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("1 {} {} {}", self.version, self.after.namespace, self.after.name))
    }

    fn decode(token: &str) -> ApiResult<Self> {
        let parse = || {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
            let mut words = text.strip_prefix("1 ")?.splitn(3, ' ');
            let version = words.next()?.parse().ok()?;
            Some(Self { version, after: Key::new(words.next()?, words.next()?) })
        };
        parse().ok_or_else(|| ApiError::bad_request("continue key is not valid; start a new list without it"))
    }
}

pub(super) async fn list(registry: &Registry, namespace: Option<&str>, options: &ListOptions) -> ApiResult<List> {
    let selection = Selection::new(&registry.kind.info, namespace, &options.labels, &options.fields)?;
    let (table, version, after) = match &options.continue_token {
        Some(token) => {
            let token = Continue::decode(token)?;
            let table = registry.store.table_at(&registry.kind.resource, token.version).map_err(|_| {
                ApiError::expired(
                    "The provided continue parameter is too old to display a consistent list result. You can start a new \
                     list without the continue parameter.",
                )
            })?;
            (table, token.version, Some(token.after))
        }
        None => {
            let (table, version) = first_page(registry, options).await?;
            (table, version, None)
        }
    };
    Ok(page(registry, &table, version, after, &selection, options.limit))
}

async fn first_page(registry: &Registry, options: &ListOptions) -> ApiResult<(Table, u64)> {
    let (store, resource) = (&registry.store, &registry.kind.resource);
    let asked = query::version(&options.resource_version)?;
    let exact = match options.version_match {
        VersionMatch::Exact => true,
        // Of old, the first page of a version is of that version.
        VersionMatch::Unset => options.limit > 0,
        VersionMatch::NotOlderThan => false,
    };
    if exact && asked > 0 {
        reach(registry, asked).await?;
        let table = store.table_at(resource, asked).map_err(|gone| ApiError::expired(gone.to_string()))?;
        return Ok((table, asked));
    }
    reach(registry, asked).await?;
    let state = store.state();
    Ok((state.table(resource), state.version))
}

/// Waits until the store has reached `version`.
///
/// # Errors
/// 504 as Kubernetes words it, when it does not in time.
async fn reach(registry: &Registry, version: u64) -> ApiResult<()> {
    if registry.store.state().version >= version || registry.store.reached(version, PATIENCE).await {
        return Ok(());
    }
    let present = registry.store.state().version;
    let message = format!("Too large resource version: {version}, current: {present}");
    let cause = Cause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        field: String::new(),
    };
    let details = Details { causes: vec![cause], retry_after_seconds: Some(1), ..Details::default() };
    Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message).with_details(details))
}

fn page(
    registry: &Registry,
    table: &Table,
    version: u64,
    after: Option<Key>,
    selection: &Selection,
    limit: u64,
) -> List {
    let first = match (after, selection.namespace()) {
        (Some(after), _) => Bound::Excluded(after),
        (None, Some(namespace)) => Bound::Included(Key::new(namespace, "")),
        (None, None) => Bound::Unbounded,
    };
    let range = table.range::<_, Key>((first, Bound::Unbounded));
    let ours = |key: &Key| selection.namespace().is_none_or(|namespace| namespace == key.namespace);
    let mut selected =
        range.take_while(|(key, _)| ours(key)).map(|(_, object)| object).filter(|object| selection.takes(object));
    let limit = if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
    let objects: Vec<_> = selected.by_ref().take(limit).collect();
    let rest = selected.next().map(|_| if selection.is_plain() { Some(1 + selected.count() as u64) } else { None });
    let token = rest.and(objects.last()).map(|last| Continue { version, after: (*last.key).clone() }.encode());
    List {
        items: objects.into_iter().map(|object| registry.current(object)).collect(),
        resource_version: version.to_string(),
        continue_token: token,
        remaining: rest.flatten(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continue_tokens_round_trip_and_nonsense_is_refused() {
        for after in [Key::new("default", "x"), Key::new("", "system:node y")] {
            let token = Continue { version: 7, after };
            assert_eq!(Continue::decode(&token.encode()).unwrap(), token);
        }
        for bad in ["", "AAAA", "é", &URL_SAFE_NO_PAD.encode("2 7 a b"), &URL_SAFE_NO_PAD.encode("1 x a b")] {
            assert_eq!(Continue::decode(bad).unwrap_err().code, 400);
        }
    }
}
