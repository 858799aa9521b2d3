//! Create, read, update and delete, with and without what each may be made conditional on.

use serde_json::{Value, json};

use super::{Subject, manager};
use crate::{operation::Operation, random::Random};

#[derive(Clone, Copy)]
enum What {
    Create,
    Generate,
    Get,
    List,
    Update,
    Delete,
}

/// The next operations.
pub fn make(random: &mut Random) -> Vec<Operation> {
    let subject = Subject::any(random);
    let what = random.weighted(&[
        (30, What::Create),
        (5, What::Generate),
        (15, What::Get),
        (8, What::List),
        (25, What::Update),
        (17, What::Delete),
    ]);
    let operation = match what {
        What::Create => subject.create(random).with(manager(random)),
        What::Generate => generate(subject, random),
        What::Get => get(subject, random),
        What::List => Operation::get(subject.collection()),
        What::Update => update(subject, random).with(manager(random)),
        What::Delete => delete(subject, random),
    };
    vec![operation]
}

/// A create that leaves the name to the server, or has both.
fn generate(subject: Subject, random: &mut Random) -> Operation {
    let mut object = subject.object(random);
    if let Some(metadata) = object["metadata"].as_object_mut() {
        if random.chance(90) {
            metadata.remove("name");
        }
        metadata.insert("generateName".into(), json!("generated-"));
    }
    Operation::create(subject.collection(), object)
}

fn get(subject: Subject, random: &mut Random) -> Operation {
    let resource_version = random.weighted(&[(8, ""), (1, "resourceVersion=0")]);
    let path = if subject.kind.status && random.chance(10) { subject.path() + "/status" } else { subject.path() };
    Operation::get(path).with(resource_version)
}

/// Which version an update says that it is for.
fn version(subject: Subject, random: &mut Random) -> Value {
    match random.weighted(&[(6, 0), (2, 1), (3, 2), (1, 3)]) {
        0 => format!("${{rv:{}}}", subject.key()).into(),
        1 => format!("${{old:{}}}", subject.key()).into(),
        2 => Value::Null,
        _ => json!("1"),
    }
}

fn update(subject: Subject, random: &mut Random) -> Operation {
    let mut object = subject.object(random);
    let version = version(subject, random);
    if !version.is_null() {
        object["metadata"]["resourceVersion"] = version;
    }
    if random.chance(10) {
        object["metadata"]["uid"] = match random.below(3) {
            0 => json!("00000000-0000-4000-8000-00000000000f"),
            _ => format!("${{uid:{}}}", subject.key()).into(),
        };
    }
    if subject.kind.status && random.chance(15) {
        object["status"] = super::patches::status(subject, random);
        return Operation::update(subject.path() + "/status", object);
    }
    Operation::update(subject.path(), object)
}

fn delete(subject: Subject, random: &mut Random) -> Operation {
    let delete = Operation::delete(subject.path());
    let options = match random.below(6) {
        0 => json!({"uid": format!("${{uid:{}}}", subject.key())}),
        1 => json!({"uid": "00000000-0000-4000-8000-00000000000f"}),
        2 => json!({"resourceVersion": format!("${{old:{}}}", subject.key())}),
        3 => json!({"resourceVersion": format!("${{rv:{}}}", subject.key())}),
        _ => return delete,
    };
    delete.json(json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": options}))
}
