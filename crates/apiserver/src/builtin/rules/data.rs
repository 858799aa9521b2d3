//! Secret and ConfigMap: keys, size, types, and that immutable ones stay as they are.

use base64::{Engine, engine::general_purpose::STANDARD};
use roadstead_kubewire::error::Cause;
use serde_json::Value;

use super::{IMMUTABLE, text};
use crate::schema::field::{self, Path};

/// All values together, in bytes.
const MAX_DATA: usize = 1024 * 1024;

const SEALED: &str = "field is immutable when `immutable` is set";

/// Secret.
pub(in crate::builtin) fn secret(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let decoded = |value: &Value| STANDARD.decode(value.as_str().unwrap_or_default()).map_or(0, |bytes| bytes.len());
    let size = keys(new, "data", decoded, &mut causes);
    too_much(size, "data", &mut causes);
    let kind = text(new, "/type");
    let has = |key: &str| new.get("data").is_some_and(|data| data.get(key).is_some());
    let path = Path::new("data");
    match kind {
        "kubernetes.io/service-account-token" => {
            let annotation = "kubernetes.io/service-account.name";
            if new.pointer("/metadata/annotations").and_then(|all| all.get(annotation)).is_none() {
                causes.push(field::required(Path::new("metadata.annotations").key(annotation), ""));
            }
        }
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            causes.push(field::required(path.key("username"), ""));
            causes.push(field::required(path.key("password"), ""));
        }
        _ => {
            let needs: &[&str] = match kind {
                "kubernetes.io/dockercfg" => &[".dockercfg"],
                "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
                "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
                "kubernetes.io/tls" => &["tls.crt", "tls.key"],
                _ => &[],
            };
            let missing = needs.iter().filter(|key| !has(key));
            causes.extend(missing.map(|key| field::required(path.key(key), "")));
        }
    }
    for key in [".dockercfg", ".dockerconfigjson"].iter().filter(|_| kind.starts_with("kubernetes.io/docker")) {
        let Some(value) = new.get("data").and_then(|data| data.get(key)).and_then(Value::as_str) else { continue };
        let json = STANDARD.decode(value).is_ok_and(|bytes| serde_json::from_slice::<Value>(&bytes).is_ok());
        if !json {
            causes.push(field::invalid(path.key(key), &"<secret contents redacted>".into(), "it is not JSON"));
        }
    }
    if let Some(old) = old {
        if old["type"] != new["type"] {
            causes.push(field::invalid("type", &new["type"], IMMUTABLE));
        }
        sealed(new, old, &["data"], &mut causes);
    }
    causes
}

/// ConfigMap.
pub(in crate::builtin) fn config_map(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let plain = |value: &Value| value.as_str().map_or(0, str::len);
    let decoded = |value: &Value| plain(value) / 4 * 3;
    let size = keys(new, "data", plain, &mut causes) + keys(new, "binaryData", decoded, &mut causes);
    too_much(size, "", &mut causes);
    for key in new.get("data").and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key) {
        if new.pointer("/binaryData").is_some_and(|data| data.get(key).is_some()) {
            causes.push(field::invalid(
                Path::new("data").key(key),
                &key.as_str().into(),
                "duplicate of key present in binaryData",
            ));
        }
    }
    if let Some(old) = old {
        sealed(new, old, &["data", "binaryData"], &mut causes);
    }
    causes
}

/// Checks the keys of a map and adds up its values.
fn keys(object: &Value, name: &str, size: impl Fn(&Value) -> usize, causes: &mut Vec<Cause>) -> usize {
    let entries = object.get(name).and_then(Value::as_object);
    let mut total = 0;
    for (key, value) in entries.into_iter().flatten() {
        if let Some(why) = bad_key(key) {
            causes.push(field::invalid(Path::new(name).key(key), &key.as_str().into(), why));
        }
        total += size(value);
    }
    total
}

/// What is wrong with a key, which becomes a file's name.
fn bad_key(key: &str) -> Option<&'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if key.is_empty() || !key.chars().all(legal) {
        return Some(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
             'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        );
    }
    match key {
        "." => Some("must not be '.'"),
        ".." => Some("must not be '..'"),
        _ if key.starts_with("..") => Some("must not start with '..'"),
        _ if key.len() > 253 => Some("must be no more than 253 characters"),
        _ => None,
    }
}

fn too_much(size: usize, path: &str, causes: &mut Vec<Cause>) {
    if size > MAX_DATA {
        causes.push(field::too_long(path, MAX_DATA as u64));
    }
}

/// An immutable object keeps its content, and stays immutable.
fn sealed(new: &Value, old: &Value, fields: &[&str], causes: &mut Vec<Cause>) {
    if old["immutable"] != true {
        return;
    }
    for name in ["immutable"].iter().chain(fields).filter(|name| old.get(**name) != new.get(**name)) {
        causes.push(field::forbidden(name, SEALED));
    }
}
