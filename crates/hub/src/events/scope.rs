//! Who may see which endpoints' events.

use std::sync::Arc;

use roadstead_kubewire::User;

use crate::log::Endpoints;

/// The endpoints whose events a user may see. Deny by default: an empty list shows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All; whether the user may ask at all has been decided by the authoriser.
    Everything,
    /// These (namespace, name).
    Endpoints(Vec<(String, String)>),
}

/// Finds a user's scope; called once for each request, so a watch keeps the scope that it began with.
pub type ScopeOf = Arc<dyn Fn(&User) -> Scope + Send + Sync>;

impl Scope {
    /// Whether the events of an endpoint may be seen.
    pub fn contains(&self, namespace: &str, endpoint: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Endpoints(list) => list.iter().any(|(ns, name)| ns == namespace && name == endpoint),
        }
    }

    /// The endpoints of a namespace (or of all), as far as they may be seen.
    pub(super) fn within(self, namespace: Option<&str>) -> Endpoints {
        match (self, namespace) {
            (Self::Everything, None) => Endpoints::All,
            (Self::Everything, Some(namespace)) => Endpoints::Namespace(namespace.into()),
            (Self::Endpoints(list), namespace) => {
                let inside = |(ns, _): &(String, String)| namespace.is_none_or(|namespace| ns == namespace);
                Endpoints::Named(list.into_iter().filter(inside).collect())
            }
        }
    }
}
