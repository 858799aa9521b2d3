//! Expressions whose value is wanted, not only a yes or no: what a trigger writes into the resources that it creates.

use serde_json::{Map, Value as Json};

use super::{FilterError, eval, lower, lower::Node, value::Value};

/// Largest value, in bytes of JSON (roughly): an expression can repeat the event many times over.
const MAX_BYTES: usize = 256 << 10;

/// A compiled expression, in the same language and within the same bounds as a [`Filter`](super::Filter).
#[derive(Debug)]
pub struct Expression {
    root: Node,
}

impl Expression {
    /// Compiles an expression.
    pub fn compile(expression: &str) -> Result<Expression, FilterError> {
        Ok(Expression { root: lower::compile(expression)? })
    }

    /// Its value for an event's view, as JSON: timestamps in RFC 3339, durations in ISO 8601.
    pub fn evaluate(&self, event: &Json) -> Result<Json, FilterError> {
        let value = eval::Evaluation::new(event).run(&self.root)?;
        let mut budget = MAX_BYTES;
        to_json(&value, &mut budget)
    }
}

fn to_json(value: &Value<'_>, budget: &mut usize) -> Result<Json, FilterError> {
    let mut spend = |bytes: usize| {
        *budget =
            budget.checked_sub(bytes).ok_or(FilterError::Failed(format!("the value is above {MAX_BYTES} bytes")))?;
        Ok::<(), FilterError>(())
    };
    spend(8 + value.text().map_or(0, str::len))?;
    if let Some(elements) = value.elements() {
        let items = elements.iter().map(|element| to_json(element, budget));
        return items.collect::<Result<_, _>>().map(Json::Array);
    }
    if let Some(entries) = value.entries() {
        let mut fields = Map::new();
        for (key, value) in &entries {
            let Json::String(key) = to_json(key, budget)? else {
                return Err(FilterError::Failed(format!("a key is {}, not a string", key.kind())));
            };
            fields.insert(key, to_json(value, budget)?);
        }
        return Ok(Json::Object(fields));
    }
    Ok(match value {
        Value::Bool(value) => Json::from(*value),
        Value::Int(value) => Json::from(*value),
        Value::Uint(value) => Json::from(*value),
        Value::Double(value) => Json::from(*value),
        Value::Timestamp(value) => Json::from(value.to_string()),
        Value::Duration(value) => Json::from(value.to_string()),
        value => value.text().map_or(Json::Null, Json::from),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evaluate(expression: &str) -> Result<Json, FilterError> {
        let mut event = roadstead_api::event::WebhookEventSpec::default().filter_view();
        event["id"] = json!("a");
        event["git"]["commits"] = json!([{"id": "1", "message": "m", "author": "x"}]);
        Expression::compile(expression)?.evaluate(&event)
    }

    #[test]
    fn values_are_json() {
        for (expression, expected) in [
            ("event.id", json!("a")),
            ("'x-' + event.id", json!("x-a")),
            ("1 + 1", json!(2)),
            ("[event.id, null, 1.5]", json!(["a", null, 1.5])),
            ("{'k': event.verified}", json!({"k": false})),
            ("event.git.commits", json!([{"id": "1", "message": "m", "author": "x"}])),
            ("timestamp('2026-11-20T09:00:00Z')", json!("2026-11-20T09:00:00Z")),
        ] {
            assert_eq!(evaluate(expression), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn mistakes_are_errors() {
        for expression in ["event.", "event.nothing", "event.git.commits[7].id", "{1: 2}"] {
            assert!(evaluate(expression).is_err(), "{expression}");
        }
    }

    #[test]
    fn a_value_cannot_grow_without_bound() {
        let text = format!("'{}'", "x".repeat(3000));
        let list = "[1,1,1,1,1,1,1,1,1,1]";
        let expression = format!("{list}.map(a, {list}.map(b, {text}))");
        assert!(matches!(evaluate(&expression), Err(FilterError::Failed(_) | FilterError::TooCostly)));
    }
}
