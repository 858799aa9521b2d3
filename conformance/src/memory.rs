//! What one side has answered so far, as far as later operations refer to it.
//!
//! In: templates of operations, and answers. Out: text with the placeholders filled in.
//!
//! | placeholder | becomes |
//! |---|---|
//! | `${ns0}`, `${group}`, ... | a name that the run has chosen, the same on both sides |
//! | `${rv:configmaps/ns0/a}` | the newest resourceVersion seen of that object |
//! | `${old:configmaps/ns0/a}` | the first one seen |
//! | `${uid:configmaps/ns0/a}` | its uid |
//! | `${continue}`, `${list}` | the newest continue token; the resourceVersion of the newest consistent list |
//! | `${generated}` | the newest name that the server made from a `generateName` |

use std::{collections::BTreeMap, sync::LazyLock};

use regex::{Captures, Regex};
use serde_json::Value;

use crate::operation::{Operation, Target};

#[expect(clippy::unwrap_used, reason = "a constant expression, which the tests compile")]
static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\$\{([^}]*)\}").unwrap());

/// Names that a run has chosen: the placeholder's word and what it stands for.
pub type Names = BTreeMap<String, String>;

/// What is known of one object.
#[derive(Clone, Debug, Default)]
struct Known {
    uid: String,
    first: String,
    newest: String,
}

/// What one side has answered so far.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    names: Names,
    objects: BTreeMap<String, Known>,
    continued: String,
    list: String,
    generated: String,
}

impl Memory {
    /// Knows nothing yet but the names of the run.
    pub fn new(names: Names) -> Self {
        Self { names, ..Self::default() }
    }

    /// The names of the run.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Fills in a template. What is not known becomes something that no server ever made.
    pub fn fill(&self, template: &str) -> String {
        PLACEHOLDER.replace_all(template, |found: &Captures<'_>| self.value(&found[1])).into_owned()
    }

    fn value(&self, word: &str) -> String {
        let known = |key: &str| self.objects.get(key).cloned().unwrap_or_default();
        let or = |text: String, otherwise: &str| if text.is_empty() { otherwise.to_string() } else { text };
        match word.split_once(':') {
            Some(("rv", key)) => or(known(key).newest, "1"),
            Some(("old", key)) => or(known(key).first, "1"),
            Some(("uid", key)) => or(known(key).uid, "00000000-0000-4000-8000-000000000000"),
            _ => match word {
                "continue" => self.continued.clone(),
                "list" => or(self.list.clone(), "0"),
                "generated" => or(self.generated.clone(), "none-generated"),
                word => self.names.get(word).cloned().unwrap_or_else(|| format!("${{{word}}}")),
            },
        }
    }

    /// Fills in all strings of a body, keys as well.
    pub fn fill_body(&self, body: &Value) -> Value {
        match body {
            Value::String(text) => self.fill(text).into(),
            Value::Array(items) => items.iter().map(|item| self.fill_body(item)).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(key, value)| (self.fill(key), self.fill_body(value))).collect()
            }
            other => other.clone(),
        }
    }

    /// Takes note of an answer to `operation`.
    pub fn learn(&mut self, operation: &Operation, body: &Value) {
        let target = Target::of(&operation.path);
        if let Some(items) = body.get("items").and_then(Value::as_array) {
            items.iter().for_each(|item| self.learn_object(&target, item));
            if !operation.path.contains("resourceVersion=") {
                // Only a consistent read names the newest version; others may be as old as the server likes.
                self.list = text(body, "resourceVersion").into();
            }
            self.continued = percent(text(body, "continue"));
        } else if operation.path.contains("dryRun") {
            // Nothing of it is there.
        } else {
            self.learn_object(&target, body);
        }
    }

    fn learn_object(&mut self, target: &Target, object: &Value) {
        let [name, uid, version] = ["name", "uid", "resourceVersion"].map(|field| text(object, field).to_string());
        if name.is_empty() || uid.is_empty() || version.is_empty() {
            return;
        }
        if !text(object, "generateName").is_empty() {
            self.generated.clone_from(&name);
        }
        let namespace = match target.namespace.as_str() {
            "" => self.word(text(object, "namespace")),
            namespace => namespace.to_string(),
        };
        let (plural, name) = (&target.plural, self.word(&name));
        let key =
            if namespace.is_empty() { format!("{plural}/{name}") } else { format!("{plural}/{namespace}/{name}") };
        let known = self.objects.entry(key).or_default();
        if known.uid != uid {
            *known = Known { uid, first: version.clone(), ..Known::default() };
        }
        known.newest = version;
    }

    /// The placeholder's word for a name of the run, else the name itself.
    fn word(&self, name: &str) -> String {
        let found = self.names.iter().find(|(_, value)| *value == name);
        found.map_or(name, |(word, _)| word).to_string()
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get("metadata").and_then(|meta| meta.get(field)).and_then(Value::as_str).unwrap_or_default()
}

/// Escapes what a query would take for its own.
fn percent(token: &str) -> String {
    token.replace('%', "%25").replace('+', "%2B").replace('=', "%3D").replace('/', "%2F").replace('&', "%26")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn memory() -> Memory {
        Memory::new([("ns0".to_string(), "cf-1-0".to_string())].into())
    }

    #[test]
    fn later_operations_refer_to_earlier_answers() {
        let mut memory = memory();
        let create = Operation::get("/api/v1/namespaces/${ns0}/configmaps");
        let object =
            |uid: &str, version: &str| json!({"metadata": {"name": "a", "uid": uid, "resourceVersion": version}});
        memory.learn(&create, &object("u1", "5"));
        memory.learn(&create, &object("u1", "9"));
        let told = memory.fill("${ns0} ${rv:configmaps/ns0/a} ${old:configmaps/ns0/a} ${uid:configmaps/ns0/a}");
        assert_eq!(told, "cf-1-0 9 5 u1");
        memory.learn(&create, &object("u2", "12"));
        assert_eq!(memory.fill("${old:configmaps/ns0/a}"), "12", "another object of the same name is another object");
        assert_eq!(memory.fill("${rv:configmaps/ns0/b}"), "1");
        assert_eq!(memory.fill_body(&json!({"${ns0}": ["${ns0}", 1]})), json!({"cf-1-0": ["cf-1-0", 1]}));
    }

    #[test]
    fn lists_teach_too() {
        let mut memory = memory();
        let items = json!({"metadata": {"resourceVersion": "30", "continue": "a=="}, "items": [
            {"metadata": {"name": "b", "namespace": "cf-1-0", "uid": "u", "resourceVersion": "20"}}]});
        memory.learn(&Operation::get("/api/v1/configmaps"), &items);
        assert_eq!(memory.fill("${list} ${continue} ${rv:configmaps/ns0/b}"), "30 a%3D%3D 20");
        let older = json!({"metadata": {"resourceVersion": "25"}, "items": []});
        memory.learn(&Operation::get("/api/v1/configmaps?resourceVersion=0"), &older);
        assert_eq!(memory.fill("${list}"), "30");
    }

    #[test]
    fn dry_runs_leave_nothing() {
        let mut memory = memory();
        let body = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "5"}});
        memory.learn(&Operation::get("/api/v1/namespaces/${ns0}/configmaps/a?dryRun=All"), &body);
        assert_eq!(memory.fill("${rv:configmaps/ns0/a}"), "1");
    }
}
