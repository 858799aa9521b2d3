//! Request bodies in Kubernetes' protobuf encoding, turned into JSON.
//!
//! Why at all: from 1.32 on kubectl sends it for what it makes of flags (`create secret`, `create token`, `auth can-i`), and so do Go
//! controllers for built-in kinds. There is no way to make them send JSON instead. Answers are always JSON, which they take.
//!
//! A body is the four bytes `k8s\0` and a `runtime.Unknown` that names the kind and holds its message. Numbers, names and types of
//! fields are in `fields.txt`, made from Kubernetes' own definitions by `examples/protobuf_fields.rs`; a line there is `NUMBER NAME TYPE`:
//! `*TYPE` repeated, `%TYPE` a map from strings, the name `~` a message whose fields belong to the one around it, and `?` a field
//! that JSON leaves out when it is zero. Custom kinds have no such encoding.
//! Source: Kubernetes API concepts, "Kubernetes Protobuf encoding".

mod reader;

use std::{collections::HashMap, sync::LazyLock};

use base64::Engine;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::error::{ApiError, ApiResult};
use reader::{Reader, Wire};

const MAGIC: &[u8] = b"k8s\0";
/// Messages within messages; the deepest real one is a volume of a pod template.
const DEPTH: usize = 32;
/// Values of one body: bounds the memory that a small body can make of itself.
const VALUES: usize = 300_000;

/// The lines of each message in `fields.txt`.
static MESSAGES: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
    let text = include_str!("protobuf/fields.txt");
    let mut messages = HashMap::new();
    let mut rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    while let Some((name, after)) = rest.split_once('\n') {
        let mut end = 0;
        for line in after.split_inclusive('\n').take_while(|line| line.starts_with(' ')) {
            end += line.len();
        }
        messages.insert(name, &after[..end]);
        rest = &after[end..];
    }
    messages
});

/// One field of a message.
struct Field {
    name: &'static str,
    shape: Shape,
    kind: &'static str,
    dropped_when_zero: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    One,
    Repeated,
    Map,
}

fn field(lines: &'static str, number: u64) -> Option<Field> {
    lines.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        if words.next()?.parse() != Ok(number) {
            return None;
        }
        let (name, kind) = (words.next()?, words.next()?);
        let (kind, dropped_when_zero) = kind.strip_suffix('?').map_or((kind, false), |kind| (kind, true));
        let (shape, kind) = match kind.split_at(1) {
            ("*", kind) => (Shape::Repeated, kind),
            ("%", kind) => (Shape::Map, kind),
            _ => (Shape::One, kind),
        };
        Some(Field { name, shape, kind, dropped_when_zero })
    })
}

/// The message of a kind, `None` where protobuf does not know it.
fn message_of(group: &str, version: &str, kind: &str) -> Option<&'static str> {
    if kind == "DeleteOptions" {
        return Some("meta.v1.DeleteOptions");
    }
    let built_in = !group.contains('.') || group.ends_with(".k8s.io");
    let package = if group.is_empty() { "core" } else { group.split('.').next().unwrap_or("") };
    let name = format!("{package}.{version}.{kind}");
    MESSAGES.get_key_value(name.as_str()).filter(|_| built_in).map(|(name, _)| *name)
}

/// Whether objects of this kind can be sent in protobuf.
pub fn knows(group: &str, version: &str, kind: &str) -> bool {
    message_of(group, version, kind).is_some()
}

/// Turns a body into JSON. Errors: 400 for anything that is no such body; 415 for a kind without this encoding.
pub fn to_json(body: &[u8]) -> ApiResult<Vec<u8>> {
    let bad = |why: &str| ApiError::bad_request(format!("the request body is not a valid protobuf object: {why}"));
    let unknown = body.strip_prefix(MAGIC).ok_or_else(|| bad("it does not begin with 'k8s'"))?;
    let envelope = Envelope::read(unknown).ok_or_else(|| bad("the envelope is broken"))?;
    if !envelope.encoding.is_empty() {
        return Err(bad("its content is encoded once more"));
    }
    let (group, version) = envelope.api_version.split_once('/').unwrap_or(("", envelope.api_version));
    let message = message_of(group, version, envelope.kind).ok_or_else(|| {
        ApiError::unsupported_media_type(format!(
            "{} of {} cannot be sent in protobuf: send JSON",
            envelope.kind, envelope.api_version
        ))
    })?;
    let mut decoder = Decoder { values: VALUES };
    let decoded =
        decoder.message(message, envelope.raw, DEPTH).ok_or_else(|| bad("a field is broken, or there are too many"))?;
    let mut object = Map::new();
    object.insert("apiVersion".into(), envelope.api_version.into());
    object.insert("kind".into(), envelope.kind.into());
    if let Value::Object(fields) = decoded {
        object.extend(fields);
    }
    Ok(Value::Object(object).to_string().into_bytes())
}

/// `runtime.Unknown`.
#[derive(Default)]
struct Envelope<'a> {
    api_version: &'a str,
    kind: &'a str,
    raw: &'a [u8],
    encoding: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut envelope = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, wire)) = reader.next()? {
            match (number, wire) {
                (1, Wire::Bytes(types)) => {
                    let mut types = Reader::new(types);
                    while let Some((number, wire)) = types.next()? {
                        match (number, wire) {
                            (1, Wire::Bytes(text)) => envelope.api_version = std::str::from_utf8(text).ok()?,
                            (2, Wire::Bytes(text)) => envelope.kind = std::str::from_utf8(text).ok()?,
                            _ => {}
                        }
                    }
                }
                (2, Wire::Bytes(raw)) => envelope.raw = raw,
                (3, Wire::Bytes(encoding)) => envelope.encoding = encoding,
                _ => {}
            }
        }
        Some(envelope)
    }
}

struct Decoder {
    /// How many values may still be made.
    values: usize,
}

impl Decoder {
    /// A message as JSON. `None` where it is broken or too much.
    fn message(&mut self, name: &'static str, bytes: &[u8], depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        if let Some(special) = self.special(name, bytes) {
            return special;
        }
        let lines = MESSAGES.get(name).copied()?;
        let mut object = Map::new();
        let mut reader = Reader::new(bytes);
        while let Some((number, wire)) = reader.next()? {
            let Some(field) = field(lines, number) else { continue };
            match field.shape {
                Shape::One => {
                    let value = self.value(field.kind, wire, depth)?;
                    match value {
                        Value::Object(inner) if field.name == "~" => object.extend(inner),
                        value if value.is_null() || (field.dropped_when_zero && is_zero(&value)) => {}
                        value => drop(object.insert(field.name.into(), value)),
                    }
                }
                Shape::Repeated => {
                    let value = self.value(field.kind, wire, depth)?;
                    let list = object.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
                    list.as_array_mut()?.push(value);
                }
                Shape::Map => {
                    let Wire::Bytes(entry) = wire else { return None };
                    let (key, value) = self.entry(field.kind, entry, depth)?;
                    let map = object.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
                    map.as_object_mut()?.insert(key, value);
                }
            }
        }
        if name.ends_with(".ExtraValue") {
            return Some(object.remove("items").unwrap_or_else(|| Value::Array(Vec::new())));
        }
        Some(Value::Object(object))
    }

    /// Key and value of a map; what is missing is empty.
    fn entry(&mut self, kind: &'static str, bytes: &[u8], depth: usize) -> Option<(String, Value)> {
        let (mut key, mut value) = (String::new(), None);
        let mut reader = Reader::new(bytes);
        while let Some((number, wire)) = reader.next()? {
            match (number, wire) {
                (1, Wire::Bytes(text)) => key = std::str::from_utf8(text).ok()?.into(),
                (2, wire) => value = Some(self.value(kind, wire, depth)?),
                _ => {}
            }
        }
        let value = match value {
            Some(value) => value,
            None => self.value(kind, Wire::Bytes(b""), depth)?,
        };
        Some((key, value))
    }

    fn value(&mut self, kind: &'static str, wire: Wire<'_>, depth: usize) -> Option<Value> {
        self.values = self.values.checked_sub(1)?;
        Some(match (kind, wire) {
            ("string", Wire::Bytes(text)) => std::str::from_utf8(text).ok()?.into(),
            ("bytes", Wire::Bytes(bytes)) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
            ("bool", Wire::Number(number)) => (number != 0).into(),
            // Negative numbers are sent as 64 bits whatever their type.
            ("int32" | "int64", Wire::Number(number)) => number.cast_signed().into(),
            (message, Wire::Bytes(bytes)) => self.message(message, bytes, depth)?,
            _ => return None,
        })
    }

    /// Messages that have a JSON form of their own. The outer `None`: this is not one.
    fn special(&mut self, name: &str, bytes: &[u8]) -> Option<Option<Value>> {
        Some(match name {
            "meta.v1.Time" => time(bytes, jiff::Unit::Second),
            "meta.v1.MicroTime" => time(bytes, jiff::Unit::Microsecond),
            "meta.v1.FieldsV1" | "RawExtension" => raw_json(bytes),
            "Quantity" => quantity(bytes),
            "IntOrString" => int_or_string(bytes),
            _ => return None,
        })
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    }
}

/// Seconds and nanoseconds; a time that was never set has neither.
fn time(bytes: &[u8], precision: jiff::Unit) -> Option<Value> {
    let (mut seconds, mut nanoseconds, mut set) = (0, 0, false);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        let Wire::Number(value) = wire else { return None };
        set = true;
        match number {
            1 => seconds = value.cast_signed(),
            2 => nanoseconds = i32::try_from(value.cast_signed()).ok()?,
            _ => {}
        }
    }
    let digits = if precision == jiff::Unit::Second { 0 } else { 6 };
    let time = Timestamp::new(seconds, nanoseconds).ok()?;
    Some(if set { format!("{time:.digits$}").into() } else { Value::Null })
}

/// The first field as text.
fn first_text(bytes: &[u8]) -> Option<&[u8]> {
    let mut text: &[u8] = b"";
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        if let (1, Wire::Bytes(bytes)) = (number, wire) {
            text = bytes;
        }
    }
    Some(text)
}

fn raw_json(bytes: &[u8]) -> Option<Value> {
    let text = first_text(bytes)?;
    if text.is_empty() { Some(Value::Null) } else { serde_json::from_slice(text).ok() }
}

fn quantity(bytes: &[u8]) -> Option<Value> {
    Some(std::str::from_utf8(first_text(bytes)?).ok()?.into())
}

fn int_or_string(bytes: &[u8]) -> Option<Value> {
    let (mut is_text, mut number, mut text) = (false, 0, "");
    let mut reader = Reader::new(bytes);
    while let Some((field, wire)) = reader.next()? {
        match (field, wire) {
            (1, Wire::Number(kind)) => is_text = kind == 1,
            (2, Wire::Number(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(bytes)) => text = std::str::from_utf8(bytes).ok()?,
            _ => {}
        }
    }
    Some(if is_text { text.into() } else { number.into() })
}

#[cfg(test)]
mod tests;
