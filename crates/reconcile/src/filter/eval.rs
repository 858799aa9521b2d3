//! Walking a checked tree with an event, step by counted step.

use std::cell::Cell;

use jiff::{SignedDuration, Timestamp};

use super::lower::{Function, Loop, Node};
use super::value::{Value, failed};
use super::{FilterError, MAX_STEPS};

/// Steps left to one evaluation.
pub(super) struct Steps(Cell<u64>);

impl Steps {
    /// Takes steps, or ends the evaluation.
    pub(super) fn take(&self, count: usize) -> Result<(), FilterError> {
        let left = self.0.get().checked_sub(count as u64).ok_or(FilterError::TooCostly)?;
        self.0.set(left);
        Ok(())
    }

    /// Takes the steps of going over so many bytes of text.
    pub(super) fn text(&self, bytes: usize) -> Result<(), FilterError> {
        self.take(1 + bytes / 16)
    }
}

/// One evaluation.
pub(super) struct Evaluation<'a> {
    event: &'a serde_json::Value,
    variables: Vec<Value<'a>>,
    steps: Steps,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(event: &'a serde_json::Value) -> Evaluation<'a> {
        Evaluation { event, variables: Vec::new(), steps: Steps(Cell::new(MAX_STEPS)) }
    }

    pub(super) fn run(&mut self, node: &'a Node) -> Result<Value<'a>, FilterError> {
        self.steps.take(1)?;
        match node {
            Node::Literal(literal) => Ok(Value::literal(literal)),
            Node::Event => Ok(Value::json(self.event)),
            Node::Variable(place) => {
                self.variables.get(*place).cloned().ok_or_else(|| failed("a variable is used outside of its macro"))
            }
            Node::Select(operand, field) => {
                let value = self.run(operand)?.field(&Value::Text(field), &self.steps)?;
                value.ok_or_else(|| failed(format!("there is no field {field}")))
            }
            Node::Has(operand, field) => {
                Ok(Value::Bool(self.run(operand)?.field(&Value::Text(field), &self.steps)?.is_some()))
            }
            Node::Index(both) => self.index(both),
            Node::And(both) => self.logic(both, false),
            Node::Or(both) => self.logic(both, true),
            Node::If(parts) => {
                let [condition, yes, no] = &**parts;
                if self.boolean(condition)? { self.run(yes) } else { self.run(no) }
            }
            Node::Not(operand) => self.boolean(operand).map(|value| Value::Bool(!value)),
            Node::Negate(operand) => match self.run(operand)? {
                Value::Int(value) => value.checked_neg().map(Value::Int).ok_or_else(|| failed("an int overflows")),
                Value::Double(value) => Ok(Value::Double(-value)),
                other => Err(failed(format!("{} has no negative", other.kind()))),
            },
            Node::NotStrictlyFalse(operand) => match self.boolean(operand) {
                Err(FilterError::TooCostly) => Err(FilterError::TooCostly),
                result => Ok(Value::Bool(result.unwrap_or(true))),
            },
            Node::Binary(operator, both) => {
                let left = self.run(&both[0])?;
                let right = self.run(&both[1])?;
                left.apply(*operator, right, &self.steps)
            }
            Node::Call(function, args) => self.call(function, args),
            Node::List(nodes) => {
                let items: Result<Vec<_>, _> = nodes.iter().map(|node| self.run(node)).collect();
                Ok(Value::List(items?.into()))
            }
            Node::Map(nodes) => {
                let entries: Result<Vec<_>, FilterError> =
                    nodes.iter().map(|(key, value)| Ok((self.run(key)?, self.run(value)?))).collect();
                Ok(Value::Map(entries?.into()))
            }
            Node::Loop(parts) => self.repeat(parts),
        }
    }

    fn boolean(&mut self, node: &'a Node) -> Result<bool, FilterError> {
        match self.run(node)? {
            Value::Bool(value) => Ok(value),
            other => Err(failed(format!("{} is used as a boolean", other.kind()))),
        }
    }

    /// `&&` and `||`: whichever side decides alone wins, even if the other fails.
    fn logic(&mut self, both: &'a [Node; 2], decides: bool) -> Result<Value<'a>, FilterError> {
        let left = self.boolean(&both[0]);
        if matches!(left, Err(FilterError::TooCostly)) || left == Ok(decides) {
            return left.map(Value::Bool);
        }
        let right = self.boolean(&both[1])?;
        if right == decides { Ok(Value::Bool(right)) } else { left.map(Value::Bool) }
    }

    fn index(&mut self, both: &'a [Node; 2]) -> Result<Value<'a>, FilterError> {
        let (container, key) = (self.run(&both[0])?, self.run(&both[1])?);
        let found = match container.elements() {
            None => container.field(&key, &self.steps)?,
            Some(elements) => {
                self.steps.take(elements.len())?;
                let place = match key {
                    Value::Int(place) => usize::try_from(place).ok(),
                    Value::Uint(place) => usize::try_from(place).ok(),
                    _ => return Err(failed(format!("{} is no index of a list", key.kind()))),
                };
                place.and_then(|place| elements.into_iter().nth(place))
            }
        };
        found.ok_or_else(|| failed("an index is out of range"))
    }

    fn repeat(&mut self, parts: &'a Loop) -> Result<Value<'a>, FilterError> {
        let range = self.run(&parts.range)?;
        let items = match (range.elements(), range.entries()) {
            (Some(elements), _) => elements,
            (_, Some(entries)) => entries.into_iter().map(|(key, _)| key).collect(),
            _ => return Err(failed(format!("{} has no elements", range.kind()))),
        };
        self.steps.take(items.len())?;
        let start = self.run(&parts.start)?;
        let outer = self.variables.len();
        self.variables.push(start);
        let mut outcome = Ok(());
        for item in items {
            self.variables.push(item);
            let step = self.step(parts);
            self.variables.truncate(outer + 1);
            match step {
                Ok(Some(result)) => self.variables[outer] = result,
                Ok(None) => break,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        let result = outcome.and_then(|()| self.run(&parts.result));
        self.variables.truncate(outer);
        result
    }

    /// One round of a loop: the next result, or None when the condition says that it is decided.
    fn step(&mut self, parts: &'a Loop) -> Result<Option<Value<'a>>, FilterError> {
        if self.boolean(&parts.condition)? { self.run(&parts.step).map(Some) } else { Ok(None) }
    }

    fn call(&mut self, function: &'a Function, args: &'a [Node]) -> Result<Value<'a>, FilterError> {
        let mut values = Vec::with_capacity(args.len());
        for node in args {
            values.push(self.run(node)?);
        }
        let [first, rest @ ..] = &values[..] else { return Err(failed("a function has no argument")) };
        let bytes = values.iter().filter_map(Value::text).map(str::len).sum();
        self.steps.text(bytes)?;
        let no = || failed(format!("{} has no such function", first.kind()));
        let text = || first.text().ok_or_else(no);
        let other = || rest.first().and_then(Value::text).ok_or_else(|| failed("the argument is not a string"));
        match function {
            Function::Size => {
                let size = first.size().ok_or_else(no)?;
                Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
            }
            Function::Contains => Ok(Value::Bool(text()?.contains(other()?))),
            Function::StartsWith => Ok(Value::Bool(text()?.starts_with(other()?))),
            Function::EndsWith => Ok(Value::Bool(text()?.ends_with(other()?))),
            Function::Matches(pattern) => {
                // Linear, but with a larger constant than comparing.
                self.steps.take(bytes)?;
                Ok(Value::Bool(pattern.is_match(text()?)))
            }
            Function::LowerAscii => Ok(Value::Made(text()?.to_ascii_lowercase().into())),
            Function::UpperAscii => Ok(Value::Made(text()?.to_ascii_uppercase().into())),
            Function::Trim => Ok(Value::Made(text()?.trim().into())),
            Function::String | Function::Int | Function::Uint | Function::Double => convert(function, first),
            Function::Timestamp => match first {
                Value::Timestamp(time) => Ok(Value::Timestamp(*time)),
                _ => parse::<Timestamp>(text()?).map(Value::Timestamp),
            },
            Function::Duration => match first {
                Value::Duration(duration) => Ok(Value::Duration(*duration)),
                _ => parse::<SignedDuration>(text()?).map(Value::Duration),
            },
        }
    }
}

fn convert<'a>(function: &Function, value: &Value<'a>) -> Result<Value<'a>, FilterError> {
    let converted = match (function, value) {
        (Function::String, Value::Text(_) | Value::Made(_)) => Some(value.clone()),
        (Function::String, Value::Bool(value)) => Some(Value::Made(value.to_string().into())),
        (Function::String, Value::Int(value)) => Some(Value::Made(value.to_string().into())),
        (Function::String, Value::Uint(value)) => Some(Value::Made(value.to_string().into())),
        (Function::String, Value::Double(value)) => Some(Value::Made(value.to_string().into())),
        (Function::String, Value::Timestamp(value)) => Some(Value::Made(value.to_string().into())),
        (Function::Int, Value::Int(value)) => Some(Value::Int(*value)),
        (Function::Int, Value::Uint(value)) => i64::try_from(*value).ok().map(Value::Int),
        (Function::Int, Value::Double(value)) => {
            whole(*value).and_then(|value| i64::try_from(value).ok()).map(Value::Int)
        }
        (Function::Int, Value::Timestamp(value)) => Some(Value::Int(value.as_second())),
        (Function::Uint, Value::Uint(value)) => Some(Value::Uint(*value)),
        (Function::Uint, Value::Int(value)) => u64::try_from(*value).ok().map(Value::Uint),
        (Function::Uint, Value::Double(value)) => {
            whole(*value).and_then(|value| u64::try_from(value).ok()).map(Value::Uint)
        }
        (Function::Double, Value::Double(value)) => Some(Value::Double(*value)),
        (Function::Double, Value::Int(value)) => Some(Value::Double(*value as f64)),
        (Function::Double, Value::Uint(value)) => Some(Value::Double(*value as f64)),
        _ => match (function, value.text()) {
            (Function::Int, Some(text)) => text.parse().ok().map(Value::Int),
            (Function::Uint, Some(text)) => text.parse().ok().map(Value::Uint),
            (Function::Double, Some(text)) => text.parse().ok().map(Value::Double),
            _ => None,
        },
    };
    converted.ok_or_else(|| failed(format!("{} cannot be converted by {function:?}", value.kind())))
}

/// A double without its fraction, if it is a number that an integer type could hold.
fn whole(value: f64) -> Option<i128> {
    (value.is_finite() && value.abs() < 2f64.powi(65)).then_some(value.trunc() as i128)
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, FilterError> {
    text.parse().map_err(|_| failed("a string is not a time or duration"))
}
