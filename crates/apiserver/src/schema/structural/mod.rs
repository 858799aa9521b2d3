//! Whether a CRD's schema is structural: fully typed, so that a server can prune, default and merge by it.
//!
//! In: the schema as its author wrote it. Out: what keeps it from being structural, and rules that do not compile. The walk
//! here visits every part that types something; each other file looks at one aspect of the part. Rules and wording:
//! Kubernetes, "Extend the API with CustomResourceDefinitions", section "Specifying a structural schema".

mod junctors;
mod lists;
mod part;
mod rules;

use roadstead_kubewire::error::Cause;
use serde_json::Value;

use super::field::{self, Path};

/// How deep a schema may nest.
const MAX_DEPTH: usize = 60;

/// How many causes are told.
const MAX_CAUSES: usize = 50;

/// What keeps `root` (a CRD's `openAPIV3Schema`) from being structural. Fields are relative to it, e.g.
/// `properties[spec].type`; at most the first 50 are told.
pub fn structural(root: &Value) -> Vec<Cause> {
    let mut walk = Walk { causes: Vec::new(), ruled: Vec::new() };
    walk.root(root);
    walk.causes.append(&mut walk.ruled);
    walk.causes.truncate(MAX_CAUSES);
    walk.causes
}

/// Where in the schema the walk is.
#[derive(Clone, Copy)]
struct At<'a> {
    path: &'a Path,
    depth: usize,
    /// What this part is, for "must not be empty for ...".
    place: &'static str,
    /// The part in which old and new values cannot be told to belong together, so rules may not use `oldSelf`.
    uncorrelated: Option<&'a Path>,
}

struct Walk {
    causes: Vec<Cause>,
    /// What is wrong with rules; told last.
    ruled: Vec<Cause>,
}

impl Walk {
    fn root(&mut self, root: &Value) {
        let path = Path::root();
        if let Some(kind) = text(root, "type").filter(|kind| *kind != "object") {
            self.causes.push(field::invalid("type", &Value::from(kind), "must be object at the root"));
        }
        if root.get("additionalProperties").is_some() {
            self.causes.push(field::forbidden("additionalProperties", "must not be used at the root"));
        }
        if is(root, "nullable") {
            self.causes.push(field::forbidden("nullable", "nullable cannot be true at the root"));
        }
        if let Some(metadata) = root.pointer("/properties/metadata") {
            self.metadata(metadata);
        }
        self.part(root, At { path: &path, depth: 0, place: "at the root", uncorrelated: None });
    }

    /// A CRD may constrain the name, and nothing else, of what the server itself knows.
    fn metadata(&mut self, metadata: &Value) {
        let names = ["name", "generateName"];
        let others = |schema: &Value| {
            let fields = schema.get("properties").and_then(Value::as_object);
            fields.into_iter().flatten().any(|(name, _)| !names.contains(&name.as_str()))
        };
        let allowed = ["type", "properties", "description", "title"];
        let extra =
            metadata.as_object().is_some_and(|fields| fields.keys().any(|key| !allowed.contains(&key.as_str())));
        if extra || others(metadata) {
            let why =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.causes.push(field::forbidden(Path::new("properties").key("metadata"), why));
        }
    }

    fn part(&mut self, schema: &Value, at: At<'_>) {
        let before = self.causes.len();
        self.shape(schema, at);
        // Where the schema itself is wrong, what its rules are about cannot be told.
        if self.causes.len() == before {
            rules::compile(schema, at, &mut self.ruled);
        }
    }

    fn shape(&mut self, schema: &Value, at: At<'_>) {
        if self.causes.len() >= MAX_CAUSES {
            return;
        }
        if at.depth > MAX_DEPTH {
            let why = format!("must not nest deeper than {MAX_DEPTH} levels");
            self.causes.push(field::forbidden(at.path.child("properties"), &why));
            return;
        }
        part::check(schema, at, &mut self.causes);
        lists::check(schema, at.path, &mut self.causes);
        junctors::check(schema, at.path, &mut self.causes);
        rules::check(schema, at, &mut self.causes);

        for (name, property) in properties(schema) {
            let path = at.path.child("properties").key(name);
            let place = "for specified object fields";
            self.part(property, At { path: &path, depth: at.depth + 1, place, ..at });
        }
        if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
            let path = at.path.child("additionalProperties");
            let place = "for specified object fields";
            self.part(values, At { path: &path, depth: at.depth + 1, place, ..at });
        }
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            let path = at.path.child("items");
            let map = text(schema, "x-kubernetes-list-type") == Some("map");
            let uncorrelated = at.uncorrelated.or((!map).then_some(at.path));
            let place = "for specified array items";
            self.part(items, At { path: &path, depth: at.depth + 1, place, uncorrelated });
        }
    }
}

fn text<'a>(schema: &'a Value, key: &str) -> Option<&'a str> {
    schema.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn is(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool) == Some(true)
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

#[cfg(test)]
mod tests;
