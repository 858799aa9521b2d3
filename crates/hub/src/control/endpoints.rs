//! The endpoint controller: `WebhookEndpoint`s and the Secrets that they name in, the ingest table out.
//!
//! One loop owns the state. A change of an endpoint, or of a Secret that one names, marks that endpoint dirty; a dirty
//! endpoint is resolved anew from what is observed then. An endpoint without a URL is given one first, by writing its
//! status: it is served only once the URL is durable, so two hubs or a crash can't hand out two.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{PartialObjectMeta, Patch, PatchParams},
};
use roadstead_api::{
    WebhookEndpoint, WebhookEvent, WebhookEventSpec,
    endpoint::{
        Authentication, EventSummary, Registry as RegistrySpec, SecretKeyRef, WebhookEndpointSpec,
        WebhookEndpointStatus,
    },
};
use roadstead_outbound::registry::{Access, Registry as ImageRegistry};
use roadstead_reconcile::{
    filter::{Filter, FilterError},
    parse,
    scope::{Listing, Namespaces, Seen, follow},
    targets::Targets,
};
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    endpoint::{Endpoint, Endpoints, Gate, KNOWN_TAGS, Live, RECENT},
    limits::Bucket,
    log::{Endpoints as LogEndpoints, Limit, Log, Record, Retention, Selection, Stream},
    metrics::Unlisted,
    readiness::Readiness,
    tag_index::TagIndex,
    verify::{self, Policy},
};

use super::orphans::{self, Verdict};
use super::{
    progress::{PATIENCE, Progress},
    status::Writer,
};

/// How long until an endpoint that could not be resolved is tried again without being woken.
const RETRY: Duration = Duration::from_secs(5);
/// How long the control plane and the log may take to bring one endpoint in line.
const ANSWER: Duration = Duration::from_secs(10);

/// However short an interval a spec asks for, its registry is not compared with more often.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(30);

/// Namespace and name of an endpoint.
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
    fn of(object: &impl ResourceExt) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

/// An endpoint as served, with what its status needs.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) generation: i64,
    pub(super) url: String,
}

/// What has been observed: every endpoint as last seen, and those that are served. Shared with the status writer and the
/// gateway; cheap to clone.
#[derive(Clone, Default)]
pub struct Registry {
    inner: Arc<RwLock<Observed>>,
}

#[derive(Default)]
struct Observed {
    objects: BTreeMap<Key, WebhookEndpoint>,
    entries: HashMap<Key, Entry>,
}

impl Registry {
    /// The endpoint as last observed.
    pub fn object(&self, key: &Key) -> Option<WebhookEndpoint> {
        self.read(|observed| observed.objects.get(key).cloned())
    }

    /// All endpoints as last observed, through `view`; hold nothing for long in it.
    pub fn for_each(&self, mut view: impl FnMut(&Key, &WebhookEndpoint)) {
        self.read(|observed| observed.objects.iter().for_each(|(key, object)| view(key, object)));
    }

    /// The endpoints that are served.
    pub(crate) fn served(&self) -> Vec<Arc<Endpoint>> {
        self.read(|observed| observed.entries.values().map(|entry| entry.endpoint.clone()).collect())
    }

    pub(super) fn entry(&self, key: &Key) -> Option<(Entry, WebhookEndpointStatus)> {
        self.read(|observed| {
            let entry = observed.entries.get(key)?.clone();
            let status = observed.objects.get(key).and_then(|object| object.status.clone()).unwrap_or_default();
            Some((entry, status))
        })
    }

    /// Takes note of what a write of the status answered, so that the next one compares against it without waiting for the watch. An
    /// answer that shows more than a new status is left to the watch: taken from here, the change would look like nothing new there,
    /// and nobody would act on it.
    pub(super) fn observed(&self, key: &Key, object: WebhookEndpoint) {
        self.write(|observed| {
            let newer = |known: &WebhookEndpoint| version(known) < version(&object) && acts_alike(known, &object);
            if observed.objects.get(key).is_some_and(newer) {
                observed.objects.insert(key.clone(), object);
            }
        });
    }

    fn read<T>(&self, view: impl FnOnce(&Observed) -> T) -> T {
        view(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Observed) -> T) -> T {
        change(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether nothing that the controller acts on differs.
fn acts_alike(one: &WebhookEndpoint, other: &WebhookEndpoint) -> bool {
    let url = |object: &WebhookEndpoint| object.status.as_ref().and_then(|status| status.url.clone());
    let meta = |object: &WebhookEndpoint| (object.uid(), object.metadata.generation, object.metadata.labels.clone());
    meta(one) == meta(other) && url(one) == url(other)
}

fn version(object: &WebhookEndpoint) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// What the controller works with.
pub(crate) struct Controller {
    pub(crate) client: Client,
    pub(crate) namespaces: Namespaces,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) endpoints: Endpoints,
    pub(crate) registry: Registry,
    pub(crate) writer: Writer,
    /// Base of `status.url`, without a slash at the end.
    pub(crate) public_url: String,
    /// Private addresses that registry checks may reach.
    pub(crate) targets: Targets,
    /// Wakes whoever depends on which endpoints exist and whom they allow.
    pub(crate) changed: tokio::sync::watch::Sender<u64>,
    /// Told how far the endpoints are known.
    pub(crate) readiness: Readiness,
    /// Shows which namespaces could not be listed yet.
    pub(crate) unlisted: Unlisted,
}

impl Controller {
    /// Runs until `stop`. What one namespace holds is served as soon as it has been listed.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut endpoint_events = follow::<WebhookEndpoint>(&self.client, &self.namespaces);
        // Metadata is enough to know that a Secret changed; its data is read when an endpoint needs it.
        let mut secret_events = follow::<PartialObjectMeta<Secret>>(&self.client, &self.namespaces);
        let mut progress = Progress::new(&self.namespaces);
        self.unlisted.show(progress.awaited());
        let patience_ends = Instant::now() + PATIENCE;
        let mut retry: HashMap<Key, Instant> = HashMap::new();
        let (mut published, mut ready) = (false, false);
        loop {
            let mut dirty: BTreeSet<Key> = BTreeSet::new();
            let next_retry = retry.values().min().copied();
            tokio::select! {
                () = stop.cancelled() => return,
                Some(event) = endpoint_events.next() => match event {
                    Ok(Seen::Listed(listing)) => {
                        progress.list(&listing);
                        self.unlisted.show(progress.awaited());
                        if let Err(error) = self.drop_orphans(&listing).await {
                            tracing::warn!(%error, "failed to drop the events of deleted endpoints; the next list tries again");
                        }
                        dirty.extend(self.registry.write(|observed| replace(observed, listing)));
                    }
                    Ok(Seen::Applied(object)) => {
                        let key = Key::of(&object);
                        if self.registry.write(|observed| note(observed, &key, object)) {
                            dirty.insert(key);
                        }
                    }
                    Ok(Seen::Deleted(object)) => {
                        let key = Key::of(&object);
                        self.registry.write(|observed| observed.objects.remove(&key));
                        dirty.insert(key);
                    }
                    Err(error) => tracing::warn!(%error, "watching WebhookEndpoints failed; will retry"),
                },
                Some(event) = secret_events.next() => match event {
                    // One that was deleted while nobody watched is in no list: all that may have been meant are looked at.
                    Ok(Seen::Listed(listing)) => dirty.extend(self.users(|namespace, _| listing.covers(namespace))),
                    Ok(Seen::Applied(secret) | Seen::Deleted(secret)) => {
                        let changed = Key::of(&secret);
                        dirty.extend(self.users(|namespace, name| changed.namespace == namespace && changed.name == name));
                    }
                    Err(error) => tracing::warn!(%error, "watching Secrets failed; will retry"),
                },
                () = sleep_until(next_retry.unwrap_or_else(Instant::now)), if next_retry.is_some() => {
                    let now = Instant::now();
                    dirty.extend(retry.extract_if(|_, at| *at <= now).map(|(key, _)| key));
                }
                () = sleep_until(patience_ends), if !progress.patience_over => {
                    progress.patience_over = true;
                    if let Some(missing) = progress.missing() {
                        tracing::warn!(missing, "not all endpoints are known after {} s; unknown URLs are answered 503", PATIENCE.as_secs());
                    }
                }
            }
            let worked = !dirty.is_empty();
            for key in dirty {
                retry.remove(&key);
                // All endpoints wait for one: an answer that does not come must not hold them for ever.
                let result = tokio::time::timeout(ANSWER, self.reconcile(&key)).await;
                if let Err(error) = result.unwrap_or(Err(Error::Late)) {
                    tracing::warn!(endpoint = %key, %error, "failed to take up the endpoint; will retry");
                    retry.insert(key, Instant::now() + RETRY);
                }
            }
            if worked {
                progress.unserved(self.registry.read(Observed::unserved));
            }
            let complete = progress.is_complete();
            if worked || complete != published {
                self.endpoints.publish(self.registry.served(), complete);
                published = complete;
                self.changed.send_modify(|version| *version += 1);
            }
            // Once ready it stays so: deliveries to what is served go on, whatever is missing later.
            if !ready {
                let now = progress.ready();
                ready = now.is_ok();
                self.readiness.endpoints(now);
            }
        }
    }

    /// Endpoints that name a Secret that is meant, by its namespace and name.
    fn users(&self, meant: impl Fn(&str, &str) -> bool) -> Vec<Key> {
        self.registry.read(|observed| {
            let users = observed
                .objects
                .iter()
                .filter(|(key, object)| secrets_of(&object.spec).any(|name| meant(&key.namespace, name)));
            users.map(|(key, _)| key.clone()).collect()
        })
    }

    /// Brings one endpoint in line with what is observed. Idempotent.
    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(object) = self.registry.object(key) else {
            if let Some(entry) = self.registry.write(|observed| observed.entries.remove(key)) {
                self.log.drop_stream(&entry.endpoint.stream).await?;
            }
            return Ok(());
        };
        let Some(hook_id) = object.status.as_ref().and_then(|status| hook_id(status.url.as_deref()?)) else {
            return self.assign_url(key, &object).await;
        };
        let stream =
            Stream { namespace: key.namespace.clone(), name: key.name.clone(), uid: object.uid().unwrap_or_default() };
        let served = self.registry.read(|observed| observed.entries.get(key).cloned());
        let served = served.filter(|entry| entry.endpoint.stream == stream);
        let live = match &served {
            Some(entry) => entry.endpoint.live.clone(),
            None => Arc::new(self.restored(&stream, &object).await?),
        };
        self.log.retain(&stream, retention(&object.spec)).await?;
        let (compiled, result) = match self.secrets(&key.namespace, &object.spec).await {
            Ok(secrets) => (compile(&object.spec, &secrets, &self.targets), Ok(())),
            // What is served goes on as it is; what is not yet is known all the same, and says why it takes nothing.
            Err(error) if served.is_some() => return Err(error),
            Err(error) => {
                (Compiled::closed("SecretsUnreadable", format!("the Secrets cannot be read: {error}")), Err(error))
            }
        };
        let endpoint = Endpoint {
            stream,
            hook_id: hook_id.to_string(),
            provider: object.spec.provider,
            gate: compiled.gate,
            events: object.spec.events.clone(),
            filter: compiled.filter,
            max_body: object
                .spec
                .max_body_bytes
                .and_then(|n| n.try_into().ok())
                .unwrap_or(object.spec.provider.default_max_body()),
            bucket: object.spec.rate_limit.as_ref().map(|limit| {
                let rate = f64::from(limit.per_second.max(1));
                Bucket::new(rate, f64::from(limit.burst.unwrap_or(limit.per_second).max(1)))
            }),
            registry: compiled.registry,
            reconcile_every: object.spec.registry.as_ref().and_then(reconcile_every),
            generation: object.meta().generation.unwrap_or_default(),
            live,
        };
        let url = format!("{}/hooks/{}", self.public_url, endpoint.hook_id);
        let entry = Entry { generation: endpoint.generation, endpoint: Arc::new(endpoint), url };
        self.registry.write(|observed| observed.entries.insert(key.clone(), entry));
        self.writer.touch(key);
        result
    }

    /// Gives an endpoint its URL; the watch brings it back here.
    async fn assign_url(&self, key: &Key, object: &WebhookEndpoint) -> Result<(), Error> {
        let id = random_id()?;
        let api: Api<WebhookEndpoint> = Api::namespaced(self.client.clone(), &key.namespace);
        let patch = json!({
            "metadata": {"uid": object.uid(), "resourceVersion": object.resource_version()},
            "status": {"url": format!("{}/hooks/{id}", self.public_url)},
        });
        match api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => Ok(()),
            // Somebody changed or deleted it meanwhile: the watch will tell, and the retry looks again.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What a restart must not forget.
    async fn restored(&self, stream: &Stream, object: &WebhookEndpoint) -> Result<Live, Error> {
        let counters = object.status.as_ref().map(|status| status.counters.clone()).unwrap_or_default();
        let Some(stats) = self.log.stats(stream) else {
            return Ok(Live::restore(&counters, 0, VecDeque::new(), TagIndex::new(KNOWN_TAGS)));
        };
        let mut recent = VecDeque::new();
        for sequence in (stats.first..=stats.last).rev().take(RECENT) {
            if let Some(record) = self.log.get(&stream.namespace, &stream.name, sequence).await? {
                recent.extend(summary(&record));
            }
        }
        let tags = if object.spec.provider.is_registry() {
            self.tags(stream, stats.last_position).await?
        } else {
            TagIndex::new(KNOWN_TAGS)
        };
        Ok(Live::restore(&counters, stats.last, recent, tags))
    }

    /// What the retained events tell of a registry's tags.
    async fn tags(&self, stream: &Stream, through: u64) -> Result<TagIndex, Error> {
        let mut tags = TagIndex::new(KNOWN_TAGS);
        let selection = Selection::of(LogEndpoints::Named(vec![(stream.namespace.clone(), stream.name.clone())]));
        let mut after = 0;
        while after < through {
            let page = self.log.read(&selection, after, through, Limit { events: 1000, bytes: 8 << 20 }).await?;
            for record in &page.records {
                let event: Option<WebhookEvent> = serde_json::from_slice(&record.frame().object).ok();
                if let Some(image) = event.and_then(|event| event.spec.image) {
                    tags.observe(&image);
                }
            }
            after = page.through;
        }
        Ok(tags)
    }

    /// Drops the log's streams of endpoints that were deleted while nobody looked.
    async fn drop_orphans(&self, listing: &Listing<WebhookEndpoint>) -> Result<(), Error> {
        let listed: HashSet<String> = listing.objects.iter().filter_map(ResourceExt::uid).collect();
        let streams = self.log.streams().into_iter().filter(|stream| listing.covers(&stream.namespace)).collect();
        match orphans::judge(streams, &listed) {
            Verdict::Gone(streams) => {
                for stream in streams {
                    tracing::info!(endpoint = %format!("{}/{}", stream.namespace, stream.name), "dropping the events of a deleted endpoint");
                    self.log.drop_stream(&stream).await?;
                }
            }
            Verdict::Foreign(count) => tracing::warn!(
                endpoints = count,
                "none of the endpoints that the log has events of is on this control plane: nothing is dropped; is it the right one?"
            ),
        }
        Ok(())
    }

    /// Reads the Secrets that the spec names; a missing one is absent from the answer, as is one that can't be there.
    async fn secrets(&self, namespace: &str, spec: &WebhookEndpointSpec) -> Result<HashMap<String, Secret>, Error> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let mut found = HashMap::new();
        for name in secrets_of(spec).filter(|name| is_name(name)).collect::<HashSet<_>>() {
            if let Some(secret) = api.get_opt(name).await? {
                found.insert(name.to_string(), secret);
            }
        }
        Ok(found)
    }
}

impl Observed {
    /// Endpoints that were given a URL at which nobody listens.
    fn unserved(&self) -> Vec<Key> {
        let has_url = |object: &WebhookEndpoint| {
            object.status.as_ref().and_then(|status| status.url.as_deref()).and_then(hook_id).is_some()
        };
        let unserved = self.objects.iter().filter(|(key, object)| has_url(object) && !self.entries.contains_key(key));
        unserved.map(|(key, _)| key.clone()).collect()
    }
}

/// Takes a complete list in place of what was known of its namespaces; gives all keys that either of them has.
fn replace(observed: &mut Observed, listing: Listing<WebhookEndpoint>) -> BTreeSet<Key> {
    let mut touched = BTreeSet::new();
    observed.objects.retain(|key, _| {
        let covered = listing.covers(&key.namespace);
        if covered {
            touched.insert(key.clone());
        }
        !covered
    });
    for object in listing.objects {
        touched.insert(Key::of(&object));
        observed.objects.insert(Key::of(&object), object);
    }
    touched
}

/// Notes an observed object; says whether anything but our own status changed.
fn note(observed: &mut Observed, key: &Key, object: WebhookEndpoint) -> bool {
    let changed = observed.objects.get(key).is_none_or(|known| !acts_alike(known, &object));
    if observed.objects.get(key).is_none_or(|known| version(known) <= version(&object) || known.uid() != object.uid()) {
        observed.objects.insert(key.clone(), object);
    }
    changed
}

/// Names of all Secrets that a spec refers to.
fn secrets_of(spec: &WebhookEndpointSpec) -> impl Iterator<Item = &str> {
    let registry = spec.registry.iter().flat_map(|r| r.secret_ref.iter().chain(&r.ca_ref)).map(|r| r.name.as_str());
    spec.secrets.iter().map(|r| r.name.as_str()).chain(registry)
}

/// What the spec and its Secrets amount to.
struct Compiled {
    gate: Gate,
    filter: Option<Result<Filter, String>>,
    registry: Option<ImageRegistry>,
}

impl Compiled {
    fn closed(reason: &'static str, message: String) -> Self {
        Self { gate: Gate::Closed { reason, message }, filter: None, registry: None }
    }
}

/// Decides, without doing anything, whether and how an endpoint takes deliveries.
fn compile(spec: &WebhookEndpointSpec, found: &HashMap<String, Secret>, targets: &Targets) -> Compiled {
    if spec.suspend {
        return Compiled::closed("Suspended", "spec.suspend is true: deliveries are answered 503".into());
    }
    let mut keys = Vec::new();
    let mut missing = Vec::new();
    for reference in &spec.secrets {
        match secret_value(found, reference) {
            Some(value) if !value.is_empty() => keys.push(verify::Secret::new(value)),
            _ => missing.push(format!("Secret {:?} has no key {:?}", reference.name, reference.key)),
        }
    }
    if keys.is_empty() && spec.authentication == Authentication::Required {
        return match missing.is_empty() {
            true => Compiled::closed(
                "NoSecret",
                "spec.secrets is empty: name a Secret, or set spec.authentication to urlOnly if the sender can't sign"
                    .into(),
            ),
            false => Compiled::closed("SecretMissing", missing.join("; ")),
        };
    }
    let broken = |error: FilterError| format!("spec.filter: {error}; until it is mended all events are kept");
    let filter = spec.filter.as_deref().map(|text| Filter::compile(text).map_err(broken));
    let registry = match spec.registry.as_ref().map(|wanted| image_registry(wanted, found, targets)).transpose() {
        Ok(registry) => registry,
        Err(message) => return Compiled::closed("InvalidRegistry", message),
    };
    if let Err(message) = retention_error(spec) {
        return Compiled::closed("InvalidRetention", message);
    }
    match Policy::compile(spec, keys) {
        Ok(policy) => Compiled { gate: Gate::Open(policy), filter, registry },
        Err(error) => Compiled::closed("InvalidVerification", error.to_string()),
    }
}

fn secret_value(found: &HashMap<String, Secret>, reference: &SecretKeyRef) -> Option<Vec<u8>> {
    Some(found.get(&reference.name)?.data.as_ref()?.get(&reference.key)?.0.clone())
}

/// A client of the registry that a spec names.
fn image_registry(
    wanted: &RegistrySpec,
    found: &HashMap<String, Secret>,
    targets: &Targets,
) -> Result<ImageRegistry, String> {
    let value = |name: &str, key: &str| {
        let reference = SecretKeyRef { name: name.into(), key: key.into() };
        secret_value(found, &reference).ok_or_else(|| format!("Secret {name:?} has no key {key:?}"))
    };
    let credentials = match &wanted.secret_ref {
        Some(secret) => {
            let user = String::from_utf8(value(&secret.name, "username")?).map_err(|_| "the username is not text")?;
            Some((user, verify::Secret::new(value(&secret.name, "password")?)))
        }
        None => None,
    };
    parse::duration(&wanted.reconcile_interval).map_err(|error| format!("spec.registry.reconcileInterval: {error}"))?;
    let ca = wanted.ca_ref.as_ref().map(|secret| value(&secret.name, "ca.crt")).transpose()?;
    let access = Access { url: &wanted.url, credentials, ca: ca.as_deref(), targets: targets.clone() };
    ImageRegistry::new(access).map_err(|error| error.to_string())
}

/// How often to compare with the registry; None for never. What can't be read is said in the endpoint's condition.
fn reconcile_every(registry: &RegistrySpec) -> Option<Duration> {
    let every = parse::duration(&registry.reconcile_interval).unwrap_or_default();
    (!every.is_zero()).then(|| every.max(SHORTEST_INTERVAL))
}

fn retention_error(spec: &WebhookEndpointSpec) -> Result<(), String> {
    parse::duration(&spec.retention.age).map_err(|error| format!("spec.retention.age: {error}"))?;
    parse::quantity(&spec.retention.bytes).map_err(|error| format!("spec.retention.bytes: {error}"))?;
    Ok(())
}

/// What the log should keep; what can't be read keeps everything, and the endpoint says so in its condition.
fn retention(spec: &WebhookEndpointSpec) -> Retention {
    Retention {
        age: parse::duration(&spec.retention.age).unwrap_or(Duration::MAX),
        bytes: parse::quantity(&spec.retention.bytes).unwrap_or(u64::MAX),
        events: spec.retention.events,
    }
}

/// An event of the log, in brief.
fn summary(record: &Record) -> Option<EventSummary> {
    let event: WebhookEvent = serde_json::from_slice(&record.frame().object).ok()?;
    let subject = event.spec.subject().chars().take(200).collect();
    let WebhookEventSpec { sequence, id, kind, received_at, .. } = event.spec;
    Some(EventSummary { sequence, id, kind, subject, received_at })
}

/// The random part of a URL.
fn hook_id(url: &str) -> Option<&str> {
    url.rsplit_once("/hooks/").map(|(_, id)| id).filter(|id| id.len() >= 22 && !id.contains('/'))
}

/// 128 random bits.
fn random_id() -> Result<String, Error> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use ring::rand::SecureRandom;
    let mut bytes = [0u8; 16];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Why an endpoint could not be taken up.
/// Whether an object can have this name. What can't goes into no request's path.
fn is_name(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253
        && name.starts_with(edge)
        && name.ends_with(edge)
        && name.chars().all(|c| edge(c) || "-.".contains(c))
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("{0}")]
    Log(#[from] crate::log::LogError),
    #[error("the system gave no random numbers")]
    Random,
    #[error("no answer within {} s", ANSWER.as_secs())]
    Late,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_name_is_asked_for_nowhere() {
        assert!(["a", "shop-hook", "v1.2"].into_iter().all(is_name));
        assert!(
            ["", "a b", "A", ".", "..", "../../a/secrets/b", "a/b", "a%2f", "a?b", "-a", "a."]
                .into_iter()
                .all(|name| !is_name(name))
        );
    }

    #[test]
    fn a_change_that_a_status_write_shows_first_is_still_news_from_the_watch() {
        let object = |generation, version: &str| {
            let mut object = WebhookEndpoint::new("shop", WebhookEndpointSpec::default());
            object.metadata.generation = Some(generation);
            object.metadata.resource_version = Some(version.into());
            object
        };
        let key = Key { namespace: "a".into(), name: "shop".into() };
        let registry = Registry::default();
        assert!(registry.write(|observed| note(observed, &key, object(1, "5"))));
        registry.observed(&key, object(1, "6"));
        assert_eq!(registry.object(&key).unwrap().resource_version().as_deref(), Some("6"));
        registry.observed(&key, object(2, "8"));
        assert!(registry.write(|observed| note(observed, &key, object(2, "7"))), "somebody changed the spec");
    }
}
