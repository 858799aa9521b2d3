//! The subscribers' gateway: the Kubernetes wire format over the event log, for those who hold a subscriber's token.
//!
//! A subscriber sees the events of its endpoints, those endpoints themselves (without their URL, which is for senders), and
//! its own `Subscriber`, whose status it may write. Everything else is refused, and what it may not see looks as if it did
//! not exist.

mod auth;
mod endpoints;
mod events;
mod own;

use std::sync::Arc;

use kube::Client;
use roadstead_kubewire::{Catalog, service::ApiService};
use roadstead_reconcile::Namespaces;
use tokio_util::sync::CancellationToken;

use crate::{
    control::{endpoints::Registry, subscribers::Subscribers},
    events::EventsResource,
    log::Log,
};

pub use auth::TokenAuthenticator;

/// Everything that a subscriber can reach.
pub(crate) fn service(
    client: &Client,
    namespaces: &Namespaces,
    log: Arc<dyn Log>,
    registry: &Registry,
    subscribers: &Subscribers,
    stop: CancellationToken,
) -> ApiService {
    let scope = auth::scope_of(subscribers.clone());
    let catalog = Catalog::new(vec![
        Arc::new(events::ScopedEvents::new(EventsResource::scoped(log, scope), subscribers.clone())),
        Arc::new(endpoints::PermittedEndpoints::new(client, namespaces, registry, subscribers)),
        Arc::new(own::OwnSubscriber::new(client.clone(), subscribers.clone())),
    ]);
    let authenticator = Arc::new(TokenAuthenticator::new(subscribers.clone()));
    let authorizer = Arc::new(auth::GrantAuthorizer::new(subscribers.clone()));
    ApiService::builder(catalog, authenticator, authorizer).shutdown(stop).build()
}
