//! What is asked for every message reads so many entries of an index, however many wait: no statement sorts or scans.

use tempfile::tempdir;

use super::support::*;
use crate::log::{Options, files, reader, transaction};

#[tokio::test]
async fn hot_statements_neither_scan_nor_sort() {
    let directory = tempdir().unwrap();
    open(directory.path(), Options::default()).await.close().await;
    let connection = files::connect(&files::database_path(directory.path())).unwrap();
    for sql in [reader::READY, reader::RawReady::ONE, transaction::NEXT_OF_KEY, transaction::OLDEST] {
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let names = 1..=explain.parameter_count();
        let values = rusqlite::params_from_iter(names.map(|_| 1));
        let steps = explain.query_map(values, |row| row.get::<_, String>(3)).unwrap();
        let steps: Vec<String> = steps.map(Result::unwrap).collect();
        assert!(!steps.is_empty() && steps.iter().all(|step| step.starts_with("SEARCH")), "{sql}: {steps:?}");
    }
}
