//! Values of an evaluation, mostly borrowed from the event or the filter, and what their operators do.

use std::cmp::Ordering;
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};

use super::FilterError;
use super::eval::Steps;
use super::lower::{Binary, Literal};

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(&'a str),
    Made(Rc<str>),
    List(Rc<[Value<'a>]>),
    Map(Rc<[(Value<'a>, Value<'a>)]>),
    /// An array or object of the event.
    Json(&'a serde_json::Value),
    Timestamp(Timestamp),
    Duration(SignedDuration),
}

impl<'a> Value<'a> {
    pub(super) fn literal(literal: &'a Literal) -> Value<'a> {
        match literal {
            Literal::Null => Value::Null,
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Int(value) => Value::Int(*value),
            Literal::Uint(value) => Value::Uint(*value),
            Literal::Double(value) => Value::Double(*value),
            Literal::Text(value) => Value::Text(value),
        }
    }

    pub(super) fn json(json: &'a serde_json::Value) -> Value<'a> {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(*value),
            serde_json::Value::String(value) => Value::Text(value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Value::Int(value),
                (_, Some(value)) => Value::Uint(value),
                _ => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => Value::Json(json),
        }
    }

    /// Name of the type, with an article, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an int",
            Value::Uint(_) => "a uint",
            Value::Double(_) => "a double",
            Value::Text(_) | Value::Made(_) => "a string",
            Value::List(_) | Value::Json(serde_json::Value::Array(_)) => "a list",
            Value::Map(_) | Value::Json(_) => "a map",
            Value::Timestamp(_) => "a timestamp",
            Value::Duration(_) => "a duration",
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            Value::Made(text) => Some(text),
            _ => None,
        }
    }

    /// Elements of a list.
    pub(super) fn elements(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Value::List(items) => Some(items.to_vec()),
            Value::Json(serde_json::Value::Array(items)) => Some(items.iter().map(Value::json).collect()),
            _ => None,
        }
    }

    /// Entries of a map.
    pub(super) fn entries(&self) -> Option<Vec<(Value<'a>, Value<'a>)>> {
        match self {
            Value::Map(entries) => Some(entries.to_vec()),
            Value::Json(serde_json::Value::Object(fields)) => {
                Some(fields.iter().map(|(key, value)| (Value::Text(key), Value::json(value))).collect())
            }
            _ => None,
        }
    }

    /// How many elements, entries or characters there are.
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            Value::List(items) => Some(items.len()),
            Value::Map(entries) => Some(entries.len()),
            Value::Json(serde_json::Value::Array(items)) => Some(items.len()),
            Value::Json(serde_json::Value::Object(fields)) => Some(fields.len()),
            _ => self.text().map(|text| text.chars().count()),
        }
    }

    /// Value under a key of a map.
    pub(super) fn field(&self, key: &Value<'a>, steps: &Steps) -> Result<Option<Value<'a>>, FilterError> {
        if let (Value::Json(serde_json::Value::Object(fields)), Some(key)) = (self, key.text()) {
            return Ok(fields.get(key).map(Value::json));
        }
        let Some(entries) = self.entries() else { return Err(failed(format!("{} has no fields", self.kind()))) };
        for (name, value) in entries {
            if name.equals(key, steps)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Equality: numbers by value, different types never.
    pub(super) fn equals(&self, other: &Value<'a>, steps: &Steps) -> Result<bool, FilterError> {
        steps.take(1)?;
        if let (Some(a), Some(b)) = (self.text(), other.text()) {
            steps.text(a.len().min(b.len()))?;
            return Ok(a == b);
        }
        if let (Some(a), Some(b)) = (self.elements(), other.elements()) {
            steps.take(a.len() + b.len())?;
            return if a.len() == b.len() { all_equal(&a, &b, steps) } else { Ok(false) };
        }
        if let (Some(a), Some(b)) = (self.entries(), other.entries()) {
            steps.take(a.len() + b.len())?;
            if a.len() != b.len() {
                return Ok(false);
            }
            for (key, value) in &a {
                match other.field(key, steps)? {
                    Some(found) if value.equals(&found, steps)? => {}
                    _ => return Ok(false),
                }
            }
            return Ok(true);
        }
        Ok(match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Value::Duration(a), Value::Duration(b)) => a == b,
            _ => numbers(self, other) == Some(Some(Ordering::Equal)),
        })
    }

    /// Applies an operator.
    pub(super) fn apply(self, operator: Binary, other: Value<'a>, steps: &Steps) -> Result<Value<'a>, FilterError> {
        match operator {
            Binary::Equal => self.equals(&other, steps).map(Value::Bool),
            Binary::NotEqual => self.equals(&other, steps).map(|equal| Value::Bool(!equal)),
            Binary::Less => self.order(&other, steps, Ordering::is_lt),
            Binary::LessOrEqual => self.order(&other, steps, Ordering::is_le),
            Binary::Greater => self.order(&other, steps, Ordering::is_gt),
            Binary::GreaterOrEqual => self.order(&other, steps, Ordering::is_ge),
            Binary::In => self.is_in(&other, steps).map(Value::Bool),
            Binary::Add => self.add(other, steps),
            Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Remainder => {
                self.calculate(operator, &other)
            }
        }
    }

    fn order(&self, other: &Self, steps: &Steps, wanted: fn(Ordering) -> bool) -> Result<Value<'a>, FilterError> {
        let order = if let (Some(a), Some(b)) = (self.text(), other.text()) {
            steps.text(a.len().min(b.len()))?;
            Some(a.cmp(b))
        } else {
            match (self, other) {
                (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
                (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
                (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
                _ => match numbers(self, other) {
                    Some(order) => order,
                    None => return Err(failed(format!("{} and {} have no order", self.kind(), other.kind()))),
                },
            }
        };
        Ok(Value::Bool(order.is_some_and(wanted)))
    }

    fn is_in(&self, list: &Self, steps: &Steps) -> Result<bool, FilterError> {
        let Some(elements) = list.elements() else { return Ok(list.field(self, steps)?.is_some()) };
        for element in elements {
            if element.equals(self, steps)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn add(self, other: Value<'a>, steps: &Steps) -> Result<Value<'a>, FilterError> {
        if let (Some(a), Some(b)) = (self.text(), other.text()) {
            steps.text(a.len() + b.len())?;
            return Ok(Value::Made([a, b].concat().into()));
        }
        if let (Some(mut a), Some(b)) = (self.elements(), other.elements()) {
            steps.take(a.len() + b.len())?;
            a.extend(b);
            return Ok(Value::List(a.into()));
        }
        self.calculate(Binary::Add, &other)
    }

    fn calculate(&self, operator: Binary, other: &Self) -> Result<Value<'a>, FilterError> {
        let result = match (self, other) {
            (Value::Int(a), Value::Int(b)) => match operator {
                Binary::Add => a.checked_add(*b),
                Binary::Subtract => a.checked_sub(*b),
                Binary::Multiply => a.checked_mul(*b),
                Binary::Divide => a.checked_div(*b),
                _ => a.checked_rem(*b),
            }
            .map(Value::Int),
            (Value::Uint(a), Value::Uint(b)) => match operator {
                Binary::Add => a.checked_add(*b),
                Binary::Subtract => a.checked_sub(*b),
                Binary::Multiply => a.checked_mul(*b),
                Binary::Divide => a.checked_div(*b),
                _ => a.checked_rem(*b),
            }
            .map(Value::Uint),
            (Value::Double(a), Value::Double(b)) => match operator {
                Binary::Add => Some(a + b),
                Binary::Subtract => Some(a - b),
                Binary::Multiply => Some(a * b),
                Binary::Divide => Some(a / b),
                _ => None,
            }
            .map(Value::Double),
            (Value::Timestamp(a), Value::Timestamp(b)) if operator == Binary::Subtract => {
                Some(Value::Duration(a.duration_since(*b)))
            }
            (Value::Timestamp(a), Value::Duration(b)) if operator == Binary::Add => {
                a.checked_add(*b).ok().map(Value::Timestamp)
            }
            (Value::Duration(a), Value::Timestamp(b)) if operator == Binary::Add => {
                b.checked_add(*a).ok().map(Value::Timestamp)
            }
            (Value::Timestamp(a), Value::Duration(b)) if operator == Binary::Subtract => {
                a.checked_sub(*b).ok().map(Value::Timestamp)
            }
            (Value::Duration(a), Value::Duration(b)) => match operator {
                Binary::Add => a.checked_add(*b),
                Binary::Subtract => a.checked_sub(*b),
                _ => None,
            }
            .map(Value::Duration),
            _ => None,
        };
        result.ok_or_else(|| failed(format!("{operator:?} of {} and {} has no result", self.kind(), other.kind())))
    }
}

/// Order of two numbers of any types: None if they are not numbers, Some(None) if one is not a number (NaN).
fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Option<Ordering>> {
    let exact = |value: &Value<'_>| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    let double = |value: &Value<'_>| match value {
        Value::Int(value) => Some(*value as f64),
        Value::Uint(value) => Some(*value as f64),
        Value::Double(value) => Some(*value),
        _ => None,
    };
    match (exact(a), exact(b)) {
        (Some(a), Some(b)) => Some(Some(a.cmp(&b))),
        _ => Some(double(a)?.partial_cmp(&double(b)?)),
    }
}

fn all_equal<'a>(a: &[Value<'a>], b: &[Value<'a>], steps: &Steps) -> Result<bool, FilterError> {
    for (a, b) in a.iter().zip(b) {
        if !a.equals(b, steps)? {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn failed(message: impl Into<String>) -> FilterError {
    FilterError::Failed(message.into())
}
