//! Deletion with finalizers, owners and each propagation, and of collections. What follows is asynchronous on both sides: each
//! such write is followed by lists that are compared when both sides have settled.

use serde_json::{Value, json};

use super::Subject;
use crate::{
    kinds::{Kind, NAMES, kind},
    operation::Operation,
    random::Random,
};

/// The kinds that own and are owned here; a real garbage collector learns of a new custom kind only after half a minute.
const PLURALS: [&str; 3] = ["configmaps", "secrets", "deployments"];

/// The next operations.
pub fn make(random: &mut Random) -> Vec<Operation> {
    let subject = Subject { namespace: "ns0", ..Subject::of(kind(random.word(&PLURALS)), random) };
    match random.below(12) {
        // An owner may be gone already, and a finalizer the last: then the collector acts on these too.
        0..4 => settled(owned(subject, random)),
        4 => vec![held(subject, random)],
        5 => settled(finalizers(subject, random)),
        6..10 => {
            let delete = Operation::delete(subject.path());
            let delete = match propagation(random) {
                Value::Null => delete,
                policy if random.chance(30) => {
                    delete.with(&format!("propagationPolicy={}", policy.as_str().unwrap_or_default()))
                }
                policy => {
                    delete.json(json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}))
                }
            };
            settled(delete)
        }
        10 => settled(collection(subject.kind, random)),
        _ => vec![subject.create(random)],
    }
}

fn propagation(random: &mut Random) -> Value {
    random
        .pick(&[
            Value::Null,
            json!("Orphan"),
            json!("Background"),
            json!("Foreground"),
            json!("Foreground"),
            json!("Odd"),
        ])
        .clone()
}

/// A write, and what is there once all that follows has been done.
fn settled(write: Operation) -> Vec<Operation> {
    let lists = PLURALS.iter().map(|plural| Operation::get(kind(plural).collection("ns0")).settled());
    std::iter::once(write).chain(lists).collect()
}

/// An object with an owner, which may or may not be there.
fn owned(subject: Subject, random: &mut Random) -> Operation {
    let mut object = subject.object(random);
    let reference = |random: &mut Random| {
        let owner = Subject { namespace: "ns0", ..Subject::of(kind(random.word(&PLURALS)), random) };
        let mut reference = json!({"apiVersion": owner.kind.api_version, "kind": owner.kind.kind, "name": owner.name,
            "uid": format!("${{uid:{}}}", owner.key())});
        match random.below(4) {
            0 => reference["blockOwnerDeletion"] = json!(true),
            1 => reference["controller"] = json!(true),
            2 => {
                reference["controller"] = json!(false);
                reference["blockOwnerDeletion"] = json!(true);
            }
            _ => {}
        }
        reference
    };
    let mut owners = vec![reference(random)];
    if random.chance(15) {
        owners.push(reference(random));
        owners[0]["controller"] = json!(false);
    }
    object["metadata"]["ownerReferences"] = owners.into();
    Operation::create(subject.collection(), object)
}

/// An object that a finalizer holds.
fn held(subject: Subject, random: &mut Random) -> Operation {
    let mut object = subject.object(random);
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    Operation::create(subject.collection(), object)
}

/// Adds or removes finalizers.
fn finalizers(subject: Subject, random: &mut Random) -> Operation {
    let list = random
        .pick(&[Value::Null, json!([]), json!(["example.com/hold"]), json!(["example.com/hold", "example.com/more"])])
        .clone();
    Operation::patch(subject.path(), "merge-patch+json", json!({"metadata": {"finalizers": list}}))
}

fn collection(kind: &'static Kind, random: &mut Random) -> Operation {
    let selector = *random.pick(&[
        "labelSelector=app%3Dweb",
        "labelSelector=app%3Ddb",
        "labelSelector=tier",
        "fieldSelector=metadata.name%3Da",
    ]);
    let delete = Operation::delete(kind.collection("ns0")).with(selector);
    if random.chance(30) {
        let name = *random.pick(&NAMES);
        return Operation::delete(kind.collection("ns0")).with(&format!("fieldSelector=metadata.name%3D{name}"));
    }
    delete
}
