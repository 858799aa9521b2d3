//! What two servers cannot have in common (uids, resourceVersions, times, generated names) becomes placeholders, numbered in
//! the order in which they appear: so it is still compared which of them are the same.
//!
//! In: the answers of one side, in order. Out: answers that can be compared with the other side's, or with recorded ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{kinds::AUTHORITY, memory::Names};

#[expect(clippy::unwrap_used, reason = "constant expressions, which the tests compile")]
mod patterns {
    use super::{LazyLock, Regex};
    pub static UID: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap());
    pub static TIME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$").unwrap());
    pub static VERSION: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(ResourceVersion in (?:the precondition|record) )\(\d+\)").unwrap());
    pub static AGE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^(\d+[smhd])+$").unwrap());
    pub static ADDRESS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^10(\.\d+){3}$").unwrap());
}

/// An answer, as far as it is compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Status code; 0 if there was no answer at all.
    pub code: u16,
    /// Media type of the body.
    #[serde(default)]
    pub content_type: String,
    /// Texts of the `Warning` headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The body: JSON, or else a string; of a watch the list of its events.
    pub body: Value,
}

/// Remembers what was replaced on one side.
#[derive(Clone, Debug, Default)]
pub struct Normaliser {
    names: Names,
    uids: Vec<String>,
    generated: Vec<String>,
    versions: BTreeMap<String, Vec<String>>,
}

impl Normaliser {
    /// For a run with these names.
    pub fn new(names: Names) -> Self {
        Self { names, ..Self::default() }
    }

    /// An answer with placeholders.
    pub fn answer(&mut self, answer: &Answer) -> Answer {
        let mut body = answer.body.clone();
        self.notice(&body);
        match &mut body {
            Value::Object(status) if status.get("kind") == Some(&"Status".into()) => {
                // Causes are found in the order in which the server happens to look: Go walks its maps in a new one each time.
                in_one_order(status);
                if let Some(causes) = status.get_mut("details").and_then(|details| details.get_mut("causes")) {
                    sort(causes, &["field", "reason", "message"]);
                    once(causes);
                }
            }
            // They come when the server likes; only the end of the initial events is promised.
            Value::Array(events) => events.retain(|event| event["type"] != "BOOKMARK" || ends_initial_events(event)),
            _ => {}
        }
        self.value(&mut body);
        if let Some(items) = body.get_mut("items").and_then(Value::as_array_mut) {
            in_order_of_making(items);
        }
        let warnings = answer.warnings.iter().map(|warning| self.text(warning)).collect();
        Answer { code: answer.code, content_type: answer.content_type.clone(), warnings, body }
    }

    /// Finds names that the server has made.
    fn notice(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.notice(item)),
            Value::Object(fields) => {
                let field = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
                let (base, name) = (field("generateName"), field("name"));
                let made = !base.is_empty() && name.len() > base.len() && name.starts_with(base);
                if made && !self.generated.iter().any(|known| known == name) {
                    self.generated.push(name.to_string());
                }
                fields.values().for_each(|value| self.notice(value));
            }
            _ => {}
        }
    }

    fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                self.versions_of(fields);
                if fields.get("metadata").and_then(|meta| meta.get("name")) == Some(&AUTHORITY.into()) {
                    own(fields);
                }
                if let Some(cells) = fields.get_mut("cells").and_then(Value::as_array_mut) {
                    cells.iter_mut().for_each(age);
                }
                if let Some(managed) = fields.get_mut("managedFields") {
                    // They are in order of their times, and those differ.
                    sort(managed, &["operation", "manager", "apiVersion", "subresource"]);
                }
                // In an order of our own: the servers write fields in different orders. Plain values first, so that an object's own
                // uid is known before those it refers to; managed fields last, whose keys hold uids.
                let mut all: Vec<(String, Value)> = std::mem::take(fields).into_iter().collect();
                all.sort_by_cached_key(|(key, value)| {
                    (key == "managedFields", value.is_object() || value.is_array(), key.clone())
                });
                let renamed = all.into_iter().map(|(key, mut value)| {
                    self.value(&mut value);
                    (self.text(&key), value)
                });
                *fields = renamed.collect();
            }
            _ => {}
        }
    }

    /// `metadata` of an object or a list: its resourceVersion is numbered by object; that of a list says nothing.
    fn versions_of(&mut self, fields: &mut Map<String, Value>) {
        if let Some(token) = fields.get_mut("continue").filter(|token| token.as_str().is_some_and(|t| !t.is_empty())) {
            *token = "<more>".into();
        }
        let uid = fields.get("uid").and_then(Value::as_str).map(str::to_string);
        let Some(Value::String(version)) = fields.get_mut("resourceVersion") else { return };
        if version.is_empty() {
            return;
        }
        let Some(uid) = uid else {
            *version = "<version>".into();
            return;
        };
        let seen = self.versions.entry(uid).or_default();
        let at = seen.iter().position(|known| known == version).unwrap_or_else(|| {
            seen.push(version.clone());
            seen.len() - 1
        });
        *version = format!("<version {}>", at + 1);
    }

    fn text(&mut self, text: &str) -> String {
        if patterns::TIME.is_match(text) {
            return "<time>".into();
        }
        if patterns::ADDRESS.is_match(text) {
            return "<address>".into();
        }
        let text = patterns::UID.replace_all(text, |found: &regex::Captures<'_>| {
            let uid = &found[0];
            let at = self.uids.iter().position(|known| known == uid).unwrap_or_else(|| {
                self.uids.push(uid.to_string());
                self.uids.len() - 1
            });
            format!("<uid {}>", at + 1)
        });
        let mut text = patterns::VERSION.replace_all(&text, "${1}(<version>)").into_owned();
        for (at, name) in self.generated.iter().enumerate() {
            text = text.replace(name, &format!("<generated {}>", at + 1));
        }
        // The longest first: one name may be a part of another.
        let mut names: Vec<(&String, &String)> = self.names.iter().collect();
        names.sort_by_key(|(_, name)| std::cmp::Reverse(name.len()));
        for (word, name) in names {
            text = text.replace(name.as_str(), &format!("${{{word}}}"));
        }
        text
    }
}

/// Objects with generated names are listed in the order of chance: puts these, and no others, in the order of their making.
fn in_order_of_making(items: &mut [Value]) {
    let made = |item: &Value| {
        let number = item["metadata"]["name"].as_str()?.strip_prefix("<generated ")?.strip_suffix('>')?;
        number.parse::<usize>().ok()
    };
    let places: Vec<usize> = (0..items.len()).filter(|at| made(&items[*at]).is_some()).collect();
    let mut found: Vec<Value> = places.iter().map(|at| items[*at].clone()).collect();
    found.sort_by_key(|item| made(item));
    places.into_iter().zip(found).for_each(|(at, item)| items[at] = item);
}

/// Each cause once: the real server repeats one as often as its layers look at the same field, and its message does not.
fn once(causes: &mut Value) {
    if let Value::Array(causes) = causes {
        let mut seen = BTreeSet::new();
        causes.retain(|cause| seen.insert(cause.to_string()));
    }
}

/// Puts what a message tells of its causes into one order. A message that does not tell all of them, as they are, stays.
fn in_one_order(status: &mut Map<String, Value>) {
    let causes = status.get("details").and_then(|details| details["causes"].as_array());
    let text = |cause: &Value| Some(format!("{}: {}", cause["field"].as_str()?, cause["message"].as_str()?));
    let Some(mut told) = causes.and_then(|causes| causes.iter().map(text).collect::<Option<Vec<String>>>()) else {
        return;
    };
    // What is wrong twice over is told once.
    let mut seen = BTreeSet::new();
    told.retain(|text| seen.insert(text.clone()));
    let list = |told: &[String]| format!("is invalid: [{}]", told.join(", "));
    let Some(Value::String(message)) = status.get_mut("message") else { return };
    if let Some(head) = message.strip_suffix(&list(&told)) {
        let head = head.to_string();
        told.sort();
        *message = head + &list(&told);
    }
}

/// Takes away what is a cluster's own in the certificate of its authority.
fn own(object: &mut Map<String, Value>) {
    object.remove("data");
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("annotations");
        metadata.remove("managedFields");
    }
}

fn ends_initial_events(event: &Value) -> bool {
    event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
}

/// A cell that tells how long ago something was.
fn age(cell: &mut Value) {
    if cell.as_str().is_some_and(|text| patterns::AGE.is_match(text)) {
        *cell = "<age>".into();
    }
}

fn sort(items: &mut Value, keys: &[&str]) {
    if let Value::Array(items) = items {
        items.sort_by_cached_key(|item| keys.iter().map(|key| item[*key].to_string()).collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn body(normaliser: &mut Normaliser, body: Value) -> Value {
        normaliser.answer(&Answer { code: 200, body, ..Answer::default() }).body
    }

    #[test]
    fn identity_outlives_the_identifiers() {
        let (one, two) = ("0a000000-0000-4000-8000-000000000001", "0b000000-0000-4000-8000-000000000002");
        let object = |uid: &str, version: &str, owner: &str| {
            json!({"metadata": {"uid": uid, "resourceVersion": version, "ownerReferences": [{"uid": owner}],
                "creationTimestamp": "2026-11-20T09:00:00Z"}})
        };
        let mut normaliser = Normaliser::default();
        let mut metadata = |uid, version, owner| body(&mut normaliser, object(uid, version, owner))["metadata"].clone();
        assert_eq!(metadata(one, "7", two)["uid"], "<uid 1>");
        let later = metadata(two, "8", one);
        assert_eq!(later["uid"], "<uid 2>");
        assert_eq!(later["ownerReferences"][0]["uid"], "<uid 1>");
        assert_eq!(later["resourceVersion"], "<version 1>");
        assert_eq!(later["creationTimestamp"], "<time>");
        assert_eq!(metadata(one, "9", two)["resourceVersion"], "<version 2>");
        assert_eq!(metadata(one, "7", two)["resourceVersion"], "<version 1>");
    }

    #[test]
    fn generated_names_and_names_of_the_run() {
        let mut normaliser = Normaliser::new([("ns0".to_string(), "cf-9-0".to_string())].into());
        let object = json!({"metadata": {"generateName": "a-", "name": "a-x2x4z", "namespace": "cf-9-0"}});
        let shown = body(&mut normaliser, object);
        assert_eq!(shown, json!({"metadata": {"generateName": "a-", "name": "<generated 1>", "namespace": "${ns0}"}}));
        assert_eq!(body(&mut normaliser, json!("no a-x2x4z in cf-9-0")), json!("no <generated 1> in ${ns0}"));
    }

    #[test]
    fn the_order_of_fields_means_nothing() {
        let (own, owner) = ("0a000000-0000-4000-8000-000000000001", "0b000000-0000-4000-8000-000000000002");
        let one = json!({"metadata": {"uid": own, "ownerReferences": [{"uid": owner}]}});
        let other = json!({"metadata": {"ownerReferences": [{"uid": owner}], "uid": own}});
        assert_eq!(body(&mut Normaliser::default(), one), body(&mut Normaliser::default(), other));
    }

    #[test]
    fn order_that_means_nothing_is_taken_away() {
        let fields = |names: [&str; 2]| json!({"managedFields": names.map(|name| json!({"manager": name}))});
        let mut normaliser = Normaliser::default();
        assert_eq!(body(&mut normaliser, fields(["b", "a"])), body(&mut normaliser, fields(["a", "b"])));
        let status = |fields: [&str; 2]| json!({"kind": "Status", "details": {"causes": fields.map(|name| json!({"field": name}))}});
        assert_eq!(body(&mut normaliser, status(["b", "a"])), body(&mut normaliser, status(["a", "b"])));
    }

    #[test]
    fn causes_are_a_set_in_the_message_too() {
        let status = |message: &str, fields: &[&str]| {
            let causes: Vec<Value> = fields.iter().map(|field| json!({"field": field, "message": "Bad"})).collect();
            json!({"kind": "Status", "message": message, "details": {"causes": causes}})
        };
        let mut normaliser = Normaliser::default();
        let mut shown = |message: &str, fields: &[&str]| body(&mut normaliser, status(message, fields));
        let plain = shown("X is invalid: [a: Bad, b: Bad]", &["a", "b"]);
        assert_eq!(shown("X is invalid: [b: Bad, a: Bad]", &["b", "a"]), plain);
        assert_eq!(shown("X is invalid: [b: Bad, a: Bad]", &["b", "a", "b"]), plain);
        // A message that says something else is compared as it is.
        assert_ne!(shown("X is invalid: [b: Bad, a: Bad]", &["a", "b"]), plain);
        assert_ne!(shown("X is invalid: [b: Bad]", &["b", "a"]), plain);
    }

    fn uid(number: u32) -> String {
        format!("{number:08x}-0000-4000-8000-000000000000")
    }

    proptest! {
        /// Two servers that give different identifiers to the same objects look the same.
        #[test]
        fn renaming_is_invisible(numbers in prop::collection::vec(0_u32..6, 1..20), shift in 1_u32..1000) {
            let mut sides = [Normaliser::default(), Normaliser::default()];
            for number in numbers {
                let show = |side: &mut Normaliser, shift: u32| body(side, json!({"metadata": {
                    "uid": uid(number + shift), "resourceVersion": (number * 3 + shift).to_string()}}));
                let [real, embedded] = &mut sides;
                prop_assert_eq!(show(real, 0), show(embedded, shift));
            }
        }

        /// Objects that are different on one side are not taken for one.
        #[test]
        fn different_stays_different(one in 0_u32..50, other in 0_u32..50) {
            let mut normaliser = Normaliser::default();
            let shown = [one, other].map(|number| body(&mut normaliser, json!(uid(number))));
            prop_assert_eq!(shown[0] == shown[1], one == other);
        }

        /// What has been normalised stays as it is.
        #[test]
        fn twice_is_once(number in 0_u32..9, version in 1_u32..9) {
            let mut normaliser = Normaliser::default();
            let once = body(&mut normaliser, json!({"metadata": {"uid": uid(number)}, "list": {"resourceVersion": version.to_string()}}));
            prop_assert_eq!(body(&mut normaliser, once.clone()), once);
        }
    }
}
