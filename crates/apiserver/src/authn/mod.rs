//! Who asks: bearer tokens, and nothing else over the network.
//!
//! In: a request's headers and where it came from. Out: the user, `None` without credentials (the service then asks the roles
//! what `system:anonymous` may: health and version), or 401. Two kinds of tokens: fixed ones, of which only the SHA-256 is
//! known here (the administrator's), and those of service accounts. Tokens that arrive in clear are refused: whoever sent one
//! should learn at once that it must be replaced. In process, the transport vouches for its user.

pub mod jwt;
pub mod key_file;
pub mod service_account;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use http::{header::AUTHORIZATION, request::Parts};
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use roadstead_kubewire::{
    ApiError, ApiResult, Authenticator, User,
    auth::{AUTHENTICATED, Origin},
};

pub use self::service_account::{ISSUER, ServiceAccounts};

/// A token that is known by its hash.
#[derive(Clone, Debug)]
pub struct FixedToken {
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
    /// Who shows it.
    pub user: User,
}

/// A good token: who shows it, and the audiences it is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who.
    pub user: User,
    /// Those of the audiences asked for that hold.
    pub audiences: Vec<String>,
}

/// The authenticator of the API server. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    fixed: Arc<[FixedToken]>,
    accounts: Arc<ServiceAccounts>,
}

impl Tokens {
    /// Accepts `fixed` tokens and those of `accounts`.
    pub fn new(fixed: Vec<FixedToken>, accounts: Arc<ServiceAccounts>) -> Self {
        Self { fixed: fixed.into(), accounts }
    }

    /// The service accounts, to request tokens for.
    pub fn accounts(&self) -> &ServiceAccounts {
        &self.accounts
    }

    /// Checks a token for any of `audiences`; `None` if it is not good for one. Fixed tokens are for this API server.
    pub fn verify(&self, token: &str, audiences: &[String], now: Timestamp) -> Option<Verified> {
        let shown = digest(&SHA256, token.as_bytes());
        // Every fixed token is compared, in full, whichever of them matches.
        let matches = |fixed: &&FixedToken| same(&fixed.sha256, shown.as_ref());
        let found = self.fixed.iter().filter(matches).fold(None, |found, fixed| found.or(Some(fixed)));
        match found {
            Some(fixed) => {
                let audiences: Vec<String> = audiences.iter().filter(|wanted| *wanted == ISSUER).cloned().collect();
                (!audiences.is_empty()).then(|| Verified { user: authenticated(fixed.user.clone()), audiences })
            }
            None => {
                let (user, audiences) = self.accounts.verify(token, audiences, now)?;
                Some(Verified { user, audiences })
            }
        }
    }
}

/// Compares in a time that depends on the lengths alone.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && std::hint::black_box(one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b))) == 0
}

fn authenticated(mut user: User) -> User {
    if !user.groups.iter().any(|group| group == AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.into());
    }
    user
}

/// The bearer token of a request, if it shows credentials. Errors: 401 for credentials of another kind.
fn bearer(parts: &Parts) -> ApiResult<Option<&str>> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let (scheme, token) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(ApiError::unauthorized)?;
    let token = token.trim();
    if values.next().is_some() || !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(ApiError::unauthorized());
    }
    Ok(Some(token))
}

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, parts: &Parts, origin: &Origin) -> ApiResult<Option<User>> {
        match bearer(parts)? {
            None => Ok(origin.user.clone().map(authenticated)),
            Some(_) if !origin.secure => {
                let mut error = ApiError::unauthorized();
                error.message =
                    "a token was sent over an unencrypted connection and is refused; use https, and replace the token"
                        .into();
                Err(error)
            }
            Some(token) => match self.verify(token, &[ISSUER.to_string()], Timestamp::now()) {
                Some(verified) => Ok(Some(verified.user)),
                None => Err(ApiError::unauthorized()),
            },
        }
    }

    async fn revoked(&self, user: &User) {
        self.accounts.gone(user).await;
    }
}
