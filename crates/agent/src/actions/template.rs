//! Objects with `${...}` in their strings: each is a CEL expression over `event`.
//!
//! A string that is one expression and nothing else becomes the expression's value, of whatever type; in a longer one
//! the value must be a string, number or boolean. `$${` stands for `${` itself. Keys are not touched.

use roadstead_reconcile::filter::Expression;
use serde_json::{Map, Value};

/// A compiled template.
pub enum Template {
    /// As it is.
    Plain(Value),
    /// A string with expressions.
    Text(Vec<Part>),
    /// A list.
    List(Vec<Template>),
    /// An object.
    Object(Vec<(String, Template)>),
}

/// A piece of a string.
pub enum Part {
    /// As it is.
    Literal(String),
    /// An expression, with its source.
    Expression(String, Expression),
}

impl Template {
    /// Compiles all strings of `value`. Errors: for people, with the expression.
    pub fn compile(value: &Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => match parts(text)? {
                Some(parts) => Self::Text(parts),
                None => Self::Plain(value.clone()),
            },
            Value::Array(items) => Self::List(items.iter().map(Self::compile).collect::<Result<_, _>>()?),
            Value::Object(fields) => {
                let field = |(key, value): (&String, &Value)| Ok((key.clone(), Self::compile(value)?));
                Self::Object(fields.iter().map(field).collect::<Result<_, String>>()?)
            }
            other => Self::Plain(other.clone()),
        })
    }

    /// Fills it in. Errors: an expression fails for this event.
    pub fn render(&self, event: &Value) -> Result<Value, String> {
        Ok(match self {
            Self::Plain(value) => value.clone(),
            Self::Text(parts) => match &parts[..] {
                [Part::Expression(source, expression)] => value(source, expression, event)?,
                parts => Value::String(parts.iter().map(|part| part.text(event)).collect::<Result<_, _>>()?),
            },
            Self::List(items) => Value::Array(items.iter().map(|item| item.render(event)).collect::<Result<_, _>>()?),
            Self::Object(fields) => {
                let field = |(key, value): &(String, Template)| Ok((key.clone(), value.render(event)?));
                Value::Object(fields.iter().map(field).collect::<Result<Map<_, _>, String>>()?)
            }
        })
    }
}

impl Part {
    fn text(&self, event: &Value) -> Result<String, String> {
        match self {
            Part::Literal(text) => Ok(text.clone()),
            Part::Expression(source, expression) => match value(source, expression, event)? {
                Value::String(text) => Ok(text),
                value @ (Value::Number(_) | Value::Bool(_)) => Ok(value.to_string()),
                other => Err(format!("{other} cannot stand within a string")),
            },
        }
    }
}

fn value(source: &str, expression: &Expression, event: &Value) -> Result<Value, String> {
    expression.evaluate(event).map_err(|error| format!("${{{source}}}: {error}"))
}

/// The pieces of a string; `None` if it is plain.
fn parts(text: &str) -> Result<Option<Vec<Part>>, String> {
    let (mut parts, mut literal, mut rest, mut plain) = (Vec::new(), String::new(), text, true);
    while let Some(at) = rest.find("${") {
        plain = false;
        if rest[..at].ends_with('$') {
            literal.push_str(&rest[..at - 1]);
            literal.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        literal.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let end = end_of(inner).ok_or_else(|| format!("{text:?} has a ${{ without its }}"))?;
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal)));
        }
        let source = &inner[..end];
        let expression = Expression::compile(source).map_err(|error| format!("${{{source}}}: {error}"))?;
        parts.push(Part::Expression(source.to_string(), expression));
        rest = &inner[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok((!plain).then_some(parts))
}

/// Where the expression at the start of `text` ends: at the first `}` that closes nothing of CEL's own (a map, a string).
fn end_of(text: &str) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0u32, None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(at),
            (None, '}') => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: Value) -> Result<Value, String> {
        let event = json!({"id": "a}b", "git": {"after": "0123456789", "commits": [{"id": "1"}]}, "verified": true});
        Template::compile(&template)?.render(&event)
    }

    #[test]
    fn strings_are_filled_in_and_the_rest_is_left() {
        for (template, expected) in [
            (json!("plain $ { }"), json!("plain $ { }")),
            (json!("${event.id}"), json!("a}b")),
            (json!("x-${event.git.after}-y-${event.verified}"), json!("x-0123456789-y-true")),
            (json!("${event.git.commits.size() + 1}"), json!(2)),
            (json!("${event.git.commits}"), json!([{"id": "1"}])),
            (json!(r#"${"}" + '{"' + event.id}"#), json!("}{\"a}b")),
            (json!("${{'k': event.id}['k']}"), json!("a}b")),
            (json!("$${event.id} costs 5$"), json!("${event.id} costs 5$")),
            (
                json!({"a": [1, null, {"${event.id}": "${event.verified}"}]}),
                json!({"a": [1, null, {"${event.id}": true}]}),
            ),
        ] {
            assert_eq!(render(template.clone()), Ok(expected), "{template}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for template in ["${event.id", "${event.}", "${event.nothing}", "x ${event.git}", "${'}"] {
            assert!(render(json!(template)).is_err(), "{template}");
        }
    }
}
