//! What the controller has observed and made of it, shared with the writer of statuses. Plain data behind one lock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use kube::{Resource, ResourceExt};
use roadstead_api::{
    RegistryWebhook, RegistryWebhookSpec, RegistryWebhookStatus, WebhookEndpoint, endpoint::Provider, names,
    registry_webhook::ObservedRequests,
};
use roadstead_reconcile::scope::Listing;

use super::compile::Problem;
use crate::poll::Report;

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Key {
    pub(super) fn of(object: &impl ResourceExt) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

/// A webhook that is in the log.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub uid: String,
    pub generation: i64,
    /// What is said of it; `None` while that is not known yet.
    pub ready: Option<Result<(), Problem>>,
    pub observed: ObservedRequests,
    /// Whether it has a registry asked.
    pub polls: bool,
    /// What asking that came to, as far as it polls one; filled in where it is told.
    pub polled: Option<Report>,
}

/// What is known of a webhook's endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// The endpoints of the namespace have not been listed yet.
    Unknown,
    /// There is none of this name.
    Missing,
    /// There is one, of this provider.
    Of(Provider),
}

/// All that was observed. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry(Arc<RwLock<Observed>>);

#[derive(Default)]
struct Observed {
    objects: BTreeMap<Key, Arc<RegistryWebhook>>,
    entries: HashMap<Key, Entry>,
    /// By uid.
    polled: HashMap<String, Report>,
    endpoints: HashMap<Key, Provider>,
    /// Namespaces of which the endpoints are known; `None` stands for all.
    endpoints_listed: HashSet<Option<String>>,
}

impl Registry {
    pub(super) fn object(&self, key: &Key) -> Option<Arc<RegistryWebhook>> {
        self.read(|observed| observed.objects.get(key).cloned())
    }

    pub(super) fn entry(&self, key: &Key) -> Option<Entry> {
        self.read(|observed| observed.entries.get(key).cloned())
    }

    pub(super) fn put(&self, key: &Key, entry: Option<Entry>) {
        self.write(|observed| match entry {
            Some(entry) => observed.entries.insert(key.clone(), entry),
            None => observed.entries.remove(key),
        });
    }

    /// Those whose status is ours to write: entry, object and its status as last seen.
    pub(super) fn told(&self) -> Vec<(Key, Entry, Arc<RegistryWebhook>)> {
        self.read(|observed| {
            let all = observed.entries.iter().filter(|(_, entry)| entry.ready.is_some());
            all.filter_map(|(key, entry)| {
                let object = observed.objects.get(key)?;
                let polled = observed.polled.get(&entry.uid).cloned();
                (object.meta().uid.as_deref() == Some(&entry.uid))
                    .then(|| (key.clone(), Entry { polled, ..entry.clone() }, object.clone()))
            })
            .collect()
        })
    }

    /// Takes note of what asking a registry came to; `None`: the webhook no longer polls one.
    pub(crate) fn polled(&self, uid: &str, report: Option<Report>) {
        self.write(|observed| match report {
            Some(report) => observed.polled.insert(uid.to_owned(), report),
            None => observed.polled.remove(uid),
        });
    }

    /// The endpoint that a webhook of this namespace names.
    pub(super) fn endpoint(&self, namespace: &str, name: &str) -> Endpoint {
        let key = Key { namespace: namespace.into(), name: name.into() };
        self.read(|observed| match observed.endpoints.get(&key) {
            Some(provider) => Endpoint::Of(*provider),
            None if observed.knows_endpoints_of(namespace) => Endpoint::Missing,
            None => Endpoint::Unknown,
        })
    }

    /// Whether every webhook of a part has its entry.
    pub(super) fn is_complete(&self, part: Option<&str>) -> bool {
        self.read(|observed| {
            let mut keys = observed.objects.keys().filter(|key| part.is_none_or(|part| key.namespace == part));
            keys.all(|key| observed.entries.contains_key(key))
        })
    }

    /// Takes a complete list in place of what was known of its namespaces; gives all keys that either of them has.
    pub(super) fn replace(&self, listing: Listing<RegistryWebhook>) -> BTreeSet<Key> {
        self.write(|observed| {
            let mut touched = BTreeSet::new();
            observed.objects.retain(|key, _| {
                let covered = listing.covers(&key.namespace);
                if covered {
                    touched.insert(key.clone());
                }
                !covered
            });
            for object in listing.objects {
                let key = Key::of(&object);
                touched.insert(key.clone());
                observed.objects.insert(key, Arc::new(object));
            }
            touched
        })
    }

    /// Takes note of an object; its key if anything but its status changed.
    pub(super) fn note(&self, object: RegistryWebhook) -> Option<Key> {
        let key = Key::of(&object);
        self.write(|observed| {
            let known = observed.objects.get(&key);
            let changed = known.is_none_or(|known| !acts_alike(known, &object));
            if known.is_none_or(|known| version(known) <= version(&object) || known.uid() != object.uid()) {
                observed.objects.insert(key.clone(), Arc::new(object));
            }
            changed.then_some(key)
        })
    }

    pub(super) fn remove(&self, object: &RegistryWebhook) -> Option<Key> {
        let key = Key::of(object);
        self.write(|observed| observed.objects.remove(&key).map(|_| key.clone()))
    }

    /// Takes note of what a write of the status answered, so that the next one compares against it without waiting for the watch. An
    /// answer that shows more than a new status is left to the watch.
    pub(super) fn written(&self, key: &Key, object: RegistryWebhook) {
        self.write(|observed| {
            let newer = |known: &RegistryWebhook| version(known) < version(&object) && acts_alike(known, &object);
            if observed.objects.get(key).is_some_and(|known| newer(known)) {
                observed.objects.insert(key.clone(), Arc::new(object));
            }
        });
    }

    pub(super) fn list_endpoints(&self, listing: &Listing<WebhookEndpoint>) -> BTreeSet<Key> {
        self.write(|observed| {
            observed.endpoints_listed.insert(listing.namespace.clone());
            observed.endpoints.retain(|key, _| !listing.covers(&key.namespace));
            observed.endpoints.extend(listing.objects.iter().map(|object| (Key::of(object), object.spec.provider)));
            let keys = observed.objects.keys();
            keys.filter(|key| listing.covers(&key.namespace)).cloned().collect()
        })
    }

    pub(super) fn note_endpoint(&self, endpoint: &WebhookEndpoint) -> BTreeSet<Key> {
        let key = Key::of(endpoint);
        self.write(|observed| {
            let before = observed.endpoints.insert(key.clone(), endpoint.spec.provider);
            if before == Some(endpoint.spec.provider) { BTreeSet::new() } else { observed.of_endpoint(&key) }
        })
    }

    pub(super) fn remove_endpoint(&self, endpoint: &WebhookEndpoint) -> BTreeSet<Key> {
        let key = Key::of(endpoint);
        self.write(|observed| {
            observed.endpoints.remove(&key);
            observed.of_endpoint(&key)
        })
    }

    /// Webhooks that name a Secret that is meant, by its namespace and name.
    pub(super) fn users(&self, meant: impl Fn(&str, &str) -> bool) -> Vec<Key> {
        self.read(|observed| {
            let users = observed
                .objects
                .iter()
                .filter(|(key, object)| secrets_of(&object.spec).any(|name| meant(&key.namespace, name)));
            users.map(|(key, _)| key.clone()).collect()
        })
    }

    fn read<T>(&self, view: impl FnOnce(&Observed) -> T) -> T {
        view(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Observed) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observed {
    fn knows_endpoints_of(&self, namespace: &str) -> bool {
        self.endpoints_listed.contains(&None) || self.endpoints_listed.contains(&Some(namespace.to_string()))
    }

    fn of_endpoint(&self, endpoint: &Key) -> BTreeSet<Key> {
        let named = |key: &Key, object: &RegistryWebhook| {
            key.namespace == endpoint.namespace && object.spec.source.endpoint.as_ref() == Some(&endpoint.name)
        };
        self.objects.iter().filter(|(key, object)| named(key, object)).map(|(key, _)| key.clone()).collect()
    }
}

/// Names of all Secrets that a spec refers to.
pub(super) fn secrets_of(spec: &RegistryWebhookSpec) -> impl Iterator<Item = &str> {
    let headers = spec.headers_from.as_ref().map(|from| from.secret_ref.name.as_str());
    let ca = spec.ca_ref.as_ref().map(|secret| secret.name.as_str());
    let polled = spec.source.poll.iter().flat_map(|poll| poll.secret_ref.iter().chain(&poll.ca_ref));
    let polled = polled.map(|secret| secret.name.as_str());
    std::iter::once(spec.secret_ref.name.as_str()).chain(headers).chain(ca).chain(polled)
}

/// Whether nothing that the controller acts on differs.
fn acts_alike(one: &RegistryWebhook, other: &RegistryWebhook) -> bool {
    let asked = |object: &RegistryWebhook| {
        [names::ANNOTATION_TEST_DELIVERY, names::ANNOTATION_REDELIVER, names::ANNOTATION_RECOVER]
            .map(|name| object.annotations().get(name).cloned())
    };
    let meta = |object: &RegistryWebhook| (object.uid(), object.metadata.generation, asked(object));
    meta(one) == meta(other)
}

fn version(object: &RegistryWebhook) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// The status as last seen.
pub(super) fn status_of(object: &RegistryWebhook) -> RegistryWebhookStatus {
    object.status.clone().unwrap_or_default()
}
