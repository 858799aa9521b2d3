//! Owners of the number of replicas, between an object and its Scale.
//!
//! The `scale` subresource is a small object of its own, with fields of its own (`spec.replicas`), yet its owners are written
//! down in the object that it is the scale of. In: `managedFields` of the one. Out: those of the other. What is lost on the way
//! (times, and the entry of a manager that updated the object itself) is lost in kube-apiserver too, which these two
//! functions follow: <https://pkg.go.dev/k8s.io/apimachinery/pkg/util/managedfields#ScaleHandler>.

use serde_json::Value;

use super::{
    managed::{Entry, Managed, Manager, Operation},
    set::Set,
};

/// Version of every Scale.
pub const VERSION: &str = "autoscaling/v1";
/// Where a Scale has the number.
pub const REPLICAS: &str = "/spec/replicas";

/// Gives `scale` the owners that the number at `path` in `object` has.
pub fn to_scale(object: &Value, path: &str, scale: &mut Value) {
    let owners = Managed::of(object).0.into_iter().filter(|entry| entry.fields.has(path));
    let entries = owners.map(|entry| Entry {
        manager: Manager { api_version: VERSION.into(), ..entry.manager },
        time: entry.time,
        fields: Set::of_field(REPLICAS),
    });
    Managed(entries.collect()).write(scale);
}

/// Writes the owners of a Scale down in `object`, which still has its own; `path` is where the number is there.
pub fn to_object(scale: &Value, path: &str, object: &mut Value) {
    let api_version = object["apiVersion"].as_str().unwrap_or_default().to_string();
    let mut owners: Vec<Entry> = Managed::of(scale).0;
    let mut entries = Vec::new();
    for mut entry in Managed::of(object).0 {
        if entry.fields.has(path) {
            match owners.iter().position(|owner| owner.manager.is(&entry.manager)) {
                Some(at) => drop(owners.remove(at)),
                None => entry.fields = entry.fields.without(path),
            }
        }
        entries.push(entry);
    }
    for owner in owners.into_iter().filter(|owner| owner.fields.has(REPLICAS)) {
        let manager = Manager { api_version: api_version.clone(), ..owner.manager };
        let known = |entry: &Entry| manager.operation == Operation::Apply && entry.manager.is(&manager);
        let time = entries.iter().find(|entry| known(entry)).and_then(|entry| entry.time.clone());
        entries.retain(|entry| !known(entry));
        entries.push(Entry { manager, time, fields: Set::of_field(path) });
    }
    let mut managed = Managed(entries);
    managed.drop_empty();
    managed.write(object);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, operation: &str, version: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": version, "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn owners_of_the_number_are_owners_of_the_scale() {
        let replicas = json!({"f:spec": {"f:replicas": {}}});
        let object = json!({"apiVersion": "apps/v1", "metadata": {"managedFields": [
            entry("one", "Apply", "apps/v1", replicas.clone()),
            entry("two", "Update", "apps/v1", json!({"f:spec": {"f:paused": {}}}))]}});
        let mut scale = json!({"metadata": {}});
        to_scale(&object, "/spec/replicas", &mut scale);
        assert_eq!(scale["metadata"]["managedFields"], json!([entry("one", "Apply", VERSION, replicas)]));
    }

    #[test]
    fn a_new_owner_takes_the_number_and_nothing_else() {
        let both = json!({"f:spec": {"f:paused": {}, "f:size": {}}});
        let mut object =
            json!({"apiVersion": "apps/v1", "metadata": {"managedFields": [entry("one", "Update", "apps/v1", both)]}});
        let scale = json!({"metadata": {"managedFields": [entry("two", "Update", VERSION, json!({"f:spec": {"f:replicas": {}}}))]}});
        to_object(&scale, "/spec/size", &mut object);
        let mut new = entry("two", "Update", "apps/v1", json!({"f:spec": {"f:size": {}}}));
        new.as_object_mut().unwrap().shift_remove("time");
        let rest = entry("one", "Update", "apps/v1", json!({"f:spec": {"f:paused": {}}}));
        assert_eq!(object["metadata"]["managedFields"], json!([new, rest]));
    }

    #[test]
    fn who_applied_the_object_stays_an_owner() {
        let fields = json!({"f:spec": {"f:paused": {}, "f:replicas": {}}});
        let mut object =
            json!({"apiVersion": "apps/v1", "metadata": {"managedFields": [entry("one", "Apply", "apps/v1", fields)]}});
        let before = object.clone();
        let mut scale = json!({"metadata": {}});
        to_scale(&object, "/spec/replicas", &mut scale);
        to_object(&scale, "/spec/replicas", &mut object);
        assert_eq!(object, before);
    }
}
