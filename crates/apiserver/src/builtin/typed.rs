//! Values of a wrong type in built-in kinds, told as kube-apiserver tells them: it decodes these into Go values, and a value that
//! does not fit is a body that cannot be read (400), not an invalid object (422).
//!
//! In: the name of a schema and an object. Out: the first misfit in the words of Go's JSON decoder, which `kubectl` shows as they
//! are. Source: `UnmarshalTypeError` of Go's `encoding/json`.

use serde_json::{Map, Value};

use super::definitions_ref;

/// Schemas whose JSON is read by code of their own, which takes more than one type.
const OWN: [&str; 9] = [
    ".Quantity",
    ".IntOrString",
    ".Time",
    ".MicroTime",
    ".RawExtension",
    ".FieldsV1",
    ".JSON",
    ".JSONSchemaPropsOrArray",
    ".JSONSchemaPropsOrBool",
];

/// The first value in `object` that does not fit the schema `name`, if there is one.
pub fn misfit(name: &str, object: &Value) -> Option<String> {
    let schema = definitions_ref().get(name)?;
    Place { owner: name, path: Vec::new() }.look(schema, name, object)
}

/// Where the walk is: the schema whose field it looks at, and the names of fields down to it.
struct Place<'a> {
    owner: &'a str,
    path: Vec<&'a str>,
}

impl<'a> Place<'a> {
    fn look(&mut self, schema: &'a Value, name: &'a str, value: &'a Value) -> Option<String> {
        if let Some(target) = reference(schema) {
            return self.look(definitions_ref().get(target)?, target, value);
        }
        let own = OWN.iter().any(|own| name.ends_with(own) || name.ends_with("JSONSchemaPropsOrStringArray"));
        let kind = schema.get("type").and_then(Value::as_str).unwrap_or_default();
        if own || value.is_null() || kind.is_empty() {
            return None;
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        match (kind, value) {
            ("object", Value::Object(fields)) => self.fields(schema, properties, name, fields),
            ("array", Value::Array(items)) => {
                let schema = schema.get("items")?;
                items.iter().find_map(|item| self.look(schema, "", item))
            }
            ("string", Value::String(_)) | ("boolean", Value::Bool(_)) | ("number", Value::Number(_)) => None,
            ("integer", Value::Number(number)) if number.as_f64().is_some_and(|n| n.fract() == 0.0) => None,
            _ => Some(self.tell(value, &go_type(schema, name))),
        }
    }

    fn fields(
        &mut self,
        schema: &'a Value,
        properties: Option<&'a Map<String, Value>>,
        name: &'a str,
        fields: &'a Map<String, Value>,
    ) -> Option<String> {
        let Some(properties) = properties else {
            // The keys of a map are no fields.
            let values = schema.get("additionalProperties").filter(|schema| schema.is_object())?;
            return fields.values().find_map(|value| self.look(values, "", value));
        };
        let outer = self.owner;
        if !name.is_empty() {
            self.owner = name;
        }
        for (field, value) in fields {
            let Some((field, schema)) = properties.get_key_value(field) else { continue };
            self.path.push(field);
            let found = self.look(schema, "", value);
            self.path.pop();
            if found.is_some() {
                return found;
            }
        }
        self.owner = outer;
        None
    }

    fn tell(&self, value: &Value, wanted: &str) -> String {
        let found = match value {
            Value::Bool(_) => "bool".into(),
            // A number of the right kind that does not fit is quoted.
            Value::Number(number) if wanted.starts_with("int") => format!("number {number}"),
            Value::Number(_) => "number".to_string(),
            Value::String(_) => "string".into(),
            Value::Array(_) => "array".into(),
            Value::Object(_) | Value::Null => "object".into(),
        };
        let owner = short(self.owner);
        let place = if self.path.is_empty() {
            "Go value".to_string()
        } else {
            format!("Go struct field {owner}.{}", self.path.join("."))
        };
        format!("json: cannot unmarshal {found} into {place} of type {wanted}")
    }
}

/// The name that a schema refers to, also where it wraps the reference.
fn reference(schema: &Value) -> Option<&str> {
    let direct = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref"));
    direct.and_then(Value::as_str)?.strip_prefix("#/components/schemas/")
}

fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// What Go calls the type of a schema.
fn go_type(schema: &Value, name: &str) -> String {
    if let Some(target) = reference(schema) {
        return definitions_ref().get(target).map(|schema| go_type(schema, target)).unwrap_or_default();
    }
    if !name.is_empty() && schema.get("properties").is_some() {
        return format!("v1.{}", short(name));
    }
    let text = |field: &str| schema.get(field).and_then(Value::as_str).unwrap_or_default();
    match (text("type"), text("format")) {
        ("integer", format) => if format.is_empty() { "int64" } else { format }.to_string(),
        ("boolean", _) => "bool".into(),
        ("number", _) => "float64".into(),
        ("string", "byte") => "[]uint8".into(),
        ("array", _) => format!("[]{}", schema.get("items").map(|items| go_type(items, "")).unwrap_or_default()),
        ("object", _) => match schema.get("additionalProperties") {
            Some(values) => format!("map[string]{}", go_type(values, "")),
            None => "map[string]interface {}".into(),
        },
        _ => "string".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn misfits_are_told_as_go_tells_them() {
        let map = "io.k8s.api.core.v1.ConfigMap";
        let deployment = "io.k8s.api.apps.v1.Deployment";
        let pod = |container: Value| json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        for (name, object, wanted) in [
            (map, json!({"data": {"k": 1}}), "number into Go struct field ConfigMap.data of type string"),
            (map, json!({"data": ["k"]}), "array into Go struct field ConfigMap.data of type map[string]string"),
            (
                map,
                json!({"metadata": {"name": true}}),
                "bool into Go struct field ObjectMeta.metadata.name of type string",
            ),
            (
                deployment,
                json!({"spec": {"replicas": "many"}}),
                "string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                deployment,
                json!({"spec": {"replicas": 1.5}}),
                "number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                deployment,
                pod(json!({"name": {}})),
                "object into Go struct field Container.spec.template.spec.containers.name of type string",
            ),
            (deployment, json!({"spec": "x"}), "string into Go struct field Deployment.spec of type v1.DeploymentSpec"),
        ] {
            assert_eq!(misfit(name, &object), Some(format!("json: cannot unmarshal {wanted}")), "{object}");
        }
    }

    #[test]
    fn what_fits_is_let_through() {
        let limits = json!({"name": "c", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}, "env": null});
        for object in [
            json!({"spec": {"replicas": 2.0, "template": {"spec": {"containers": [limits]}}}}),
            json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": "25%"}}}}),
            json!({"metadata": {"creationTimestamp": null, "managedFields": [{"fieldsV1": {"f:a": {}}}]}, "more": 1}),
        ] {
            assert_eq!(misfit("io.k8s.api.apps.v1.Deployment", &object), None, "{object}");
        }
    }
}
