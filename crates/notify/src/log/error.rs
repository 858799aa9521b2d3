//! What can go wrong with the delivery log, and what the caller makes of it. After any of these nothing of the call was recorded.

use std::path::PathBuf;

/// An error of the delivery log. Cloneable, because one failed commit answers a whole batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The quota or the disk is used up. Recovers by itself when the janitor or a person makes room; until then the source keeps
    /// its events.
    #[error("the delivery log is full: {0}")]
    Full(String),
    /// There is no such webhook or message, or not any more.
    #[error("{0} is not in the delivery log")]
    Unknown(String),
    /// The webhook is disabled: it takes no messages until it is recovered.
    #[error("the webhook is disabled; recover it first")]
    Disabled,
    /// The disk or SQLite failed.
    #[error("the delivery log cannot be used: {0}")]
    Storage(String),
    /// A file cannot be opened: damaged, cut short, of a newer release, or in use. Nothing was changed.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// The log is shutting down.
    #[error("the delivery log is closed")]
    Closed,
}

impl LogError {
    pub(super) fn unusable(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Unusable { path: path.into(), reason: reason.into() }
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
