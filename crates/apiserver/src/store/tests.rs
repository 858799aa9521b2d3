//! The store against a simple model, across restarts, kills and other processes.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn files(dir: &Path) -> Options {
    let files = Files { store: dir.join("store.db"), key: dir.join("store.key") };
    Options { files: Some(files), history: Bounds::default() }
}

fn write(resource: &str, name: &str, expect: Expect, value: Option<u32>) -> Write {
    let object = json!({"apiVersion": "v1", "kind": "Thing", "metadata": {"name": name, "uid": "u"}, "value": value});
    let action = if value.is_some() { Action::Put(Draft::new(&object)) } else { Action::Delete };
    Write { resource: resource.into(), key: Key::new("default", name), expect, guard: None, action }
}

fn read(table: &Table) -> BTreeMap<String, (u64, Value)> {
    table.values().map(|o| (o.key.name.clone(), (o.version, o.value().unwrap()["value"].clone()))).collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8, u8, u32),
    Delete(u8, u8),
    Stale(u8, u8, u32),
    Reopen,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (0..2_u8, 0..5_u8, any::<u32>()).prop_map(|(r, k, v)| Op::Put(r, k, v)),
        3 => (0..2_u8, 0..5_u8).prop_map(|(r, k)| Op::Delete(r, k)),
        1 => (0..2_u8, 0..5_u8, any::<u32>()).prop_map(|(r, k, v)| Op::Stale(r, k, v)),
        1 => Just(Op::Reopen),
    ];
    proptest::collection::vec(op, 1..40)
}

/// Every version's tables, as a model keeps them.
type History = Vec<[BTreeMap<String, (u64, Value)>; 2]>;

async fn run(ops: &[Op], options: &Options) -> (Store, History) {
    let mut store = Store::open(options).unwrap();
    let mut history: History = vec![Default::default()];
    for op in ops {
        let mut now = history.last().unwrap().clone();
        let (resource, key, value, stale) = match op {
            Op::Put(r, k, v) => (*r, *k, Some(*v), false),
            Op::Delete(r, k) => (*r, *k, None, false),
            Op::Stale(r, k, v) => (*r, *k, Some(*v), true),
            Op::Reopen => {
                if options.files.is_some() {
                    store.close();
                    store = Store::open(options).unwrap();
                }
                continue;
            }
        };
        let (name, key) = (["secrets", "things"][usize::from(resource)], format!("k{key}"));
        let table = &mut now[usize::from(resource)];
        let expect = match table.get(&key) {
            Some((version, _)) => Expect::Version(if stale { version + 1 } else { *version }),
            None if value.is_none() || stale => Expect::Version(1),
            None => Expect::Absent,
        };
        let fits = match expect {
            Expect::Absent => true,
            Expect::Version(version) => table.get(&key).is_some_and(|(found, _)| *found == version),
        };
        let result = store.write(write(name, &key, expect, value)).await;
        assert_eq!(result.is_ok(), fits, "{result:?}");
        if let Ok(change) = result {
            assert_eq!(change.version, history.len() as u64);
            match value {
                Some(value) => table.insert(key, (change.version, json!(value))),
                None => table.remove(&key),
            };
            history.push(now);
        }
    }
    (store, history)
}

fn agrees(store: &Store, history: &History) {
    let now = history.len() as u64 - 1;
    assert_eq!(store.state().version, now);
    for (index, resource) in ["secrets", "things"].into_iter().enumerate() {
        for (version, tables) in history.iter().enumerate() {
            let then = store.table_at(resource, version as u64).unwrap();
            assert_eq!(read(&then), tables[index], "{resource} at {version}");
            let mut table = then;
            for change in store.feed(resource).after(version as u64, usize::MAX).unwrap() {
                assert_eq!(table.get(&*change.key).map(|o| o.version), change.before.as_ref().map(|o| o.version));
                match &change.after {
                    Some(after) => table.insert(change.key.clone(), after.clone()),
                    None => table.remove(&*change.key),
                };
                let event: Value = serde_json::from_slice(&change.event().object).unwrap();
                assert_eq!(event["metadata"]["resourceVersion"], change.version.to_string());
            }
            assert_eq!(read(&table), history.last().unwrap()[index], "{resource} from {version}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn lists_and_changes_agree_with_a_model_at_every_version(ops in ops()) {
        let (store, history) = block_on(run(&ops, &Options::default()));
        agrees(&store, &history);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_file_agrees_with_the_model_across_restarts(ops in ops()) {
        let dir = tempfile::tempdir().unwrap();
        let (store, history) = block_on(run(&ops, &files(dir.path())));
        agrees(&store, &history);
        store.close();
        agrees(&Store::open(&files(dir.path())).unwrap(), &history);
    }
}

#[test]
fn history_is_bounded_in_memory_and_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { history: Bounds { changes: 5, bytes: 1 << 20 }, ..files(dir.path()) };
    let store = Store::open(&options).unwrap();
    block_on(async {
        for n in 0..20 {
            let expect = if n == 0 { Expect::Absent } else { Expect::Version(n) };
            store.write(write("things", "x", expect, Some(1))).await.unwrap();
        }
    });
    for round in 0..2 {
        let store = if round == 0 { store.clone() } else { Store::open(&options).unwrap() };
        let feed = store.feed("things");
        assert_eq!(feed.after(14, 100).unwrap_err(), Gone { asked: 14, oldest: 15 });
        assert_eq!(feed.after(15, 100).unwrap().len(), 5);
        assert!(store.table_at("things", 14).is_err());
        store.close();
    }
    let rows: i64 = format::connect(&dir.path().join("store.db"))
        .unwrap()
        .query_row("SELECT count(*) FROM changes", [], |row| row.get(0))
        .unwrap();
    assert!(rows <= 6, "{rows} rows");
}

#[test]
fn secrets_are_nowhere_in_clear() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&files(dir.path())).unwrap();
    block_on(async {
        let object = |value: &str| json!({"metadata": {"name": "s"}, "data": {"password": value}});
        let mut put = write("secrets", "s", Expect::Absent, None);
        put.action = Action::Put(Draft::new(&object("correct-horse")));
        store.write(put.clone()).await.unwrap();
        put.action = Action::Put(Draft::new(&object("battery-staple")));
        put.expect = Expect::Version(1);
        store.write(put.clone()).await.unwrap();
        put.action = Action::Delete;
        put.expect = Expect::Version(2);
        store.write(put).await.unwrap();
    });
    let clear = |dir: &Path| {
        let all =
            fs::read_dir(dir).unwrap().flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect::<Vec<u8>>();
        ["correct-horse", "battery-staple"].iter().any(|word| all.windows(word.len()).any(|w| w == word.as_bytes()))
    };
    assert!(!clear(dir.path()));
    store.backup(&dir.path().join("copy")).unwrap();
    store.close();
    assert!(!clear(dir.path()));
    let again = Store::open(&files(dir.path())).unwrap();
    let before = again.feed("secrets").after(2, 1).unwrap()[0].before.clone().unwrap();
    assert_eq!(before.value().unwrap()["data"]["password"], "battery-staple");
}

#[test]
fn two_openers_never_share_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(&files(dir.path())).unwrap();
    assert!(matches!(Store::open(&files(dir.path())), Err(OpenError::Locked(_))));
    first.close();
    Store::open(&files(dir.path())).unwrap().close();
}

#[test]
fn a_restored_store_tells_old_watchers_to_list_again() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(&files(dir.path())).unwrap();
    let copy = dir.path().join("copy");
    block_on(async {
        store.write(write("secrets", "a", Expect::Absent, Some(1))).await.unwrap();
        store.backup(&copy).unwrap();
        store.write(write("secrets", "b", Expect::Absent, Some(2))).await.unwrap();
        assert!(store.backup(&copy).is_err(), "a copy is never overwritten");
    });
    store.close();
    let files = files(other.path());
    let target = files.files.clone().unwrap();
    assert!(matches!(restore(&copy, &target), Err(OpenError::Key { .. })));
    fs::copy(dir.path().join("store.key"), &target.key).unwrap();
    restore(&copy, &target).unwrap();
    assert!(restore(&copy, &target).is_err(), "a store is never overwritten");
    let restored = Store::open(&files).unwrap();
    assert_eq!(read(&restored.state().table("secrets")).keys().collect::<Vec<_>>(), ["a"]);
    assert!(restored.feed("secrets").after(2, 1).is_err());
    let change = block_on(restored.write(write("secrets", "c", Expect::Absent, Some(1)))).unwrap();
    assert!(change.version > 1_000_000_000);
}

const CHILD: &str = "ROADSTEAD_TEST_STORE_DIR";

/// Not a test by itself: the process that the next test kills. Prints every acknowledged write.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let store = Store::open(&files(Path::new(&dir))).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let start = store.state().version;
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..8 {
            let store = store.clone();
            tasks.spawn(async move {
                for n in 0.. {
                    let name = format!("{start}-{task}-{n}");
                    let change = store.write(write("secrets", &name, Expect::Absent, Some(n))).await.unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "\nACK {} {name}", change.version).unwrap();
                }
            });
        }
        tasks.join_next().await;
    });
}

#[test]
fn every_acknowledged_write_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut take = |line: String| {
            let mut words = line.strip_prefix("ACK ")?.split(' ');
            let version = words.next()?.parse().ok()?;
            acknowledged.insert(words.next()?.to_string(), version);
            Some(())
        };
        let mut count = 0;
        while count < 150 * round {
            count += take(lines.next().expect("the child writes on")).map_or(0, |()| 1);
        }
        child.kill().unwrap();
        // What it printed before it died was acknowledged too; a last line may be cut off.
        let rest: Vec<String> = lines.collect();
        for line in rest.into_iter().rev().skip(1) {
            take(line);
        }
        child.wait().unwrap();
        let store = Store::open(&files(dir.path())).unwrap();
        let table = read(&store.state().table("secrets"));
        for (name, version) in &acknowledged {
            assert_eq!(table.get(name).map(|(found, _)| found), Some(version), "{name} is lost");
        }
        let all = store.feed("secrets").after(0, usize::MAX).unwrap();
        assert_eq!(all.len() as u64, store.state().version, "history has no holes");
        store.close();
    }
}

#[test]
fn waiting_writes_are_done_before_the_store_closes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&files(dir.path())).unwrap();
    block_on(async {
        let write = store.write(write("things", "x", Expect::Absent, Some(1)));
        tokio::pin!(write);
        assert!(futures::poll!(&mut write).is_pending());
        let closing = store.clone();
        tokio::task::spawn_blocking(move || closing.close()).await.unwrap();
        assert!(write.await.is_ok());
    });
    let refused = block_on(store.write(write("things", "y", Expect::Absent, Some(1))));
    assert_eq!(refused.unwrap_err(), WriteError::Closed);
    assert_eq!(Store::open(&files(dir.path())).unwrap().state().version, 1);
}

#[test]
fn a_slow_cursor_is_told_and_others_go_on() {
    let store = Store::open(&Options { history: Bounds { changes: 3, bytes: 1 << 20 }, ..Options::default() }).unwrap();
    block_on(async {
        let (mut slow, mut quick) = (store.feed("things").cursor(0, None), store.feed("things").cursor(0, None));
        for n in 0..6_u64 {
            let expect = if n == 0 { Expect::Absent } else { Expect::Version(n) };
            store.write(write("things", "x", expect, Some(1))).await.unwrap();
            assert!(quick.changed().await);
            assert_eq!(quick.ready(10).unwrap().len(), 1);
        }
        assert_eq!(slow.ready(10).unwrap_err(), Gone { asked: 0, oldest: 3 });
    });
}

#[test]
fn who_follows_one_namespace_sleeps_while_others_change_and_falls_off_no_ring() {
    let store = Store::open(&Options { history: Bounds { changes: 8, bytes: 1 << 20 }, ..Options::default() }).unwrap();
    let put = |namespace: &str, name: String| Write {
        key: Key::new(namespace, &name),
        ..write("things", &name, Expect::Absent, Some(1))
    };
    block_on(async {
        let feed = store.feed("things");
        let (mut busy, mut quiet) = (feed.cursor(0, Some("busy")), feed.cursor(0, Some("quiet")));
        store.write(put("busy", "first".into())).await.unwrap();
        assert!(busy.changed().await);
        assert!(futures::poll!(std::pin::pin!(quiet.changed())).is_pending());
        let mut nudges = 0;
        for n in 0..40 {
            store.write(put("busy", n.to_string())).await.unwrap();
            if futures::poll!(std::pin::pin!(quiet.changed())).is_ready() {
                nudges += 1;
                quiet.ready(100).unwrap();
            }
        }
        assert!((5..20).contains(&nudges), "{nudges} nudges in 40 changes");
        store.write(put("quiet", "own".into())).await.unwrap();
        assert!(quiet.changed().await);
        assert_eq!(&*quiet.ready(100).unwrap().last().unwrap().key.namespace, "quiet");
    });
}
