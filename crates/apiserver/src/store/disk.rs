//! Reading everything at start, and writing one batch: the only code that touches the store's rows.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use roadstead_kubewire::Key;
use rusqlite::{Connection, Transaction, params};

use super::{
    cipher::{Cipher, is_sealed},
    error::OpenError,
    feed::{Bounds, Feed},
    format,
    object::Object,
    plan::{Change, ResourceName, State},
};

/// Resources whose bodies are sealed.
const SEALED_RESOURCES: &[&str] = &["secrets"];

/// The writer's side of the file.
#[derive(Debug)]
pub struct Disk {
    connection: Connection,
    cipher: Cipher,
    ids: HashMap<ResourceName, i64>,
}

/// What was in the file.
#[derive(Default)]
pub struct Loaded {
    /// All objects.
    pub state: State,
    /// The kept changes of each resource.
    pub feeds: HashMap<ResourceName, Arc<Feed>>,
    /// No resource can be resumed from before this.
    pub floor: u64,
    /// Changes that are in the file but beyond the bounds; to be dropped with the next batch.
    pub dropped: Vec<u64>,
}

impl Disk {
    /// Opens the file and reads all of it.
    pub fn open(path: &Path, key_file: &Path, bounds: Bounds) -> Result<(Self, Loaded), OpenError> {
        let (connection, cipher) = format::open(path, key_file)?;
        // Nobody else writes. Only emptying the WAL can meet somebody, and must not keep writers waiting for long.
        connection.busy_timeout(Duration::from_millis(20)).map_err(OpenError::sqlite(path))?;
        let mut disk = Self { connection, cipher, ids: HashMap::new() };
        let loaded = disk.load(bounds).map_err(|error| error.at(path))?;
        Ok((disk, loaded))
    }

    fn load(&mut self, bounds: Bounds) -> Result<Loaded, LoadError> {
        let number = |name| format::fact::<i64>(&self.connection, name).map(i64::cast_unsigned);
        let floor = number("floor")?;
        let mut state = State { version: number("version")?, ..State::default() };
        let mut feeds = HashMap::new();
        let mut names = HashMap::new();
        let mut statement = self.connection.prepare("SELECT id, name, floor FROM resources")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, name): (i64, ResourceName) = (row.get(0)?, row.get::<_, String>(1)?.into());
            let feed = Feed::new(bounds, floor.max(row.get::<_, i64>(2)?.cast_unsigned()));
            feeds.insert(name.clone(), Arc::new(feed));
            self.ids.insert(name.clone(), id);
            names.insert(id, name);
        }
        let mut statement = self.connection.prepare("SELECT resource, namespace, name, version, body FROM objects")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name = names.get(&row.get(0)?).ok_or(LoadError::Stray)?;
            let key = Arc::new(Key::new(row.get::<_, String>(1)?, row.get::<_, String>(2)?));
            let object = self.object(name, key.clone(), row.get::<_, i64>(3)?, row.get(4)?)?;
            state.tables.entry(name.clone()).or_default().insert(key, object);
        }
        let mut dropped = Vec::new();
        for change in self.changes(&state, &names)? {
            match feeds.get(&change.resource) {
                // A kill between two batches leaves at most rows that were about to be dropped.
                Some(feed) if change.version > feed.floor() => {
                    feed.lock().push(change, |version| dropped.push(version))
                }
                _ => dropped.push(change.version),
            }
        }
        Ok(Loaded { state, feeds, floor, dropped })
    }

    /// The kept changes, oldest first. Read newest first: what a change led to is what the next one started from.
    fn changes(&self, state: &State, names: &HashMap<i64, ResourceName>) -> Result<Vec<Arc<Change>>, LoadError> {
        let mut later: HashMap<(ResourceName, Arc<Key>), Option<Arc<Object>>> = HashMap::new();
        let mut changes = Vec::new();
        let mut statement = self.connection.prepare(
            "SELECT version, resource, namespace, name, before_version, before FROM changes ORDER BY version DESC",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name = names.get(&row.get(1)?).ok_or(LoadError::Stray)?;
            let key = Key::new(row.get::<_, String>(2)?, row.get::<_, String>(3)?);
            let present = state.get(name, &key).cloned();
            let key = present.as_ref().map_or_else(|| Arc::new(key), |object| object.key.clone());
            let before = match row.get::<_, Option<i64>>(4)? {
                Some(version) => Some(self.object(name, key.clone(), version, row.get(5)?)?),
                None => None,
            };
            let after = later.insert((name.clone(), key.clone()), before.clone()).unwrap_or(present);
            let version = row.get::<_, i64>(0)?.cast_unsigned();
            changes.push(Arc::new(Change::recalled(version, name.clone(), key, before, after)));
        }
        changes.reverse();
        Ok(changes)
    }

    fn object(&self, resource: &str, key: Arc<Key>, version: i64, body: Vec<u8>) -> Result<Arc<Object>, LoadError> {
        let context = context(resource, &key);
        let body = match is_sealed(&body) {
            true => self.cipher.open(&context, &body).ok_or_else(|| LoadError::Sealed(context.clone()))?,
            false => body,
        };
        let object = Object::from_stored(key, version.cast_unsigned(), Bytes::from(body));
        Ok(Arc::new(object.map_err(|reason| LoadError::Object(context, reason))?))
    }

    /// Writes a batch and makes it durable: all of it or nothing.
    ///
    /// `dropped` are versions whose change rows go; `floors` the resources whose floor rose with that.
    pub fn commit(
        &mut self,
        changes: &[Arc<Change>],
        dropped: &[u64],
        floors: &[(ResourceName, u64)],
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        // An id that might be rolled back is remembered only after the commit.
        let mut new_ids = HashMap::new();
        for change in changes {
            let known = self.ids.get(&change.resource).or_else(|| new_ids.get(&change.resource)).copied();
            let id = match known {
                Some(id) => id,
                None => new_id(&transaction, &change.resource)?,
            };
            if known.is_none() {
                new_ids.insert(change.resource.clone(), id);
            }
            record(&transaction, &self.cipher, id, change)?;
        }
        let mut forget = transaction.prepare_cached("DELETE FROM changes WHERE version = ?1")?;
        for version in dropped {
            forget.execute([version.cast_signed()])?;
        }
        drop(forget);
        for (resource, floor) in floors {
            let mut raise = transaction.prepare_cached("UPDATE resources SET floor = ?2 WHERE name = ?1")?;
            raise.execute(params![&**resource, floor.cast_signed()])?;
        }
        if let Some(last) = changes.last() {
            format::set_fact(&transaction, "version", last.version.cast_signed())?;
        }
        transaction.commit()?;
        self.ids.extend(new_ids);
        Ok(())
    }

    /// Copies the whole WAL into the file and empties it, unless somebody is reading it.
    pub fn empty_wal(&self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// Lets the file have so many pages, as a full disk would.
    #[cfg(test)]
    pub fn limit_pages(&self, pages: u32) {
        self.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    }
}

/// Moves the present body into the undo log, and puts the new one in its place.
fn record(transaction: &Transaction<'_>, cipher: &Cipher, id: i64, change: &Change) -> rusqlite::Result<()> {
    let (namespace, name) = (&change.key.namespace, &change.key.name);
    let version = change.version.cast_signed();
    if change.before.is_some() {
        let mut undo = transaction.prepare_cached(
            "INSERT INTO changes SELECT ?4, resource, namespace, name, version, body FROM objects
             WHERE resource = ?1 AND namespace = ?2 AND name = ?3",
        )?;
        undo.execute(params![id, namespace, name, version])?;
    } else {
        let mut undo = transaction.prepare_cached("INSERT INTO changes VALUES (?4, ?1, ?2, ?3, NULL, NULL)")?;
        undo.execute(params![id, namespace, name, version])?;
    }
    let Some(after) = &change.after else {
        let mut delete =
            transaction.prepare_cached("DELETE FROM objects WHERE resource = ?1 AND namespace = ?2 AND name = ?3")?;
        delete.execute(params![id, namespace, name])?;
        return Ok(());
    };
    let mut put = transaction.prepare_cached(
        "INSERT INTO objects (resource, namespace, name, version, body) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (resource, namespace, name) DO UPDATE SET version = excluded.version, body = excluded.body",
    )?;
    if SEALED_RESOURCES.contains(&&*change.resource) {
        let sealed = cipher.seal(&context(&change.resource, &change.key), &after.json);
        // NULL, where the system has no random numbers, breaks the column's constraint: nothing is stored in clear.
        put.execute(params![id, namespace, name, version, sealed])?;
    } else {
        put.execute(params![id, namespace, name, version, &after.json[..]])?;
    }
    Ok(())
}

fn new_id(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<i64> {
    transaction.execute("INSERT INTO resources (name, floor) VALUES (?1, 0)", [name])?;
    Ok(transaction.last_insert_rowid())
}

fn context(resource: &str, key: &Key) -> String {
    format!("{resource}/{}/{}", key.namespace, key.name)
}

/// Why the rows could not be read.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("a row belongs to no resource")]
    Stray,
    #[error("{0} cannot be decrypted")]
    Sealed(String),
    #[error("{0} is damaged: {1}")]
    Object(String, String),
}

impl LoadError {
    fn at(self, path: &Path) -> OpenError {
        let path = PathBuf::from(path);
        match self {
            Self::Sqlite(source) => OpenError::sqlite(path)(source),
            other => OpenError::Corrupt { path, reason: other.to_string() },
        }
    }
}
