//! Why there is no answer: the class of the failure, for people and for metrics.
//!
//! The texts go into the status of resources that their author may read. They name neither addresses nor what a server said, and an
//! address that may not be reached is told by one sentence whatever is there.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};

use hyper_util::client::legacy;

/// Why a request had no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a URL that requests go to.
    #[error("the URL cannot be used: {0}")]
    BadUrl(&'static str),
    /// No certificates to trust.
    #[error("no usable CA certificates: {0}")]
    BadCa(String),
    /// The address is not public and not allowed by the administrator.
    #[error("the host is at an address that --allow-target does not allow")]
    Forbidden,
    /// The name has no address, or the name server did not say.
    #[error("the host's name does not resolve")]
    NoSuchHost,
    /// Nobody listens at the port.
    #[error("the connection was refused")]
    Refused,
    /// There is no way to the address.
    #[error("the host cannot be reached")]
    Unreachable,
    /// No connection or no complete answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The certificate or the handshake; the text is rustls'.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The connection ended before the answer did.
    #[error("the connection was closed before the answer was complete")]
    Reset,
    /// The answer's body has more bytes than this.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// The answer is not HTTP.
    #[error("the answer is not HTTP")]
    Protocol,
}

impl Error {
    /// One CamelCase word for the class: a condition's reason, or a metric's label.
    pub fn class(&self) -> &'static str {
        match self {
            Error::BadUrl(_) => "BadUrl",
            Error::BadCa(_) => "BadCa",
            Error::Forbidden => "Forbidden",
            Error::NoSuchHost => "NoSuchHost",
            Error::Refused => "Refused",
            Error::Unreachable => "Unreachable",
            Error::Timeout => "Timeout",
            Error::Tls(_) => "Tls",
            Error::Reset => "Reset",
            Error::TooLarge(_) => "TooLarge",
            Error::Protocol => "Protocol",
        }
    }

    /// Whether trying again can help without anybody changing the manifest. An address may be forbidden today and moved tomorrow, a
    /// certificate renewed: only what is wrong in itself is not worth another try.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Error::BadUrl(_) | Error::BadCa(_))
    }

    /// The class of what hyper reports.
    pub(super) fn of(error: &(dyn StdError + 'static)) -> Error {
        classify(error).unwrap_or(match error.downcast_ref::<legacy::Error>() {
            Some(error) if error.is_connect() => Error::Unreachable,
            _ => Error::Protocol,
        })
    }

    /// The class of a socket's error.
    pub(super) fn of_io(error: &io::Error) -> Error {
        match error.kind() {
            ErrorKind::ConnectionRefused => Error::Refused,
            ErrorKind::TimedOut => Error::Timeout,
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::NotConnected => Error::Reset,
            _ => Error::Unreachable,
        }
    }
}

/// The first cause that says something.
fn classify(error: &(dyn StdError + 'static)) -> Option<Error> {
    if let Some(known) = error.downcast_ref::<Error>() {
        return Some(known.clone());
    }
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(Error::Tls(tls.to_string().chars().take(200).collect()));
    }
    if let Some(io) = error.downcast_ref::<io::Error>() {
        // What an io::Error wraps is not its source.
        return io.get_ref().and_then(|inner| classify(inner)).or_else(|| Some(Error::of_io(io)));
    }
    if let Some(known) = error.source().and_then(classify) {
        return Some(known);
    }
    let http = error.downcast_ref::<hyper::Error>()?;
    match () {
        () if http.is_timeout() => Some(Error::Timeout),
        () if http.is_incomplete_message()
            || http.is_canceled()
            || http.is_closed()
            || http.is_body_write_aborted() =>
        {
            Some(Error::Reset)
        }
        () if http.is_parse() => Some(Error::Protocol),
        () => None,
    }
}
