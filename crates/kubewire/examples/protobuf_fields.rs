//! Writes `src/protobuf/fields.txt` anew from Kubernetes' published Go modules (Apache-2.0), for a new Kubernetes version:
//!
//! ```text
//! go mod download k8s.io/api@v0.34.3 k8s.io/apimachinery@v0.34.3
//! cargo run -p roadstead-kubewire --example protobuf_fields -- "$(go env GOMODCACHE)" v0.34.3 > crates/kubewire/src/protobuf/fields.txt
//! ```
//! In: the `generated.proto` files (numbers and types) and the Go structs beside them (which fields are inlined, and which are
//! left out of JSON when zero). Out: the messages that can be reached from what clients send.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::Path,
};

/// Directories below k8s.io/api whose kinds are served or may be soon.
const GROUPS: [&str; 15] = [
    "apps/v1",
    "authentication/v1",
    "authorization/v1",
    "autoscaling/v1",
    "autoscaling/v2",
    "batch/v1",
    "coordination/v1",
    "core/v1",
    "discovery/v1",
    "events/v1",
    "networking/v1",
    "policy/v1",
    "rbac/v1",
    "scheduling/v1",
    "storage/v1",
];

/// Messages by name, each the lines of its fields with the types that they refer to.
type Messages = BTreeMap<String, Vec<(String, String)>>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(cache), Some(version)) = (arguments.next(), arguments.next()) else {
        return Err("usage: protobuf_fields GOMODCACHE VERSION".into());
    };
    let root = Path::new(&cache).join("k8s.io");
    let mut messages = Messages::new();
    for group in GROUPS {
        let package = group.replace('/', ".");
        read(&root.join(format!("api@{version}")).join(group), &package, &mut messages)?;
    }
    read(&root.join(format!("apimachinery@{version}/pkg/apis/meta/v1")), "meta.v1", &mut messages)?;
    println!(
        "# Kubernetes {version}: `NUMBER NAME TYPE` for each field of each message; see protobuf.rs. Made by examples/protobuf_fields.rs"
    );
    for name in reachable(&messages) {
        println!("{name}");
        for (line, _) in &messages[&name] {
            println!(" {line}");
        }
    }
    Ok(())
}

/// The kinds (what has metadata, but is no list) and the options of a delete, and all that these refer to.
fn reachable(messages: &Messages) -> BTreeSet<String> {
    let is_kind = |fields: &[(String, String)]| fields.iter().any(|(_, kind)| kind == "meta.v1.ObjectMeta");
    let kinds = messages.iter().filter(|(name, fields)| is_kind(fields) && !name.starts_with("meta."));
    let mut open: Vec<String> = kinds.map(|(name, _)| name.clone()).collect();
    open.push("meta.v1.DeleteOptions".into());
    let mut found = BTreeSet::new();
    while let Some(name) = open.pop() {
        let Some(fields) = messages.get(&name) else { continue };
        if found.insert(name) {
            open.extend(fields.iter().map(|(_, kind)| kind.clone()));
        }
    }
    found
}

/// Reads a directory's messages.
fn read(directory: &Path, package: &str, messages: &mut Messages) -> Result<(), Box<dyn Error>> {
    let structs = go_structs(&fs::read_to_string(directory.join("types.go"))?);
    let mut message = String::new();
    for line in fs::read_to_string(directory.join("generated.proto"))?.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("message ").and_then(|rest| rest.strip_suffix(" {")) {
            message = name.to_string();
            messages.insert(format!("{package}.{name}"), Vec::new());
        } else if line == "}" {
            message.clear();
        } else if !message.is_empty()
            && !line.starts_with("//")
            && let Some((declared, number)) = line.trim_end_matches(';').rsplit_once(" = ")
        {
            let declared = declared.replace("map<string, ", "map<string,");
            let words: Vec<&str> = declared.split_whitespace().collect();
            let (mark, kind, name) = match words.as_slice() {
                ["optional", kind, name] => ("", *kind, *name),
                ["repeated", kind, name] => ("*", *kind, *name),
                [map, name] if map.starts_with("map<string,") => {
                    ("%", map.trim_start_matches("map<string,").trim_end_matches('>'), *name)
                }
                _ => return Err(format!("{message}: cannot read {line:?}").into()),
            };
            let kind = short(kind, package);
            let go = structs.get(&(message.clone(), number.to_string())).cloned().unwrap_or_default();
            // Nearly always the same; JSON's counts.
            let name = if go.inline || go.json_name.is_empty() { name } else { &go.json_name };
            let name = if go.inline { "~" } else { name };
            let zero = if go.dropped_when_zero && mark.is_empty() { "?" } else { "" };
            let fields = messages.entry(format!("{package}.{message}")).or_default();
            fields.push((format!("{number} {name} {mark}{kind}{zero}"), kind));
        }
    }
    Ok(())
}

/// `core.v1.Secret`, `meta.v1.Time`, or the bare name for what stands alone.
fn short(kind: &str, package: &str) -> String {
    let Some(full) = kind.strip_prefix(".k8s.io.") else {
        let is_message = kind.starts_with(char::is_uppercase);
        return if is_message { format!("{package}.{kind}") } else { kind.to_string() };
    };
    match full.strip_prefix("api.").or_else(|| full.strip_prefix("apimachinery.pkg.apis.")) {
        Some(name) => name.to_string(),
        None => full.rsplit('.').next().unwrap_or(full).to_string(),
    }
}

#[derive(Clone, Default)]
struct GoField {
    json_name: String,
    inline: bool,
    dropped_when_zero: bool,
}

/// What the JSON tags of Go structs say, by struct and field number.
fn go_structs(text: &str) -> BTreeMap<(String, String), GoField> {
    let mut fields = BTreeMap::new();
    let mut name = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("type ") {
            name = rest.split_whitespace().next().unwrap_or("");
        }
        let tag = |key: &str| line.split_once(&format!("{key}:\"")).and_then(|(_, rest)| rest.split('"').next());
        let (Some(json), Some(protobuf)) = (tag("json"), tag("protobuf")) else { continue };
        let Some(number) = protobuf.split(',').nth(1) else { continue };
        let kind = line.split('`').next().unwrap_or("").split_whitespace().last().unwrap_or("");
        let field = GoField {
            json_name: json.split(',').next().unwrap_or("").to_string(),
            inline: json == ",inline",
            dropped_when_zero: json.ends_with(",omitempty") && !kind.starts_with('*'),
        };
        fields.insert((name.to_string(), number.to_string()), field);
    }
    fields
}
