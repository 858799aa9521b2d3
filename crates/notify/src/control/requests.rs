//! What annotations ask for, decided purely: each value is acted on once, which `status.observed` remembers, with the reason if it
//! was refused.
//!
//! What was done is written after it was done. A crash in between does it again: a test has an id made of the value, so it is queued
//! once; a message that is sent again has the id it always had.

use std::collections::BTreeMap;

use jiff::Timestamp;
use roadstead_api::{
    names::{ANNOTATION_RECOVER, ANNOTATION_REDELIVER, ANNOTATION_TEST_DELIVERY, parse_event_name},
    registry_webhook::{ObservedRequests, RefusedRequests},
};

/// Longest value that is taken.
const MAX_VALUE: usize = 256;

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Send a test; its event's id.
    Test(String),
    /// Send a message again, by its number.
    Redeliver(u64),
    /// Enable, and send again what was given up since then.
    Recover(Timestamp),
    /// Nothing: why not.
    Refuse(String),
}

/// Which annotation asks, and with which value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Test(String),
    Redeliver(String),
    Recover(String),
}

impl Asked {
    /// Notes that this was looked at, and why it was refused if it was.
    pub(super) fn note(&self, observed: &mut ObservedRequests, why: Option<String>) {
        let refused = observed.refused.get_or_insert_default();
        let (done, refusal, value) = match self {
            Self::Test(value) => (&mut observed.test, &mut refused.test, value),
            Self::Redeliver(value) => (&mut observed.redeliver, &mut refused.redeliver, value),
            Self::Recover(value) => (&mut observed.recover, &mut refused.recover, value),
        };
        *done = Some(value.clone());
        *refusal = why;
        observed.refused.take_if(|refused| *refused == RefusedRequests::default());
    }
}

/// What is asked for and was not looked at yet, each with who asks. `ready`: whether the webhook can be sent to; a test waits
/// for that. A new webhook gets a test without being asked.
pub(super) fn plan(
    name: &str,
    annotations: &BTreeMap<String, String>,
    observed: &ObservedRequests,
    ready: bool,
) -> Vec<(Request, Asked)> {
    let mut requests = Vec::new();
    let asked = |annotation: &str, done: &Option<String>| {
        annotations.get(annotation).filter(|value| done.as_ref() != Some(value)).cloned()
    };
    if let Some(value) = asked(ANNOTATION_RECOVER, &observed.recover) {
        requests.push((recover(&value), Asked::Recover(value)));
    }
    if let Some(value) = asked(ANNOTATION_REDELIVER, &observed.redeliver) {
        requests.push((redeliver(name, &value), Asked::Redeliver(value)));
    }
    let first = observed.test.is_none().then(String::new);
    if ready && let Some(value) = asked(ANNOTATION_TEST_DELIVERY, &observed.test).or(first) {
        let request = match value.len() {
            0..=MAX_VALUE => Request::Test(format!("test/{value}")),
            _ => Request::Refuse(format!("annotation {ANNOTATION_TEST_DELIVERY} has more than {MAX_VALUE} bytes")),
        };
        requests.push((request, Asked::Test(value)));
    }
    requests
}

fn redeliver(name: &str, value: &str) -> Request {
    let delivery = value.split('/').next().unwrap_or_default();
    match parse_event_name(delivery) {
        Some((webhook, number)) if webhook == name => Request::Redeliver(number),
        _ => Request::Refuse(format!(
            "annotation {ANNOTATION_REDELIVER} must begin with the name of a delivery of this webhook, as {}",
            roadstead_api::names::event_name(name, 1)
        )),
    }
}

fn recover(value: &str) -> Request {
    match value.split('/').next().unwrap_or_default().parse() {
        Ok(since) => Request::Recover(since),
        Err(_) => {
            Request::Refuse(format!("annotation {ANNOTATION_RECOVER} must begin with a time as 2026-11-20T09:00:00Z"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn requests(pairs: &[(&str, &str)], observed: &ObservedRequests, ready: bool) -> Vec<Request> {
        plan("shop", &annotations(pairs), observed, ready).into_iter().map(|(request, _)| request).collect()
    }

    /// What is observed after these were noted.
    fn noted(observed: &ObservedRequests, asked: &[&Asked], why: Option<&str>) -> ObservedRequests {
        let mut observed = observed.clone();
        asked.iter().for_each(|asked| asked.note(&mut observed, why.map(Into::into)));
        observed
    }

    #[test]
    fn a_new_webhook_is_tested_once_when_it_is_ready() {
        let new = ObservedRequests::default();
        assert_eq!(requests(&[], &new, false), []);
        let planned = plan("shop", &annotations(&[]), &new, true);
        assert_eq!(planned[0].0, Request::Test("test/".into()));
        let done = noted(&new, &[&planned[0].1], None);
        assert_eq!(requests(&[], &done, true), [], "once");
        let asked = [(ANNOTATION_TEST_DELIVERY, "1")];
        assert_eq!(requests(&asked, &new, true), [Request::Test("test/1".into())], "one is enough");
        assert_eq!(requests(&asked, &done, true), [Request::Test("test/1".into())]);
        assert_eq!(requests(&[(ANNOTATION_TEST_DELIVERY, &"x".repeat(300))], &new, true).len(), 1);
    }

    #[test]
    fn each_value_is_acted_on_once() {
        let done = ObservedRequests { test: Some(String::new()), ..ObservedRequests::default() };
        let asked =
            [(ANNOTATION_REDELIVER, "shop-00000000000000000007/a"), (ANNOTATION_RECOVER, "2026-11-20T09:00:00Z/b")];
        let planned = plan("shop", &annotations(&asked), &done, false);
        let what: Vec<_> = planned.iter().map(|(request, _)| request.clone()).collect();
        assert_eq!(what, [Request::Recover("2026-11-20T09:00:00Z".parse().unwrap()), Request::Redeliver(7)]);
        let first = noted(&done, &[&planned[0].1], None);
        assert_eq!(requests(&asked, &first, false), [Request::Redeliver(7)], "a crash between the two");
        assert_eq!(requests(&asked, &noted(&first, &[&planned[1].1], None), false), []);
    }

    #[test]
    fn nonsense_is_refused_once() {
        let done = ObservedRequests { test: Some(String::new()), ..ObservedRequests::default() };
        for pair in [
            (ANNOTATION_REDELIVER, "other-00000000000000000007/a"),
            (ANNOTATION_REDELIVER, "7"),
            (ANNOTATION_RECOVER, "yesterday"),
            (ANNOTATION_RECOVER, ""),
        ] {
            let planned = plan("shop", &annotations(&[pair]), &done, true);
            assert!(matches!(&planned[..], [(Request::Refuse(_), _)]), "{pair:?}");
            assert_eq!(requests(&[pair], &noted(&done, &[&planned[0].1], Some("no")), true), []);
        }
    }

    #[test]
    fn a_refusal_stays_until_the_next_of_its_kind() {
        let asked = [Asked::Redeliver("a".into()), Asked::Test("b".into()), Asked::Redeliver("c".into())];
        let refused = noted(&ObservedRequests::default(), &[&asked[0]], Some("no"));
        assert_eq!(refused.refused.as_ref().unwrap().redeliver.as_deref(), Some("no"));
        let tested = noted(&refused, &[&asked[1]], None);
        assert_eq!(tested.refused, refused.refused);
        let again = noted(&tested, &[&asked[2]], None);
        assert_eq!((again.redeliver.as_deref(), again.refused), (Some("c"), None));
    }
}
