//! The Lease as an object: what of it matters, and the requests. A write names the version that it replaces, so of two that
//! race one gets 409.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Error,
    api::{ObjectMeta, PostParams},
};

use super::Options;

/// What a Lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty: nobody, it was released.
    pub holder: String,
    /// `leaseDurationSeconds`: what the holder counts on. `None` if it says nothing that could be meant.
    pub duration: Option<Duration>,
    /// How often it went from one holder to another.
    pub transitions: i32,
    /// Since when the holder has it, as the holder's clock said. Only for people.
    pub acquired: Option<Timestamp>,
    /// resourceVersion.
    pub version: String,
}

impl Record {
    /// The holder, for people.
    pub fn holder_for_people(&self) -> String {
        if self.holder.is_empty() { "nobody".into() } else { self.holder.clone() }
    }
}

impl From<Lease> for Record {
    fn from(lease: Lease) -> Self {
        let spec = lease.spec.unwrap_or_default();
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            holder: spec.holder_identity.unwrap_or_default(),
            duration: seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs),
            transitions: spec.lease_transitions.unwrap_or_default(),
            acquired: spec.acquire_time.map(|time| time.0),
            version: lease.metadata.resource_version.unwrap_or_default(),
        }
    }
}

/// What came of a write.
#[derive(Debug)]
pub enum Written {
    /// It was done.
    Done(Record),
    /// Somebody was faster.
    Conflict,
}

/// Reads the Lease.
pub async fn read(api: &Api<Lease>, options: &Options) -> Result<Option<Record>, Error> {
    Ok(api.get_opt(&options.lease).await?.map(Record::from))
}

/// Creates it, held by us. Errors: also where its namespace is missing.
pub async fn create(api: &Api<Lease>, options: &Options) -> Result<Written, Error> {
    settle(api.create(&PostParams::default(), &object(options, None)).await)
}

/// Takes or renews it, if it still is `over`.
pub async fn write(api: &Api<Lease>, options: &Options, over: &Record) -> Result<Written, Error> {
    replace(api, options, object(options, Some(over))).await
}

/// Gives it back, if it still is `held`.
pub async fn release(api: &Api<Lease>, options: &Options, held: &Record) -> Result<Written, Error> {
    let mut lease = object(options, Some(held));
    if let Some(spec) = &mut lease.spec {
        spec.holder_identity = None;
        spec.acquire_time = None;
    }
    replace(api, options, lease).await
}

async fn replace(api: &Api<Lease>, options: &Options, lease: Lease) -> Result<Written, Error> {
    match api.replace(&options.lease, &PostParams::default(), &lease).await {
        // Deleted since it was read.
        Err(Error::Api(status)) if status.code == 404 => Ok(Written::Conflict),
        answer => settle(answer),
    }
}

fn settle(answer: Result<Lease, Error>) -> Result<Written, Error> {
    match answer {
        Ok(lease) => Ok(Written::Done(lease.into())),
        Err(Error::Api(status)) if status.code == 409 => Ok(Written::Conflict),
        Err(error) => Err(error),
    }
}

fn object(options: &Options, over: Option<&Record>) -> Lease {
    let now = Timestamp::now();
    let held = over.filter(|record| record.holder == options.identity);
    let transitions = over.map_or(0, |record| record.transitions.saturating_add(i32::from(held.is_none())));
    let acquired = held.and_then(|record| record.acquired).unwrap_or(now);
    Lease {
        metadata: ObjectMeta {
            name: Some(options.lease.clone()),
            namespace: Some(options.namespace.clone()),
            resource_version: over.map(|record| record.version.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(options.identity.clone()),
            lease_duration_seconds: i32::try_from(options.duration.as_secs()).ok(),
            acquire_time: Some(MicroTime(acquired)),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions_count_changes_of_the_holder() {
        let options = Options::new("ns", "x", "me");
        let of = |over: Option<&Record>| Record::from(object(&options, over));
        let first = of(None);
        assert_eq!(
            (first.holder.as_str(), first.transitions, first.duration),
            ("me", 0, Some(Duration::from_secs(15)))
        );
        let renewed = of(Some(&first));
        assert_eq!((renewed.transitions, renewed.acquired), (0, first.acquired));
        let taken = of(Some(&Record { holder: "other".into(), transitions: 7, version: "5".into(), ..first.clone() }));
        assert_eq!((taken.transitions, taken.version.as_str()), (8, "5"));
    }

    #[test]
    fn durations_that_cannot_be_meant_are_not_believed() {
        for seconds in [None, Some(0), Some(-5)] {
            let spec = LeaseSpec { lease_duration_seconds: seconds, ..LeaseSpec::default() };
            assert_eq!(Record::from(Lease { spec: Some(spec), ..Lease::default() }).duration, None);
        }
    }
}
