//! Why a registry could not be asked or did not answer.

use std::time::Duration;

use super::DEADLINE;
use crate::guard;

/// Why a registry could not be asked or did not answer. Never contains credentials or what the answer said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The registry's URL is no base URL.
    #[error("the registry's URL must be http:// or https:// and a host, without user and query")]
    BadUrl,
    /// The CA's Secret holds no certificate, or this machine has none.
    #[error("{0}")]
    BadCa(guard::Error),
    /// A name that no registry has; never put into a URL.
    #[error("{0} is not a valid {1}")]
    BadName(String, &'static str),
    /// The host cannot be reached or may not be.
    #[error("cannot reach the registry: {0}")]
    Unreachable(guard::Error),
    /// No answer in time.
    #[error("the registry did not answer within {} seconds", DEADLINE.as_secs())]
    Timeout,
    /// Credentials are missing or wrong, or do not suffice.
    #[error("the registry refuses the credentials, or wants some")]
    Denied,
    /// The registry wants a token from an address that must not get the credentials.
    #[error("the registry names a token realm that is neither https nor its own host")]
    BadRealm,
    /// Asked too often.
    #[error("the registry asks to wait{}", .after.map(|after| format!(" {} seconds", after.as_secs())).unwrap_or_default())]
    Busy {
        /// For how long, if it says.
        after: Option<Duration>,
    },
    /// An answer that makes no sense here.
    #[error("the registry answered {0}")]
    Unexpected(String),
}

impl RegistryError {
    /// Whether asking again later can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, RegistryError::Unreachable(_) | RegistryError::Timeout | RegistryError::Busy { .. })
            || matches!(self, RegistryError::Unexpected(status) if status.starts_with('5'))
    }

    /// One CamelCase word for the class: a condition's reason.
    pub fn class(&self) -> &'static str {
        match self {
            RegistryError::BadUrl => "BadUrl",
            RegistryError::BadCa(error) | RegistryError::Unreachable(error) => error.class(),
            RegistryError::BadName(..) => "BadName",
            RegistryError::Timeout => "Timeout",
            RegistryError::Denied => "Denied",
            RegistryError::BadRealm => "BadRealm",
            RegistryError::Busy { .. } => "Busy",
            RegistryError::Unexpected(_) => "UnexpectedAnswer",
        }
    }
}

impl From<guard::Error> for RegistryError {
    fn from(error: guard::Error) -> RegistryError {
        match error {
            guard::Error::Timeout => RegistryError::Timeout,
            guard::Error::TooLarge(bytes) => RegistryError::Unexpected(format!("more than {bytes} bytes")),
            guard::Error::BadCa(_) => RegistryError::BadCa(error),
            guard::Error::BadUrl(_) => RegistryError::BadUrl,
            other => RegistryError::Unreachable(other),
        }
    }
}
