//! How a verb fails: the exit code that scripts rely on, and one line that says what to do.

use std::process::ExitCode;
use std::time::Duration;

/// Part of `roadstead --help`: exit codes are a contract.
pub const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed for another reason than those below
  2  the command line is wrong
  3  not found
  4  exists already, or changed in between
  5  not allowed
  6  no control plane found, or it cannot be reached
  7  did not become so in time (--timeout), or cannot without a change";

/// Failures that verbs find themselves.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The control plane has no such thing.
    #[error("{0}")]
    NotFound(String),
    /// What is asked for contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// Neither flag, environment nor a running `up` tells where the control plane is.
    #[error(
        "no control plane found (looked for {0}). Start one with `roadstead up`, or name a kubeconfig with --kubeconfig or KUBECONFIG"
    )]
    NoControlPlane(String),
    /// A kubeconfig that was named cannot be used.
    #[error("cannot use the kubeconfig {0}: {1}")]
    BadKubeconfig(String, String),
    /// What was waited for cannot come true by itself: reason and message of the condition that says so.
    #[error("{0}")]
    Stuck(String),
    /// A condition that was waited for did not come true.
    #[error("{what} within {} s. {hint}", .after.as_secs())]
    Timeout {
        /// What did not happen.
        what: String,
        /// How long was waited.
        after: Duration,
        /// What to look at.
        hint: String,
    },
}

/// Prints the error as one line on stderr and gives the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {}", one_line(error));
    ExitCode::from(code(error))
}

/// The chain of causes as one line. A control plane's refusal is its own message, without the transport's words.
fn one_line(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = match cause.downcast_ref::<kube::Error>() {
            Some(error) => explain(error),
            None => cause.to_string(),
        };
        // Causes often repeat in their own text what lies beneath them.
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        if cause.is::<kube::Error>() {
            break;
        }
    }
    parts.join(": ").replace('\n', " ")
}

fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("the control plane answered {} {}", status.code, status.reason),
        _ if is_transport(error) => {
            format!(
                "cannot reach the control plane ({}). Is it running? `roadstead config` shows which one is used",
                deepest(error)
            )
        }
        _ => error.to_string(),
    }
}

fn is_transport(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_))
}

fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The exit code that an error leads to; see [`EXIT_CODES`].
fn code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return match failure {
                Failure::NotFound(_) => 3,
                Failure::Conflict(_) => 4,
                Failure::NoControlPlane(_) | Failure::BadKubeconfig(..) => 6,
                Failure::Stuck(_) | Failure::Timeout { .. } => 7,
            };
        }
        match cause.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) => {
                return match status.code {
                    404 => 3,
                    409 => 4,
                    401 | 403 => 5,
                    _ => 1,
                };
            }
            Some(error) if is_transport(error) => return 6,
            _ => {}
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use kube::core::Status;

    use super::*;

    fn api(code: u16, message: &str) -> anyhow::Error {
        anyhow::Error::new(kube::Error::Api(Box::new(Status { code, message: message.into(), ..Status::default() })))
    }

    #[test]
    fn refusals_have_their_codes() {
        let table: [(anyhow::Error, u8); 8] = [
            (api(404, "x not found"), 3),
            (api(409, "x already exists"), 4),
            (api(403, "no"), 5),
            (api(401, "who"), 5),
            (api(422, "invalid"), 1),
            (Failure::NoControlPlane("a".into()).into(), 6),
            (
                Failure::Timeout { what: "x was not ready".into(), after: Duration::from_secs(3), hint: String::new() }
                    .into(),
                7,
            ),
            (anyhow::anyhow!("other"), 1),
        ];
        for (error, expected) in table {
            assert_eq!(code(&error), expected, "{error:?}");
            assert_eq!(code(&error.context("while doing")), expected);
        }
    }

    #[test]
    fn one_line_says_each_thing_once() {
        let error = api(404, "webhookendpoints.roadstead.dev \"shop\" not found");
        assert_eq!(one_line(&error), "webhookendpoints.roadstead.dev \"shop\" not found");
        let error = Err::<(), _>(api(403, "no\nreally")).context("cannot list").unwrap_err();
        assert_eq!(one_line(&error), "cannot list: no really");
    }
}
