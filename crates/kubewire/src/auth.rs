//! Who asks and whether they may: the two seams that the service calls before any handler.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use http::request::Parts;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;

use crate::error::ApiResult;

/// Group of everybody who showed good credentials.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Group of those who showed none.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";

/// An authenticated user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name, e.g. `system:admin` or `system:serviceaccount:default:deployer`.
    pub name: String,
    /// UID, if known.
    pub uid: String,
    /// Groups, e.g. `system:masters`.
    pub groups: Vec<String>,
    /// Extra facts from the authenticator.
    pub extra: BTreeMap<String, Vec<String>>,
    /// When the credentials end, if they do; watches end with them.
    pub expires: Option<Timestamp>,
}

impl User {
    /// The user that requests without credentials run as, where they are allowed at all.
    pub fn anonymous() -> Self {
        Self { name: "system:anonymous".into(), groups: vec![UNAUTHENTICATED.into()], ..Self::default() }
    }

    /// The user of the process itself: may do everything.
    pub fn system() -> Self {
        Self {
            name: "system:admin".into(),
            groups: vec!["system:masters".into(), AUTHENTICATED.into()],
            ..Self::default()
        }
    }
}

/// Where a request came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Address of the peer; `None` in process.
    pub peer: Option<SocketAddr>,
    /// Whether the connection is encrypted (or in process).
    pub secure: bool,
    /// The user that the transport itself vouches for: set for in-process clients only.
    pub user: Option<User>,
    /// The certificates that the client showed and proved to own, its own first; empty where the listener asks for none.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

/// What is asked, for the authoriser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// RBAC verb, e.g. `get`, or the HTTP method in lower case for non-resource paths.
    pub verb: String,
    /// API group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Plural; empty for non-resource paths.
    pub resource: String,
    /// Subresource, or empty.
    pub subresource: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name, or empty.
    pub name: String,
    /// Path of a non-resource request, e.g. `/healthz`; empty for resources.
    pub path: String,
}

/// The answer of an authoriser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// May.
    Allow,
    /// May not; the reason is shown to the client and must not tell what exists.
    Deny(String),
}

/// Finds out who asks.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// The user, `None` where no credentials were shown, or 401 for wrong ones. Never logs credentials.
    async fn authenticate(&self, parts: &Parts, origin: &Origin) -> ApiResult<Option<User>>;

    /// Resolves when credentials that were good at `authenticate` have been withdrawn; open watches end then. The default
    /// never resolves.
    async fn revoked(&self, _user: &User) {
        std::future::pending::<()>().await;
    }
}

/// Decides whether they may.
#[async_trait]
pub trait Authorizer: Send + Sync + 'static {
    /// Decides.
    async fn authorize(&self, user: &User, attributes: &Attributes) -> Decision;
}
