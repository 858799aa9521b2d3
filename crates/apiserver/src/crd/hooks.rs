//! A CRD before it is stored: what is filled in, and what is refused.

use std::sync::Arc;

use async_trait::async_trait;
use roadstead_kubewire::{ApiResult, Context, error::Cause};
use serde_json::{Value, json};

use super::{CLEANUP, Crds, validate};
use crate::{
    builtin,
    objects::text,
    registry::{Hooks, meta},
};

/// Behaviour of the kind CustomResourceDefinition.
pub struct Definitions {
    /// What the table of built-in kinds says.
    pub table: builtin::Kind,
    /// Who serves what is defined.
    pub crds: Arc<Crds>,
}

#[async_trait]
impl Hooks for Definitions {
    fn blank(&self) -> Value {
        (self.table.blank)()
    }

    fn default(&self, crd: &mut Value) {
        (self.table.default)(crd);
        complete(crd);
    }

    fn admit(&self, _cx: &Context, new: &mut Value, old: Option<&Value>, sub: Option<&str>) -> ApiResult<()> {
        if sub.is_none() {
            admit(new, old);
        }
        Ok(())
    }

    fn knows_its_shape(&self) -> bool {
        true
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = (self.table.validate)(new, old);
        causes.extend(validate::validate(new, old));
        causes
    }

    fn mark_deleted(&self, crd: &mut Value) {
        let mut finalizers: Vec<String> = meta::finalizers(crd).into_iter().map(str::to_string).collect();
        if !finalizers.iter().any(|name| name == CLEANUP) {
            finalizers.push(CLEANUP.into());
            meta::set(crd, "finalizers", Some(json!(finalizers)));
        }
    }

    fn held(&self, crd: &Value) -> bool {
        // Until its objects are gone, which the finalizer waits for.
        !meta::deleting(crd)
    }

    fn cells(&self, object: &Value) -> Option<Vec<Value>> {
        self.table.cells.map(|cells| cells(object))
    }

    async fn written(&self, version: u64) {
        self.crds.settled(version).await;
    }
}

/// Fills in what may be left out.
pub fn complete(crd: &mut Value) {
    let kind = text(crd, "/spec/names/kind").to_string();
    let Some(spec) = crd.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
        for (field, value) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))] {
            if names.get(field).and_then(Value::as_str).unwrap_or_default().is_empty() {
                names.insert(field.into(), value.into());
            }
        }
    }
    spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
}

/// What the server adds: which versions objects may be stored in.
fn admit(new: &mut Value, old: Option<&Value>) {
    let storage = versions(new).find(|version| version["storage"] == true).map(|version| version["name"].clone());
    if old.is_none() {
        new["status"] =
            json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": null});
    }
    let Some(storage) = storage else { return };
    let stored = &mut new["status"]["storedVersions"];
    match stored {
        Value::Array(stored) if stored.contains(&storage) => {}
        Value::Array(stored) => stored.push(storage),
        stored => *stored = json!([storage]),
    }
}

fn versions(crd: &Value) -> impl Iterator<Item = &Value> {
    crd.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten()
}
#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::crd::compile;

    pub(in crate::crd) fn crd() -> Value {
        let mut crd = json!({
            "metadata": {"name": "things.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
        complete(&mut crd);
        admit(&mut crd, None);
        crd
    }

    #[test]
    fn what_may_be_left_out_is_filled_in() {
        let crd = crd();
        assert_eq!(
            crd["spec"]["names"],
            json!({"plural": "things", "kind": "Thing", "singular": "thing", "listKind": "ThingList"})
        );
        assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
        assert_eq!(validate::validate(&crd, Some(&crd)), []);
        assert!(compile::kinds(&crd, false).is_ok());
    }
}
