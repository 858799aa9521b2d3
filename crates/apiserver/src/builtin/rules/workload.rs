//! Deployment, StatefulSet and DaemonSet: the selector belongs to the template and never changes.

use roadstead_kubewire::error::Cause;
use serde_json::{Value, json};

use super::{IMMUTABLE, not_negative, one_of, pod, text};
use crate::schema::field::{self, Path};

/// What may change in a StatefulSet.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
    "revisionHistoryLimit",
];

/// Deployment.
pub(in crate::builtin) fn deployment(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = common(new, old);
    let path = Path::new("spec.strategy");
    let rolling = &new["spec"]["strategy"]["rollingUpdate"];
    let kinds = ["Recreate", "RollingUpdate"];
    if !["", "Recreate", "RollingUpdate"].contains(&text(new, "/spec/strategy/type")) {
        // The strategy is told whole, as Go holds it.
        let held = match rolling {
            Value::Null => Value::Null,
            rolling => json!({"MaxUnavailable": rolling["maxUnavailable"], "MaxSurge": rolling["maxSurge"]}),
        };
        let strategy = json!({"Type": text(new, "/spec/strategy/type"), "RollingUpdate": held});
        causes.push(field::not_supported(&path, &strategy, &kinds));
    }
    for name in ["maxUnavailable", "maxSurge"].iter().filter(|_| text(new, "/spec/strategy/type") != "Recreate") {
        share(&rolling[name], path.child("rollingUpdate").child(name), &mut causes);
    }
    if text(new, "/spec/strategy/type") == "Recreate" && !rolling.is_null() {
        let why = "may not be specified when strategy `type` is 'Recreate'";
        causes.push(field::forbidden(path.child("rollingUpdate"), why));
    }
    let zero = |value: &Value| *value == 0 || *value == "0%";
    if zero(&rolling["maxUnavailable"]) && zero(&rolling["maxSurge"]) {
        let path = path.child("rollingUpdate").child("maxUnavailable");
        causes.push(field::invalid(path, &rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0"));
    }
    let percent = |value: &Value| value.as_str()?.strip_suffix('%')?.parse::<u32>().ok();
    if percent(&rolling["maxUnavailable"]).is_some_and(|percent| percent > 100) {
        let path = path.child("rollingUpdate").child("maxUnavailable");
        causes.push(field::invalid(path, &rolling["maxUnavailable"], "must not be greater than 100%"));
    }
    let ready = new["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
    if let Some(deadline) = new["spec"]["progressDeadlineSeconds"].as_i64().filter(|deadline| *deadline <= ready) {
        let path = "spec.progressDeadlineSeconds";
        causes.push(field::invalid(path, &deadline.into(), "must be greater than minReadySeconds"));
    }
    causes
}

/// A number of Pods, or a part of all.
fn share(value: &Value, path: Path, causes: &mut Vec<Cause>) {
    let percent = |text: &str| {
        text.strip_suffix('%').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()))
    };
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            causes.push(field::invalid(path, value, "must be greater than or equal to 0"));
        }
        Value::String(text) if !percent(text) => {
            let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex \
                       used for validation is '[0-9]+%')";
            causes.push(field::invalid(path, value, why));
        }
        _ => {}
    }
}

/// StatefulSet.
pub(in crate::builtin) fn stateful_set(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    // What may not change is told once, for the whole spec.
    let mut causes = common(new, None);
    let path = Path::new("spec.updateStrategy.type");
    one_of(&new["spec"]["updateStrategy"]["type"], path, &["OnDelete", "RollingUpdate"], &mut causes);
    let path = Path::new("spec.podManagementPolicy");
    one_of(&new["spec"]["podManagementPolicy"], path, &["OrderedReady", "Parallel"], &mut causes);
    let fixed = |set: &Value| {
        let mut spec = set["spec"].clone();
        if let Value::Object(fields) = &mut spec {
            fields.retain(|name, _| !CHANGEABLE.contains(&name.as_str()));
        }
        spec
    };
    if old.is_some_and(|old| fixed(old) != fixed(new)) {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                   'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                   'minReadySeconds' are forbidden";
        causes.push(field::forbidden("spec", why));
    }
    causes
}

/// DaemonSet.
pub(in crate::builtin) fn daemon_set(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = common(new, old);
    let path = Path::new("spec.updateStrategy.type");
    one_of(&new["spec"]["updateStrategy"]["type"], path, &["OnDelete", "RollingUpdate"], &mut causes);
    causes
}

fn common(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    for pointer in ["/spec/replicas", "/spec/minReadySeconds", "/spec/revisionHistoryLimit"] {
        not_negative(new, pointer, &mut causes);
    }
    let (spec, path) = (&new["spec"], Path::new("spec"));
    let selector = &spec["selector"];
    let empty = |name: &str| match &selector[name] {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => true,
    };
    if old.is_some_and(|old| old["spec"]["selector"] != *selector) {
        causes.push(field::invalid(path.child("selector"), selector, IMMUTABLE));
    }
    if selector.is_null() {
        causes.push(field::required(path.child("selector"), ""));
    } else if empty("matchLabels") && empty("matchExpressions") {
        let why = "empty selector is invalid for deployment";
        causes.push(field::invalid(path.child("selector"), selector, why));
    } else {
        let before = causes.len();
        pod::selector(selector, &path.child("selector"), &mut causes);
        if causes.len() > before {
            // What it selects cannot be told, so the template is not looked at.
            causes.push(field::invalid(path.child("selector"), selector, "invalid label selector"));
            return causes;
        }
    }
    let labels = &spec["template"]["metadata"]["labels"];
    // An absent selector selects nothing.
    if selector.is_null() || !pod::selects(selector, labels) {
        let path = path.child("template").child("metadata").child("labels");
        causes.push(field::invalid(path, labels, "`selector` does not match template `labels`"));
    }
    pod::template(&spec["template"], &path.child("template"), &mut causes);
    causes
}
