//! One stored object: its serialised JSON and the few facts that the store itself needs.
//!
//! Objects are serialised once, by whoever writes them, with a hole where the resourceVersion goes ([`Draft`]); the writer
//! thread only copies bytes around the number it assigns. So no JSON is handled on the commit path.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use roadstead_kubewire::{EventKind, Key, WatchEvent};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The member that precedes the hole. It is the last of `metadata`, which makes it easy to find again in stored bytes.
const MEMBER: &str = "\"resourceVersion\":\"";

/// An object at one resourceVersion. Immutable and shared.
#[derive(Clone, Debug)]
pub struct Object {
    /// Namespace and name.
    pub key: Arc<Key>,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `metadata.resourceVersion`.
    pub version: u64,
    /// `metadata.labels`.
    pub labels: Labels,
    /// The whole object as JSON: `apiVersion`, `kind` and `metadata` first, in this order.
    pub json: Bytes,
    /// Where the digits of the resourceVersion are in `json`: first byte, and one after the last.
    digits: (usize, usize),
}

/// Each version is of one object.
impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
    }
}

impl Eq for Object {}

impl Object {
    /// The object as a JSON value.
    ///
    /// # Errors
    /// Never for what the store itself wrote.
    pub fn value(&self) -> serde_json::Result<Value> {
        serde_json::from_slice(&self.json)
    }

    /// The same object framed as an event at `version`: for a deletion, whose event carries the deletion's own version.
    pub(crate) fn event_at(&self, kind: EventKind, version: u64) -> WatchEvent {
        let (head, tail) = (&self.json[..self.digits.0], &self.json[self.digits.1..]);
        WatchEvent::new(kind, &[head, version.to_string().as_bytes(), tail].concat())
    }

    /// Reads back what [`Draft`] serialised.
    pub(super) fn from_stored(key: Arc<Key>, version: u64, json: Bytes) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Outer<'a> {
            #[serde(borrow)]
            metadata: &'a RawValue,
        }
        #[derive(Deserialize)]
        struct Meta {
            #[serde(default)]
            uid: Box<str>,
            #[serde(default)]
            labels: Option<Labels>,
        }
        let outer: Outer = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        let raw = outer.metadata.get();
        let meta: Meta = serde_json::from_str(raw).map_err(|error| error.to_string())?;
        let start = raw.as_ptr() as usize - json.as_ptr() as usize;
        let first = start + raw.rfind(MEMBER).ok_or("no resourceVersion")? + MEMBER.len();
        let last = first + version.to_string().len();
        if json.get(first..last) != Some(version.to_string().as_bytes()) {
            return Err("its resourceVersion is not that of its row".into());
        }
        Ok(Self { key, uid: meta.uid, version, labels: meta.labels.unwrap_or_default(), json, digits: (first, last) })
    }
}

/// An object that is ready to be written except for its resourceVersion.
#[derive(Clone, Debug)]
pub struct Draft {
    uid: Box<str>,
    labels: Labels,
    json: Vec<u8>,
    hole: usize,
}

impl Draft {
    /// Serialises `object`, which must be a JSON object with `metadata`. A resourceVersion in it is ignored.
    pub fn new(object: &Value) -> Self {
        let empty = serde_json::Map::new();
        let members = object.as_object().unwrap_or(&empty);
        let meta = object.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
        let mut json = Vec::with_capacity(512);
        json.push(b'{');
        for name in ["apiVersion", "kind"] {
            if let Some(value) = members.get(name) {
                member(&mut json, name, value);
            }
        }
        json.extend_from_slice(b"\"metadata\":{");
        for (name, value) in meta.iter().filter(|(name, _)| *name != "resourceVersion") {
            member(&mut json, name, value);
        }
        json.extend_from_slice(MEMBER.as_bytes());
        let hole = json.len();
        json.extend_from_slice(b"\"},");
        for (name, value) in members {
            if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                member(&mut json, name, value);
            }
        }
        json.pop(); // the comma after the last member: there always is one, after metadata at least
        json.push(b'}');
        let labels = meta.get("labels").and_then(Value::as_object);
        let labels = labels.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_string())));
        let uid = meta.get("uid").and_then(Value::as_str).unwrap_or_default();
        Self { uid: uid.into(), labels: labels.collect(), json, hole }
    }

    /// Length of the JSON in bytes, but for the digits of the resourceVersion.
    pub fn len(&self) -> usize {
        self.json.len()
    }

    /// Whether there is nothing in it; never so.
    pub fn is_empty(&self) -> bool {
        self.json.is_empty()
    }

    /// What this would be at `version`, in JSON, without storing it (dry run). `None` leaves the version empty.
    pub fn preview(&self, version: Option<u64>) -> Bytes {
        let Some(version) = version else { return self.without_version() };
        let digits = version.to_string();
        [&self.json[..self.hole], digits.as_bytes(), &self.json[self.hole..]].concat().into()
    }

    /// The object without a `resourceVersion`, as a dry run shows what would be new.
    fn without_version(&self) -> Bytes {
        let (before, after) = self.json.split_at(self.hole);
        let before = before.strip_suffix(b"\"resourceVersion\":\"").unwrap_or(before);
        let after = after.strip_prefix(b"\"").unwrap_or(after);
        match (before.strip_suffix(b","), after.strip_prefix(b",")) {
            (_, Some(rest)) => [before, rest].concat().into(),
            (Some(rest), None) => [rest, after].concat().into(),
            (None, None) => [before, after].concat().into(),
        }
    }

    /// The object at `version`, and its event; both share one buffer.
    pub(super) fn finish(&self, key: Arc<Key>, version: u64, kind: EventKind) -> (Object, WatchEvent) {
        let event = WatchEvent::new(kind, &self.preview(Some(version)));
        let digits = (self.hole, self.hole + version.to_string().len());
        let (uid, labels, json) = (self.uid.clone(), self.labels.clone(), event.object.clone());
        (Object { key, uid, version, labels, json, digits }, event)
    }
}

/// Appends `"name":value,`.
fn member(json: &mut Vec<u8>, name: &str, value: &Value) {
    json.extend_from_slice(Value::from(name).to_string().as_bytes());
    json.push(b':');
    json.extend_from_slice(value.to_string().as_bytes());
    json.push(b',');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key() -> Arc<Key> {
        Arc::new(Key::new("default", "x"))
    }

    #[test]
    fn the_version_lands_in_the_hole_and_is_found_again() {
        let cases = [
            json!({"spec": {"a": 1}, "metadata": {"name": "x", "uid": "u", "resourceVersion": "old", "labels": {"k": "v"}},
                   "kind": "K", "apiVersion": "v1"}),
            json!({"kind": "K", "metadata": {"annotations": {"a": "{\"resourceVersion\":\"7\"}\"resourceVersion\":\""}}}),
            json!({"kind": "K", "metadata": {}, "z": {"metadata": {"resourceVersion": "5"}}}),
        ];
        for case in cases {
            let (object, event) = Draft::new(&case).finish(key(), 1234, EventKind::Added);
            let mut expected = case.clone();
            expected["metadata"]["resourceVersion"] = json!("1234");
            assert_eq!(object.value().unwrap(), expected);
            assert_eq!(object.json, event.object);
            let again = Object::from_stored(key(), 1234, object.json.clone()).unwrap();
            assert_eq!((again.digits, &again.labels, &again.uid), (object.digits, &object.labels, &object.uid));
            expected["metadata"]["resourceVersion"] = json!("99999");
            let deleted: Value = serde_json::from_slice(&again.event_at(EventKind::Deleted, 99999).object).unwrap();
            assert_eq!(deleted, expected);
        }
    }

    #[test]
    fn a_row_with_another_version_is_refused() {
        let (object, _) = Draft::new(&json!({"metadata": {}})).finish(key(), 12, EventKind::Added);
        assert!(Object::from_stored(key(), 13, object.json).is_err());
    }
}
