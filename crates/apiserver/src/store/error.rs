//! What can go wrong with the store.

use std::{io, path::PathBuf};

use super::plan::Refusal;

/// The store could not be opened, copied or restored. Nothing was changed unless said.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process; stop that one first, or choose another data directory", .0.display())]
    Locked(PathBuf),
    /// A newer release wrote it.
    #[error(
        "{} has format {found}, and this release knows formats up to {known}; use the release that wrote it, or a newer one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// Not a store, or damaged.
    #[error("{} is not a usable store: {reason}; restore a backup, or move the file away to start empty", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key file is missing, malformed or another one.
    #[error("the key file {} cannot open this store's Secrets: {reason}", path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite failed otherwise.
    #[error("{}: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

impl OpenError {
    /// For `map_err` on file operations.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// For `map_err` on SQLite calls: tells damage apart from other failures.
    pub(crate) fn sqlite(path: impl Into<PathBuf>) -> impl FnOnce(rusqlite::Error) -> Self {
        let path = path.into();
        move |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                Self::Corrupt { path, reason: source.to_string() }
            }
            _ => Self::Sqlite { path, source },
        }
    }
}

/// A write was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Its expectation did not hold.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be made durable, e.g. because the disk is full; it may be tried again.
    #[error("the store cannot write: {0}")]
    Storage(String),
    /// Too many writes wait already.
    #[error("the store has too many writes waiting")]
    Busy,
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
}
