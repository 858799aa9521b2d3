//! Reading a few fields out of a large and possibly hostile JSON document.
//!
//! serde passes over unknown fields without building anything and without recursion. What is left to fear is a field with a
//! value of another type than expected (which would fail the whole document), a very long string, and a very long list. The
//! types here take any JSON value: [`Text`] a string (cut), [`Object`] an object, [`List`] an array (cut); anything else counts
//! as absent. Only broken syntax and a key given twice are errors.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Longest normalised string, in characters.
pub(super) const MAX_TEXT: usize = 1024;

/// Reads the root object. The error names line and column, never content.
pub(super) fn root<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    let Object(root) = document(body)?;
    root.ok_or_else(|| "the body is JSON, but not an object".to_owned())
}

/// Reads a document of any type.
pub(super) fn document<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| describe(&error))
}

/// What is wrong with a document, without quoting it.
fn describe(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => "has a key twice",
        serde_json::error::Category::Eof => "ends too early",
        _ => "is not JSON",
    };
    format!("the body {what} (line {} column {})", error.line(), error.column())
}

/// A string of at most [`MAX_TEXT`] characters, control characters replaced so that no terminal is ever steered by a payload;
/// a number or boolean is taken as it is written; anything else is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

impl Text {
    /// The first line, cut to `max` characters.
    pub(super) fn line(&self, max: usize) -> String {
        self.0.split(['\n', REPLACED]).next().unwrap_or_default().trim_end().chars().take(max).collect()
    }
}

/// Stands for a control character.
const REPLACED: char = '\u{fffd}';

/// Cuts and cleans a string.
pub(super) fn clean(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|c| if c.is_control() { REPLACED } else { c }).collect()
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(TextVisitor))
    }
}

/// An object, or nothing if the value is of another type.
#[derive(Clone, Debug)]
pub(super) struct Object<T>(pub(super) Option<T>);

impl<T> Default for Object<T> {
    fn default() -> Self {
        Object(None)
    }
}

impl<T: Default + Clone> Object<T> {
    /// The object; one without fields if there is none.
    pub(super) fn get(&self) -> T {
        self.0.clone().unwrap_or_default()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(ObjectVisitor(PhantomData)))
    }
}

/// The first `MAX` elements of an array, and how many there were; empty if the value is of another type.
#[derive(Clone, Debug)]
pub(super) struct List<T, const MAX: usize> {
    /// The elements kept.
    pub(super) items: Vec<T>,
    /// How many there were.
    pub(super) total: usize,
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        List { items: Vec::new(), total: 0 }
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(ListVisitor::<T, MAX>(PhantomData)))
    }
}

/// Names: the strings of an array, or the keys of an object; at most `MAX`.
#[derive(Clone, Debug, Default)]
pub(super) struct Names<const MAX: usize> {
    /// The names kept.
    pub(super) items: Vec<String>,
    /// How many there were.
    pub(super) total: usize,
}

impl<'de, const MAX: usize> Deserialize<'de> for Names<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(NamesVisitor::<MAX>))
    }
}

/// What to make of each JSON type; whatever is not overridden counts as absent.
trait Take<'de>: Sized {
    type Value: Default;

    fn string(self, _: &str) -> Self::Value {
        Self::Value::default()
    }

    fn scalar(self, _: &dyn fmt::Display) -> Self::Value {
        Self::Value::default()
    }

    fn array<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::Value::default())
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::Value::default())
    }
}

/// Feeds any JSON value to a [`Take`].
struct Any<T>(T);

impl<'de, T: Take<'de>> Visitor<'de> for Any<T> {
    type Value = T::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.0.scalar(&value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.0.scalar(&value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.0.scalar(&value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(self.0.scalar(&value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(self.0.string(value))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Self::Value::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Self::Value, A::Error> {
        self.0.array(array)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        self.0.object(object)
    }
}

struct TextVisitor;

impl Take<'_> for TextVisitor {
    type Value = Text;

    fn string(self, value: &str) -> Text {
        Text(clean(value))
    }

    fn scalar(self, value: &dyn fmt::Display) -> Text {
        Text(value.to_string())
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Take<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn object<A: MapAccess<'de>>(self, object: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(|value| Object(Some(value)))
    }
}

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Take<'de> for ListVisitor<T, MAX> {
    type Value = List<T, MAX>;

    fn array<A: SeqAccess<'de>>(self, mut array: A) -> Result<List<T, MAX>, A::Error> {
        let mut items = Vec::new();
        while items.len() < MAX {
            match array.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(List { total: items.len(), items }),
            }
        }
        let mut total = items.len();
        while array.next_element::<IgnoredAny>()?.is_some() {
            total += 1;
        }
        Ok(List { items, total })
    }
}

struct NamesVisitor<const MAX: usize>;

impl<'de, const MAX: usize> Take<'de> for NamesVisitor<MAX> {
    type Value = Names<MAX>;

    fn array<A: SeqAccess<'de>>(self, array: A) -> Result<Names<MAX>, A::Error> {
        let list = ListVisitor::<Text, MAX>(PhantomData).array(array)?;
        Ok(Names { items: list.items.into_iter().map(|text| text.0).collect(), total: list.total })
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Names<MAX>, A::Error> {
        let mut names = Names::default();
        while let Some((Text(name), IgnoredAny)) = object.next_entry()? {
            names.total += 1;
            if names.items.len() < MAX {
                names.items.push(name);
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Clone, Deserialize)]
    #[serde(default)]
    struct Doc {
        text: Text,
        object: Object<Inner>,
        list: List<Object<Inner>, 2>,
        names: Names<2>,
    }

    #[derive(Debug, Default, Clone, Deserialize)]
    #[serde(default)]
    struct Inner {
        name: Text,
    }

    #[test]
    fn a_value_of_another_type_counts_as_absent() {
        for value in ["null", "true", "1", "-1.5", "\"x\"", "[]", "[[1],{}]", "{}", "{\"name\":[{}]}"] {
            for field in ["text", "object", "list", "names"] {
                let body = format!("{{\"{field}\":{value},\"other\":{value}}}");
                root::<Doc>(body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}"));
            }
        }
        let doc: Doc = root(br#"{"text":42,"object":[],"list":[{"name":"a"},7,{"name":"c"}]}"#).unwrap();
        assert_eq!(&*doc.text, "42");
        assert_eq!(&*doc.object.get().name, "");
        assert_eq!((doc.list.items.len(), doc.list.total), (2, 3));
        for names in [r#"["a","b","c"]"#, r#"{"a":1,"b":[],"c":{}}"#] {
            let doc: Doc = root(format!(r#"{{"names":{names}}}"#).as_bytes()).unwrap();
            assert_eq!((doc.names.items, doc.names.total), (vec!["a".to_owned(), "b".to_owned()], 3));
        }
    }

    #[test]
    fn strings_are_cut_and_cleaned() {
        let body = format!(r#"{{"text":"\u001b[31m{}"}}"#, "é".repeat(5000));
        let doc: Doc = root(body.as_bytes()).unwrap();
        assert_eq!(doc.text.chars().count(), MAX_TEXT);
        assert!(doc.text.starts_with("\u{fffd}[31mé"));
        assert_eq!(Text(clean("one\ntwo")).line(200), "one");
        assert_eq!(Text(clean("one\r\ntwo")).line(2), "on");
    }

    #[test]
    fn broken_documents_are_told_apart() {
        for (body, why) in [
            (&b""[..], "ends too early"),
            (b"{\"text\":", "ends too early"),
            (b"hello", "is not JSON"),
            (b"{\"text\":\"\xff\"}", "is not JSON"),
            (b"{\"text\":1,\"text\":2}", "has a key twice"),
            (b"[]", "not an object"),
            (b"{} {}", "is not JSON"),
        ] {
            let error = root::<Doc>(body).unwrap_err();
            assert!(error.contains(why), "{body:?}: {error}");
        }
    }

    #[test]
    fn nesting_costs_no_stack() {
        for (open, close) in [("[", "]"), ("{\"text\":", "}"), ("{\"object\":", "}")] {
            let bomb = open.repeat(300_000);
            assert!(root::<Doc>(bomb.as_bytes()).is_err());
            let closed = format!("{{\"other\":{}1{}}}", open.repeat(300_000), close.repeat(300_000));
            assert!(root::<Doc>(closed.as_bytes()).is_ok(), "{open}");
        }
    }
}
