//! The two ways a controller writes: a merge patch of a status that is its own, and server-side apply of an object that
//! it owns in part. Both are tried again for a while when the API server is busy or away.

use std::{fmt::Debug, future::Future, time::Duration};

use kube::{
    Api, Error,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::Backoff;

/// Attempts of one write.
const ATTEMPTS: u32 = 5;
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Whether trying again may help: the server is busy, away, or somebody else wrote first.
pub fn is_transient(error: &Error) -> bool {
    match error {
        Error::Api(status) => status.code == 409 || status.code == 429 || status.code >= 500,
        Error::HyperError(_) | Error::Service(_) | Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// Whether the object is not there.
pub fn is_not_found(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 404)
}

/// Merges `status` into the object's status subresource (RFC 7386: `null` removes, arrays are replaced) and answers the
/// object. Tried five times while the error is transient.
///
/// Errors: as the API server answers, e.g. 404 when the object has been deleted.
pub async fn merge_status<K>(api: &Api<K>, name: &str, status: &impl Serialize, manager: &str) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let body = Patch::Merge(json!({ "status": status }));
    let params = PatchParams { field_manager: Some(manager.to_string()), ..PatchParams::default() };
    persist(|| api.patch_status(name, &params, &body)).await
}

/// Applies `object` (server-side apply, with force: the manager owns what it names) and answers the whole object.
///
/// Errors: as the API server answers, e.g. 422 for an invalid object.
pub async fn apply<K>(api: &Api<K>, name: &str, object: &(impl Serialize + Debug), manager: &str) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let params = PatchParams::apply(manager).force();
    let body = Patch::Apply(object);
    persist(|| api.patch(name, &params, &body)).await
}

/// Runs `write` until it succeeds, fails for good, or has been tried [`ATTEMPTS`] times; each answer has [`ANSWER`] to come.
pub async fn persist<T, F>(mut write: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        let error = match tokio::time::timeout(ANSWER, write()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => Error::Service(format!("no answer within {} s", ANSWER.as_secs()).into()),
        };
        if !is_transient(&error) || backoff.failures() + 1 >= ATTEMPTS {
            return Err(error);
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use kube::core::Status;

    use super::*;

    fn api_error(code: u16) -> Error {
        Error::Api(Status { code, ..Status::default() }.boxed())
    }

    #[tokio::test(start_paused = true)]
    async fn transient_errors_are_tried_again_a_few_times() {
        for (code, succeed_at, calls, ok) in
            [(503, 3, 3, true), (409, 2, 2, true), (500, 99, 5, false), (404, 2, 1, false), (403, 2, 1, false)]
        {
            let made = Cell::new(0);
            let result = persist(|| {
                made.set(made.get() + 1);
                let answer = if made.get() >= succeed_at { Ok(()) } else { Err(api_error(code)) };
                async move { answer }
            })
            .await;
            assert_eq!((result.is_ok(), made.get()), (ok, calls), "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_is_an_error() {
        let result: Result<(), Error> = persist(std::future::pending).await;
        assert!(matches!(result, Err(Error::Service(_))));
    }

    #[test]
    fn kinds_of_errors() {
        assert!(is_not_found(&api_error(404)) && !is_not_found(&api_error(500)));
        for (code, transient) in [(400, false), (404, false), (409, true), (422, false), (429, true), (503, true)] {
            assert_eq!(is_transient(&api_error(code)), transient, "{code}");
        }
    }
}
