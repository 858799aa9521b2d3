//! Lists: selectors, pages, versions, and the forms that answers come in.

use super::Subject;
use crate::{operation::Operation, random::Random};

pub(super) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
pub(super) const PARTIAL: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json";
const PARTIAL_LIST: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json";

/// The next operations.
pub fn make(random: &mut Random) -> Vec<Operation> {
    let subject = Subject::any(random);
    match random.below(10) {
        0..3 => vec![subject.create(random)],
        3 => page(subject, random),
        4..6 => vec![Operation::get(subject.collection()).with(labels(random))],
        6 => vec![Operation::get(subject.collection()).with(&fields(random))],
        7 => vec![Operation::get(subject.collection()).with(version(random))],
        8 => {
            let with = random.word(&["", "", "limit=1", "labelSelector=app%3Dweb", "resourceVersion=0"]);
            let list = Operation::get(subject.collection()).accepting(random.word(&[TABLE, PARTIAL_LIST]));
            vec![list.with(with).with(included(random))]
        }
        _ => {
            let with = random.word(&["", "", "resourceVersion=0", "resourceVersion=x", "resourceVersion=${list}"]);
            let get = Operation::get(subject.path()).accepting(random.word(&[TABLE, PARTIAL]));
            vec![get.with(with).with(included(random))]
        }
    }
}

/// What the rows of a Table carry.
fn included(random: &mut Random) -> &'static str {
    random.word(&["", "", "includeObject=None", "includeObject=Object", "includeObject=Metadata", "includeObject=Odd"])
}

/// A page, and the one after it. A selected page stands alone: whether there is another one is allowed to differ.
fn page(subject: Subject, random: &mut Random) -> Vec<Operation> {
    let limit = *random.pick(&["limit=1", "limit=2", "limit=0", "limit=500", "limit=-1", "limit=x"]);
    let first = Operation::get(subject.collection()).with(limit);
    if random.chance(30) {
        return vec![first.with("labelSelector=app%3Dweb")];
    }
    let next = first.clone().with("continue=${continue}");
    let mut all = vec![first, next];
    if random.chance(20) {
        all.push(Operation::get(subject.collection()).with("continue=nonsense"));
    }
    all
}

fn labels(random: &mut Random) -> &'static str {
    random.word(&[
        "labelSelector=app%3Dweb",
        "labelSelector=app%3D%3Dweb",
        "labelSelector=app!%3Dweb",
        "labelSelector=app+in+(web,db)",
        "labelSelector=app+notin+(web)",
        "labelSelector=tier",
        "labelSelector=!tier",
        "labelSelector=app%3Dweb,tier%3Dfront",
        "labelSelector=app%3D",
        "labelSelector=",
        "labelSelector=x>5",
        "labelSelector=app+in+()",
        "labelSelector=app+in+(web",
        "labelSelector=a%3Db%3Dc",
        "labelSelector=bad+key%3Dx",
        "labelSelector=app%3Dbad+value",
        "labelSelector=,",
        "labelSelector=%3Dweb",
    ])
}

fn fields(random: &mut Random) -> String {
    let selector = *random.pick(&[
        "metadata.name%3Da",
        "metadata.name!%3Da",
        "metadata.namespace%3Ddefault",
        "metadata.namespace%3D${ns0}",
        "metadata.name%3Da,metadata.namespace%3D${ns0}",
        "metadata.uid%3Dx",
        "spec.mode%3Dfast",
        "spec.mode!%3Dfast",
        "type%3DOpaque",
        "spec.type%3DClusterIP",
        "spec.clusterIP%3DNone",
        "spec.size%3D1",
        "nonsense",
        "metadata.name%3Da%3Db",
        "",
    ]);
    format!("fieldSelector={selector}")
}

fn version(random: &mut Random) -> &'static str {
    random.word(&[
        "resourceVersion=0",
        "resourceVersion=${list}",
        "resourceVersion=${list}&resourceVersionMatch=Exact",
        "resourceVersion=${list}&resourceVersionMatch=NotOlderThan",
        "resourceVersion=0&resourceVersionMatch=NotOlderThan",
        "resourceVersion=0&resourceVersionMatch=Exact",
        "resourceVersionMatch=Exact",
        "resourceVersionMatch=NotOlderThan",
        "resourceVersion=${list}&resourceVersionMatch=Odd",
        "resourceVersion=${list}&limit=1",
        "resourceVersion=x",
        "resourceVersion=-1",
        "resourceVersion=${list}&continue=x",
    ])
}
