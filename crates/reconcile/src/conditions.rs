//! `status.conditions`: set one without disturbing the others, move its time only when its status moves.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// One condition as it should be. The source of the form is Kubernetes' API conventions, "Typical status properties".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Type, e.g. `Ready`.
    pub kind: &'a str,
    /// `Some(true)` is True, `Some(false)` False, `None` Unknown.
    pub status: Option<bool>,
    /// One word in CamelCase for programs.
    pub reason: &'a str,
    /// For people.
    pub message: &'a str,
}

impl<'a> Wanted<'a> {
    /// A condition that is True or False.
    pub fn new(kind: &'a str, status: bool, reason: &'a str, message: &'a str) -> Self {
        Self { kind, status: Some(status), reason, message }
    }
}

/// Longest message that is kept, in bytes; the API server's own limit is 32768.
const MAX_MESSAGE: usize = 4096;

/// Puts `wanted` into `conditions` (`Ready` always first) and says whether anything changed. `generation` is the object's
/// `metadata.generation` that was looked at.
pub fn set(conditions: &mut Vec<Condition>, wanted: &Wanted<'_>, generation: Option<i64>, now: Timestamp) -> bool {
    let status = match wanted.status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let mut message = wanted.message.to_string();
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    let new = Condition {
        type_: wanted.kind.to_string(),
        status: status.to_string(),
        reason: wanted.reason.to_string(),
        message,
        observed_generation: generation,
        last_transition_time: Time(now),
    };
    match conditions.iter_mut().find(|condition| condition.type_ == wanted.kind) {
        Some(old) => {
            let kept = Condition {
                last_transition_time: if old.status == new.status {
                    old.last_transition_time.clone()
                } else {
                    new.last_transition_time.clone()
                },
                ..new
            };
            let changed = *old != kept;
            *old = kept;
            changed
        }
        None if wanted.kind == "Ready" => {
            conditions.insert(0, new);
            true
        }
        None => {
            conditions.push(new);
            true
        }
    }
}

/// Takes the condition of this type away; says whether it was there.
pub fn remove(conditions: &mut Vec<Condition>, kind: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|condition| condition.type_ != kind);
    conditions.len() != before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_time_moves_only_with_the_status() {
        let mut conditions = Vec::new();
        assert!(set(&mut conditions, &Wanted::new("Ready", true, "Watching", "well"), Some(1), at(10)));
        assert!(!set(&mut conditions, &Wanted::new("Ready", true, "Watching", "well"), Some(1), at(20)), "no change");
        assert!(set(&mut conditions, &Wanted::new("Ready", true, "Watching", "better"), Some(2), at(30)));
        assert_eq!(conditions[0].last_transition_time, Time(at(10)));
        assert_eq!(conditions[0].observed_generation, Some(2));
        assert!(set(&mut conditions, &Wanted::new("Ready", false, "HubUnreachable", ""), Some(2), at(40)));
        assert_eq!(conditions[0].last_transition_time, Time(at(40)));
        assert_eq!(conditions[0].status, "False");
    }

    #[test]
    fn ready_comes_first_and_others_are_left_alone() {
        let mut conditions = Vec::new();
        set(&mut conditions, &Wanted { kind: "EventsMissed", status: None, reason: "R", message: "" }, None, at(1));
        set(&mut conditions, &Wanted::new("Ready", true, "R", ""), None, at(1));
        assert_eq!(conditions.iter().map(|c| c.type_.as_str()).collect::<Vec<_>>(), ["Ready", "EventsMissed"]);
        assert_eq!(conditions[1].status, "Unknown");
        assert!(remove(&mut conditions, "EventsMissed"));
        assert!(!remove(&mut conditions, "EventsMissed"));
        assert_eq!((conditions[0].type_.as_str(), conditions[0].status.as_str()), ("Ready", "True"));
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let mut conditions = Vec::new();
        set(&mut conditions, &Wanted::new("Ready", false, "R", &"ä".repeat(5000)), None, at(1));
        assert_eq!(conditions[0].message.len(), MAX_MESSAGE);
    }
}
