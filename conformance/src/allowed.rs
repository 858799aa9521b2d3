//! The intended differences: the only ones that a run does not report. Each has its reason.
//!
//! `docs/conformance.md` carries the same list; a test keeps the two together.

use serde_json::Value;

use crate::{compare::Difference, normalise::Answer, operation::Operation};

/// One intended difference.
pub struct Allowed {
    /// What is different, in a few words.
    pub what: &'static str,
    /// Why it is meant to be.
    pub why: &'static str,
    /// Whether a difference is of this kind.
    applies: fn(&Case<'_>) -> bool,
}

/// A difference and where it was found.
struct Case<'a> {
    operation: &'a Operation,
    real: &'a Answer,
    embedded: &'a Answer,
    difference: &'a Difference,
}

impl Case<'_> {
    fn path(&self) -> &str {
        &self.difference.path
    }

    /// Whether both sides refuse, and for the same machine-readable reason.
    fn both_refuse(&self) -> bool {
        let reason = |answer: &Answer| answer.body.get("reason").cloned();
        self.real.code >= 400 && self.real.code == self.embedded.code && reason(self.real) == reason(self.embedded)
    }
}

/// What comes before the words of whoever reads regular expressions.
const BAD_PATTERN: &str = "must be a valid regular expression, but isn't: ";

/// The list.
pub const ALLOWED: &[Allowed] = &[
    Allowed {
        what: "the wording of 400 BadRequest",
        why: "it quotes Go's parsers and type names, which tell a user nothing that ours do not; code and reason are the same",
        applies: |case| case.both_refuse() && case.real.code == 400 && case.path() == "body.message",
    },
    Allowed {
        what: "the body of a 404 for a path that nothing serves",
        why: "the real server answers with plain text; here it is a Status as for every other error, which any client can read",
        applies: |case| {
            let plain = case.real.code == 404 && case.real.content_type.starts_with("text/plain");
            plain && case.embedded.code == 404 && ["contentType", "body"].contains(&case.path())
        },
    },
    Allowed {
        what: "the wording of a 415 for a patch",
        why: "the real server says no more than the code; here the message lists what is taken",
        applies: |case| {
            let patch = case.operation.method == "PATCH" && case.real.code == 415;
            patch && case.both_refuse() && ["body.message", "body.details"].contains(&case.path())
        },
    },
    Allowed {
        what: "the code of a write whose resourceVersion makes no sense",
        why: "the real server calls it its own error (500); it is the client's",
        applies: |case| {
            let message = case.real.body["message"].as_str().unwrap_or_default();
            let told = ["strconv.ParseUint", "resourceVersion should not be set"];
            let sent = case.real.code == 500 && told.iter().any(|text| message.starts_with(text));
            sent && (400..500).contains(&case.embedded.code)
        },
    },
    Allowed {
        what: "the wording of errors in CEL expressions",
        why: "it is that of the compiler, which is another one; field, reason and the expression are the same",
        applies: |case| {
            let places = |answer: &Answer| {
                let causes = answer.body["details"]["causes"].as_array().cloned().unwrap_or_default();
                causes.into_iter().map(|cause| (cause["field"].clone(), cause["reason"].clone())).collect::<Vec<_>>()
            };
            let compiled = |answer: &Answer| {
                answer.body["message"].as_str().is_some_and(|text| text.contains("compilation failed"))
            };
            let same = case.both_refuse() && places(case.real) == places(case.embedded);
            same && compiled(case.real) && compiled(case.embedded) && case.path().ends_with("message")
        },
    },
    Allowed {
        what: "the wording of errors in patterns",
        why: "it is that of the parser of regular expressions, which is another one; field, reason and the pattern are the same",
        applies: |case| {
            let told = |answer: &Answer| {
                let causes = answer.body["details"]["causes"].as_array().cloned().unwrap_or_default();
                let text = |cause: &Value| cause["message"].as_str().unwrap_or_default().to_string();
                let head = |text: String| text.split(BAD_PATTERN).next().unwrap_or_default().to_string();
                causes.iter().map(|cause| (cause["field"].clone(), head(text(cause)))).collect::<Vec<_>>()
            };
            let message = case.real.body["message"].as_str().unwrap_or_default();
            let same = case.both_refuse() && told(case.real) == told(case.embedded);
            same && message.contains(BAD_PATTERN) && case.path().ends_with("message")
        },
    },
    Allowed {
        what: "warnings of rules that an unchanged part does not keep",
        why: "here rules run only on what changed, which spares every write of a status their cost",
        applies: |case| {
            let update = ["PUT", "PATCH"].contains(&&*case.operation.method) && case.path() == "warnings";
            let rule =
                |text: &str| ["Invalid value", "Forbidden"].iter().any(|kind| text.contains(&format!(": {kind}: ")));
            let (mut real, ours) = (case.real.warnings.clone(), &case.embedded.warnings);
            real.retain(|text| ours.contains(text) || !rule(text));
            update && real == *ours
        },
    },
    Allowed {
        what: "definitions whose rules are estimated to cost too much",
        why: "here the cost of rules is limited when they run, not guessed when they are defined",
        applies: |case| {
            let causes = case.real.body["details"]["causes"].as_array().cloned().unwrap_or_default();
            let cost = |cause: &serde_json::Value| cause["message"].as_str().is_some_and(|text| text.contains("cost"));
            !causes.is_empty() && causes.iter().all(cost)
        },
    },
    Allowed {
        what: "the message of a JSON patch that does not apply",
        why: "the real server says only that the request was in error; here the message names the step and the path",
        applies: |case| {
            let json = case.operation.content_type.as_deref() == Some("application/json-patch+json");
            json && case.both_refuse() && ["body.message", "body.details"].contains(&case.path())
        },
    },
    Allowed {
        what: "addresses of Services",
        why: "they belong to what makes Services reachable, which is not the API server's part here",
        applies: |case| {
            let Some((parent, field)) = case.path().rsplit_once(".spec.") else { return false };
            let field = field.trim_end_matches("[0]");
            let ours = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"].contains(&field);
            // Only those that were assigned: a headless Service says all of it here too.
            let assigned =
                at(&case.real.body, parent).is_some_and(|service| service["spec"]["clusterIP"] == "<address>");
            ours && assigned && case.difference.embedded.is_none()
        },
    },
    Allowed {
        what: "the code of an apply that does not fit the schema",
        why: "the real server calls it its own error (500); it is the client's (400)",
        applies: |case| {
            let apply = case.operation.content_type.as_deref() == Some("application/apply-patch+yaml");
            apply && (case.real.code, case.embedded.code) == (500, 400)
        },
    },
    Allowed {
        what: "applying to the scale of a custom resource that nobody manages the replicas of",
        why: "the real server fails to convert the object (500); here it is applied like any other scale",
        applies: |case| {
            let message = case.real.body["message"].as_str().unwrap_or_default();
            case.real.code == 500 && message.starts_with("failed to convert new object")
        },
    },
    Allowed {
        what: "whether a page of selected objects is followed by another, empty one",
        why: "the real server does not look ahead for what the selector still matches",
        applies: |case| {
            let paged = case.operation.path.contains("limit=") && case.operation.path.contains("Selector=");
            let more =
                |answer: &Answer| answer.body["metadata"]["continue"].as_str().is_some_and(|token| !token.is_empty());
            paged
                && more(case.real)
                && !more(case.embedded)
                && ["body.metadata.continue", "body.metadata.remainingItemCount"].contains(&case.path())
        },
    },
    Allowed {
        what: "the code of a get or a watch at a version that is no number",
        why: "the real server calls it its own error (500); it is the client's (400)",
        applies: |case| {
            let odd = case.operation.path.contains("resourceVersion=x");
            odd && case.operation.method == "GET" && (case.real.code, case.embedded.code) == (500, 400)
        },
    },
    Allowed {
        what: "the resourceVersion of what a dry run would create",
        why: "nothing is stored, so it has none; the real server repeats the one that was sent",
        applies: |case| {
            let made = (case.real.code, case.embedded.code) == (201, 201);
            made && case.operation.path.contains("dryRun=All") && case.path() == "body.metadata.resourceVersion"
        },
    },
    Allowed {
        what: "a dry run of a create that names a resourceVersion",
        why: "it is refused as the create itself would be; the real server's dry run does not look at it",
        applies: |case| {
            let refused = case.embedded.body["message"] == "resourceVersion should not be set on objects to be created";
            let codes = (case.real.code, case.embedded.code) == (201, 400);
            codes && refused && case.operation.path.contains("dryRun=All")
        },
    },
    Allowed {
        what: "what a bookmark has beside its metadata",
        why: "it tells a version and nothing else; the real server adds the zeros of its Go types",
        applies: |case| {
            let at = case.path().strip_prefix("body[").and_then(|rest| rest.split_once("].object."));
            at.is_some_and(|(at, field)| {
                let event = at.parse().ok().and_then(|at: usize| case.real.body.get(at));
                event.is_some_and(|event| event["type"] == "BOOKMARK") && !field.starts_with("metadata")
            })
        },
    },
    Allowed {
        what: "the message of a patch whose result cannot be decoded",
        why: "it quotes the whole patch, which may carry secrets",
        applies: |case| {
            let causes = case.embedded.body["details"]["causes"].as_array();
            let patch = causes.is_some_and(|causes| causes.iter().any(|cause| cause["field"] == "patch"));
            patch && case.both_refuse() && case.path().ends_with("message")
        },
    },
    Allowed {
        what: "column descriptions and date columns of Tables",
        why: "the real server's are the texts of its Go types; kubectl shows neither",
        applies: |case| {
            let column = case.path().contains(".columnDefinitions[");
            column && (case.path().ends_with(".description") || case.path().ends_with(".type"))
        },
    },
    Allowed {
        what: "the wording of a failed precondition on an object that does not exist",
        why: "it quotes the key in etcd",
        applies: |case| {
            let message = case.real.body["message"].as_str().unwrap_or_default();
            message.contains("StorageError: invalid object") && case.both_refuse() && case.path() == "body.message"
        },
    },
];

/// The value at a path of a difference, which begins with `body`.
fn at<'a>(body: &'a Value, path: &str) -> Option<&'a Value> {
    let pointer = path.strip_prefix("body")?.replace(['.', '['], "/").replace(']', "");
    body.pointer(&pointer)
}

/// Why a difference is meant to be, if it is.
pub fn reason(
    operation: &Operation,
    real: &Answer,
    embedded: &Answer,
    difference: &Difference,
) -> Option<&'static str> {
    let case = Case { operation, real, embedded, difference };
    ALLOWED.iter().find(|allowed| (allowed.applies)(&case)).map(|allowed| allowed.why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_the_same_list() {
        let manual = include_str!("../../docs/conformance.md");
        let rows: Vec<&str> =
            manual.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| --")).collect();
        for allowed in ALLOWED {
            let row = format!("| {} | {} |", allowed.what, allowed.why);
            assert!(rows.contains(&row.as_str()), "docs/conformance.md lacks: {row}");
        }
        let listed = manual.lines().skip_while(|line| !line.starts_with("## Intended differences"));
        let listed = listed.skip(1).take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with("| "));
        assert_eq!(listed.count(), ALLOWED.len() + 2, "the manual lists what is no longer allowed");
    }
}
