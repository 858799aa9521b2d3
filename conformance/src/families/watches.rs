//! Watches: from older versions, with selectors, with the initial events, with bookmarks; the stream is compared.

use serde_json::json;

use super::{
    Subject,
    lists::{PARTIAL, TABLE},
    patches,
};
use crate::{
    kinds::kind,
    operation::{Mode, Operation},
    random::Random,
};

/// The next operations: some writes, then what a watch tells of them.
pub fn make(random: &mut Random) -> Vec<Operation> {
    let plural = random.weighted(&[
        (4, "configmaps"),
        (6, "widgets"),
        (1, "secrets"),
        (1, "serviceaccounts"),
        (1, "services"),
        (1, "deployments"),
        (1, "roles"),
    ]);
    let subject = Subject { namespace: "ns0", ..Subject::of(kind(plural), random) };
    let mut operations = vec![Operation::get(subject.collection())];
    for _ in 0..random.below(6) {
        let subject = Subject { namespace: "ns0", ..Subject::of(subject.kind, random) };
        let write = match random.below(4) {
            0..2 => subject.create(random),
            2 => Operation::patch(subject.path(), "merge-patch+json", patches::part(subject, random)),
            _ => Operation::delete(subject.path()),
        };
        operations.push(write);
    }
    let parameters = *random.pick(&[
        "resourceVersion=${list}",
        "resourceVersion=${list}",
        "resourceVersion=${list}&labelSelector=app%3Dweb",
        "resourceVersion=${list}&labelSelector=app!%3Dweb",
        "resourceVersion=${list}&fieldSelector=metadata.name%3Da",
        "resourceVersion=0",
        "",
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        "sendInitialEvents=true",
        "sendInitialEvents=false&resourceVersion=${list}&resourceVersionMatch=NotOlderThan",
        "resourceVersion=x",
        "resourceVersion=${list}&resourceVersionMatch=Exact",
        "resourceVersion=${list}&limit=1",
        "resourceVersion=${list}&labelSelector=a+in+(",
        "fieldSelector=spec.nothing%3D1",
    ]);
    if !parameters.contains("${list}") {
        // What a watch from any version begins with is only sure to be the newest after a consistent read.
        operations.push(Operation::get(subject.collection()));
    }
    let app = if parameters.contains("app!%3Dweb") { "end" } else { "web" };
    let mut last = subject.kind.object(random, "end");
    last["metadata"]["labels"] = json!({"app": app});
    let watch = Operation::get(subject.collection()).with("watch=true").with(parameters);
    // Where the selector hides the last object, the stream's own end is waited for.
    let watch = if parameters.contains("metadata.name") {
        watch.with("timeoutSeconds=1")
    } else {
        watch.with("timeoutSeconds=20").json(last)
    };
    let watch = match random.below(10) {
        0..2 => watch.accepting(TABLE),
        2 => watch.accepting(PARTIAL),
        _ => watch,
    };
    operations.push(Operation { mode: Mode::Stream, ..watch });
    operations
}
