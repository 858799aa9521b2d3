//! Going through a registry, repository by repository, as far as it lets.

use std::time::Duration;

use tokio::time::sleep;

use super::{Baseline, Scope, Step, TagStore, TagStoreError, repositories};
use crate::registry::{Registry, RegistryError};

/// Repositories that fail one after the other until the registry is left alone for a while.
const GIVE_UP: u32 = 3;
/// Peace that a registry gets when it asks for some, at least, and if it does not say.
const PEACE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long one walk waits for a registry that wants peace, altogether. Beyond that it is broken off and goes on another time.
const PATIENCE: Duration = Duration::from_secs(600);

/// What stands in the way.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle<E: std::error::Error> {
    /// The registry does not answer, or not this.
    #[error("{0}")]
    Registry(#[from] RegistryError),
    /// Something of our own.
    #[error("{0}")]
    Own(E),
}

/// What is done with each repository.
pub trait Settle: Sync {
    /// What of our own can fail.
    type Error: std::error::Error + From<TagStoreError>;

    /// Brings what is known of a repository in line with what the registry has, and announces what differs; how many differences.
    /// Repeatable: it may be cut off at any point, and is called again after an error.
    fn settle(&self, repository: &str) -> impl Future<Output = Result<usize, Obstacle<Self::Error>>> + Send;

    /// Is told that the registry asks to wait, which is done now.
    fn waits(&self, error: &RegistryError);
}

/// What a walk came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Repositories that there were.
    pub repositories: usize,
    /// Differences that were announced.
    pub announced: usize,
    /// Repositories that could not be read.
    pub unreadable: usize,
    /// Why the first of those could not.
    pub why: Option<RegistryError>,
    /// Whether the registry gives its catalog.
    pub catalog: bool,
}

/// Settles all repositories of a source that are in `scope`, one after the other. `resume` is where the last
/// walk was broken off, and then where this one was; so a repository that can't be read does not keep those behind it from being looked at.
///
/// # Errors
/// The registry can't be reached, or answers nothing sensible several times in a row; or something of our own fails. A single repository
/// that can't be read is only counted.
pub async fn walk<S: Settle>(
    registry: &Registry,
    store: &TagStore,
    source: &str,
    scope: &Scope,
    resume: &mut String,
    settler: &S,
) -> Result<Walked, Obstacle<S::Error>> {
    let own = |error: TagStoreError| Obstacle::Own(error.into());
    registry.check().await?;
    let known = store.repositories(source).await.map_err(own)?;
    let (names, catalog) = repositories(registry, scope, known).await?;
    let mut walked = Walked { repositories: names.len(), catalog, ..Walked::default() };
    let (behind, before): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| *name > *resume);
    let (mut in_a_row, mut whole, mut patience) = (0, true, PATIENCE);
    for name in behind.into_iter().chain(before) {
        match patiently(settler, &name, &mut patience).await {
            Ok(announced) => {
                walked.announced += announced;
                in_a_row = 0;
            }
            Err(Obstacle::Registry(error)) => {
                in_a_row = if error.is_transient() { in_a_row + 1 } else { 0 };
                whole &= !error.is_transient();
                if in_a_row == GIVE_UP || matches!(error, RegistryError::Unreachable(_) | RegistryError::Busy { .. }) {
                    *resume = name;
                    return Err(error.into());
                }
                walked.unreadable += 1;
                walked.why.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    resume.clear();
    // Only all of the catalog makes everything else new.
    let all = catalog && whole;
    if all && store.source(source).await.map_err(own)?.baseline == Baseline::None {
        let step = Step { baseline: Some(Baseline::Catalog), ..Step::default() };
        store.apply(source, step).await.map_err(own)?;
    }
    Ok(walked)
}

/// Settles a repository, and gives the registry peace when it asks for it, for as long as there is patience left.
async fn patiently<S: Settle>(settler: &S, name: &str, patience: &mut Duration) -> Result<usize, Obstacle<S::Error>> {
    loop {
        match settler.settle(name).await {
            Err(Obstacle::Registry(error @ RegistryError::Busy { after })) => {
                let wait = after.unwrap_or(PEACE.1).max(PEACE.0);
                let Some(left) = patience.checked_sub(wait) else { return Err(error.into()) };
                *patience = left;
                settler.waits(&error);
                sleep(wait).await;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Meets a registry that always asks to wait for so long.
    struct Put(Option<Duration>, AtomicUsize);

    impl Settle for Put {
        type Error = TagStoreError;

        async fn settle(&self, _: &str) -> Result<usize, Obstacle<TagStoreError>> {
            Err(RegistryError::Busy { after: self.0 }.into())
        }

        fn waits(&self, _: &RegistryError) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_registry_that_always_asks_to_wait_does_not_hold_a_walk_for_ever() {
        for (after, patience, waited) in
            [(Some(3600), 600_000, 0), (None, 59_000, 0), (Some(0), 1500, 1), (Some(0), 999, 0)]
        {
            let put = Put(after.map(Duration::from_secs), AtomicUsize::new(0));
            let mut patience = Duration::from_millis(patience);
            let error = patiently(&put, "a", &mut patience).await.unwrap_err();
            assert!(matches!(error, Obstacle::Registry(RegistryError::Busy { .. })), "{error}");
            assert_eq!(put.1.load(Ordering::SeqCst), waited, "{after:?}");
        }
    }
}
