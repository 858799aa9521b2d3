//! DeadLetters: written when a trigger gives up, counted, bounded for each trigger.
//!
//! The index follows the API server, so that a DeadLetter that somebody deletes is not counted any more.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Mutex,
};

use jiff::Timestamp;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use ring::digest;
use roadstead_api::{
    DeadLetter, DeadLetterSpec, Trigger,
    names::{ANNOTATION_EVENT, LABEL_TRIGGER, label_value},
};
use roadstead_reconcile::patch;
use tokio::sync::watch;

use crate::actions::source_of;

/// Longest reason, in bytes.
const MAX_REASON: usize = 2048;

/// A trigger: namespace and name.
pub type TriggerKey = (String, String);

/// What is remembered of an event until it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brief {
    /// Name of the WebhookEvent.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Its number within the endpoint.
    pub sequence: u64,
    /// The provider's event type.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// When the hub had it, RFC 3339.
    pub received_at: String,
}

#[derive(Default)]
struct Entry {
    /// By age: creation time and name.
    letters: BTreeSet<(String, String)>,
    /// Removed for want of room, and not yet told.
    dropped: u64,
}

/// All DeadLetters of the control plane.
pub struct DeadLetters {
    own: Client,
    most: usize,
    index: Mutex<HashMap<TriggerKey, Entry>>,
    changes: watch::Sender<u64>,
}

impl DeadLetters {
    /// Nothing known yet; at most `most` are kept for each trigger.
    pub fn new(own: Client, most: usize) -> Self {
        Self { own, most, index: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// Writes a DeadLetter; one that is there already is as good. Errors: it is not written.
    pub async fn bury(&self, trigger: &Trigger, brief: &Brief, attempts: u32, reason: &str) -> Result<(), kube::Error> {
        let letter = letter(trigger, brief, attempts, reason);
        let namespace = trigger.namespace().unwrap_or_default();
        let api: Api<DeadLetter> = Api::namespaced(self.own.clone(), &namespace);
        let params = PostParams::default();
        match patch::persist(|| api.create(&params, &letter)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How many a trigger has, and how many more were removed for want of room since this was asked last.
    pub fn tally(&self, trigger: &TriggerKey) -> (usize, u64) {
        self.with(|index| match index.get_mut(trigger) {
            Some(entry) => (entry.letters.len(), std::mem::take(&mut entry.dropped)),
            None => (0, 0),
        })
    }

    /// Changes whenever any trigger's tally may have.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Forgets all of some namespaces: a list follows.
    pub fn clear(&self, of: impl Fn(&str) -> bool) {
        self.with(|index| {
            index.iter_mut().filter(|(key, _)| of(&key.0)).for_each(|(_, entry)| entry.letters.clear());
        });
    }

    /// A DeadLetter is there. Removes the trigger's oldest ones if there are too many.
    pub async fn there(&self, letter: &DeadLetter) {
        let (trigger, place) = place(letter);
        let surplus = self.with(|index| {
            let entry = index.entry(trigger.clone()).or_default();
            entry.letters.insert(place);
            let surplus = entry.letters.len().saturating_sub(self.most);
            (0..surplus).filter_map(|_| entry.letters.pop_first()).collect::<Vec<_>>()
        });
        let api: Api<DeadLetter> = Api::namespaced(self.own.clone(), &trigger.0);
        for (_, name) in surplus {
            tracing::warn!(namespace = trigger.0, trigger = trigger.1, dead_letter = name, "too many: the oldest goes");
            let params = DeleteParams::default();
            match patch::persist(|| api.delete(&name, &params)).await {
                Ok(_) => self.with(|index| index.entry(trigger.clone()).or_default().dropped += 1),
                Err(error) => tracing::warn!(%error, dead_letter = name, "cannot be removed"),
            }
        }
        self.changes.send_modify(|version| *version += 1);
    }

    /// A DeadLetter is gone.
    pub fn gone(&self, letter: &DeadLetter) {
        let (trigger, place) = place(letter);
        self.with(|index| {
            if let Some(entry) = index.get_mut(&trigger) {
                entry.letters.remove(&place);
            }
        });
        self.changes.send_modify(|version| *version += 1);
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<TriggerKey, Entry>) -> T) -> T {
        work(&mut self.index.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

fn place(letter: &DeadLetter) -> (TriggerKey, (String, String)) {
    let created = letter.creation_timestamp().map(|time| time.0.to_string()).unwrap_or_default();
    let trigger = (letter.namespace().unwrap_or_default(), letter.spec.trigger.clone());
    (trigger, (created, letter.name_any()))
}

fn letter(trigger: &Trigger, brief: &Brief, attempts: u32, reason: &str) -> DeadLetter {
    let name = trigger.name_any();
    let spec = DeadLetterSpec {
        trigger: name.clone(),
        endpoint: trigger.spec.endpoint.clone(),
        event_name: brief.name.clone(),
        event_id: brief.id.clone(),
        attempts,
        reason: reason[..reason.floor_char_boundary(MAX_REASON)].to_string(),
        event_type: brief.kind.clone(),
        subject: brief.subject.clone(),
        failed_at: Timestamp::now().to_string(),
    };
    let mut letter = DeadLetter::new(&letter_name(trigger, brief), spec);
    letter.metadata = ObjectMeta {
        namespace: trigger.namespace(),
        annotations: Some([(ANNOTATION_EVENT.to_string(), brief.id.clone())].into()),
        labels: Some([(LABEL_TRIGGER.to_string(), label_value(&name))].into()),
        // Whoever deletes the trigger has no use for them.
        owner_references: trigger.owner_ref(&()).map(|owner| vec![owner]),
        ..letter.metadata
    };
    letter
}

/// `<trigger>-<sequence>-<hash of endpoint and id>`: the same event is the same DeadLetter.
fn letter_name(trigger: &Trigger, brief: &Brief) -> String {
    let identity = format!("{}\n{}", source_of(trigger), brief.id);
    let hash = digest::digest(&digest::SHA256, identity.as_bytes());
    let hex: String = hash.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let name = trigger.name_any();
    format!("{}-{:020}-{hex}", &name[..name.floor_char_boundary(200)], brief.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(name: &str, endpoint: &str) -> Trigger {
        let mut trigger = Trigger::new(name, Default::default());
        trigger.spec.endpoint.name = endpoint.into();
        trigger.metadata.namespace = Some("team".into());
        trigger.metadata.uid = Some("u".into());
        trigger
    }

    #[test]
    fn the_same_event_is_the_same_letter() {
        let brief = |id: &str, sequence| Brief { id: id.into(), sequence, ..Brief::default() };
        let name = |endpoint, id, sequence| letter_name(&trigger("t", endpoint), &brief(id, sequence));
        assert_eq!(name("shop", "a", 7), name("shop", "a", 7));
        assert_ne!(name("shop", "a", 7), name("other", "a", 7));
        assert_ne!(name("shop", "a", 7), name("shop", "b", 7));
        assert!(letter_name(&trigger(&"x".repeat(253), "shop"), &brief("a", 7)).len() <= 253);
    }

    #[test]
    fn a_letter_tells_what_happened_and_whose_it_is() {
        let brief =
            Brief { name: "shop-1".into(), id: "a".into(), sequence: 1, kind: "push".into(), ..Brief::default() };
        let letter = letter(&trigger("t", "shop"), &brief, 3, &"ä".repeat(3000));
        assert_eq!(letter.metadata.namespace.as_deref(), Some("team"));
        assert_eq!(letter.annotations()[ANNOTATION_EVENT], "a");
        assert_eq!(letter.owner_references()[0].uid, "u");
        assert_eq!((letter.spec.attempts, letter.spec.reason.len()), (3, MAX_REASON));
    }
}
