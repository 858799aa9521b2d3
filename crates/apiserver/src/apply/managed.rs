//! `metadata.managedFields`: the entries, read and written, and their bookkeeping.
//! Source: Kubernetes API reference, `ManagedFieldsEntry`.

use serde_json::{Map, Value, json};

use super::set::Set;

/// How many managers that update (rather than apply) are told apart.
const MAX_UPDATERS: usize = 10;

/// Under what name older ones are put together.
const ANCIENT: &str = "ancient-changes";

/// How an entry came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    /// Server-side apply: the manager owns exactly what it applied last.
    Apply,
    /// Create, update or another patch: the manager owns what it changed.
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// Who an entry belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manager {
    pub name: String,
    pub operation: Operation,
    pub api_version: String,
    pub subresource: String,
}

impl Manager {
    /// Whether both are the same manager. One that applies stays itself when it moves to another version.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// As conflicts name it.
    pub(super) fn print(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub manager: Manager,
    /// RFC 3339, as it is on the wire.
    pub time: Option<String>,
    pub fields: Set,
}

/// All entries of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Managed(pub Vec<Entry>);

impl Managed {
    /// Reads `metadata.managedFields`. Malformed entries make the whole list count as empty; of two entries of one manager the
    /// later counts.
    pub(super) fn of(object: &Value) -> Self {
        let list = object.pointer("/metadata/managedFields").and_then(Value::as_array);
        let mut entries: Vec<Entry> = Vec::new();
        for entry in list.into_iter().flatten() {
            let Some(entry) = read(entry) else { return Self::default() };
            entries.retain(|known| !known.manager.is(&entry.manager));
            entries.push(entry);
        }
        Self(entries)
    }

    pub(super) fn position(&self, manager: &Manager) -> Option<usize> {
        self.0.iter().position(|entry| entry.manager.is(manager))
    }

    /// Drops entries that own nothing any more.
    pub(super) fn drop_empty(&mut self) {
        self.0.retain(|entry| !entry.fields.is_empty());
    }

    /// Puts the oldest updates together until few enough are left.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<Entry> = Vec::new();
        self.0.retain(|entry| {
            let keep = entry.manager.operation == Operation::Apply;
            if !keep {
                updaters.push(entry.clone());
            }
            keep
        });
        updaters.sort_by(|a, b| (&a.time, &a.manager.name).cmp(&(&b.time, &b.manager.name)));
        while updaters.len() > MAX_UPDATERS {
            // The oldest two of one version become one; entries of a version that occurs once stay apart.
            let pair = (0..updaters.len()).find_map(|a| {
                let version = &updaters[a].manager.api_version;
                let b = (a + 1..updaters.len()).find(|b| updaters[*b].manager.api_version == *version)?;
                Some((a, b))
            });
            let Some((a, b)) = pair else { break };
            let newer = updaters.remove(b);
            let older = &mut updaters[a];
            older.fields = older.fields.union(&newer.fields);
            older.time = newer.time;
            older.manager.name = ANCIENT.into();
            older.manager.subresource.clear();
        }
        self.0.extend(updaters);
    }

    /// Writes the list into the object, in its order: applies first, then by time, then by name.
    pub(super) fn write(mut self, object: &mut Value) {
        let Some(Value::Object(metadata)) = object.get_mut("metadata") else { return };
        metadata.shift_remove("managedFields");
        if self.0.is_empty() {
            return;
        }
        self.0.sort_by(|a, b| {
            let key = |entry: &Entry| {
                let manager = entry.manager.clone();
                (manager.operation, entry.time.clone(), manager.name, manager.api_version, manager.subresource)
            };
            key(a).cmp(&key(b))
        });
        metadata.insert("managedFields".into(), self.0.iter().map(wire).collect());
    }
}

fn read(entry: &Value) -> Option<Entry> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    let operation = match text("operation").as_str() {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    if text("apiVersion").is_empty() || text("fieldsType") != "FieldsV1" {
        return None;
    }
    let empty = json!({});
    let fields = Set::from_fields(entry.get("fieldsV1").unwrap_or(&empty))?;
    let manager =
        Manager { name: text("manager"), operation, api_version: text("apiVersion"), subresource: text("subresource") };
    Some(Entry { manager, time: Some(text("time")).filter(|time| !time.is_empty()), fields })
}

fn wire(entry: &Entry) -> Value {
    let mut wire = Map::new();
    let manager = &entry.manager;
    wire.insert("manager".into(), manager.name.clone().into());
    wire.insert("operation".into(), manager.operation.name().into());
    wire.insert("apiVersion".into(), manager.api_version.clone().into());
    wire.extend(entry.time.clone().map(|time| ("time".to_string(), Value::String(time))));
    wire.insert("fieldsType".into(), "FieldsV1".into());
    wire.insert("fieldsV1".into(), entry.fields.to_fields());
    if !manager.subresource.is_empty() {
        wire.insert("subresource".into(), manager.subresource.clone().into());
    }
    Value::Object(wire)
}
