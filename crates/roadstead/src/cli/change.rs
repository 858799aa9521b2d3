//! What verbs that change something share: dry run, waiting with a deadline, and changing what somebody else may be changing too.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::{ArgAction, ValueEnum};
use kube::api::PostParams;
use kube::runtime::wait::await_condition;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::Failure;

/// How a change is tried.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub enum DryRun {
    /// The control plane checks and answers, and keeps nothing.
    Server,
}

/// Flag `--dry-run`, shared by verbs that write.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Change {
    /// Let the control plane check the change and keep nothing.
    #[arg(long, value_enum, value_name = "WHERE")]
    dry_run: Option<DryRun>,
}

impl Change {
    /// Whether nothing may be kept.
    pub fn is_dry(self) -> bool {
        self.dry_run.is_some()
    }

    /// Parameters for creating and replacing.
    pub fn params(self) -> PostParams {
        PostParams { dry_run: self.is_dry(), ..PostParams::default() }
    }
}

/// Flags `--wait` and `--timeout`, shared by verbs whose change takes effect later.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Patience {
    /// Wait until the change has taken effect; `--wait=false` does not.
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    wait: bool,
    /// How long to wait, e.g. 30s or 2m.
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "TIME")]
    timeout: Duration,
}

impl Patience {
    /// Waits until `reached` holds for the object and gives it; `None` if the user does not want to wait.
    pub async fn until<K>(self, api: &Api<K>, name: &str, what: &str, reached: fn(&K) -> bool) -> Result<Option<K>>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Send + DeserializeOwned + 'static,
    {
        if !self.wait {
            return Ok(None);
        }
        eprintln!("waiting until {name} {what} ...");
        let condition = move |object: Option<&K>| object.is_some_and(reached);
        match tokio::time::timeout(self.timeout, await_condition(api.clone(), name, condition)).await {
            Ok(result) => Ok(result.map_err(|error| anyhow!(error).context(format!("cannot watch {name}")))?),
            Err(_) => Err(Failure::Timeout {
                what: format!("{name} was not as wanted ({what})"),
                after: self.timeout,
                hint: format!("See why: kubectl describe {} {name}", K::kind(&()).to_lowercase()),
            }
            .into()),
        }
    }
}

/// Reads an object, changes it and writes it back; begins anew when somebody else was faster, a few times.
pub async fn modify<K>(api: &Api<K>, name: &str, change: Change, edit: impl Fn(&mut K) -> Result<()>) -> Result<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    const TRIES: usize = 5;
    let mut tries = 0;
    loop {
        let mut object = api.get(name).await?;
        edit(&mut object)?;
        tries += 1;
        match api.replace(&object.name_any(), &change.params(), &object).await {
            Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => continue,
            other => return Ok(other?),
        }
    }
}

/// A duration as people write it: `90s`, `5m`, `1h30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    roadstead_reconcile::parse::duration(text).map_err(|error| error.to_string())
}

/// Whether `Ready` is true for the object's present generation.
pub fn is_ready(
    conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    observed: Option<i64>,
    generation: Option<i64>,
) -> bool {
    observed >= generation
        && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
