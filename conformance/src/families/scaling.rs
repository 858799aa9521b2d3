//! The scale subresource: read, updated, patched.

use serde_json::json;

use super::{Subject, manager};
use crate::{kinds::kind, operation::Operation, random::Random};

/// The next operations.
pub fn make(random: &mut Random) -> Vec<Operation> {
    let subject = Subject::of(kind(random.word(&["deployments", "widgets"])), random);
    let path = subject.path() + "/scale";
    let replicas = random.pick(&[json!(0), json!(1), json!(5), json!(5), json!(-1), json!("2"), json!(null)]).clone();
    let mut scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"name": subject.name, "namespace": format!("${{{}}}", subject.namespace)}, "spec": {"replicas": replicas}});
    let operation = match random.below(10) {
        0..2 => subject.create(random),
        2..4 => Operation::get(path),
        4..7 => {
            match random.below(5) {
                0 => scale["metadata"]["resourceVersion"] = format!("${{rv:{}}}", subject.key()).into(),
                1 => scale["metadata"]["resourceVersion"] = format!("${{old:{}}}", subject.key()).into(),
                2 => scale["metadata"]["name"] = json!("other"),
                _ => {}
            }
            Operation::update(path, scale).with(manager(random))
        }
        7..9 => {
            let format = *random.pick(&["merge-patch+json", "merge-patch+json", "strategic-merge-patch+json"]);
            Operation::patch(path, format, json!({"spec": {"replicas": replicas}})).with(manager(random))
        }
        _ => Operation::patch(path, "apply-patch+yaml", scale)
            .with("fieldManager=one")
            .with(random.word(&["", "force=true"])),
    };
    // What became of the object itself, managers and generation included.
    vec![operation, Operation::get(subject.path())]
}
