//! Whether a CRD's schema is structural: fully typed, so that a server can prune, default and merge by it.
//! Rules: Kubernetes, "Specifying a structural schema".

use roadstead_kubewire::error::Cause;
use serde_json::Value;

use super::{
    cel::Rules,
    field::{self, Path},
};

/// What keeps `root` (a CRD's `openAPIV3Schema`) from being structural. Fields are relative to it.
pub fn structural(root: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    rules(root, &Path::root(), &mut causes, 0);
    causes
}

fn rules(schema: &Value, path: &Path, causes: &mut Vec<Cause>, depth: usize) {
    if depth > 60 {
        return;
    }
    if let Some(list) = schema.get("x-kubernetes-validations") {
        for (index, name, text, why) in Rules::compile(list).1 {
            let at = path.child("x-kubernetes-validations").index(index).child(name);
            causes.push(field::invalid(at, &Value::from(text), &why));
        }
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        rules(property, &path.child("properties").key(name), causes, depth + 1);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(below) = schema.get(name) {
            rules(below, &path.child(name), causes, depth + 1);
        }
    }
}
