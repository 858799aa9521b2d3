//! The service with its users: `admin` may everything, `reader` may read ships in `default`, `guest` may nothing.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use http::{header, request::Parts};
use roadstead_kubewire::{
    ApiError, ApiResult, ApiService, Attributes, Authenticator, Authorizer, Catalog, Decision, Observer, Origin,
    Record, Resource, User, service::Limits,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::memory::{Memory, namespaces, secrets, ships};

/// Tokens are the users' names; `revoked` names the one whose token has been withdrawn.
struct Users {
    revoked: watch::Sender<String>,
}

#[async_trait]
impl Authenticator for Users {
    async fn authenticate(&self, parts: &Parts, origin: &Origin) -> ApiResult<Option<User>> {
        let Some(value) = parts.headers.get(header::AUTHORIZATION) else { return Ok(None) };
        if !origin.secure {
            return Err(ApiError::unauthorized());
        }
        let name = value.to_str().unwrap_or("").strip_prefix("Bearer ").unwrap_or("");
        let known = ["admin", "reader", "guest"].contains(&name) && *self.revoked.borrow() != name;
        if known { Ok(Some(User { name: name.into(), ..User::default() })) } else { Err(ApiError::unauthorized()) }
    }

    async fn revoked(&self, user: &User) {
        let _ = self.revoked.subscribe().wait_for(|name| *name == user.name).await;
    }
}

struct Rules;

#[async_trait]
impl Authorizer for Rules {
    async fn authorize(&self, user: &User, a: &Attributes) -> Decision {
        let reads = ["get", "list", "watch"].contains(&a.verb.as_str());
        let allowed = match user.name.as_str() {
            "admin" | "system:admin" => true,
            "reader" => reads && (a.resource.is_empty() || (a.resource == "ships" && a.namespace == "default")),
            _ => a.path == "/readyz",
        };
        if allowed { Decision::Allow } else { Decision::Deny(String::new()) }
    }
}

/// Keeps all records.
#[derive(Default)]
pub struct Records(Mutex<Vec<Record>>, Mutex<Vec<Record>>);

impl Observer for Records {
    fn watch_started(&self, record: &Record) {
        self.1.lock().unwrap().push(record.clone());
    }

    fn finished(&self, record: &Record) {
        self.0.lock().unwrap().push(record.clone());
    }
}

impl Records {
    /// The first finished record that fulfils `wanted`, within two seconds.
    pub async fn wait_for(&self, wanted: impl Fn(&Record) -> bool) -> Record {
        for _ in 0..200 {
            if let Some(record) = self.0.lock().unwrap().iter().find(|record| wanted(record)) {
                return record.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no such record among {:#?}", self.0.lock().unwrap());
    }

    pub fn started(&self) -> Vec<Record> {
        self.1.lock().unwrap().clone()
    }
}

/// A service and the handles to what is behind it.
pub struct Plane {
    pub service: ApiService,
    pub ships: Arc<Memory>,
    pub records: Arc<Records>,
    pub shutdown: CancellationToken,
    pub catalog: Catalog,
    revoked: watch::Sender<String>,
}

impl Plane {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        let ships = Memory::new(ships());
        let resources: Vec<Arc<dyn Resource>> = vec![Memory::new(namespaces()), Memory::new(secrets()), ships.clone()];
        let catalog = Catalog::new(resources);
        let (revoked, _) = watch::channel(String::new());
        let records = Arc::new(Records::default());
        let shutdown = CancellationToken::new();
        let users = Arc::new(Users { revoked: revoked.clone() });
        let service = ApiService::builder(catalog.clone(), users, Arc::new(Rules))
            .observer(records.clone())
            .limits(limits)
            .shutdown(shutdown.clone())
            .build();
        Self { service, ships, records, shutdown, catalog, revoked }
    }

    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service.in_process(User::system()), "default")
    }

    pub fn revoke(&self, name: &str) {
        self.revoked.send_replace(name.into());
    }
}
