//! What verbs that change something share: dry run, waiting with a deadline, and changing what somebody else may be changing too.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::{ArgAction, ValueEnum};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
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
    /// Waits until `progress` says that the object is as wanted and gives it; `None` if the user does not want to wait. Ends early,
    /// with its reason, when `progress` says that the object will not become so unless somebody changes something.
    pub async fn until<K>(
        self,
        api: &Api<K>,
        name: &str,
        what: &str,
        progress: impl Fn(&K) -> Progress,
    ) -> Result<Option<K>>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Send + DeserializeOwned + 'static,
    {
        if !self.wait {
            return Ok(None);
        }
        eprintln!("waiting until {name} {what} ...");
        let condition = |object: Option<&K>| object.is_some_and(|object| progress(object) != Progress::Pending);
        match tokio::time::timeout(self.timeout, await_condition(api.clone(), name, condition)).await {
            Ok(result) => {
                let object = result.map_err(|error| anyhow!(error).context(format!("cannot watch {name}")))?;
                match object.as_ref().map(&progress) {
                    Some(Progress::Stuck { reason, message }) => {
                        Err(Failure::Stuck(format!("{name} is there, but not ready: {reason}: {message}")).into())
                    }
                    _ => Ok(object),
                }
            }
            Err(_) => Err(Failure::Timeout {
                what: format!("{name} was not as wanted ({what})"),
                after: self.timeout,
                hint: format!("See why: kubectl describe {} {name}", K::kind(&()).to_lowercase()),
            }
            .into()),
        }
    }

    /// Asks until `look` finds something and gives it; `None` if the user does not want to wait.
    pub async fn poll<T>(self, what: &str, look: impl AsyncFn() -> Result<Option<T>>) -> Result<Option<T>> {
        if !self.wait {
            return Ok(None);
        }
        eprintln!("waiting until {what} ...");
        let asking = async {
            loop {
                match look().await? {
                    Some(found) => return Ok(Some(found)),
                    None => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        };
        match tokio::time::timeout(self.timeout, asking).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Timeout {
                what: format!("it was not so that {what}"),
                after: self.timeout,
                hint: "It may still come; look again".into(),
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

/// How far an object is on its way to what is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not yet; may come by itself.
    Pending,
    /// As wanted.
    Done,
    /// Not without a change.
    Stuck {
        /// The condition's reason.
        reason: String,
        /// The condition's message.
        message: String,
    },
}

impl Progress {
    /// Done if `reached`, else pending.
    pub fn of(reached: bool) -> Self {
        if reached { Progress::Done } else { Progress::Pending }
    }
}

/// Reasons of `Ready=False` that may pass by themselves, because a network or what was changed just before catches up. All others say
/// that somebody has to change something.
const PASSING: [&str; 5] = ["HubUnreachable", "HubNotUnderstood", "HubDenied", "EndpointNotFound", "EventsMissed"];

/// What the condition `Ready` says of the object's present generation. Source: [`PASSING`] and the reasons in the documentation.
pub fn readiness(conditions: &[Condition], observed: Option<i64>, generation: Option<i64>) -> Progress {
    let current = |condition: &&Condition| {
        condition.type_ == "Ready"
            && observed >= generation
            && condition.observed_generation.is_none_or(|of| Some(of) >= generation)
    };
    match conditions.iter().find(current) {
        Some(ready) if ready.status == "True" => Progress::Done,
        Some(ready) if ready.status == "False" && !PASSING.contains(&ready.reason.as_str()) => {
            Progress::Stuck { reason: ready.reason.clone(), message: ready.message.clone() }
        }
        _ => Progress::Pending,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn a_final_reason_ends_the_wait() {
        let stuck = |reason: &str| Progress::Stuck { reason: reason.into(), message: "why".into() };
        for (status, reason, of, observed, expected) in [
            ("True", "Watching", Some(2), Some(2), Progress::Done),
            ("True", "Watching", None, Some(3), Progress::Done),
            ("False", "InvalidFilter", Some(2), Some(2), stuck("InvalidFilter")),
            ("False", "ForwardNotAllowed", Some(2), Some(2), stuck("ForwardNotAllowed")),
            ("False", "EndpointUnavailable", Some(2), Some(2), stuck("EndpointUnavailable")),
            ("False", "SecretMissing", None, Some(2), stuck("SecretMissing")),
            ("False", "HubUnreachable", Some(2), Some(2), Progress::Pending),
            ("Unknown", "InvalidFilter", Some(2), Some(2), Progress::Pending),
            ("False", "InvalidFilter", Some(1), Some(2), Progress::Pending),
            ("True", "Watching", Some(1), Some(2), Progress::Pending),
            ("False", "InvalidFilter", Some(2), Some(1), Progress::Pending),
            ("False", "InvalidFilter", None, None, Progress::Pending),
        ] {
            let condition = Condition {
                type_: "Ready".into(),
                status: status.into(),
                reason: reason.into(),
                message: "why".into(),
                observed_generation: of,
                last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
            };
            let other = Condition { type_: "Other".into(), ..condition.clone() };
            assert_eq!(readiness(&[other.clone(), condition], observed, Some(2)), expected, "{status} {reason} {of:?}");
            assert_eq!(readiness(&[other], observed, Some(2)), Progress::Pending);
        }
    }
}
