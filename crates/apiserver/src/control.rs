//! Access control, built-in kinds and built-in controllers, put together over one store.
//!
//! In: a store, the administrator's token, the key that signs tokens. Out: an authenticator and an authoriser for the service,
//! the resources of all built-in kinds for the catalog, and, once the catalog is published, what must exist from the start
//! and the loops that run until shutdown.

use std::sync::Arc;

use futures::future::BoxFuture;
use roadstead_kubewire::{ApiResult, Catalog, Resource};
use tokio_util::sync::CancellationToken;

use crate::{
    accounts::controller::Controller as Accounts,
    authn::{FixedToken, ServiceAccounts, Tokens, jwt::SigningKey},
    authz::{Rbac, index::GROUP, keeper},
    builtin,
    crd::{Crds, hooks::Definitions},
    events::{expiry, renamed::Renamed},
    gc::Collector,
    hooks::BuiltIn,
    namespaces::Controller,
    registry::{Hooks, Kind, Registry, kind::KindSchema, names::NameRule, resource_name, scale},
    reviews,
    store::Store,
};

/// The built-in part of the control plane. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    store: Store,
    /// Who asks.
    pub tokens: Tokens,
    /// Whether they may.
    pub rbac: Rbac,
}

impl Control {
    /// Access control over `store`: `fixed` tokens, and those of service accounts, signed with `key`.
    pub fn new(store: Store, fixed: Vec<FixedToken>, key: SigningKey) -> Self {
        let objects = Arc::new(store.clone());
        let accounts = Arc::new(ServiceAccounts::new(key, objects.clone()));
        Self { store, tokens: Tokens::new(fixed, accounts), rbac: Rbac::new(objects) }
    }

    /// The resources of all built-in kinds; `crds` serves what CustomResourceDefinitions define.
    pub fn resources(&self, crds: &Arc<Crds>) -> Vec<Arc<dyn Resource>> {
        let stored = builtin::resources().into_iter().map(|mut kind| -> Arc<dyn Resource> {
            let scales = kind.info.group == "apps" && kind.info.plural != "daemonsets";
            if scales && !kind.info.subresources.iter().any(|sub| sub.name == "scale") {
                kind.info.subresources.push(scale::subresource());
            }
            let info = kind.info.clone();
            let hooks: Box<dyn Hooks> = match &*info.plural {
                "customresourcedefinitions" => Box::new(Definitions { table: kind, crds: crds.clone() }),
                _ => Box::new(BuiltIn::new(kind, &self.rbac, &self.tokens)),
            };
            let kind = Kind {
                resource: resource_name(&info.group, &info.plural),
                schema: KindSchema::Builtin,
                since: 0,
                names: NameRule::of(&info.group, &info.plural),
                counts_generation: info.group == "apps" || info.group == "apiextensions.k8s.io",
                blind_update: true,
                returns_deleted: matches!(&*info.plural, "serviceaccounts" | "services"),
                update_creates: matches!(&*info.group, GROUP | "coordination.k8s.io")
                    || matches!(&*info.plural, "services" | "events"),
                scale: scales.then(scale::Paths::workload),
                hooks,
                info,
            };
            Registry::new(kind, self.store.clone())
        });
        let mut stored: Vec<_> = stored.collect();
        let events = stored.iter().find(|resource| resource.info().plural == "events").cloned();
        let renamed = events.map(|events| -> Arc<dyn Resource> { Arc::new(Renamed::new(events)) });
        stored.extend(renamed);
        stored.extend(reviews::resources(&self.rbac, &self.tokens));
        stored
    }

    /// Makes what must exist from the start. `catalog` has the built-in kinds. Errors: a write failed.
    pub async fn ensure(&self, catalog: &Catalog) -> ApiResult<()> {
        keeper::ensure(&self.store, catalog).await
    }

    /// The loops, each to be spawned: garbage collection, namespaces, tokens (`ca` is the authority's certificate in PEM), the end of
    /// Events, aggregated roles. `catalog` is complete by now: what is not
    /// served counts as not there to own anything.
    pub fn loops(&self, catalog: &Catalog, ca: &str, shutdown: &CancellationToken) -> Vec<BoxFuture<'static, ()>> {
        let (store, catalog, shutdown) = (self.store.clone(), catalog.clone(), shutdown.clone());
        let accounts = Accounts::new(store.clone(), catalog.clone(), self.tokens.clone(), ca.into());
        vec![
            Box::pin(Collector::new(store.clone(), catalog.clone()).run(shutdown.clone())),
            Box::pin(Controller::new(store.clone(), catalog.clone()).run(shutdown.clone())),
            Box::pin(accounts.run(shutdown.clone())),
            Box::pin(expiry::run(store.clone(), catalog.clone(), shutdown.clone())),
            Box::pin(keeper::keep_aggregates(Arc::new(store), catalog, shutdown)),
        ]
    }
}
