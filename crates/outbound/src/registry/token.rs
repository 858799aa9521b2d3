//! What to answer to a challenge, and the tokens that are still good.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, StatusCode, Uri};
use roadstead_reconcile::Secret;
use serde::Deserialize;

use super::challenge::{Challenge, parse, token_uri};
use super::{LIMITS, RegistryError};
use crate::guard::Client;

/// Scopes whose tokens are kept; more than that, and all are forgotten.
const MAX_TOKENS: usize = 256;

/// A token is used until so long before its end.
const MARGIN: Duration = Duration::from_secs(10);

/// Lifetime of a token that does not say: the specification's least.
const LIFETIME: u64 = 60;

/// Longest lifetime that is believed, in seconds.
const MAX_LIFETIME: u64 = 3600;

/// Credentials and what they got so far.
pub(super) struct Tokens {
    basic: Option<HeaderValue>,
    known: Mutex<BTreeMap<String, (HeaderValue, Instant)>>,
}

impl Tokens {
    pub(super) fn new(credentials: Option<(String, Secret)>) -> Tokens {
        let basic = credentials.and_then(|(user, password)| {
            let pair = [user.as_bytes(), b":", password.bytes()].concat();
            header(&format!("Basic {}", STANDARD.encode(pair)))
        });
        Tokens { basic, known: Mutex::default() }
    }

    /// What worked last time.
    pub(super) fn known(&self, scope: &str) -> Option<HeaderValue> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(scope).filter(|(_, until)| Instant::now() < *until).map(|(value, _)| value.clone())
    }

    /// `Authorization` for a challenge; asks the realm for a token if it is for one.
    pub(super) async fn answer(
        &self,
        client: &Client,
        base: &Uri,
        challenges: &[HeaderValue],
        scope: &str,
    ) -> Result<HeaderValue, RegistryError> {
        let (value, lifetime) = match parse(challenges) {
            None => return Err(RegistryError::Denied),
            Some(Challenge::Basic) => (self.basic.clone().ok_or(RegistryError::Denied)?, MAX_LIFETIME),
            Some(Challenge::Bearer { realm, service }) => {
                self.fetch(client, token_uri(&realm, &service, scope, base)?).await?
            }
        };
        let until = Instant::now() + Duration::from_secs(lifetime.min(MAX_LIFETIME)).saturating_sub(MARGIN);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_TOKENS {
            known.clear();
        }
        known.insert(scope.to_owned(), (value.clone(), until));
        Ok(value)
    }

    async fn fetch(&self, client: &Client, uri: Uri) -> Result<(HeaderValue, u64), RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<u64>,
        }
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri;
        if let Some(basic) = &self.basic {
            request.headers_mut().insert(AUTHORIZATION, basic.clone());
        }
        let answer = client.send(request, LIMITS).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(RegistryError::Denied),
            other => return Err(RegistryError::Unexpected(format!("{} at its token realm", other.as_u16()))),
        }
        let nonsense = || RegistryError::Unexpected("no token at its token realm".to_owned());
        let answer: Answer = serde_json::from_slice(&answer.body).map_err(|_| nonsense())?;
        let token = answer.token.or(answer.access_token).ok_or_else(nonsense)?;
        let value = header(&format!("Bearer {token}")).ok_or_else(nonsense)?;
        Ok((value, answer.expires_in.unwrap_or(LIFETIME)))
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

fn header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
