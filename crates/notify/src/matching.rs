//! Who is told of a change: pure functions of the change and of what webhooks ask for.
//!
//! In: a [`Change`] and each webhook's [`Wants`]. Out: one [`NewMessage`] for each that wants it, which share the event. Only what is
//! proven is told, only pushes and deletions, and only to webhooks of the endpoint's own namespace.

use std::sync::Arc;

use roadstead_api::{
    RegistryWebhookSpec,
    registry_webhook::{OrderBy, Source},
};
use roadstead_outbound::glob;

use crate::{
    delivery::{Event, NewMessage, WebhookUid},
    format::MAX_NAME,
    source::Change,
};

/// What one webhook wants to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    namespace: String,
    endpoint: Option<String>,
    events: Vec<String>,
    repositories: Vec<String>,
    tags: Vec<String>,
    order_by: OrderBy,
}

impl Wants {
    /// Reads what the spec of a webhook in `namespace` asks for.
    ///
    /// # Errors
    /// Which glob, at which place of the spec, cannot be read.
    pub fn compile(namespace: &str, spec: &RegistryWebhookSpec) -> Result<Self, String> {
        let Source { endpoint, poll: _ } = &spec.source;
        Ok(Self {
            namespace: namespace.into(),
            endpoint: endpoint.clone(),
            events: spec.events.clone(),
            repositories: globs("repositories", &spec.repositories)?,
            tags: globs("tags", &spec.tags)?,
            order_by: spec.order_by,
        })
    }

    /// Whether this change is to be told.
    pub fn take(&self, change: &Change) -> bool {
        self.namespace == change.namespace && self.endpoint.as_ref() == Some(&change.endpoint) && self.select(change)
    }

    /// The message for a change that the registry was asked for on behalf of the webhook itself, if it is to be told.
    pub fn polled(&self, webhook: &WebhookUid, change: &Change) -> Option<NewMessage> {
        let message = || NewMessage { webhook: webhook.clone(), key: self.key(change), event: Arc::new(event(change)) };
        self.select(change).then(message)
    }

    /// Whether filters let a change pass, wherever it comes from.
    fn select(&self, change: &Change) -> bool {
        let image = &change.image;
        let kind = image.action.as_str();
        tellable(change)
            && (self.events.is_empty() || self.events.iter().any(|event| event == kind))
            && (self.repositories.is_empty()
                || self.repositories.iter().any(|pattern| glob::matches(pattern, &image.repository)))
            && (self.tags.is_empty()
                || !image.tag.is_empty() && self.tags.iter().any(|pattern| glob::matches(pattern, &image.tag)))
    }

    fn key(&self, change: &Change) -> Option<String> {
        match self.order_by {
            OrderBy::Repository => Some(change.image.repository.clone()),
            OrderBy::Source => Some(String::new()),
            OrderBy::None => None,
        }
    }
}

/// Whether a change is told at all: proven, a push or a deletion, of an image that has a name and none beyond measure.
fn tellable(change: &Change) -> bool {
    let image = &change.image;
    let names = [&image.registry, &image.repository, &image.tag, &image.digest];
    change.verified
        && matches!(image.action.as_str(), "push" | "delete")
        && !image.repository.is_empty()
        && names.iter().all(|name| name.len() <= MAX_NAME)
}

/// The event that is told of a change.
pub fn event(change: &Change) -> Event {
    Event {
        id: change.id.clone(),
        kind: change.image.action.clone(),
        image: change.image.clone(),
        at: change.at,
        reconciled: change.reconciled,
        origin: change.endpoint.clone(),
    }
}

/// The messages that follow from a change, one for each webhook that wants it.
pub fn fan_out<'a>(
    change: &Change,
    webhooks: impl IntoIterator<Item = (&'a WebhookUid, &'a Wants)>,
) -> Vec<NewMessage> {
    let mut shared: Option<Arc<Event>> = None;
    let wanting = webhooks.into_iter().filter(|(_, wants)| wants.take(change));
    wanting
        .map(|(uid, wants)| NewMessage {
            webhook: uid.clone(),
            key: wants.key(change),
            event: shared.get_or_insert_with(|| Arc::new(event(change))).clone(),
        })
        .collect()
}

/// Those of a field, if all of them are globs.
fn globs(field: &str, texts: &[String]) -> Result<Vec<String>, String> {
    for (index, text) in texts.iter().enumerate() {
        glob::check(text).map_err(|error| format!("spec.{field}[{index}]: {error}"))?;
    }
    Ok(texts.to_vec())
}

#[cfg(test)]
mod tests {
    use roadstead_api::event::ImageChange;

    use super::*;

    fn change(action: &str, repository: &str, tag: &str) -> Change {
        Change {
            position: 1,
            namespace: "a".into(),
            endpoint: "registry".into(),
            id: "1".into(),
            at: "2026-11-20T09:00:00Z".parse().unwrap(),
            image: ImageChange {
                registry: "r".into(),
                repository: repository.into(),
                tag: tag.into(),
                digest: "sha256:1".into(),
                action: action.into(),
                actor: String::new(),
            },
            verified: true,
            reconciled: false,
        }
    }

    fn wants(change: impl FnOnce(&mut RegistryWebhookSpec)) -> Wants {
        let mut spec = RegistryWebhookSpec {
            source: Source { endpoint: Some("registry".into()), poll: None },
            ..RegistryWebhookSpec::default()
        };
        change(&mut spec);
        Wants::compile("a", &spec).unwrap()
    }

    #[test]
    fn filters_select() {
        let push = || change("push", "team-a/shop", "v1");
        let untagged = || change("push", "team-a/shop", "");
        for (name, wants, change, taken) in [
            ("everything", wants(|_| ()), push(), true),
            ("without tag", wants(|_| ()), untagged(), true),
            ("pulls never", wants(|_| ()), change("pull", "team-a/shop", "v1"), false),
            ("its own word", wants(|_| ()), change("chart_push", "team-a/shop", "v1"), false),
            ("nameless", wants(|_| ()), change("push", "", "v1"), false),
            ("absurd", wants(|_| ()), change("push", &"a".repeat(MAX_NAME + 1), "v1"), false),
            ("event", wants(|s| s.events = vec!["delete".into()]), push(), false),
            ("event", wants(|s| s.events = vec!["delete".into()]), change("delete", "a", "v1"), true),
            ("repository", wants(|s| s.repositories = vec!["team-b/*".into()]), push(), false),
            ("one of two", wants(|s| s.repositories = vec!["team-b/*".into(), "team-?/shop".into()]), push(), true),
            ("tag", wants(|s| s.tags = vec!["v*".into()]), push(), true),
            ("tag", wants(|s| s.tags = vec!["w*".into()]), push(), false),
            ("tags want a tag", wants(|s| s.tags = vec!["*".into()]), untagged(), false),
            ("unproven", wants(|_| ()), Change { verified: false, ..push() }, false),
            ("another namespace", wants(|_| ()), Change { namespace: "b".into(), ..push() }, false),
            ("another endpoint", wants(|_| ()), Change { endpoint: "other".into(), ..push() }, false),
            ("polled", wants(|s| s.source = Source::default()), push(), false),
        ] {
            assert_eq!(wants.take(&change), taken, "{name}");
        }
    }

    #[test]
    fn those_who_want_it_share_one_event() {
        let all = [
            ("1".to_string(), wants(|_| ())),
            ("2".to_string(), wants(|s| s.order_by = OrderBy::Source)),
            ("3".to_string(), wants(|s| s.tags = vec!["w*".into()])),
            ("4".to_string(), wants(|s| s.order_by = OrderBy::None)),
        ];
        let messages = fan_out(&change("push", "team-a/shop", "v1"), all.iter().map(|(uid, wants)| (uid, wants)));
        let told: Vec<_> = messages.iter().map(|m| (m.webhook.as_str(), m.key.as_deref())).collect();
        assert_eq!(told, [("1", Some("team-a/shop")), ("2", Some("")), ("4", None)]);
        assert!(messages.iter().all(|message| Arc::ptr_eq(&message.event, &messages[0].event)));
        assert_eq!((messages[0].event.kind.as_str(), messages[0].event.origin.as_str()), ("push", "registry"));
    }

    #[test]
    fn a_bad_glob_is_told_with_its_place() {
        let spec = RegistryWebhookSpec { tags: vec!["v*".into(), "v[12]".into()], ..RegistryWebhookSpec::default() };
        let error = Wants::compile("a", &spec).unwrap_err();
        assert!(error.starts_with("spec.tags[1]: \"v[12]\""), "{error}");
    }
}
