//! CEL over one variable, `event`: filters, and the values in a `run` template.

use cel::{Context, Program, Value as Cel};
use serde_json::Value;

/// A compiled expression.
pub struct Expression {
    source: String,
    program: Program,
}

impl Expression {
    /// Compiles. Errors: what is wrong, for people.
    pub fn compile(source: &str) -> Result<Self, String> {
        let program = Program::compile(source).map_err(|error| format!("{source:?} is not CEL: {error}"))?;
        Ok(Self { source: source.to_string(), program })
    }

    /// Its value for an event as [`filter_view`](roadstead_api::WebhookEventSpec::filter_view) shows it. Errors: for people.
    pub fn evaluate(&self, event: &Value) -> Result<Value, String> {
        let fails = |error: String| format!("{:?} fails: {error}", self.source);
        self.run(event).and_then(|value| value.json().map_err(|error| error.to_string())).map_err(fails)
    }

    /// Whether it is true for an event. Errors: it fails, or is no boolean.
    pub fn is_true(&self, event: &Value) -> Result<bool, String> {
        match self.run(event) {
            Ok(Cel::Bool(value)) => Ok(value),
            Ok(_) => Err(format!("{:?} is neither true nor false", self.source)),
            Err(error) => Err(format!("{:?} fails: {error}", self.source)),
        }
    }

    fn run(&self, event: &Value) -> Result<Cel, String> {
        let mut context = Context::default();
        context.add_variable("event", event).map_err(|error| error.to_string())?;
        self.program.execute(&context).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_are_true_false_or_wrong() {
        let event = json!({"type": "push", "git": {"ref": "refs/heads/main", "commits": []}, "verified": true});
        for (source, expected) in [
            (r#"event.type == "push""#, Some(true)),
            (r#"event.git.ref.startsWith("refs/tags/")"#, Some(false)),
            ("event.verified && event.git.commits.size() == 0", Some(true)),
            ("event.nothing == 1", None),
            ("event.type", None),
        ] {
            assert_eq!(Expression::compile(source).unwrap().is_true(&event).ok(), expected, "{source}");
        }
        assert!(Expression::compile("event.type ==").is_err());
    }

    #[test]
    fn values_are_json() {
        let event = json!({"id": "a", "git": {"after": "0123456789"}});
        for (source, expected) in [
            ("event.id", json!("a")),
            ("1 + 1", json!(2)),
            ("[event.id, 'b']", json!(["a", "b"])),
            ("event.id == 'a'", json!(true)),
        ] {
            assert_eq!(Expression::compile(source).unwrap().evaluate(&event), Ok(expected), "{source}");
        }
    }
}
