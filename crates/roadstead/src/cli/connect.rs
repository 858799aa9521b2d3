//! Finds the control plane, the same way for every verb: `--kubeconfig`, `$KUBECONFIG`, then the file of the running `up`.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use anyhow::Result;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::Failure;
use super::output::{Column, Format, Output};

/// Which control plane, and which namespace.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Control plane")]
pub struct Connection {
    /// Namespace; default: the context's.
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Kubeconfig file; default: $KUBECONFIG, then that of the running `roadstead up`.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; default: its current one.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
}

/// The flags of [`Connection`] before the verb, as in `roadstead -n team-b hook list`. Flags of their own, because those of
/// `Connection` would come with every verb, also with those that talk to no control plane.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Control plane")]
pub struct Early {
    /// Namespace, for verbs that have one.
    #[arg(short = 'n', long = "namespace", id = "early-namespace", value_name = "NAME")]
    namespace: Option<String>,
    /// Kubeconfig file, for verbs that only talk to a control plane.
    #[arg(long = "kubeconfig", id = "early-kubeconfig", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long = "context", id = "early-context", value_name = "NAME")]
    context: Option<String>,
}

impl Early {
    /// Whether none is given.
    pub fn is_empty(&self) -> bool {
        self.namespace.is_none() && self.kubeconfig.is_none() && self.context.is_none()
    }
}

/// Flag `-A`, shared by verbs that list.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Scope {
    /// Of all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

impl Scope {
    /// Reads all objects of a kind, page by page.
    pub async fn list<K>(self, plane: &Plane) -> Result<Vec<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = match self.all_namespaces {
            true => Api::all(plane.client.clone()),
            false => Api::namespaced(plane.client.clone(), &plane.namespace),
        };
        let (mut found, mut params) = (Vec::new(), ListParams::default().limit(500));
        loop {
            let page = api.list(&params).await?;
            found.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(found),
            }
        }
    }

    /// Prints them, with their namespace if they may have several.
    pub fn print<K>(self, items: &[K], columns: &[Column<K>], output: Output) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        if items.is_empty() && output.format == Format::Table {
            eprintln!("no {} found", K::plural(&()));
            return Ok(());
        }
        let namespace: Column<K> = ("NAMESPACE", |item| item.namespace().unwrap_or_default());
        let columns: Vec<Column<K>> =
            self.all_namespaces.then_some(namespace).into_iter().chain(columns.iter().copied()).collect();
        output.list(items, &(), &columns)
    }
}

/// Where a kubeconfig came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `--kubeconfig`.
    Flag,
    /// `$KUBECONFIG`, which may name several files.
    Environment,
    /// `kubeconfig` in the default data directory.
    Up,
}

impl Source {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Flag => "--kubeconfig",
            Source::Environment => "KUBECONFIG",
            Source::Up => "roadstead up",
        }
    }
}

/// A control plane and the namespace to work in.
pub struct Plane {
    /// Client with the kubeconfig's credentials.
    pub client: Client,
    /// Namespace of `-n`, else of the context.
    pub namespace: String,
}

impl Connection {
    /// Takes what was said before the verb where nothing was said behind it.
    pub fn complete(&mut self, early: Early) {
        self.namespace = self.namespace.take().or(early.namespace);
        self.kubeconfig = self.kubeconfig.take().or(early.kubeconfig);
        self.context = self.context.take().or(early.context);
    }

    /// Connects. No request is made yet.
    pub async fn open(&self) -> Result<Plane> {
        let (source, paths) = self.locate()?;
        let name = show(&paths);
        let bad = |error: &dyn std::fmt::Display| {
            Failure::BadKubeconfig(format!("{name} ({})", source.as_str()), error.to_string())
        };
        let kubeconfig = read(&paths).map_err(|error| bad(&error))?;
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| bad(&error))?;
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Plane { client: Client::try_from(config).map_err(|error| bad(&error))?, namespace })
    }

    /// The files that say where the control plane is. Several only from `$KUBECONFIG`.
    pub fn locate(&self) -> Result<(Source, Vec<PathBuf>), Failure> {
        let environment = std::env::var_os("KUBECONFIG").map(|value| std::env::split_paths(&value).collect());
        choose(self.kubeconfig.clone(), environment, default_data_dir(), Path::is_file)
    }
}

/// Merges the files, the first mention of a name winning, as kubectl does; files that don't exist are skipped there too.
/// Errors: one line for people, without anything that a file says, since any part of it may be a credential.
pub fn read(paths: &[PathBuf]) -> Result<Kubeconfig, String> {
    let mut merged = Kubeconfig::default();
    for path in paths.iter().filter(|path| paths.len() == 1 || path.is_file()) {
        let next = Kubeconfig::read_from(path).map_err(|error| explain(path, &error))?;
        merged = merged.merge(next).map_err(|error| explain(path, &error))?;
    }
    Ok(merged)
}

/// What is wrong with a file. The parser's own words quote it.
fn explain(path: &Path, error: &KubeconfigError) -> String {
    let file = path.display();
    match error {
        KubeconfigError::ReadConfig(error, _) => format!("can't read {file}: {error}"),
        KubeconfigError::Parse(error) => match error.location().filter(|at| at.line() > 0) {
            Some(at) => format!("{file} is not a kubeconfig: line {}", at.line()),
            None => format!("{file} is not a kubeconfig"),
        },
        other => format!("{file}: {other}"),
    }
}

/// Where `roadstead up` keeps its data unless told otherwise: `$XDG_DATA_HOME/roadstead`, or `~/.local/share/roadstead`.
pub fn default_data_dir() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")))?;
    Some(base.join("roadstead"))
}

fn choose(
    flag: Option<PathBuf>,
    environment: Option<Vec<PathBuf>>,
    data_dir: Option<PathBuf>,
    exists: impl Fn(&Path) -> bool,
) -> Result<(Source, Vec<PathBuf>), Failure> {
    if let Some(path) = flag {
        return Ok((Source::Flag, vec![path]));
    }
    let named: Vec<PathBuf> =
        environment.unwrap_or_default().into_iter().filter(|path| !path.as_os_str().is_empty()).collect();
    if !named.is_empty() {
        return Ok((Source::Environment, named));
    }
    let up = data_dir.map(|directory| directory.join("kubeconfig"));
    match up {
        Some(path) if exists(&path) => Ok((Source::Up, vec![path])),
        Some(path) => Err(Failure::NoControlPlane(path.display().to_string())),
        None => Err(Failure::NoControlPlane("a home directory".into())),
    }
}

fn show(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_wish_wins() {
        let (flag, env, data) = (PathBuf::from("f"), vec![PathBuf::from("a"), PathBuf::from("b")], PathBuf::from("/d"));
        let both = choose(Some(flag.clone()), Some(env.clone()), Some(data.clone()), |_| true).unwrap();
        assert_eq!(both, (Source::Flag, vec![flag]));
        assert_eq!(choose(None, Some(env.clone()), Some(data.clone()), |_| true).unwrap(), (Source::Environment, env));
        let up = (Source::Up, vec![PathBuf::from("/d/kubeconfig")]);
        assert_eq!(choose(None, None, Some(data.clone()), |_| true).unwrap(), up);
        assert_eq!(
            choose(None, Some(vec![PathBuf::new()]), Some(data.clone()), |_| true).unwrap(),
            up,
            "empty means unset"
        );
        let error = choose(None, None, Some(data), |_| false).unwrap_err().to_string();
        assert!(error.contains("/d/kubeconfig") && error.contains("roadstead up"), "{error}");
    }
}
