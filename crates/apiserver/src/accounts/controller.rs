//! The loop that gives namespaces and Secrets what [`plan`](super::plan) finds missing.
//!
//! In: states of the store. Out: ConfigMaps and Secrets, through the same resources that clients use. Each round reads everything
//! that it decides on from one state, so it may be cut off anywhere.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use imbl::OrdMap;
use roadstead_kubewire::{
    ApiResult, Catalog, Context, DeleteOptions, Key, Payload, User, WriteOptions, options::Media,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::plan::{self, Need};
use crate::{
    authn::Tokens,
    objects::text,
    store::{State, Store, Table},
};

/// How long to wait before trying again what failed.
const RETRY: Duration = Duration::from_secs(1);
/// How long to wait when there is nothing to do; a change ends the wait.
const IDLE: Duration = Duration::from_secs(60);
/// Between two rounds, which look at all Secrets.
const PAUSE: Duration = Duration::from_millis(50);
/// What it looks at.
const RESOURCES: [&str; 4] = ["namespaces", "configmaps", "secrets", "serviceaccounts"];

/// The controller of authorities and tokens.
pub struct Controller {
    store: Store,
    catalog: Catalog,
    tokens: Tokens,
    ca: String,
    cx: Context,
}

impl Controller {
    /// Over `store`, through the resources of `catalog`; `ca` is the authority's certificate in PEM.
    pub fn new(store: Store, catalog: Catalog, tokens: Tokens, ca: String) -> Self {
        let user = User { name: "system:serviceaccount:kube-system:token-controller".into(), ..User::system() };
        Self { store, catalog, tokens, ca, cx: Context::new(user, "token-controller") }
    }

    /// Works until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut seen: [Table; 4] = std::array::from_fn(|_| OrdMap::new());
        while !shutdown.is_cancelled() {
            let state = self.store.state();
            let tables = RESOURCES.map(|resource| state.table(resource));
            let mut failed = false;
            if tables.iter().zip(&seen).any(|(now, seen)| !now.ptr_eq(seen)) {
                failed = !self.round(&state).await;
            }
            // What failed is not taken as seen.
            seen = if failed { std::array::from_fn(|_| OrdMap::new()) } else { tables };
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = self.store.reached(state.version + 1, if failed { RETRY } else { IDLE }) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One look at everything; whether all went well.
    async fn round(&self, state: &State) -> bool {
        let mut well = true;
        let mut note = |what: &Key, result: ApiResult<()>| match result {
            // Somebody was faster, which is a change that wakes us.
            Err(error) if !matches!(error.code, 404 | 409) => {
                well = false;
                tracing::warn!(namespace = what.namespace, name = what.name, %error, "the token controller will try again");
            }
            _ => {}
        };
        for namespace in state.table("namespaces").values() {
            let Ok(value) = namespace.value() else { continue };
            if text(&value, "/metadata/deletionTimestamp").is_empty() {
                let key = Key::new(&*namespace.key.name, plan::ROOT_CA);
                note(&key, self.publish(state, &key).await);
            }
        }
        for secret in state.table("secrets").values() {
            // Most are of other types, and not worth parsing.
            if !std::str::from_utf8(&secret.json).is_ok_and(|json| json.contains(plan::TOKEN_TYPE)) {
                continue;
            }
            if let Ok(value) = secret.value()
                && text(&value, "/type") == plan::TOKEN_TYPE
            {
                note(&secret.key, self.serve(state, &secret.key, &value).await);
            }
        }
        well
    }

    async fn publish(&self, state: &State, key: &Key) -> ApiResult<()> {
        let present = state.get("configmaps", key).and_then(|map| map.value().ok());
        let Some(wanted) = plan::root_ca(present.as_ref(), &self.ca) else { return Ok(()) };
        let snapshot = self.catalog.snapshot();
        let Some(maps) = snapshot.find("", "v1", "configmaps") else { return Ok(()) };
        match present {
            None => maps.create(&self.cx, Some(&key.namespace), payload(&wanted), &options()).await.map(drop),
            Some(_) => maps.update(&self.cx, key, None, payload(&wanted), &options()).await.map(drop),
        }
    }

    async fn serve(&self, state: &State, key: &Key, secret: &Value) -> ApiResult<()> {
        let account = Key::new(&*key.namespace, plan::account_of(secret));
        let account = state.get("serviceaccounts", &account).and_then(|account| account.value().ok());
        let snapshot = self.catalog.snapshot();
        let Some(secrets) = snapshot.find("", "v1", "secrets") else { return Ok(()) };
        match (plan::need(secret, account.as_ref()), account) {
            (Need::Delete, _) => {
                let options =
                    DeleteOptions { uid: Some(text(secret, "/metadata/uid").into()), ..DeleteOptions::default() };
                secrets.delete(&self.cx, key, &options).await.map(drop)
            }
            (Need::Token, Some(account)) => {
                let data = json!({
                    "token": STANDARD.encode(self.tokens.accounts().lasting(&account, secret)?),
                    "namespace": STANDARD.encode(&*key.namespace),
                    "ca.crt": STANDARD.encode(&self.ca),
                });
                let filled = plan::filled(secret, &account, data);
                secrets.update(&self.cx, key, None, payload(&filled), &options()).await.map(drop)
            }
            _ => Ok(()),
        }
    }
}

fn payload(object: &Value) -> Payload {
    Payload { bytes: object.to_string().into(), media: Media::Json }
}

fn options() -> WriteOptions {
    WriteOptions { field_manager: "token-controller".into(), ..WriteOptions::default() }
}
