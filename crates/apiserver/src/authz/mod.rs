//! Who may do what: RBAC as Kubernetes does it.
//!
//! In: a user and what they ask. Out: allow, or deny with a reason that says nothing about what exists. What nobody was
//! given is denied. The evaluation reads an [`index::Index`] that is rebuilt when one of the RBAC kinds has changed, at the
//! first request after the change: a grant or its withdrawal holds for the very next request, and there is no loop that
//! could lag.
//!
//! [`escalation`] keeps people from granting what they do not have, [`bootstrap`] holds the roles that exist from the start,
//! [`keeper`] writes them.

pub mod aggregate;
pub mod bootstrap;
pub mod escalation;
pub mod index;
pub mod keeper;
pub mod rule;
#[cfg(test)]
mod tests;
pub mod validation;

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use roadstead_kubewire::{Attributes, Authorizer, Decision, User};

use self::{
    index::{Index, MASTERS},
    rule::Rule,
};
use crate::objects::Objects;

/// The answer with its reason, for access reviews.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether they may.
    pub allowed: bool,
    /// Why they may; empty where they may not.
    pub reason: String,
}

/// The RBAC authoriser. Cheap to clone.
#[derive(Clone)]
pub struct Rbac {
    inner: Arc<Inner>,
}

struct Inner {
    objects: Arc<dyn Objects>,
    index: ArcSwap<Index>,
    building: Mutex<()>,
}

impl Rbac {
    /// An authoriser over the roles and bindings in `objects`.
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        let index = ArcSwap::from_pointee(Index::build(&*objects));
        Self { inner: Arc::new(Inner { objects, index, building: Mutex::default() }) }
    }

    /// An index of the present state.
    pub(crate) fn index(&self) -> Arc<Index> {
        let inner = &*self.inner;
        let fresh = || Some(inner.index.load_full()).filter(|index| index.versions == index::versions(&*inner.objects));
        if let Some(index) = fresh() {
            return index;
        }
        // One request builds, the others wait for it: it is quick, and they must not decide on what is outdated. A poisoned
        // lock only says that a build panicked; there is no state behind it.
        let _building = inner.building.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        fresh().unwrap_or_else(|| {
            let index = Arc::new(Index::build(&*inner.objects));
            inner.index.store(index.clone());
            index
        })
    }

    /// Decides, with the reason.
    pub fn evaluate(&self, user: &User, asked: &Attributes) -> Verdict {
        if is_master(user) {
            return Verdict { allowed: true, reason: String::new() };
        }
        match self.index().allowed_by(user, asked) {
            Some(source) => Verdict { allowed: true, reason: format!("RBAC: allowed by {source}") },
            None => Verdict { allowed: false, reason: String::new() },
        }
    }

    /// All rules that hold for `user` in `namespace`, for `kubectl auth can-i --list`.
    pub fn rules_of(&self, user: &User, namespace: &str) -> Vec<Rule> {
        if is_master(user) { Rule::everything().into() } else { self.index().rules_of(user, namespace) }
    }
}

/// Whether the user is of the group that may do everything.
pub fn is_master(user: &User) -> bool {
    user.groups.iter().any(|group| group == MASTERS)
}

#[async_trait]
impl Authorizer for Rbac {
    async fn authorize(&self, user: &User, attributes: &Attributes) -> Decision {
        match self.evaluate(user, attributes) {
            Verdict { allowed: true, .. } => Decision::Allow,
            Verdict { allowed: false, reason } => Decision::Deny(reason),
        }
    }
}
