//! The subscriber controller: `Subscriber`s in, an index from token hash to permitted endpoints out; and the part of their
//! status that the hub knows.
//!
//! What a token allows is computed from the subscriber's spec and from what endpoints say themselves: an endpoint of another
//! namespace counts only if it allows that. The index is swapped whole; open watches compare their entry with it whenever it
//! changes, which is how a revoked token ends them at once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use futures::{StreamExt, stream::FuturesUnordered};
use jiff::Timestamp;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::{Selector, SelectorExt},
};
use roadstead_api::{Subscriber, WebhookEndpoint, subscriber::SubscriberSpec};
use roadstead_reconcile::{
    conditions::{self, Wanted},
    recorder::{Recorder, Severity},
    scope::{Namespaces, Seen, follow},
};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::endpoints::{Key, Registry};
use crate::readiness::Readiness;

/// How often `lastSeen` moves while a watch is open.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// Statuses that are written at once.
const CONCURRENCY: usize = 16;
/// How long the control plane may take to answer a write.
const ANSWER: Duration = Duration::from_secs(10);
/// How long until a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// What one subscriber may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The subscriber.
    pub subscriber: Key,
    /// Endpoints that it may watch.
    pub scope: BTreeSet<Key>,
}

/// One valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it allows.
    pub grant: Arc<Grant>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is nobody's, or has expired.
    Invalid,
    /// It may be that of a subscriber that is not known yet.
    NotYet,
}

/// Tokens by their hash.
#[derive(Default, PartialEq, Eq)]
struct Index {
    tokens: HashMap<TokenHash, Token>,
    /// Whether it has all subscribers.
    complete: bool,
}

impl Index {
    fn token(&self, hash: &TokenHash, now: Timestamp) -> Result<&Token, Refused> {
        match self.tokens.get(hash) {
            Some(token) if token.expires_at.is_none_or(|at| now < at) => Ok(token),
            None if !self.complete => Err(Refused::NotYet),
            _ => Err(Refused::Invalid),
        }
    }
}

/// All valid tokens, and who is connected. Cheap to clone; readers never wait.
#[derive(Clone)]
pub struct Subscribers {
    index: Arc<ArcSwap<Index>>,
    version: watch::Sender<u64>,
    presence: mpsc::Sender<Presence>,
    open: Arc<ArcSwap<HashMap<Key, Arc<AtomicUsize>>>>,
}

/// What the gateway tells the controller.
#[derive(Debug)]
pub(crate) enum Presence {
    /// A watch was opened or closed.
    Changed(Key),
    /// Events were removed before the subscriber read them.
    Missed(Key, String),
}

impl Subscribers {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Presence>) {
        let (presence, changes) = mpsc::channel(1024);
        let version = watch::channel(0).0;
        (Self { index: Arc::default(), version, presence, open: Arc::default() }, changes)
    }

    /// The token with this hash.
    ///
    /// # Errors
    /// There is none that is valid, or none that is known yet.
    pub fn token(&self, hash: &TokenHash, now: Timestamp) -> Result<Token, Refused> {
        self.index.load().token(hash, now).cloned()
    }

    /// Resolves once the token no longer allows exactly what it allowed.
    pub async fn withdrawn(&self, hash: TokenHash, token: Token) {
        let mut versions = self.version.subscribe();
        let expiry = async {
            match token.expires_at {
                Some(at) => {
                    let left = Timestamp::now().until(at).ok().and_then(|span| Duration::try_from(span).ok());
                    tokio::time::sleep(left.unwrap_or_default()).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::pin!(expiry);
        while self.index.load().tokens.get(&hash) == Some(&token) {
            tokio::select! {
                () = &mut expiry => return,
                changed = versions.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Counts a watch of `subscriber` as open until the guard is dropped.
    pub(crate) fn connected(&self, subscriber: &Key) -> Option<Connected> {
        let count = self.open.load().get(subscriber)?.clone();
        count.fetch_add(1, Ordering::Relaxed);
        let _ = self.presence.try_send(Presence::Changed(subscriber.clone()));
        Some(Connected { count, key: subscriber.clone(), presence: self.presence.clone() })
    }

    /// Says that `subscriber` asked for events that are gone.
    pub(crate) fn missed(&self, subscriber: &Key, message: String) {
        let _ = self.presence.try_send(Presence::Missed(subscriber.clone(), message));
    }

    /// Whether a watch of `subscriber` is open.
    fn is_connected(&self, subscriber: &Key) -> bool {
        self.open.load().get(subscriber).is_some_and(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// Watches open now, over all subscribers.
    pub fn open_watches(&self) -> usize {
        self.open.load().values().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// An open watch.
pub(crate) struct Connected {
    count: Arc<AtomicUsize>,
    key: Key,
    presence: mpsc::Sender<Presence>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        let _ = self.presence.try_send(Presence::Changed(self.key.clone()));
    }
}

/// The endpoints that a subscriber may watch, given all that exist.
pub(super) fn scope(own: &Key, spec: &SubscriberSpec, all: &BTreeMap<Key, WebhookEndpoint>) -> BTreeSet<Key> {
    let allowed = |key: &Key, endpoint: &WebhookEndpoint| {
        key.namespace == own.namespace
            || endpoint.spec.allow_subscribers_from.iter().any(|from| from.namespace == own.namespace)
    };
    let mut scope = BTreeSet::new();
    for reference in &spec.endpoints {
        let namespace = reference.namespace.clone().unwrap_or_else(|| own.namespace.clone());
        let key = Key { namespace, name: reference.name.clone() };
        if all.get(&key).is_some_and(|endpoint| allowed(&key, endpoint)) {
            scope.insert(key);
        }
    }
    // A selector that can't be read selects nothing: deny by default.
    if let Some(Ok(selector)) = spec.selector.clone().map(Selector::try_from) {
        let mine = all.iter().filter(|(key, _)| key.namespace == own.namespace);
        scope.extend(mine.filter(|(_, endpoint)| selector.matches(endpoint.labels())).map(|(key, _)| key.clone()));
    }
    scope
}

/// The condition `Ready` of a subscriber: status, reason, message.
fn readiness(own: &Key, spec: &SubscriberSpec, scope: &BTreeSet<Key>, now: Timestamp) -> (bool, &'static str, String) {
    let usable = |token: &&roadstead_api::subscriber::TokenHash| {
        parse_hash(&token.sha256).is_some() && expiry(token).is_ok_and(|at| at.is_none_or(|at| now < at))
    };
    let named = spec.endpoints.iter().map(|reference| Key {
        namespace: reference.namespace.clone().unwrap_or_else(|| own.namespace.clone()),
        name: reference.name.clone(),
    });
    let unavailable: Vec<String> = named.filter(|key| !scope.contains(key)).map(|key| key.to_string()).collect();
    if spec.tokens.iter().find(usable).is_none() {
        (false, "NoToken", "no token is valid: run `roadstead subscriber rotate`".into())
    } else if !unavailable.is_empty() {
        // One message for "does not exist" and "is not allowed": a subscriber must not learn which.
        let message = format!(
            "not available: {} (missing, or its spec.allowSubscribersFrom lacks this namespace)",
            unavailable.join(", ")
        );
        (false, "EndpointUnavailable", message)
    } else {
        (true, "Granted", format!("may watch {} endpoint(s)", scope.len()))
    }
}

fn parse_hash(hex: &str) -> Option<TokenHash> {
    crate::hex::decode(hex)?.try_into().ok()
}

fn expiry(token: &roadstead_api::subscriber::TokenHash) -> Result<Option<Timestamp>, jiff::Error> {
    token.expires_at.as_deref().map(str::parse).transpose()
}

/// What the controller works with.
pub(crate) struct Controller {
    pub(crate) client: Client,
    pub(crate) namespaces: Namespaces,
    pub(crate) registry: Registry,
    pub(crate) subscribers: Subscribers,
    pub(crate) presence: mpsc::Receiver<Presence>,
    pub(crate) endpoints_changed: watch::Receiver<u64>,
    pub(crate) recorder: Arc<Recorder>,
}

impl Controller {
    /// Runs until `stop`. What one namespace holds is taken up as soon as it has been listed; `readiness` is told when all have.
    pub(crate) async fn run(mut self, readiness: Readiness, stop: CancellationToken) {
        let mut events = follow::<Subscriber>(&self.client, &self.namespaces);
        let mut objects: BTreeMap<Key, Subscriber> = BTreeMap::new();
        let mut complete = false;
        let mut missed: BTreeMap<Key, String> = BTreeMap::new();
        let mut scopes: BTreeMap<Key, BTreeSet<Key>> = BTreeMap::new();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        // Statuses are written beside this loop: who may read what must not wait for an answer that does not come.
        let (mut due, mut writing) = (BTreeMap::<Key, bool>::new(), BTreeSet::<Key>::new());
        let mut writes = FuturesUnordered::new();
        loop {
            let mut seen: BTreeSet<Key> = BTreeSet::new();
            // A change of a status alone needs neither a new index nor a look at anybody else.
            let mut rebuild = false;
            tokio::select! {
                () = stop.cancelled() => return,
                Some(event) = events.next() => match event {
                    Ok(Seen::Listed(listing)) => {
                        complete |= listing.is_last();
                        objects.retain(|key, _| !listing.covers(&key.namespace));
                        objects.extend(listing.objects.into_iter().map(|object| (key_of(&object), object)));
                        rebuild = true;
                    }
                    Ok(Seen::Applied(object)) => {
                        let identity = |o: &Subscriber| (o.metadata.uid.clone(), o.metadata.generation);
                        let known = objects.get(&key_of(&object)).map(identity);
                        rebuild = known != Some(identity(&object));
                        objects.insert(key_of(&object), object);
                    }
                    Ok(Seen::Deleted(object)) => rebuild = objects.remove(&key_of(&object)).is_some(),
                    Err(error) => tracing::warn!(%error, "watching Subscribers failed; will retry"),
                },
                Ok(()) = self.endpoints_changed.changed() => rebuild = true,
                Some(presence) = self.presence.recv() => match presence {
                    Presence::Changed(key) => { seen.insert(key); }
                    Presence::Missed(key, message) => { seen.insert(key.clone()); missed.insert(key, message); }
                },
                _ = heartbeat.tick() => seen.extend(self.connected()),
                Some((key, failed)) = writes.next(), if !writes.is_empty() => {
                    writing.remove(&key);
                    if let Some(Failed { seen, missed: unsaid }) = failed {
                        missed.extend(unsaid.map(|message| (key.clone(), message)));
                        *due.entry(key).or_default() |= seen;
                    }
                }
            }
            if rebuild {
                scopes = self.publish(&objects, complete);
            }
            if complete {
                readiness.subscribers_known();
            }
            for key in objects.keys().filter(|key| rebuild || seen.contains(key)) {
                *due.entry(key.clone()).or_default() |= seen.contains(key);
            }
            while writes.len() < CONCURRENCY
                && let Some(key) = due.keys().find(|key| !writing.contains(*key)).cloned()
            {
                let seen = due.remove(&key).unwrap_or_default();
                let Some(object) = objects.get(&key).cloned() else { continue };
                let report = Report {
                    client: self.client.clone(),
                    recorder: self.recorder.clone(),
                    connected: self.subscribers.is_connected(&key),
                    scope: scopes.get(&key).cloned().unwrap_or_default(),
                    missed: missed.remove(&key),
                    seen,
                    object,
                };
                writing.insert(key.clone());
                writes.push(report.write(key));
            }
        }
    }

    /// Computes and swaps the index.
    fn publish(&self, objects: &BTreeMap<Key, Subscriber>, complete: bool) -> BTreeMap<Key, BTreeSet<Key>> {
        let mut all = BTreeMap::new();
        self.registry.for_each(|key, endpoint| {
            all.insert(key.clone(), endpoint.clone());
        });
        let scopes: BTreeMap<Key, BTreeSet<Key>> =
            objects.iter().map(|(key, object)| (key.clone(), scope(key, &object.spec, &all))).collect();
        let mut tokens = HashMap::new();
        for (key, object) in objects {
            let grant = Arc::new(Grant { subscriber: key.clone(), scope: scopes[key].clone() });
            for token in &object.spec.tokens {
                if let (Some(hash), Ok(expires_at)) = (parse_hash(&token.sha256), expiry(token)) {
                    tokens.insert(hash, Token { grant: grant.clone(), expires_at });
                }
            }
        }
        let open = self.subscribers.open.load();
        let counts = objects.keys().map(|key| (key.clone(), open.get(key).cloned().unwrap_or_default())).collect();
        self.subscribers.open.store(Arc::new(counts));
        let index = Index { tokens, complete };
        if *self.subscribers.index.load_full() != index {
            self.subscribers.index.store(Arc::new(index));
            self.subscribers.version.send_modify(|version| *version += 1);
        }
        scopes
    }

    fn connected(&self) -> Vec<Key> {
        let open = self.subscribers.open.load();
        open.iter().filter(|(_, count)| count.load(Ordering::Relaxed) > 0).map(|(key, _)| key.clone()).collect()
    }
}

/// What a subscriber's status is to say, and who says it.
struct Report {
    client: Client,
    recorder: Arc<Recorder>,
    object: Subscriber,
    scope: BTreeSet<Key>,
    connected: bool,
    /// Whether it was active just now.
    seen: bool,
    /// Events that were removed before it read them.
    missed: Option<String>,
}

/// What a write that failed had to say beyond what the resources tell.
struct Failed {
    seen: bool,
    missed: Option<String>,
}

impl Report {
    /// Writes it; a failure is told when it may be tried again.
    async fn write(self, key: Key) -> (Key, Option<Failed>) {
        let error = match tokio::time::timeout(ANSWER, self.send(&key)).await {
            Ok(Ok(())) => return (key, None),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", ANSWER.as_secs()),
        };
        tracing::warn!(subscriber = %key, error, "failed to write the subscriber's status; will retry");
        tokio::time::sleep(RETRY).await;
        (key, Some(Failed { seen: self.seen, missed: self.missed }))
    }

    /// Writes the hub's part of the status, if it changed.
    async fn send(&self, key: &Key) -> Result<(), kube::Error> {
        let Self { object, scope, connected, seen, missed, .. } = self;
        let now = Timestamp::now();
        let previous = object.status.clone().unwrap_or_default();
        let generation = object.metadata.generation.unwrap_or_default();
        let mut conditions = previous.conditions.clone();
        let (status, reason, message) = readiness(key, &object.spec, scope, now);
        conditions::set(&mut conditions, &Wanted::new("Ready", status, reason, &message), Some(generation), now);
        if let Some(message) = missed {
            let missed = Wanted::new("EventsMissed", true, "Removed", message);
            conditions::set(&mut conditions, &missed, Some(generation), now);
            self.recorder.record(&object.object_ref(&()), Severity::Warning, "EventsMissed", message).await;
        }
        if !seen
            && *connected == previous.connected
            && conditions == previous.conditions
            && previous.observed_generation == Some(generation)
        {
            return Ok(());
        }
        let mut status = json!({"connected": connected, "conditions": conditions, "observedGeneration": generation});
        if *seen || (*connected && previous.last_seen.is_none()) {
            status["lastSeen"] = json!(format!("{now:.0}"));
        }
        let api: Api<Subscriber> = Api::namespaced(self.client.clone(), &key.namespace);
        let patch = json!({"metadata": {"uid": object.uid()}, "status": status});
        match api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            result => result.map(drop),
        }
    }
}

fn key_of(object: &Subscriber) -> Key {
    Key { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

#[cfg(test)]
mod tests {
    use roadstead_api::{
        WebhookEndpointSpec,
        endpoint::NamespaceRef,
        subscriber::{EndpointRef, TokenHash as Hashed},
    };

    use super::*;

    fn key(namespace: &str, name: &str) -> Key {
        Key { namespace: namespace.into(), name: name.into() }
    }

    fn endpoint(namespace: &str, name: &str, allow: &[&str], label: Option<&str>) -> (Key, WebhookEndpoint) {
        let allow_subscribers_from = allow.iter().map(|n| NamespaceRef { namespace: (*n).into() }).collect();
        let mut object = WebhookEndpoint::new(
            name,
            WebhookEndpointSpec { allow_subscribers_from, ..WebhookEndpointSpec::default() },
        );
        object.metadata.labels = label.map(|value| [("tier".to_string(), value.to_string())].into());
        (key(namespace, name), object)
    }

    fn all() -> BTreeMap<Key, WebhookEndpoint> {
        [
            endpoint("a", "shop", &[], Some("prod")),
            endpoint("a", "blog", &[], Some("test")),
            endpoint("b", "open", &["a"], Some("prod")),
            endpoint("b", "closed", &[], Some("prod")),
        ]
        .into()
    }

    fn named(references: &[(Option<&str>, &str)]) -> SubscriberSpec {
        let endpoints = references
            .iter()
            .map(|(namespace, name)| EndpointRef { namespace: namespace.map(Into::into), name: (*name).into() })
            .collect();
        SubscriberSpec { endpoints, ..SubscriberSpec::default() }
    }

    #[test]
    fn a_scope_is_what_is_named_and_allowed() {
        let own = key("a", "edge");
        for (references, expected) in [
            (vec![(None, "shop")], vec![key("a", "shop")]),
            (vec![(Some("b"), "open")], vec![key("b", "open")]),
            (vec![(Some("b"), "closed")], vec![]),
            (vec![(None, "absent"), (None, "blog")], vec![key("a", "blog")]),
            (vec![], vec![]),
        ] {
            assert_eq!(scope(&own, &named(&references), &all()), expected.into_iter().collect(), "{references:?}");
        }
    }

    #[test]
    fn a_selector_reaches_only_its_own_namespace() {
        let selector = serde_json::from_value(json!({"matchLabels": {"tier": "prod"}})).unwrap();
        let spec = SubscriberSpec { selector: Some(selector), ..SubscriberSpec::default() };
        assert_eq!(scope(&key("a", "edge"), &spec, &all()), [key("a", "shop")].into());
    }

    #[test]
    fn readiness_tells_what_is_wrong_but_not_which_endpoints_exist() {
        let own = key("a", "edge");
        let now = Timestamp::now();
        let token = |expires_at: Option<&str>| Hashed {
            sha256: "ab".repeat(32),
            expires_at: expires_at.map(Into::into),
            ..Hashed::default()
        };
        let ready = |tokens, references: &[(Option<&str>, &str)]| {
            let spec = SubscriberSpec { tokens, ..named(references) };
            readiness(&own, &spec, &scope(&own, &spec, &all()), now)
        };
        assert_eq!(ready(vec![], &[(None, "shop")]).1, "NoToken");
        assert_eq!(ready(vec![token(Some("2020-01-01T00:00:00Z"))], &[(None, "shop")]).1, "NoToken");
        assert_eq!(ready(vec![token(None)], &[(None, "shop")]).1, "Granted");
        let absent = ready(vec![token(None)], &[(Some("b"), "absent")]);
        let closed = ready(vec![token(None)], &[(Some("b"), "closed")]);
        assert_eq!(absent.1, closed.1);
        assert_eq!(absent.2.replace("absent", "closed"), closed.2);
    }

    #[test]
    fn an_unknown_token_is_refused_only_once_all_are_known() {
        let now = Timestamp::now();
        let grant = Arc::new(Grant { subscriber: key("a", "edge"), scope: BTreeSet::new() });
        let token = |expires_at| Token { grant: grant.clone(), expires_at };
        let tokens = HashMap::from([([1; 32], token(None)), ([2; 32], token(Some(now)))]);
        for (complete, unknown) in [(false, Refused::NotYet), (true, Refused::Invalid)] {
            let index = Index { tokens: tokens.clone(), complete };
            assert_eq!(index.token(&[1; 32], now), Ok(&token(None)));
            assert_eq!(index.token(&[2; 32], now), Err(Refused::Invalid), "expired");
            assert_eq!(index.token(&[3; 32], now), Err(unknown));
        }
    }

    #[test]
    fn hashes_are_64_hex_digits() {
        assert_eq!(parse_hash(&"00ff".repeat(16)).unwrap()[..2], [0, 255]);
        for bad in ["", "zz", &"g".repeat(64), &"é".repeat(32), &"+f".repeat(32)] {
            assert!(parse_hash(bad).is_none(), "{bad}");
        }
    }
}
