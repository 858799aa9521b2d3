//! How the agent reaches a hub: a client, and for a kubeconfig the way to a new one.

use std::{
    path::{Path, PathBuf},
    sync::RwLock,
    time::Duration,
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

/// How to reach a hub.
pub enum HubAccess {
    /// A kubeconfig file as `roadstead subscriber add` prints it: the current context's namespace and user name are the
    /// subscriber's. Read again when the hub refuses the token.
    Kubeconfig(PathBuf),
    /// A ready client, e.g. of the same process.
    Client {
        /// The client.
        client: Client,
        /// The subscriber that it acts as, if any.
        identity: Option<Identity>,
    },
}

impl HubAccess {
    /// Access by a kubeconfig in memory, with the same rules as for a file; it cannot be read again. Errors: it cannot
    /// be used.
    pub async fn from_kubeconfig(kubeconfig: Kubeconfig) -> Result<Self, AccessError> {
        let (client, identity) = connect(kubeconfig).await?;
        Ok(Self::Client { client, identity })
    }
}

/// Why a kubeconfig cannot be used. Tells nothing of the content, which holds a token.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file is there and something else. What the parser says of it is left out: it shows the source.
    #[error("{} is not a kubeconfig: line {line}", .file.display())]
    NotAKubeconfig {
        /// The file.
        file: PathBuf,
        /// Number of the line, from 1, or `unknown`.
        line: String,
    },
    /// The file cannot be read, or what it says does not fit together.
    #[error(transparent)]
    Unusable(Box<KubeconfigError>),
}

impl From<KubeconfigError> for AccessError {
    fn from(error: KubeconfigError) -> Self {
        Self::Unusable(Box::new(error))
    }
}

/// A `Subscriber` on the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The client in use.
pub(super) struct Connection {
    current: RwLock<(Client, Option<Identity>)>,
    path: Option<PathBuf>,
}

impl Connection {
    pub(super) async fn open(access: HubAccess) -> Result<Self, AccessError> {
        Ok(match access {
            HubAccess::Client { client, identity } => Self { current: RwLock::new((client, identity)), path: None },
            HubAccess::Kubeconfig(path) => Self { current: RwLock::new(load(&path).await?), path: Some(path) },
        })
    }

    pub(super) fn client(&self) -> Client {
        self.read(|(client, _)| client.clone())
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        self.read(|(_, identity)| identity.clone())
    }

    fn read<T>(&self, part: impl FnOnce(&(Client, Option<Identity>)) -> T) -> T {
        part(&self.current.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    pub(super) async fn renew(&self, hub: &str) {
        let Some(path) = &self.path else { return };
        match load(path).await {
            Ok(fresh) => *self.current.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = fresh,
            Err(error) => tracing::warn!(hub, %error, "the hub's kubeconfig cannot be read again"),
        }
    }
}

async fn load(path: &Path) -> Result<(Client, Option<Identity>), AccessError> {
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| match error {
        KubeconfigError::Parse(error) => AccessError::NotAKubeconfig {
            file: path.to_path_buf(),
            line: error.location().map_or("unknown".into(), |location| location.line().to_string()),
        },
        error => error.into(),
    })?;
    connect(kubeconfig).await
}

async fn connect(kubeconfig: Kubeconfig) -> Result<(Client, Option<Identity>), AccessError> {
    let identity = identity_of(&kubeconfig);
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.connect_timeout = Some(Duration::from_secs(10));
    // The source backs off by itself, and tells the user meanwhile.
    config.default_retry = false;
    let client = Client::try_from(config).map_err(|error| KubeconfigError::LoadContext(error.to_string()))?;
    Ok((client, identity))
}

/// The subscriber that a kubeconfig was made for: namespace and user of its current context.
fn identity_of(kubeconfig: &Kubeconfig) -> Option<Identity> {
    let current = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == *current)?.context.as_ref()?;
    Some(Identity {
        namespace: context.namespace.clone().unwrap_or_else(|| "default".into()),
        name: context.user.clone()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_the_contexts() {
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: hub\ncontexts:\n- name: other\n  context: {cluster: x, user: y}\n\
                    - name: hub\n  context: {cluster: hub, user: edge-1, namespace: team-a}\n";
        let kubeconfig = Kubeconfig::from_yaml(text).unwrap();
        assert_eq!(identity_of(&kubeconfig), Some(Identity { namespace: "team-a".into(), name: "edge-1".into() }));
        assert_eq!(identity_of(&Kubeconfig::default()), None);
    }

    #[tokio::test]
    async fn a_broken_file_is_told_by_its_line_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hub");
        for (text, line) in [
            ("apiVersion: v1\nkind: Config\nusers:\n- name: edge\n  user: tok3n-of-mine\n", 5),
            ("apiVersion: v1\nusers:\n- name: edge\n  user: {token: [tok3n-of-mine]}\n", 4),
            ("users:\n- name: edge\n  user:\n    token: \"tok3n-of-mine\" x\n", 4),
        ] {
            std::fs::write(&path, text).unwrap();
            let source = load(&path).await.map(|_| ()).unwrap_err();
            assert_eq!(source.to_string(), format!("{} is not a kubeconfig: line {line}", path.display()));
            let error = crate::Error::Hub { hub: "main".into(), source: Box::new(source) };
            let mut told = format!("{error} {error:?}");
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                told += &format!(" {error} {error:?}");
                cause = error.source();
            }
            assert!(!told.contains("tok3n"), "{told}");
        }
    }
}
