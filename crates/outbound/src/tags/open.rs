//! The store's file: made, recognised, or refused.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::store::TagStoreError;

/// The format that this release writes.
const FORMAT: i64 = 1;
/// `application_id` of the file: `RSTg`.
const KIND: i64 = 0x5253_5467;

/// `source`: whose registry; `cursor` is the position of the log that it is folded from. `repository` and `tag`: what is known.
const SCHEMA: &str = "
    CREATE TABLE source (
      key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, cursor INTEGER NOT NULL DEFAULT 0,
      baseline INTEGER NOT NULL DEFAULT 0, tags INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE repository (
      source INTEGER NOT NULL, name TEXT NOT NULL, complete INTEGER NOT NULL DEFAULT 0,
      touched INTEGER NOT NULL DEFAULT 0, etag TEXT, PRIMARY KEY (source, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE tag (
      source INTEGER NOT NULL, repository TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL,
      PRIMARY KEY (source, repository, name)
    ) STRICT, WITHOUT ROWID;";

/// Opens the file, which is made if need be. It is durable after each transaction.
pub(super) fn open(path: &Path) -> Result<Connection, TagStoreError> {
    let unusable = |reason: String| TagStoreError::Unusable { path: path.to_owned(), reason };
    let prepare = || -> rusqlite::Result<(Connection, i64, i64, i64)> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let (kind, version, pages) = (number("application_id")?, number("user_version")?, number("page_count")?);
        Ok((connection, kind, version, pages))
    };
    let (mut connection, kind, version, pages) = prepare().map_err(|error| {
        unusable(format!(
            "cannot be opened ({error}); if it is damaged, remove it: it is learnt anew from log and registry"
        ))
    })?;
    match (kind, version) {
        (KIND, FORMAT) => {}
        (KIND, newer) if newer > FORMAT => {
            let reason = format!(
                "has format {newer}, which is newer than this release's {FORMAT}; start the newer release again"
            );
            return Err(unusable(reason));
        }
        // A crash before the first commit leaves an empty file.
        (0, 0) if pages <= 1 => {}
        _ => return Err(unusable(format!("is not a store of tags (application_id {kind:#x})"))),
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    if kind == 0 {
        let transaction = connection.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.pragma_update(None, "application_id", KIND)?;
        transaction.commit()?;
    }
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_once_and_newer_or_foreign_ones_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tags.db");
        std::fs::write(&path, "").unwrap();
        for _ in 0..2 {
            open(&path).unwrap().execute("INSERT INTO source (name) VALUES (hex(randomblob(8)))", []).unwrap();
        }
        let connection = open(&path).unwrap();
        assert_eq!(connection.query_row("SELECT count(*) FROM source", [], |row| row.get(0)), Ok(2));
        connection.pragma_update(None, "user_version", FORMAT + 1).unwrap();
        drop(connection);
        assert!(open(&path).unwrap_err().to_string().contains("newer than this release"));

        let other = directory.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE a (b)").unwrap();
        assert!(open(&other).unwrap_err().to_string().contains("not a store of tags"));
        std::fs::write(&other, "plain text, and enough of it to be no header of a database at all").unwrap();
        assert!(open(&other).unwrap_err().to_string().contains("cannot be opened"));
    }
}
