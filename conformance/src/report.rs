//! Differences as people read them.

use std::fmt::Write;

use crate::{normalise::Answer, operation::Operation, pair::Step};

/// A difference in one line: the kind of request and where the answers differ. Two with the same line are taken for one.
pub fn title(step: &Step) -> String {
    let mut places: Vec<String> = step.differences.iter().map(crate::compare::Difference::place).collect();
    places.sort();
    places.dedup();
    let codes =
        (step.real.code != step.embedded.code).then(|| format!(" {} not {}", step.real.code, step.embedded.code));
    places.truncate(4);
    let (shape, causes) = (step.operation.shape(), causes(&step.real).or(causes(&step.embedded)).unwrap_or_default());
    format!("{shape}{}: {}{causes}", codes.unwrap_or_default(), places.join(" "))
}

/// What a refusal is about: ` (FieldValueInvalid spec.ports)`.
fn causes(answer: &Answer) -> Option<String> {
    let causes = answer.body["details"]["causes"].as_array()?.iter();
    let causes = causes.map(|cause| {
        format!("{} {}", cause["reason"].as_str().unwrap_or_default(), cause["field"].as_str().unwrap_or_default())
    });
    Some(format!(" ({})", causes.take(2).collect::<Vec<_>>().join(", ")))
}

/// A sequence that ends in a difference, whole.
pub fn whole(steps: &[Step]) -> String {
    let mut text = String::new();
    for (at, step) in steps.iter().enumerate() {
        let _ = write!(text, "{}. {}", at + 1, operation(&step.operation));
        if step.differences.is_empty() {
            let _ = writeln!(text, "   both: {}", brief(&step.real));
        } else {
            let _ = writeln!(text, "   real:     {}\n   embedded: {}", brief(&step.real), brief(&step.embedded));
        }
        for difference in &step.differences {
            let _ = writeln!(text, "   {difference}");
        }
    }
    text
}

/// An operation as one would type it.
pub fn operation(operation: &Operation) -> String {
    let mut text = format!("{} {}", operation.method, operation.path);
    if let Some(kind) = &operation.content_type {
        let _ = write!(text, "\n   {kind}");
    }
    if let Some(accept) = &operation.accept {
        let _ = write!(text, "\n   accept: {accept}");
    }
    let body = operation.text.clone().or_else(|| operation.body.as_ref().map(ToString::to_string));
    if let Some(body) = body {
        let short: String = body.chars().take(1500).collect();
        let _ = write!(text, "\n   {short}");
    }
    text + "\n"
}

fn brief(answer: &Answer) -> String {
    match answer.body.get("message").and_then(serde_json::Value::as_str) {
        Some(message) if answer.code >= 400 => format!("{} {message}", answer.code),
        _ if answer.code == 0 => format!("no answer: {}", answer.body),
        _ => answer.code.to_string(),
    }
}
