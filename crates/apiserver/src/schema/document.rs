//! Reading a body: JSON or YAML text to a JSON value, bounded, with duplicate keys noticed.
//!
//! What is hostile is refused before it costs: nesting beyond the limit, YAML aliases that multiply, numbers that JSON cannot
//! hold. Error messages say where, never what stood there: bodies carry secrets.

use std::{cell::RefCell, fmt};

use roadstead_kubewire::{ApiError, ApiResult, Payload, options::Media};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::field::Path;

/// How deep arrays and objects may nest. Schemas of CRDs are the deepest that people write, at about 40.
pub const MAX_NESTING: usize = 120;

/// How many duplicate keys are told.
const MAX_DUPLICATES: usize = 20;

/// A parsed body.
#[derive(Debug)]
pub struct Document {
    /// The value; of duplicate keys the last one won.
    pub value: Value,
    /// Paths of keys that occurred twice, e.g. `metadata.name`.
    pub duplicates: Vec<String>,
}

/// Parses a body. Errors: 400.
pub fn parse(payload: &Payload) -> ApiResult<Document> {
    let duplicates = RefCell::new(Vec::new());
    let seed = Seed { path: None, depth: 0, duplicates: &duplicates };
    let value = match payload.media {
        Media::Json => json(&payload.bytes, seed),
        Media::Yaml => yaml(&payload.bytes, seed),
    }?;
    Ok(Document { value, duplicates: duplicates.into_inner() })
}

fn json(bytes: &[u8], seed: Seed<'_>) -> ApiResult<Value> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| ApiError::bad_request(format!("the body is not valid JSON: {error}")))
}

fn yaml(bytes: &[u8], seed: Seed<'_>) -> ApiResult<Value> {
    let refuse = |why: String| ApiError::bad_request(format!("the body is not valid YAML: {why}"));
    let text = std::str::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8".into()))?;
    let options = serde_saphyr::options! {
        // Snippets and texts of errors quote the input.
        with_snippet: false,
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
        // File modes are written 0644, and Kubernetes reads YAML 1.1.
        legacy_octal_numbers: true,
        budget: serde_saphyr::budget! { max_depth: MAX_NESTING, max_nodes: 200_000, max_documents: 1 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 50_000, max_replay_stack_depth: 8 },
    };
    let value = serde_saphyr::with_deserializer_from_str_with_options(text, options, |reader| seed.deserialize(reader));
    value.map_err(|error| {
        let at = error.location().map(|at| format!(" at line {} column {}", at.line(), at.column()));
        refuse(format!("it cannot be read{}", at.unwrap_or_default()))
    })
}

/// Where a value stands: a chain of frames on the stack, printed only when a duplicate is found.
#[derive(Clone, Copy)]
enum Frame<'a> {
    Key(Option<&'a Frame<'a>>, &'a str),
    Index(Option<&'a Frame<'a>>, usize),
}

impl Frame<'_> {
    fn path(&self) -> Path {
        match self {
            Frame::Key(parent, key) => parent.map(Frame::path).unwrap_or_default().child(key),
            Frame::Index(parent, index) => parent.map(Frame::path).unwrap_or_default().index(*index),
        }
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    path: Option<&'a Frame<'a>>,
    depth: usize,
    duplicates: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that JSON cannot hold"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut items = Vec::new();
        loop {
            let frame = Frame::Index(self.path, items.len());
            match access.next_element_seed(Seed { path: Some(&frame), depth, duplicates: self.duplicates })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut fields = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let frame = Frame::Key(self.path, &key);
            let value = access.next_value_seed(Seed { path: Some(&frame), depth, duplicates: self.duplicates })?;
            if fields.contains_key(&key) && self.duplicates.borrow().len() < MAX_DUPLICATES {
                self.duplicates.borrow_mut().push(frame.path().as_str().to_string());
            }
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

impl Seed<'_> {
    fn deeper<E: Error>(&self) -> Result<usize, E> {
        if self.depth >= MAX_NESTING { Err(E::custom("it nests too deep")) } else { Ok(self.depth + 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(media: Media, text: &str) -> ApiResult<Document> {
        parse(&Payload { bytes: text.to_string().into(), media })
    }

    #[test]
    fn json_and_yaml_give_the_same_value() {
        let expected = json!({"a": [1, -2, 0.5, "x", null, true], "b": {"c": {}}});
        let json = read(Media::Json, r#"{"a":[1,-2,0.5,"x",null,true],"b":{"c":{}}}"#).unwrap();
        let yaml = read(Media::Yaml, "a: [1, -2, 0.5, x, null, true]\nb:\n  c: {}\n").unwrap();
        assert_eq!(json.value, expected);
        assert_eq!(yaml.value, expected);
    }

    #[test]
    fn file_modes_in_yaml_are_octal() {
        assert_eq!(read(Media::Yaml, "mode: 0644").unwrap().value, json!({"mode": 420}));
    }

    #[test]
    fn the_last_of_duplicate_keys_wins_and_is_told() {
        let document = read(Media::Json, r#"{"a":1,"b":[{"c":1,"c":2}],"a":2}"#).unwrap();
        assert_eq!(document.value, json!({"a": 2, "b": [{"c": 2}]}));
        assert_eq!(document.duplicates, ["b[0].c", "a"]);
    }

    #[test]
    fn hostile_bodies_are_refused() {
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        let bomb = "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n\
                    d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n";
        for (media, text) in [
            (Media::Json, deep.as_str()),
            (Media::Yaml, deep.as_str()),
            (Media::Yaml, bomb),
            (Media::Json, "{\"a\":1e999}"),
            (Media::Json, "{} {}"),
            (Media::Json, ""),
            (Media::Yaml, "a: 1\n---\nb: 2\n"),
            (Media::Yaml, "a: [\n"),
            (Media::Yaml, "a: .nan\n"),
        ] {
            let error = read(media, text).expect_err(&text.chars().take(40).collect::<String>());
            assert_eq!(error.code, 400, "{error}");
        }
    }

    #[test]
    fn errors_do_not_quote_the_body() {
        for media in [Media::Json, Media::Yaml] {
            let error = read(media, "{\"password\": \"hunter2\", hunter2: [}").unwrap_err();
            assert!(!error.message.contains("hunter2"), "{error}");
        }
    }
}
