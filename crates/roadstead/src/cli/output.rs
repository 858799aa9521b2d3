//! What goes to stdout: the same four forms for every verb.
//!
//! Objects come in as they are; columns say how a person sees them. `json` and `yaml` give the whole object (a list as a `List`),
//! less `managedFields`; `name` gives `kind.group/name`, which other commands take.

use std::io::Write;

use anyhow::{Context, Result};
use clap::ValueEnum;
use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

/// Form of the answer.
#[derive(Clone, Copy, Debug, Default, ValueEnum, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns, for people.
    #[default]
    Table,
    /// The objects as JSON.
    Json,
    /// The objects as YAML.
    Yaml,
    /// `kind.group/name`, one on each line.
    Name,
}

/// Flag `-o`, shared by all verbs.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Output {
    /// Form of the answer on stdout.
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value_t, value_name = "FORM")]
    pub format: Format,
}

/// One column of a table: its heading, and what it shows of an object.
pub type Column<K> = (&'static str, fn(&K) -> String);

impl Output {
    /// Prints several objects.
    pub fn list<K>(self, items: &[K], kind: &K::DynamicType, columns: &[Column<K>]) -> Result<()>
    where
        K: Resource + Serialize,
    {
        emit(&self.render_list(items, kind, columns)?)
    }

    /// Prints one object.
    pub fn one<K>(self, item: &K, kind: &K::DynamicType, columns: &[Column<K>]) -> Result<()>
    where
        K: Resource + Serialize,
    {
        emit(&match self.format {
            Format::Json | Format::Yaml => self.data(&object(item, kind)?)?,
            _ => self.render_list(std::slice::from_ref(item), kind, columns)?,
        })
    }

    /// Prints a value that is no object: as data, or as the text that is given for people.
    pub fn value(self, value: &impl Serialize, text: &str) -> Result<()> {
        match self.format {
            Format::Json | Format::Yaml => emit(&self.data(value)?),
            Format::Table | Format::Name => emit(text),
        }
    }

    fn render_list<K>(self, items: &[K], kind: &K::DynamicType, columns: &[Column<K>]) -> Result<String>
    where
        K: Resource + Serialize,
    {
        match self.format {
            Format::Table => Ok(table(items, columns)),
            Format::Name => Ok(items.iter().map(|item| format!("{}\n", resource_name(item, kind))).collect()),
            Format::Json | Format::Yaml => {
                let items = items.iter().map(|item| object(item, kind)).collect::<Result<Vec<_>>>()?;
                self.data(&json!({"apiVersion": "v1", "kind": "List", "items": items}))
            }
        }
    }

    fn data(self, value: &impl Serialize) -> Result<String> {
        if self.format == Format::Yaml {
            return serde_saphyr::to_string(value).context("cannot write YAML");
        }
        Ok(serde_json::to_string_pretty(value)? + "\n")
    }
}

/// `webhookendpoint.roadstead.dev/shop`, as kubectl prints and takes it.
pub fn resource_name<K: Resource>(item: &K, kind: &K::DynamicType) -> String {
    let (group, singular) = (K::group(kind), K::kind(kind).to_lowercase());
    let dot = if group.is_empty() { "" } else { "." };
    format!("{singular}{dot}{group}/{}", item.name_any())
}

/// The object as data; lists leave out apiVersion and kind, which a reader of a single object wants.
fn object<K: Resource + Serialize>(item: &K, kind: &K::DynamicType) -> Result<Value> {
    let mut value = serde_json::to_value(item)?;
    if let Some(metadata) = value.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let mut complete = json!({"apiVersion": K::api_version(kind), "kind": K::kind(kind)});
    if let (Value::Object(complete), Value::Object(fields)) = (&mut complete, value) {
        complete.extend(fields);
    }
    Ok(complete)
}

/// Columns as wide as their widest cell, three spaces between them, as kubectl does.
fn table<K>(items: &[K], columns: &[Column<K>]) -> String {
    let header: Vec<String> = columns.iter().map(|(name, _)| name.to_string()).collect();
    let rows = items.iter().map(|item| columns.iter().map(|(_, value)| cell(&value(item))).collect());
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    rows.iter().map(|row| line(row, &widths)).collect()
}

/// One line of a table, its cells padded to the widths.
pub fn line(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>().join("   ");
    format!("{}\n", padded.trim_end())
}

/// Keys and values, one pair on each line, for what `show` tells of one object.
pub fn facts(lines: &[(&str, String)]) -> String {
    lines.iter().map(|(key, value)| format!("{:<11} {}\n", format!("{key}:"), cell(value))).collect()
}

/// A cell never breaks the line nor leaves a hole.
pub fn cell(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.trim().is_empty() { "-".into() } else { clean }
}

/// How long ago, in kubectl's manner: `42s`, `5m`, `3h`, `12d`.
pub fn age(time: Option<&str>) -> String {
    match time.and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(time) => span(Timestamp::now().duration_since(time).as_secs()),
        None => String::new(),
    }
}

/// Age of an object.
pub fn created<K: Resource>(item: &K) -> String {
    match item.meta().creation_timestamp.as_ref() {
        Some(time) => span(Timestamp::now().duration_since(time.0).as_secs()),
        None => String::new(),
    }
}

fn span(seconds: i64) -> String {
    match seconds {
        i64::MIN..=0 => "0s".into(),
        1..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Writes to stdout at once. A reader that has gone away (`| head`) is no error.
pub fn emit(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.context("cannot write to stdout"),
    }
}

#[cfg(test)]
mod tests {
    use roadstead_api::Subscriber;

    use super::*;

    fn subscriber(name: &str) -> Subscriber {
        let mut subscriber = Subscriber::new(name, Default::default());
        subscriber.metadata.managed_fields = Some(Vec::new());
        subscriber
    }

    const COLUMNS: [Column<Subscriber>; 2] = [("NAME", |s| s.name_any()), ("AGE", created)];

    fn list(format: Format) -> String {
        let items = [subscriber("a-long-name"), subscriber("b")];
        Output { format }.render_list(&items, &(), &COLUMNS).unwrap()
    }

    #[test]
    fn tables_are_aligned_and_have_no_holes() {
        assert_eq!(list(Format::Table), "NAME          AGE\na-long-name   -\nb             -\n");
        assert_eq!(cell("a\nb\tc"), "a b c");
    }

    #[test]
    fn names_are_what_kubectl_takes() {
        assert_eq!(list(Format::Name), "subscriber.roadstead.dev/a-long-name\nsubscriber.roadstead.dev/b\n");
    }

    #[test]
    fn data_is_a_list_of_whole_objects() {
        let value: Value = serde_json::from_str(&list(Format::Json)).unwrap();
        assert_eq!(value["kind"], "List");
        assert_eq!(value["items"][1]["kind"], "Subscriber");
        assert_eq!(value["items"][1]["apiVersion"], "roadstead.dev/v1alpha1");
        assert!(value["items"][1]["metadata"].get("managedFields").is_none());
        let yaml: Value = serde_saphyr::from_str(&list(Format::Yaml)).unwrap();
        assert_eq!(yaml, value);
    }

    #[test]
    fn ages_are_short() {
        for (seconds, expected) in [(-5, "0s"), (42, "42s"), (119, "119s"), (300, "5m"), (7200, "2h"), (200_000, "2d")]
        {
            assert_eq!(span(seconds), expected);
        }
        assert_eq!(age(Some("not a time")), "");
    }
}
