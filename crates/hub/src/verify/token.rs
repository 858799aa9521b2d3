//! The secret itself in a header: registries, GitLab's token, and generic senders that cannot sign.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use http::header::AUTHORIZATION;
use roadstead_api::endpoint::Verify;

use super::compare::Expected;
use super::{PolicyError, Rejection, Secret, header_name};
use crate::incoming::Incoming;

/// A header and the tokens that may stand in it.
pub(super) struct Token {
    header: HeaderName,
    form: Form,
    tokens: Vec<Expected>,
}

/// How the token stands in the header.
enum Form {
    /// After a fixed prefix.
    Prefixed(String),
    /// `Bearer <token>`, `Basic <base64 of user:token or of the whole secret>`, or the secret verbatim.
    Authorization,
}

impl Token {
    /// Verbatim in a header.
    pub(super) fn plain(header: HeaderName, secrets: &[Secret]) -> Token {
        Token { header, form: Form::Prefixed(String::new()), tokens: expected(secrets) }
    }

    /// In `Authorization`, in any of the forms that registries can be configured to send.
    pub(super) fn authorization(secrets: &[Secret]) -> Token {
        Token { header: AUTHORIZATION, form: Form::Authorization, tokens: expected(secrets) }
    }

    /// As `spec.verify` says.
    pub(super) fn custom(verify: &Verify, secrets: &[Secret]) -> Result<Token, PolicyError> {
        let header = header_name("header", &verify.header)?;
        Ok(Token { header, form: Form::Prefixed(verify.prefix.clone()), tokens: expected(secrets) })
    }

    pub(super) fn header(&self) -> &HeaderName {
        &self.header
    }

    pub(super) fn check(&self, incoming: &Incoming<'_>) -> Result<(), Rejection> {
        let value = incoming.sole(self.header.as_str())?;
        let known = match &self.form {
            Form::Prefixed(prefix) => {
                let token = value.strip_prefix(prefix.trim_start());
                let token = token.ok_or(Rejection::Malformed("the token lacks its prefix"))?;
                self.knows(token.as_bytes())
            }
            Form::Authorization => self.knows(value.as_bytes()) || self.knows_credentials(value),
        };
        if known { Ok(()) } else { Err(Rejection::BadSignature) }
    }

    fn knows_credentials(&self, value: &str) -> bool {
        let Some((scheme, rest)) = value.split_once(' ') else { return false };
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.knows(rest.as_bytes());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let Ok(pair) = STANDARD.decode(rest) else { return false };
        let password = pair.iter().position(|byte| *byte == b':').map(|colon| &pair[colon + 1..]);
        self.knows(&pair) || password.is_some_and(|password| self.knows(password))
    }

    fn knows(&self, candidate: &[u8]) -> bool {
        self.tokens.iter().any(|token| token.is(candidate))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("header", &self.header).finish_non_exhaustive()
    }
}

fn expected(secrets: &[Secret]) -> Vec<Expected> {
    secrets.iter().map(|secret| Expected::new(secret.bytes())).collect()
}
