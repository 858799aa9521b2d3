//! How an election is run, and who takes part.

use std::time::Duration;

/// Settings of one election. The defaults are Kubernetes' own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub lease: String,
    /// This process; no other may ever have the same, not even its own successor.
    pub identity: String,
    /// A candidate waits this long after the last sign of life that it saw. Whole seconds, since the Lease tells it so. Default 15 s.
    pub duration: Duration,
    /// A leader gives up when it could not renew for this long. Default 10 s.
    pub renew_deadline: Duration,
    /// Time between two requests, give or take a fifth. Default 2 s.
    pub retry: Duration,
}

/// Why an election cannot be run so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The Lease's duration is no whole number of seconds.
    #[error("the lease duration must be a whole number of seconds, at least 1: it is {0:?}")]
    NotWhole(Duration),
    /// A leader would act while another may take the lease.
    #[error("the renew deadline ({0:?}) must be shorter than the lease duration ({1:?})")]
    TooLong(Duration, Duration),
    /// One lost request would end leadership.
    #[error("the retry period ({0:?}) must be above zero and at most a third of the renew deadline ({1:?})")]
    TooRare(Duration, Duration),
}

impl Options {
    /// The defaults, for a Lease and a process.
    pub fn new(namespace: impl Into<String>, lease: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            lease: lease.into(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }

    /// Checks that the times fit together. Errors: they do not.
    pub fn check(&self) -> Result<(), OptionsError> {
        if self.duration.subsec_nanos() != 0 || self.duration.is_zero() || self.duration.as_secs() > i32::MAX as u64 {
            return Err(OptionsError::NotWhole(self.duration));
        }
        if self.renew_deadline >= self.duration {
            return Err(OptionsError::TooLong(self.renew_deadline, self.duration));
        }
        if self.retry.is_zero() || self.retry * 3 > self.renew_deadline {
            return Err(OptionsError::TooRare(self.retry, self.renew_deadline));
        }
        Ok(())
    }
}

/// An identity for this process: the machine's (in a cluster: the pod's) name, for people, and 128 random bits.
pub fn identity() -> String {
    let host = std::env::var("HOSTNAME").ok().or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    let host = host.map(|name| name.trim().to_string()).filter(|name| !name.is_empty());
    let random = (u128::from(crate::backoff::dice()) << 64) | u128::from(crate::backoff::dice());
    format!("{}_{random:032x}", host.as_deref().unwrap_or("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_must_fit_together() {
        let with = |duration: u64, deadline: u64, retry: u64| {
            let [duration, renew_deadline, retry] = [duration, deadline, retry].map(Duration::from_millis);
            Options { duration, renew_deadline, retry, ..Options::new("ns", "x", "me") }.check()
        };
        assert_eq!(Options::new("ns", "x", "me").check(), Ok(()));
        assert_eq!(with(1000, 600, 100), Ok(()));
        assert!(matches!(with(1500, 600, 100), Err(OptionsError::NotWhole(_))));
        assert!(matches!(with(0, 0, 0), Err(OptionsError::NotWhole(_))));
        assert!(matches!(with(10_000, 10_000, 100), Err(OptionsError::TooLong(..))));
        assert!(matches!(with(15_000, 10_000, 4000), Err(OptionsError::TooRare(..))));
        assert!(matches!(with(15_000, 10_000, 0), Err(OptionsError::TooRare(..))));
    }

    #[test]
    fn no_two_processes_are_the_same() {
        assert_ne!(identity(), identity());
        assert!(identity().len() > 33);
    }
}
