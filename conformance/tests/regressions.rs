//! What was once answered differently from a real kube-apiserver is still answered as that one did. The answers were
//! recorded; no real server is needed.

use std::{fs, path::Path};

use roadstead_conformance::{prepare::Run, recording::Recording, report, side::Embedded};

#[tokio::test(flavor = "multi_thread")]
async fn recorded_answers_are_given() {
    let embedded = Embedded::open().await.unwrap();
    let run = Run::new();
    run.define(&embedded.side).await.unwrap();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    assert!(!paths.is_empty());
    let mut wrong = String::new();
    for (attempt, path) in (1..).zip(paths) {
        let recording = Recording::read(&path).unwrap();
        assert!(!recording.comment.is_empty(), "{} does not say what was wrong", path.display());
        for (operation, differences) in recording.check(&embedded.side, &run, attempt).await.unwrap() {
            wrong += &format!("\n{} ({})\n{}", path.display(), recording.comment, report::operation(&operation));
            differences.iter().for_each(|difference| wrong += &format!("{difference}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
