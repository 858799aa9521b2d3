//! What is known of each source's tags, on disk.
//!
//! In: a [`Step`], one transaction: changes that were told, what a look at the registry found, and the position of the log up to which all is
//! in. Out: what is [`Known`]. It is a memory, not a record: everything in it can be learnt again from the log and the registry, at the price
//! of a new baseline.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use roadstead_api::event::ImageChange;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Known, Tagged, open};

/// Most tags that are remembered of one source, about 40 MB. Above it new ones are not, and no news of them is told.
const MAX_TAGS: u64 = 200_000;

/// Why the store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagStoreError {
    /// The file cannot be opened: damaged, foreign, or of a newer release. Nothing was changed.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// The disk or SQLite failed; the step is not done.
    #[error("the store of tags cannot be used: {0}")]
    Storage(String),
}

impl From<rusqlite::Error> for TagStoreError {
    fn from(error: rusqlite::Error) -> Self {
        TagStoreError::Storage(error.to_string())
    }
}

/// How much of a source's registry was there when it was first looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Baseline {
    /// Nobody has looked through all of it yet.
    #[default]
    None,
    /// All repositories of its catalog are known: another one is new, with all of its tags.
    Catalog,
}

/// What is known of a source as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Everything of the log up to this position is in the store; 0 at first.
    pub cursor: u64,
    /// Whether first contact is over.
    pub baseline: Baseline,
    /// Tags that are remembered.
    pub tags: u64,
}

/// What moves a source on, all or nothing.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Position of the log up to which everything is in the store with this step.
    pub cursor: Option<u64>,
    /// What was told, in this order, each with its position. Only what is proven belongs here.
    pub told: Vec<(u64, ImageChange)>,
    /// What a look at a repository found.
    pub found: Option<Found>,
    /// First contact is over.
    pub baseline: Option<Baseline>,
}

/// What a look at a repository found. The repository is known completely from then on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub repository: String,
    /// Tags that are at these digests.
    pub set: Tagged,
    /// Tags that are gone.
    pub gone: Vec<String>,
    /// ETag of the list; see [`Known::etag`].
    pub etag: Option<String>,
    /// For [`Known::touched`], if that is lower.
    pub touched: u64,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct TagStore {
    connection: Arc<Mutex<Connection>>,
}

impl std::fmt::Debug for TagStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TagStore").finish_non_exhaustive()
    }
}

impl TagStore {
    /// Opens the file at `path`, which is made if need be. Blocking.
    ///
    /// # Errors
    /// `Unusable`, with what to do.
    pub fn open(path: &Path) -> Result<TagStore, TagStoreError> {
        Ok(TagStore { connection: Arc::new(Mutex::new(open::open(path)?)) })
    }

    /// What is known of a source; nothing, if it is not known.
    pub async fn source(&self, name: &str) -> Result<Source, TagStoreError> {
        let name = name.to_owned();
        self.run(move |connection| {
            let sql = "SELECT cursor, baseline, tags FROM source WHERE name = ?1";
            let found = connection.prepare_cached(sql)?.query_row([name], |row| {
                let baseline = if row.get(1)? { Baseline::Catalog } else { Baseline::None };
                Ok(Source { cursor: row.get(0)?, baseline, tags: row.get(2)? })
            });
            Ok(found.optional()?.unwrap_or_default())
        })
        .await
    }

    /// Names of all sources.
    pub async fn sources(&self) -> Result<Vec<String>, TagStoreError> {
        self.run(|connection| {
            let mut statement = connection.prepare("SELECT name FROM source ORDER BY name")?;
            Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Repositories that are known of a source, in order.
    pub async fn repositories(&self, source: &str) -> Result<Vec<String>, TagStoreError> {
        let source = source.to_owned();
        self.run(move |connection| {
            let sql = "SELECT r.name FROM repository r JOIN source s ON s.key = r.source WHERE s.name = ?1 ORDER BY 1";
            let mut statement = connection.prepare_cached(sql)?;
            Ok(statement.query_map([source], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// What is known of a repository.
    pub async fn known(&self, source: &str, repository: &str) -> Result<Known, TagStoreError> {
        let (source, repository) = (source.to_owned(), repository.to_owned());
        self.run(move |connection| known(connection, &source, &repository)).await
    }

    /// Moves a source on; durable when it returns.
    pub async fn apply(&self, source: &str, step: Step) -> Result<(), TagStoreError> {
        let source = source.to_owned();
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let mut writer = Writer::new(&transaction, &source)?;
            for (position, image) in &step.told {
                writer.told(*position, image)?;
            }
            if let Some(found) = &step.found {
                writer.found(found)?;
            }
            writer.finish(&step)?;
            Ok(transaction.commit()?)
        })
        .await
    }

    /// Forgets a source.
    pub async fn forget(&self, source: &str) -> Result<(), TagStoreError> {
        let source = source.to_owned();
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            for table in ["tag", "repository"] {
                let of = "source = (SELECT key FROM source WHERE name = ?1)";
                transaction.execute(&format!("DELETE FROM {table} WHERE {of}"), [&source])?;
            }
            transaction.execute("DELETE FROM source WHERE name = ?1", [&source])?;
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, TagStoreError> + Send + 'static,
    ) -> Result<T, TagStoreError> {
        let connection = self.connection.clone();
        let working =
            tokio::task::spawn_blocking(move || work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner)));
        working.await.map_err(|error| TagStoreError::Storage(error.to_string()))?
    }
}

fn known(connection: &Connection, source: &str, repository: &str) -> Result<Known, TagStoreError> {
    let sql = "SELECT key, baseline, tags FROM source WHERE name = ?1";
    let found = connection.prepare_cached(sql)?.query_row([source], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let Some((key, baseline, count)): Option<(i64, bool, u64)> = found.optional()? else { return Ok(Known::default()) };
    let sql = "SELECT touched, etag, complete FROM repository WHERE source = ?1 AND name = ?2";
    let row = connection
        .prepare_cached(sql)?
        .query_row(params![key, repository], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let (touched, etag, complete): (u64, Option<String>, bool) = row.unwrap_or_default();
    let mut statement =
        connection.prepare_cached("SELECT name, digest FROM tag WHERE source = ?1 AND repository = ?2")?;
    let tags = statement.query_map(params![key, repository], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let tags = tags.collect::<Result<Tagged, _>>()?;
    Ok(Known { tags, touched, etag, complete: (complete || baseline) && count < MAX_TAGS })
}

/// One step under way.
struct Writer<'a> {
    transaction: &'a Transaction<'a>,
    source: i64,
    tags: u64,
}

impl<'a> Writer<'a> {
    fn new(transaction: &'a Transaction<'a>, name: &str) -> rusqlite::Result<Writer<'a>> {
        transaction.execute("INSERT OR IGNORE INTO source (name) VALUES (?1)", [name])?;
        let sql = "SELECT key, tags FROM source WHERE name = ?1";
        let (source, tags) = transaction.query_row(sql, [name], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Writer { transaction, source, tags })
    }

    /// A push sets a tag; a deletion takes a tag, all tags of a digest, or all of a repository. A push by digest alone makes the repository
    /// known; what is neither changes nothing.
    fn told(&mut self, position: u64, image: &ImageChange) -> rusqlite::Result<()> {
        let repository = &image.repository;
        if repository.is_empty() || !matches!(image.action.as_str(), "push" | "delete") {
            return Ok(());
        }
        self.touch(repository, position)?;
        let source = self.source;
        match (image.action.as_str(), image.tag.is_empty(), image.digest.is_empty()) {
            ("push", false, false) => self.set(repository, &image.tag, &image.digest),
            ("delete", false, _) => self.unset("AND name = ?3", params![source, repository, image.tag]),
            ("delete", true, false) => self.unset("AND digest = ?3", params![source, repository, image.digest]),
            ("delete", true, true) => self.unset("", params![source, repository]),
            _ => Ok(()),
        }
    }

    fn found(&mut self, found: &Found) -> rusqlite::Result<()> {
        self.touch(&found.repository, found.touched)?;
        for (tag, digest) in &found.set {
            self.set(&found.repository, tag, digest)?;
        }
        let source = self.source;
        for tag in &found.gone {
            self.unset("AND name = ?3", params![source, found.repository, tag])?;
        }
        let sql = "UPDATE repository SET complete = 1, etag = ?3 WHERE source = ?1 AND name = ?2";
        self.transaction.prepare_cached(sql)?.execute(params![self.source, found.repository, found.etag])?;
        Ok(())
    }

    /// The list that an ETag was of is no longer the one that is known.
    fn touch(&self, repository: &str, position: u64) -> rusqlite::Result<()> {
        let sql = "INSERT INTO repository (source, name, touched) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET touched = max(touched, ?3), etag = NULL";
        self.transaction.prepare_cached(sql)?.execute(params![self.source, repository, position]).map(drop)
    }

    fn set(&mut self, repository: &str, tag: &str, digest: &str) -> rusqlite::Result<()> {
        let sql = "UPDATE tag SET digest = ?4 WHERE source = ?1 AND repository = ?2 AND name = ?3";
        let row = params![self.source, repository, tag, digest];
        if self.transaction.prepare_cached(sql)?.execute(row)? == 0 && self.tags < MAX_TAGS {
            let sql = "INSERT INTO tag (source, repository, name, digest) VALUES (?1, ?2, ?3, ?4)";
            self.transaction.prepare_cached(sql)?.execute(row)?;
            self.tags += 1;
        }
        Ok(())
    }

    fn unset(&mut self, which: &str, row: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<()> {
        let sql = format!("DELETE FROM tag WHERE source = ?1 AND repository = ?2 {which}");
        let gone = self.transaction.prepare_cached(&sql)?.execute(row)?;
        self.tags = self.tags.saturating_sub(gone as u64);
        Ok(())
    }

    fn finish(self, step: &Step) -> rusqlite::Result<()> {
        let baseline = step.baseline.map(|baseline| baseline == Baseline::Catalog);
        let sql =
            "UPDATE source SET cursor = ifnull(?2, cursor), baseline = ifnull(?3, baseline), tags = ?4 WHERE key = ?1";
        self.transaction.prepare_cached(sql)?.execute(params![self.source, step.cursor, baseline, self.tags]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(action: &str, repository: &str, tag: &str, digest: &str) -> ImageChange {
        ImageChange {
            action: action.into(),
            repository: repository.into(),
            tag: tag.into(),
            digest: digest.into(),
            ..ImageChange::default()
        }
    }

    fn tagged(pairs: &[(&str, &str)]) -> Tagged {
        pairs.iter().map(|(tag, digest)| (tag.to_string(), digest.to_string())).collect()
    }

    async fn tell(store: &TagStore, told: &[(u64, ImageChange)]) {
        let cursor = told.last().map(|(position, _)| *position);
        store.apply("s", Step { cursor, told: told.to_vec(), ..Step::default() }).await.unwrap();
    }

    #[tokio::test]
    async fn is_what_it_was_told_and_still_is_after_it_was_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tags.db");
        let store = TagStore::open(&path).unwrap();
        assert_eq!(store.source("s").await.unwrap(), Source::default());
        let told = [
            image("push", "a", "v1", "1"),
            image("push", "a", "v2", "1"),
            image("push", "a", "v3", "2"),
            image("push", "b", "v1", "1"),
            image("push", "a", "v1", "3"),
            image("delete", "a", "", "1"),
            image("push", "c", "", "9"),
            image("pull", "d", "v1", "1"),
            image("blob_push", "e", "", "1"),
        ];
        let told: Vec<_> = told.into_iter().zip(1..).map(|(image, position)| (position, image)).collect();
        tell(&store, &told).await;
        drop(store);
        let store = TagStore::open(&path).unwrap();
        assert_eq!(store.source("s").await.unwrap(), Source { cursor: 9, tags: 3, ..Source::default() });
        assert_eq!(store.repositories("s").await.unwrap(), ["a", "b", "c"]);
        let known = store.known("s", "a").await.unwrap();
        assert_eq!((known.tags, known.touched, known.complete), (tagged(&[("v1", "3"), ("v3", "2")]), 6, false));
        tell(&store, &[(10, image("delete", "a", "v3", "")), (11, image("delete", "b", "", ""))]).await;
        assert_eq!(store.known("s", "a").await.unwrap().tags, tagged(&[("v1", "3")]));
        assert_eq!(store.known("s", "b").await.unwrap(), Known { touched: 11, ..Known::default() });
        assert_eq!(store.source("s").await.unwrap().tags, 1);
        // Another source knows nothing of it.
        assert_eq!(store.known("other", "a").await.unwrap(), Known::default());
        store.forget("s").await.unwrap();
        assert_eq!(store.known("s", "a").await.unwrap(), Known::default());
        assert!(store.sources().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_repository_is_complete_once_somebody_looked_and_new_ones_are_once_there_was_a_catalog() {
        let directory = tempfile::tempdir().unwrap();
        let store = TagStore::open(&directory.path().join("tags.db")).unwrap();
        let found = Found {
            repository: "a".into(),
            set: tagged(&[("v1", "1")]),
            etag: Some("x".into()),
            touched: 5,
            ..Found::default()
        };
        store.apply("s", Step { found: Some(found.clone()), ..Step::default() }).await.unwrap();
        let known = store.known("s", "a").await.unwrap();
        let expected = Known { tags: found.set.clone(), touched: 5, etag: Some("x".into()), complete: true };
        assert_eq!(known, expected);
        assert!(!store.known("s", "new").await.unwrap().complete);
        store.apply("s", Step { baseline: Some(Baseline::Catalog), ..Step::default() }).await.unwrap();
        assert!(store.known("s", "new").await.unwrap().complete);
        // What is told makes the list another one.
        tell(&store, &[(6, image("push", "a", "v2", "1"))]).await;
        let known = store.known("s", "a").await.unwrap();
        assert_eq!((known.etag, known.touched, known.tags.len()), (None, 6, 2));
        let found = Found { repository: "a".into(), gone: vec!["v1".into(), "v9".into()], ..Found::default() };
        store.apply("s", Step { found: Some(found), ..Step::default() }).await.unwrap();
        let known = store.known("s", "a").await.unwrap();
        assert_eq!((known.tags, known.touched), (tagged(&[("v2", "1")]), 6));
        assert_eq!(store.source("s").await.unwrap(), Source { cursor: 6, baseline: Baseline::Catalog, tags: 1 });
    }
}
