//! What can go wrong with the log, and what the caller makes of it: most of these become a 503 with `Retry-After`, so that the
//! sender keeps the delivery.

use std::path::PathBuf;

use super::types::Missed;

/// An error of the log. Cloneable, because one failed commit answers a whole batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The quota of the data directory or the disk is used up. Recovers by itself when retention or a person makes room.
    #[error("the event log is full: {0}")]
    Full(String),
    /// More deliveries are waiting for the disk than the queue takes.
    #[error("the event log is overloaded: too many deliveries wait for the disk")]
    Overloaded,
    /// The endpoint was deleted.
    #[error("endpoint {namespace}/{name} has been deleted")]
    Dropped {
        /// Namespace of the endpoint.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Retention, a deletion or a restore removed an event after the position asked for.
    #[error("{0}")]
    Gone(Missed),
    /// The disk or SQLite failed; nothing of the call was recorded.
    #[error("the event log cannot be used: {0}")]
    Storage(String),
    /// A file cannot be opened: damaged, cut short, or of a newer release. Nothing was changed.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// The log is shutting down.
    #[error("the event log is closed")]
    Closed,
}

impl LogError {
    /// `Unusable` for `path`.
    pub(super) fn unusable(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Unusable { path: path.into(), reason: reason.into() }
    }

    /// `Unusable` for a file that SQLite failed to open or read: `what` it then is, unless the cause is the disk. A full disk
    /// must never look like damage: who restores a backup then throws away what is good.
    pub(super) fn unreadable(path: impl Into<PathBuf>, what: &str, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{CannotOpen, DiskFull, PermissionDenied, ReadOnly, SystemIoFailure};
        let reason = match error.sqlite_error_code() {
            Some(DiskFull | SystemIoFailure | CannotOpen | ReadOnly | PermissionDenied) => format!(
                "cannot be opened ({error}): it needs to be writable, with some free space on its disk; nothing says that it is damaged"
            ),
            _ => format!("{what} ({error}); restore it from a backup"),
        };
        Self::unusable(path, reason)
    }
}

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full("no space is left on the disk".into()),
            _ => Self::Storage(error.to_string()),
        }
    }
}

impl From<std::io::Error> for LogError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::Full("no space is left on the disk".into())
            }
            _ => Self::Storage(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_does_not_look_like_damage() {
        let failure = |code| {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            LogError::unreadable("/data/segment.db", "is damaged", &error).to_string()
        };
        use rusqlite::ffi::{SQLITE_CORRUPT, SQLITE_FULL, SQLITE_IOERR, SQLITE_NOTADB};
        for code in [SQLITE_FULL, SQLITE_IOERR] {
            let said = failure(code);
            assert!(said.contains("free space") && !said.contains("backup"), "{said}");
        }
        for code in [SQLITE_CORRUPT, SQLITE_NOTADB] {
            let said = failure(code);
            assert!(said.contains("is damaged") && said.contains("backup"), "{said}");
        }
    }
}
