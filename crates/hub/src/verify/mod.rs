//! Whether a delivery comes from whom it says: signatures and tokens, over the raw bytes, before anything is parsed.
//!
//! In: a [`Policy`], compiled once whenever an endpoint or its Secrets change, and an [`Incoming`]. Out: [`Verified`] or a
//! [`Rejection`] that carries a status and a reason, and tells nothing about the secret. Every comparison takes the same time
//! whatever the bytes are. A policy holds one or more proofs (an HMAC, a Standard Webhooks signature, a token); any proof with
//! any secret is enough, so that secrets and schemes can be rotated without moving the URL.

mod compare;
mod hmac;
mod standard;
mod token;

use http::{HeaderName, StatusCode};
use jiff::Timestamp;
use roadstead_api::endpoint::{Algorithm, Authentication, Provider, Verify, WebhookEndpointSpec};

use self::hmac::{BodyHmac, Content};
use self::standard::StandardWebhooks;
use self::token::Token;
use crate::incoming::Incoming;
pub use roadstead_reconcile::Secret;

/// How far a signed time may be off, where nothing else is said. Standard Webhooks leaves the figure open; its libraries use
/// this one.
pub const DEFAULT_TOLERANCE_SECONDS: i64 = 300;

/// What a delivery must prove to be taken by one endpoint. Holds keys: its `Debug` shows none.
#[derive(Debug)]
pub struct Policy {
    provider: Provider,
    authentication: Authentication,
    proofs: Vec<Proof>,
    settings: Option<Verify>,
}

#[derive(Debug)]
enum Proof {
    Hmac(BodyHmac),
    Standard(StandardWebhooks),
    Token(Token),
}

/// How sure the hub is of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// A signature or token proved it.
    Proven,
    /// The sender knew the URL, and the endpoint asks for no more.
    UrlOnly,
}

impl Verified {
    /// Value of an event's `verified`.
    pub fn proven(self) -> bool {
        self == Verified::Proven
    }
}

/// Why a delivery is refused. The text may be answered to the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Nothing in the request proves anything.
    #[error("signature or token is missing")]
    MissingSignature,
    /// The proof that is there is not one.
    #[error("signature or token does not match")]
    BadSignature,
    /// The signed time is too far from the hub's clock.
    #[error("signed time is too far from now")]
    StaleTimestamp,
    /// The proof cannot even be read.
    #[error("{0}")]
    Malformed(&'static str),
}

impl Rejection {
    /// Status to answer: 401, or 400 when the proof cannot be read.
    pub fn status(self) -> StatusCode {
        match self {
            Rejection::Malformed(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// Value of the metric label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Rejection::MissingSignature => "missing_signature",
            Rejection::BadSignature => "bad_signature",
            Rejection::StaleTimestamp => "stale_timestamp",
            Rejection::Malformed(_) => "malformed",
        }
    }
}

/// Why an endpoint cannot take deliveries; goes into its `Ready` condition. Never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// `authentication: required` and nothing to check with.
    #[error("spec.secrets is empty: name a Secret, or set spec.authentication to urlOnly if the sender cannot sign")]
    NoSecret,
    /// A key that is empty would be everybody's key.
    #[error("secret {0} is empty")]
    EmptySecret(usize),
    /// A key in the wrong form.
    #[error("secret {index} is not usable: expected {expected}")]
    BadSecret {
        /// Position in `spec.secrets`, from 0.
        index: usize,
        /// What was expected.
        expected: &'static str,
    },
    /// `generic` says nothing about itself.
    #[error("spec.verify is missing: provider generic needs to know the header that carries the signature or token")]
    NoVerify,
    /// `verify` for a sender whose way of signing is known.
    #[error("spec.verify does not apply to provider {0}, whose way of signing is known")]
    VerifyNotAllowed(&'static str),
    /// A header's name that no request can have.
    #[error("spec.verify.{field}: {name:?} is not a header name")]
    BadHeader {
        /// Field of `spec.verify`.
        field: &'static str,
        /// Its value.
        name: String,
    },
    /// A duration that is none.
    #[error("spec.verify.tolerance: {0:?} is not a duration between 1s and 24h, e.g. 5m")]
    BadTolerance(String),
}

impl Policy {
    /// Compiles what an endpoint asks for. `secrets` are the values of `spec.secrets`, in that order.
    pub fn compile(spec: &WebhookEndpointSpec, secrets: Vec<Secret>) -> Result<Policy, PolicyError> {
        if spec.authentication == Authentication::Required && secrets.is_empty() {
            return Err(PolicyError::NoSecret);
        }
        if let Some(index) = secrets.iter().position(|secret| secret.bytes().is_empty()) {
            return Err(PolicyError::EmptySecret(index));
        }
        let proofs = if secrets.is_empty() { Vec::new() } else { proofs(spec, &secrets)? };
        if let Some(verify) = &spec.verify {
            for (field, name) in [("idHeader", &verify.id_header), ("typeHeader", &verify.type_header)] {
                name.as_deref().map(|name| header_name(field, name)).transpose()?;
            }
        }
        Ok(Policy {
            provider: spec.provider,
            authentication: spec.authentication,
            proofs,
            settings: spec.verify.clone(),
        })
    }

    /// Checks a delivery. Reads nothing of the body but its bytes.
    pub fn verify(&self, incoming: &Incoming<'_>, now: Timestamp) -> Result<Verified, Rejection> {
        let mut rejection = Rejection::MissingSignature;
        for proof in &self.proofs {
            let result = match proof {
                Proof::Hmac(hmac) => hmac.check(incoming, now),
                Proof::Standard(standard) => standard.check(incoming, now),
                Proof::Token(token) => token.check(incoming),
            };
            match result {
                Ok(()) => return Ok(Verified::Proven),
                Err(Rejection::MissingSignature) => {}
                Err(other) => rejection = other,
            }
        }
        match self.authentication {
            Authentication::Required => Err(rejection),
            Authentication::UrlOnly => Ok(Verified::UrlOnly),
        }
    }

    /// Whether a delivery can prove who sent it.
    pub fn proves(&self) -> bool {
        !self.proofs.is_empty()
    }

    /// Who posts.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// `spec.verify`, for reading id and type of a generic delivery.
    pub fn settings(&self) -> Option<&Verify> {
        self.settings.as_ref()
    }

    /// The header that carries a secret in clear, if the endpoint configures one.
    pub fn token_header(&self) -> Option<&HeaderName> {
        self.proofs.iter().find_map(|proof| match proof {
            Proof::Token(token) => Some(token.header()),
            _ => None,
        })
    }
}

/// The proofs that a provider's deliveries can carry.
fn proofs(spec: &WebhookEndpointSpec, secrets: &[Secret]) -> Result<Vec<Proof>, PolicyError> {
    let hmac = |headers, content| Ok(vec![Proof::Hmac(BodyHmac::fixed(headers, content, secrets))]);
    if let Some(verify) = &spec.verify {
        let token = verify.algorithm == Algorithm::Token;
        let unsigned = spec.provider.is_registry() || spec.provider == Provider::Cloudevents;
        if spec.provider == Provider::Generic || (unsigned && token) {
            return Ok(vec![match verify.algorithm {
                Algorithm::Token => Proof::Token(Token::custom(verify, secrets)?),
                _ => Proof::Hmac(BodyHmac::custom(verify, secrets)?),
            }]);
        }
        return Err(PolicyError::VerifyNotAllowed(spec.provider.as_str()));
    }
    match spec.provider {
        Provider::Github => hmac(&[("x-hub-signature-256", "sha256=")], Content::Body),
        Provider::Bitbucket => hmac(&[("x-hub-signature", "sha256=")], Content::Body),
        Provider::Gitea => hmac(&GITEA_SIGNATURES[1..], Content::BodyOrFormPayload),
        Provider::Forgejo => hmac(&GITEA_SIGNATURES, Content::BodyOrFormPayload),
        Provider::Gitlab => Ok(vec![
            Proof::Standard(StandardWebhooks::lenient(secrets)),
            Proof::Token(Token::plain(HeaderName::from_static("x-gitlab-token"), secrets)),
        ]),
        Provider::Standard => Ok(vec![Proof::Standard(StandardWebhooks::strict(secrets)?)]),
        Provider::Cloudevents => {
            Ok(vec![Proof::Standard(StandardWebhooks::lenient(secrets)), Proof::Token(Token::authorization(secrets))])
        }
        Provider::Distribution
        | Provider::Harbor
        | Provider::Dockerhub
        | Provider::Quay
        | Provider::Zot
        | Provider::Acr => Ok(vec![Proof::Token(Token::authorization(secrets))]),
        Provider::Generic => Err(PolicyError::NoVerify),
    }
}

/// Forgejo imitates its ancestors' headers, and so does Gitea; the youngest name is the sender's own.
const GITEA_SIGNATURES: [(&str, &str); 4] = [
    ("x-forgejo-signature", ""),
    ("x-gitea-signature", ""),
    ("x-gogs-signature", ""),
    ("x-hub-signature-256", "sha256="),
];

fn header_name(field: &'static str, name: &str) -> Result<HeaderName, PolicyError> {
    name.parse().map_err(|_| PolicyError::BadHeader { field, name: name.to_owned() })
}

#[cfg(test)]
mod tests;
