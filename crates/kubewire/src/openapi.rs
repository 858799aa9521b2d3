//! OpenAPI v3: one document for each group and version, made of the resources' schemas and of their paths. [`v2`] is the older form.
//!
//! `kubectl explain` reads the schemas; `kubectl apply`, `create` and others look in the paths for which query parameters and patch
//! types are understood. A document can be large, so none is kept: only its hash is, and the text is written anew for whoever asks,
//! which with caching clients is rare. Source: Kubernetes documentation, "The Kubernetes API, OpenAPI V3" (KEP-2896).

mod paths;
pub mod v2;

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
    sync::Mutex,
};

use ring::digest;
use serde_json::{Map, Value, json};

use crate::{catalog::Snapshot, resource::ResourceInfo};

/// An OpenAPI v2 document that describes nothing: kube-aggregator asks for one.
pub fn empty_v2() -> Value {
    json!({"swagger": "2.0", "info": {"title": "Roadstead", "version": env!("CARGO_PKG_VERSION")}, "paths": {}})
}

/// Where schemas are in a document.
const SCHEMAS: &str = "#/components/schemas/";

/// A group and a version.
pub type GroupVersion = (String, String);

/// The hashes of the documents of one snapshot, computed when first asked for.
#[derive(Default)]
pub struct Hashes(Mutex<(u64, HashMap<GroupVersion, String>)>);

impl Hashes {
    /// The hash of a document as upper-case hexadecimal, `None` where there is no such version.
    pub fn of(&self, snapshot: &Snapshot, group: &str, version: &str) -> Option<String> {
        let key = (group.to_string(), version.to_string());
        if let Ok(mut cache) = self.0.lock() {
            if cache.0 != snapshot.generation {
                *cache = (snapshot.generation, HashMap::new());
            }
            if let Some(hash) = cache.1.get(&key) {
                return Some(hash.clone());
            }
        }
        let mut hasher = Hasher(digest::Context::new(&digest::SHA256));
        write_document(snapshot, group, version, &mut hasher)?.ok()?;
        let hash: String = hasher.0.finish().as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        if let Ok(mut cache) = self.0.lock()
            && cache.0 == snapshot.generation
        {
            cache.1.insert(key, hash.clone());
        }
        Some(hash)
    }
}

struct Hasher(digest::Context);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `/openapi/v3`: where the documents are.
pub fn index(snapshot: &Snapshot, hashes: &Hashes) -> Value {
    let mut paths = Map::new();
    for resource in &snapshot.resources {
        let info = resource.info();
        let name = document_name(&info.group, &info.version);
        if paths.contains_key(&name) {
            continue;
        }
        let hash = hashes.of(snapshot, &info.group, &info.version).unwrap_or_default();
        paths.insert(name.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{name}?hash={hash}")}));
    }
    json!({"paths": paths})
}

/// `api/v1` or `apis/G/V`.
pub fn document_name(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The text of a document, `None` where there is no such version.
pub fn document(snapshot: &Snapshot, group: &str, version: &str) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    write_document(snapshot, group, version, &mut text)?.ok()?;
    Some(text)
}

/// Writes a document, the same text for the same snapshot. Schemas are never copied on the way.
fn write_document(snapshot: &Snapshot, group: &str, version: &str, out: &mut impl Write) -> Option<io::Result<()>> {
    let infos = snapshot.resources.iter().map(|resource| resource.info());
    let infos: Vec<_> = infos.filter(|info| info.group == group && info.version == version).collect();
    if infos.is_empty() {
        return None;
    }
    let head = json!({"title": "Kubernetes", "version": "unversioned"});
    let paths: Map<String, Value> = infos.iter().flat_map(|info| paths::of(info)).collect();
    let schemas = closure(&infos);
    let mut write = || {
        write!(out, "{{\"openapi\":\"3.0.0\",\"info\":{head},\"paths\":")?;
        serde_json::to_writer(&mut *out, &paths)?;
        out.write_all(b",\"components\":{\"schemas\":{")?;
        for (index, (name, schema)) in schemas.iter().enumerate() {
            write!(out, "{}{}:", if index > 0 { "," } else { "" }, Value::from(*name))?;
            match kind_extension(&infos, name, schema) {
                Some(marked) => serde_json::to_writer(&mut *out, &marked)?,
                None => serde_json::to_writer(&mut *out, schema)?,
            }
        }
        out.write_all(b"}}}\n")
    };
    Some(write())
}

/// The schema of a kind that does not say which kind it is, with that added: clients find it by this extension.
fn kind_extension(infos: &[&ResourceInfo], name: &str, schema: &Value) -> Option<Value> {
    let info = infos.iter().find(|info| info.schema_name == name)?;
    if schema.get(paths::KIND).is_some() {
        return None;
    }
    let mut marked = schema.as_object()?.clone();
    marked.insert(paths::KIND.into(), json!([paths::kind(info)]));
    Some(Value::Object(marked))
}

/// The name of the schema of a resource's lists, by Kubernetes' convention.
fn list_schema(info: &ResourceInfo) -> String {
    format!("{}List", info.schema_name)
}

/// The schemas of the resources and all that they refer to.
fn closure<'a>(infos: &[&'a ResourceInfo]) -> BTreeMap<&'a str, &'a Value> {
    let mut found = BTreeMap::new();
    for info in infos {
        let mut wanted = vec![info.schema_name.clone(), list_schema(info)];
        while let Some(name) = wanted.pop() {
            let Some((name, schema)) = info.definitions.get_key_value(&name) else { continue };
            if found.insert(name.as_str(), schema).is_none() {
                references(schema, &mut wanted);
            }
        }
    }
    found
}

/// Collects the names that `$ref`s point to. Not recursive: schemas come from users, too.
fn references(schema: &Value, names: &mut Vec<String>) {
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(object) => {
                let target = object.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix(SCHEMAS));
                names.extend(target.map(str::to_string));
                open.extend(object.values());
            }
            Value::Array(array) => open.extend(array),
            _ => {}
        }
    }
}
