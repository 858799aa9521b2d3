//! Which namespaces a role works in, and how it follows a kind there.
//!
//! A role that is told its namespaces lists and watches each of them alone, so that a Role in each is enough and several
//! instances can share one cluster. In: the names. Out: for each kind one stream, in which the complete list of a namespace comes
//! as one value, so that whoever reads it never acts on half a list.

use std::{collections::BTreeSet, fmt::Debug, sync::Arc};

use futures::{
    StreamExt,
    stream::{BoxStream, select_all},
};
use kube::{
    Api, Client, Resource,
    core::NamespaceResourceScope,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

/// The namespaces that a role works in: all, or those that are named. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(Arc<BTreeSet<String>>);

impl Namespaces {
    /// Those that are named; all if none is.
    pub fn of(names: impl IntoIterator<Item = String>) -> Self {
        Self(Arc::new(names.into_iter().collect()))
    }

    /// Whether all are meant.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `namespace` is one of them.
    pub fn include(&self, namespace: &str) -> bool {
        self.is_all() || self.0.contains(namespace)
    }

    /// The names, in order; none if all are meant.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The ways to a kind: one over all namespaces, or one for each.
    pub fn apis<K>(&self, client: &Client) -> Vec<Api<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        self.parts().map(|part| api(client, part.as_deref())).collect()
    }

    /// `None` for all at once, or each name.
    fn parts(&self) -> impl Iterator<Item = Option<String>> {
        self.is_all().then_some(None).into_iter().chain(self.0.iter().cloned().map(Some))
    }
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// What was seen of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<K> {
    /// Everything that one part of the scope holds now; comes first, and again after each break.
    Listed(Listing<K>),
    /// This object was made or changed.
    Applied(K),
    /// This object was deleted.
    Deleted(K),
}

/// A complete list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<K> {
    /// Of which namespace; `None`: of all.
    pub namespace: Option<String>,
    /// The objects. What was known of that namespace and is not among them is gone.
    pub objects: Vec<K>,
    /// The namespaces of the scope that have not been listed by now.
    pub awaited: Vec<String>,
}

impl<K> Listing<K> {
    /// Whether the list tells of `namespace`.
    pub fn covers(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }

    /// Whether every namespace of the scope has been listed by now.
    pub fn is_last(&self) -> bool {
        self.awaited.is_empty()
    }
}

/// Follows a kind in `namespaces` for ever, with back-off. An error concerns one namespace; the others go on.
pub fn follow<K>(client: &Client, namespaces: &Namespaces) -> BoxStream<'static, Result<Seen<K>, watcher::Error>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let parts: Vec<Option<String>> = namespaces.parts().collect();
    let streams = parts.iter().enumerate().map(|(index, part)| {
        let events = watcher(api::<K>(client, part.as_deref()), watcher::Config::default());
        // The start of a list is no success yet: it would make every pause the first.
        let events = events.filter(|event| std::future::ready(!matches!(event, Ok(Event::Init))));
        events.default_backoff().map(move |event| (index, event)).boxed()
    });
    let mut merge = Merge::new(parts.clone());
    select_all(streams)
        .filter_map(move |(index, event)| {
            let seen = match event {
                Ok(event) => merge.take(index, event).map(Ok),
                Err(error) => {
                    merge.forget(index);
                    Some(Err(error))
                }
            };
            async move { seen }
        })
        .boxed()
}

/// Gathers the pieces of each part's list.
struct Merge<K> {
    parts: Vec<Part<K>>,
}

struct Part<K> {
    namespace: Option<String>,
    gathered: Vec<K>,
    listed: bool,
}

impl<K> Merge<K> {
    fn new(parts: Vec<Option<String>>) -> Self {
        let part = |namespace| Part { namespace, gathered: Vec::new(), listed: false };
        Self { parts: parts.into_iter().map(part).collect() }
    }

    /// A list broke off.
    fn forget(&mut self, index: usize) {
        if let Some(part) = self.parts.get_mut(index) {
            part.gathered.clear();
        }
    }

    fn take(&mut self, index: usize, event: Event<K>) -> Option<Seen<K>> {
        let part = self.parts.get_mut(index)?;
        match event {
            Event::Init => part.gathered.clear(),
            Event::InitApply(object) => part.gathered.push(object),
            Event::Apply(object) => return Some(Seen::Applied(object)),
            Event::Delete(object) => return Some(Seen::Deleted(object)),
            Event::InitDone => {
                part.listed = true;
                let (namespace, objects) = (part.namespace.clone(), std::mem::take(&mut part.gathered));
                let awaited = self.parts.iter().filter(|part| !part.listed).filter_map(|part| part.namespace.clone());
                return Some(Seen::Listed(Listing { namespace, objects, awaited: awaited.collect() }));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_named_means_all() {
        let (all, some) = (Namespaces::default(), Namespaces::of(["b".into(), "a".into(), "b".into()]));
        assert!(all.is_all() && all.include("x") && all.names().next().is_none());
        assert!(some.include("a") && !some.include("x"));
        assert_eq!(some.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(all.parts().collect::<Vec<_>>(), [None]);
        assert_eq!(some.parts().collect::<Vec<_>>(), [Some("a".into()), Some("b".into())]);
    }

    #[test]
    fn a_list_comes_whole_and_tells_which_are_missing() {
        let listed = |namespace: &str, objects: &[u8], awaited: &[&str]| {
            let awaited = awaited.iter().map(|name| name.to_string()).collect();
            Some(Seen::Listed(Listing { namespace: Some(namespace.into()), objects: objects.to_vec(), awaited }))
        };
        let mut merge = Merge::new(vec![Some("a".into()), Some("b".into())]);
        for (part, event, expected) in [
            (0, Event::Init, None),
            (0, Event::InitApply(1), None),
            (1, Event::Init, None),
            (0, Event::InitApply(2), None),
            (0, Event::InitDone, listed("a", &[1, 2], &["b"])),
            (0, Event::Apply(3), Some(Seen::Applied(3))),
            (1, Event::InitDone, listed("b", &[], &[])),
            (1, Event::Delete(4), Some(Seen::Deleted(4))),
            // A list that breaks off leaves nothing behind.
            (0, Event::Init, None),
            (0, Event::InitApply(5), None),
            (0, Event::Init, None),
            (0, Event::InitApply(6), None),
            (0, Event::InitDone, listed("a", &[6], &[])),
        ] {
            assert_eq!(merge.take(part, event), expected);
        }
        merge.take(0, Event::InitApply(7));
        merge.forget(0);
        merge.take(0, Event::InitApply(8));
        assert_eq!(merge.take(0, Event::InitDone), listed("a", &[8], &[]));
    }

    #[test]
    fn a_list_covers_its_own_namespace() {
        let listing = |namespace: Option<&str>| Listing::<()> {
            namespace: namespace.map(Into::into),
            objects: Vec::new(),
            awaited: Vec::new(),
        };
        assert!(listing(None).covers("a") && listing(Some("a")).covers("a") && !listing(Some("a")).covers("b"));
    }
}
