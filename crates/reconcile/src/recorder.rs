//! Events (`kubectl describe` shows them) that do not flood: the same message again only counts up, at most once a
//! minute, and one object gets a handful at once and then one a minute.
//!
//! Best effort by nature: an Event that cannot be written is logged and forgotten; nothing may depend on one.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};

use crate::patch;

/// How serious an Event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// As expected.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Events at once for one object.
const BURST: f64 = 10.0;
/// One more event for an object, and one more count for a message, each this long.
const REFILL: Duration = Duration::from_secs(60);
/// Messages and objects that are remembered.
const REMEMBERED: usize = 1024;

/// What to do with one Event.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    /// Create it under a new name.
    Create,
    /// It exists under this name: set its count.
    Count(String, i32),
    /// Too many: nothing.
    Suppress,
}

/// What has been recorded lately.
#[derive(Default)]
struct Memory {
    messages: HashMap<[String; 4], Known>,
    objects: HashMap<String, (f64, Instant)>,
}

/// A message that has been recorded.
struct Known {
    event: Option<String>,
    count: i32,
    written: Instant,
}

impl Memory {
    fn decide(&mut self, key: &[String; 4], now: Instant) -> Decision {
        if let Some(known) = self.messages.get_mut(key) {
            known.count = known.count.saturating_add(1);
            return match &known.event {
                Some(event) if now.duration_since(known.written) >= REFILL => {
                    known.written = now;
                    Decision::Count(event.clone(), known.count)
                }
                _ => Decision::Suppress,
            };
        }
        let (tokens, since) = self.objects.get(&key[0]).copied().unwrap_or((BURST, now));
        let tokens = (tokens + now.duration_since(since).as_secs_f64() / REFILL.as_secs_f64()).min(BURST);
        if tokens < 1.0 {
            return Decision::Suppress;
        }
        self.objects.insert(key[0].clone(), (tokens - 1.0, now));
        self.messages.insert(key.clone(), Known { event: None, count: 1, written: now });
        self.forget_oldest();
        Decision::Create
    }

    fn forget_oldest(&mut self) {
        if self.messages.len() > REMEMBERED
            && let Some(key) = self.messages.iter().min_by_key(|(_, known)| known.written).map(|(key, _)| key.clone())
        {
            self.messages.remove(&key);
        }
        if self.objects.len() > REMEMBERED
            && let Some(key) = self.objects.iter().min_by_key(|(_, (_, since))| *since).map(|(key, _)| key.clone())
        {
            self.objects.remove(&key);
        }
    }
}

/// Writes Events for one controller.
pub struct Recorder {
    client: Client,
    component: String,
    memory: Mutex<Memory>,
}

impl Recorder {
    /// A recorder that writes as `component`, e.g. `roadstead-agent`.
    pub fn new(client: Client, component: impl Into<String>) -> Self {
        Self { client, component: component.into(), memory: Mutex::default() }
    }

    /// Records that something happened to `object` (`object_ref` of any resource gives one). `reason` is one word in
    /// CamelCase. Returns when it is written, or was not worth it.
    pub async fn record(&self, object: &ObjectReference, severity: Severity, reason: &str, message: &str) {
        let id = [&object.uid, &object.kind, &object.namespace, &object.name].map(|part| part.as_deref().unwrap_or(""));
        let severity = if severity == Severity::Normal { "Normal" } else { "Warning" };
        let key = [id.join("/"), severity.to_string(), reason.to_string(), message.to_string()];
        // The lock is never held across an await; a poisoned one only loses Events.
        let decision = match self.memory.lock() {
            Ok(mut memory) => memory.decide(&key, Instant::now()),
            Err(_) => Decision::Suppress,
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), object.namespace.as_deref().unwrap_or("default"));
        let written = match decision {
            Decision::Suppress => return,
            Decision::Count(event, count) => {
                let params = PatchParams::default();
                let body = Patch::Merge(serde_json::json!({ "count": count, "lastTimestamp": Time(Timestamp::now()) }));
                patch::persist(|| api.patch(&event, &params, &body)).await
            }
            Decision::Create => {
                let event = self.event(object, severity, reason, message);
                let params = PostParams::default();
                let created = patch::persist(|| api.create(&params, &event)).await;
                if let (Ok(event), Ok(mut memory)) = (&created, self.memory.lock())
                    && let Some(known) = memory.messages.get_mut(&key)
                {
                    known.event.clone_from(&event.metadata.name);
                }
                created
            }
        };
        if let Err(error) = written {
            tracing::debug!(%error, reason, object = object.name.as_deref(), "an Event could not be written");
        }
    }

    fn event(&self, object: &ObjectReference, severity: &str, reason: &str, message: &str) -> Event {
        let now = Timestamp::now();
        let name = object.name.as_deref().unwrap_or("unknown");
        let cut = name.floor_char_boundary(200);
        Event {
            metadata: ObjectMeta {
                // The same form as client-go's: the object's name and the time.
                name: Some(format!("{}.{:x}", &name[..cut], now.as_nanosecond())),
                namespace: Some(object.namespace.clone().unwrap_or_else(|| "default".into())),
                ..ObjectMeta::default()
            },
            involved_object: object.clone(),
            reason: Some(reason.to_string()),
            message: Some(message.chars().take(1024).collect()),
            type_: Some(severity.to_string()),
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            event_time: None::<MicroTime>,
            source: Some(EventSource { component: Some(self.component.clone()), host: None }),
            reporting_component: Some(self.component.clone()),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(object: &str, message: &str) -> [String; 4] {
        [object, "Warning", "EventsMissed", message].map(String::from)
    }

    #[test]
    fn repeats_only_count_up_and_rarely() {
        let start = Instant::now();
        let mut memory = Memory::default();
        assert_eq!(memory.decide(&key("a", "m"), start), Decision::Create);
        assert_eq!(memory.decide(&key("a", "m"), start + REFILL), Decision::Suppress, "not written yet: no name");
        memory.messages.get_mut(&key("a", "m")).unwrap().event = Some("a.1".into());
        assert_eq!(memory.decide(&key("a", "m"), start + REFILL / 2), Decision::Suppress);
        assert_eq!(memory.decide(&key("a", "m"), start + REFILL), Decision::Count("a.1".into(), 4));
        assert_eq!(memory.decide(&key("a", "m"), start + REFILL), Decision::Suppress);
    }

    #[test]
    fn one_object_cannot_flood_and_others_are_not_held() {
        let start = Instant::now();
        let mut memory = Memory::default();
        let created = (0..100).filter(|n| memory.decide(&key("a", &n.to_string()), start) == Decision::Create).count();
        assert_eq!(created, BURST as usize);
        assert_eq!(memory.decide(&key("b", "m"), start), Decision::Create);
        assert_eq!(memory.decide(&key("a", "later"), start + REFILL), Decision::Create);
        assert_eq!(memory.decide(&key("a", "at once"), start + REFILL), Decision::Suppress);
    }

    #[test]
    fn memory_is_bounded() {
        let start = Instant::now();
        let mut memory = Memory::default();
        for n in 0..3000 {
            memory.decide(&key(&n.to_string(), "m"), start + Duration::from_millis(n));
        }
        assert!(memory.messages.len() <= REMEMBERED && memory.objects.len() <= REMEMBERED);
    }
}
