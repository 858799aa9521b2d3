//! Opening the control plane: everything is put together here, and nowhere else.
//!
//! What flows in: [`Options`]. What flows out: a [`Server`] that is ready to answer when [`Server::open`] returns: the store
//! is read, the default namespaces and roles are there, the given CRDs are served. In a data directory:
//!
//! | file | what it is |
//! |---|---|
//! | `store.db`, `-wal`, `-shm`, `.lock` | the store |
//! | `secrets.key` | the key that Secrets are sealed with, unless it lives elsewhere |
//! | `pki/` | the certificate authority, and the key that signs tokens of service accounts |
//! | `kubeconfig`, `admin-token.sha256` | the administrator's way in |
//! | `audit.log` | who did what |

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use roadstead_kubewire::{
    ApiError, ApiService, Catalog, Observer, Resource, User,
    health::{Check, Health},
    route::Probe,
};
use tokio::runtime::Handle as Runtime;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    audit::{self, Audit},
    authn::{
        FixedToken,
        jwt::{KeyError, SigningKey},
        key_file::{self, KeyFileError},
    },
    control::Control,
    crd::{self, Crds},
    files,
    handle::{Handle, Shared},
    kubeconfig::AdminToken,
    pki::{Ca, PkiError, Serving},
    store::{self, Bounds, Files, Store},
};

/// How to open a control plane. The default is one in memory.
#[derive(Default)]
pub struct Options {
    /// Where everything is kept (made with mode 0700); `None`: in memory, and gone with the process.
    pub data_dir: Option<PathBuf>,
    /// Where the key is that Secrets are sealed with. Default `secrets.key` in the data directory.
    pub key_file: Option<PathBuf>,
    /// CRDs that must be there: created, or brought to this form.
    pub crds: Vec<CustomResourceDefinition>,
    /// Resources that are served beside the store's. More can follow with [`Handle::plug`].
    pub extra: Vec<Arc<dyn Resource>>,
    /// Names and IP addresses for the serving certificate, beside `localhost`, the loopback addresses and each bound address.
    pub names: Vec<String>,
    /// How much history each resource keeps for watches and lists in pages.
    pub history: Bounds,
    /// Who is told of requests, beside the audit log.
    pub observers: Vec<Arc<dyn Observer>>,
    /// Tokens that are good beside the administrator's and those of service accounts.
    pub tokens: Vec<FixedToken>,
}

/// Why a control plane could not be opened. What exists on disk has not been harmed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// Certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The key that signs tokens, in its file.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The key that signs tokens, in memory.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What must be there from the start could not be written.
    #[error("{what}: {source}")]
    Ensure {
        /// What.
        what: String,
        /// Why.
        source: ApiError,
    },
}

/// A running control plane. Dropping it stops it without waiting; [`shutdown`](Self::shutdown) waits.
pub struct Server {
    handle: Handle,
}

impl Server {
    /// Opens a control plane; it is ready when this returns.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let runtime = Runtime::current();
        let (options, parts) = runtime
            .spawn_blocking(move || Parts::open(&options).map(|parts| (options, parts)))
            .await
            .map_err(|error| OpenError::Io { path: "the opening thread".into(), source: io::Error::other(error) })??;
        let Parts { store, serving, ca, token, signing, audit } = parts;
        let admin = FixedToken { sha256: token.sha256(), user: User::system() };
        let fixed = std::iter::once(admin).chain(options.tokens).collect();
        let control = Control::new(store.clone(), fixed, signing);
        let catalog = Catalog::default();
        let crds = Crds::new(store.clone(), catalog.clone());
        crds.plug(control.resources(&crds).into_iter().chain(options.extra));

        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        // From here on an error ends what has been started.
        let guard = shutdown.clone().drop_guard();
        tasks.spawn(crds.clone().run(shutdown.clone()));
        let ensure = |what: &str| {
            let what = what.to_string();
            move |source| OpenError::Ensure { what, source }
        };
        control.ensure(&catalog).await.map_err(ensure("the default namespaces and roles could not be written"))?;
        crd::ensure::ensure(&catalog, options.crds).await.map_err(ensure("a definition could not be written"))?;
        // Read before the wait: a borrow held across it would stop the writer that is waited for.
        let newest = *store.feed(crd::RESOURCE).newest().borrow();
        crds.settled(newest).await;
        for task in control.loops(&catalog, ca.pem(), &shutdown) {
            tasks.spawn(task);
        }
        let fresh = (serving.clone(), shutdown.clone());
        tasks.spawn(async move { fresh.0.keep_fresh(fresh.1).await });

        let observers: Vec<Arc<dyn Observer>> =
            audit.iter().map(|audit| audit.clone() as Arc<dyn Observer>).chain(options.observers).collect();
        let (tokens, rbac) = (Arc::new(control.tokens.clone()), Arc::new(control.rbac.clone()));
        let service = ApiService::builder(catalog.clone(), tokens, rbac)
            .observer(Arc::new(observers))
            .health(Arc::new(StoreHealth { store: store.clone() }))
            .version(concat!("v1.34.0+roadstead-", env!("CARGO_PKG_VERSION")))
            .shutdown(shutdown.clone())
            .build();
        guard.disarm();
        let data_dir = options.data_dir;
        let shared =
            Shared { store, catalog, crds, control, service, serving, ca, token, audit, data_dir, shutdown, tasks };
        Ok(Self { handle: Handle::new(shared) })
    }

    /// The handle that everything else is done with. Cheap to clone.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends watches, lets requests finish, stops the loops, and closes the store.
    pub async fn shutdown(self) {
        self.handle.shutdown().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.cancel();
    }
}

/// Where the store of a data directory is, and its key.
fn store_files(data_dir: &Path, key_file: Option<&Path>) -> Files {
    let key = key_file.map_or_else(|| data_dir.join("secrets.key"), Path::to_path_buf);
    Files { store: data_dir.join("store.db"), key }
}

/// Puts a copy made by [`Handle::backup`] into a data directory that has no store. Old watchers are told to list again:
/// resourceVersions go on far beyond those that were handed out. The key file must be the one of the time of the copy.
/// Blocks.
///
/// # Errors
/// When the copy is not a usable store, the key is not its key, or there is a store already.
pub fn restore(copy: &Path, data_dir: &Path, key_file: Option<&Path>) -> Result<(), OpenError> {
    files::private_dir(data_dir).map_err(|source| OpenError::Io { path: data_dir.into(), source })?;
    Ok(store::restore(copy, &store_files(data_dir, key_file))?)
}

/// What is read from files or made, on a thread that may block.
struct Parts {
    store: Store,
    ca: Arc<Ca>,
    serving: Arc<Serving>,
    token: AdminToken,
    signing: SigningKey,
    audit: Option<Arc<Audit>>,
}

impl Parts {
    fn open(options: &Options) -> Result<Self, OpenError> {
        let names = ["localhost", "127.0.0.1", "::1"].into_iter().map(str::to_string);
        let names: Vec<String> = names.chain(options.names.iter().cloned()).collect();
        let Some(dir) = &options.data_dir else {
            let ca = Arc::new(Ca::in_memory()?);
            let token = AdminToken::random().map_err(|source| OpenError::Io { path: "token".into(), source })?;
            return Ok(Self {
                store: Store::open(&store::Options { files: None, history: options.history })?,
                serving: Arc::new(Serving::new(ca.clone(), names)?),
                ca,
                token,
                signing: SigningKey::from_pkcs8(&SigningKey::generate()?)?,
                audit: None,
            });
        };
        let at = |path: PathBuf| move |source| OpenError::Io { path, source };
        files::private_dir(dir).map_err(at(dir.clone()))?;
        let files = store_files(dir, options.key_file.as_deref());
        // The store first: its lock keeps a second process from everything else in the directory.
        let store = Store::open(&store::Options { files: Some(files), history: options.history })?;
        let ca = Arc::new(Ca::open(&dir.join("pki"))?);
        let log = dir.join("audit.log");
        Ok(Self {
            store,
            serving: Arc::new(Serving::new(ca.clone(), names)?),
            ca,
            token: AdminToken::open(dir).map_err(at(dir.clone()))?,
            signing: key_file::open(&dir.join("pki/service-accounts.key"))?,
            audit: Some(Arc::new(Audit::open(&log, audit::file::Bounds::default()).map_err(at(log.clone()))?)),
        })
    }
}

/// Ready as long as writes can be stored.
struct StoreHealth {
    store: Store,
}

#[async_trait]
impl Health for StoreHealth {
    async fn check(&self, probe: Probe) -> Vec<Check> {
        let store = match self.store.stats().failing() && probe != Probe::Live {
            true => Check::failed("store", "the last write could not be stored"),
            false => Check::ok("store"),
        };
        vec![Check::ok("ping"), store]
    }
}
