//! Whether an expression fits the schema that it is about: that the fields which it selects exist, and that operators are
//! given what they take; and of which type the whole is.
//!
//! The interpreter checks no types, so a misspelt field would only show when an object is written, as a rule that refuses
//! everything. Here the types that the schema gives are followed as far as they go (selection, indexing, loops, operators,
//! the functions that everybody uses); where they are lost, nothing is said. The rules are CEL's ("Standard Definitions").

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use serde_json::Value;

use super::value::escape;

/// What is known of the value of an expression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Type<'a> {
    /// Nothing.
    Any,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    /// Items of this schema, if one is known.
    List(Option<&'a Value>),
    /// Values of this schema, if one is known.
    Map(Option<&'a Value>),
    /// An object of this schema.
    Object(&'a Value),
    /// The whole object, of which metadata has only names.
    Root(&'a Value),
    /// `metadata` of the whole object.
    Metadata,
}

use Type::{Any, Bool, Bytes, Double, Duration, Int, List, Map, Metadata, Object, Root, Timestamp, Uint};

/// Names of functions and operators, told apart by what they give.
const TO_BOOL: [&str; 6] = ["startsWith", "endsWith", "contains", "matches", "isURL", "isSorted"];
const TO_TEXT: [&str; 8] = ["string", "lowerAscii", "upperAscii", "trim", "replace", "substring", "join", "find"];
const TO_INT: [&str; 4] = ["size", "int", "indexOf", "lastIndexOf"];
/// Methods of texts alone.
const OF_TEXT: [&str; 9] =
    ["startsWith", "endsWith", "matches", "lowerAscii", "upperAscii", "trim", "replace", "substring", "split"];

impl<'a> Type<'a> {
    /// The type of what a schema describes.
    fn of(schema: &'a Value) -> Self {
        let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
        match (text("type"), text("format")) {
            ("boolean", _) => Bool,
            ("integer", _) => Int,
            ("number", _) => Double,
            ("string", "byte") => Bytes,
            ("string", "date" | "date-time") => Timestamp,
            ("string", "duration") => Duration,
            ("string", _) => Type::String,
            ("array", _) => List(schema.get("items").filter(|items| items.is_object())),
            ("object", _) => match schema.get("additionalProperties") {
                Some(values) if schema.get("properties").is_none() => Map(Some(values).filter(|v| v.is_object())),
                _ => Object(schema),
            },
            _ => Any,
        }
    }

    /// Whether it is of this type, as far as is known.
    pub(super) fn is(self, wanted: Type<'_>) -> bool {
        self == Any || wanted == Any || self.name() == wanted.name()
    }

    fn is_number(self) -> bool {
        matches!(self, Any | Int | Uint | Double)
    }

    /// CEL's name of it.
    fn name(self) -> &'static str {
        match self {
            Any => "dyn",
            Bool => "bool",
            Int => "int",
            Uint => "uint",
            Double => "double",
            Type::String => "string",
            Bytes => "bytes",
            Duration => "google.protobuf.Duration",
            Timestamp => "google.protobuf.Timestamp",
            List(_) => "list",
            Map(_) => "map",
            Object(_) | Root(_) | Metadata => "object",
        }
    }
}

/// The type of `expression` over `schema`, or why it does not fit; `root`: the schema is that of the whole object.
pub(super) fn check<'a>(
    expression: &IdedExpr,
    schema: &'a Value,
    root: bool,
    optional_old_self: bool,
) -> Result<Type<'a>, String> {
    let this = if root { Root(schema) } else { Type::of(schema) };
    let old = if optional_old_self { Any } else { this };
    Fit { variables: vec![("self".into(), this), ("oldSelf".into(), old)] }.of(expression)
}

struct Fit<'a> {
    variables: Vec<(String, Type<'a>)>,
}

impl<'a> Fit<'a> {
    fn all<'e>(&mut self, parts: impl IntoIterator<Item = &'e IdedExpr>) -> Result<Vec<Type<'a>>, String> {
        parts.into_iter().map(|part| self.of(part)).collect()
    }

    fn of(&mut self, expression: &IdedExpr) -> Result<Type<'a>, String> {
        match &expression.expr {
            Expr::Ident(name) => {
                let found = self.variables.iter().rev().find(|(variable, _)| variable == name);
                Ok(found.map_or(Any, |(_, known)| *known))
            }
            Expr::Select(select) => {
                let found = select_field(self.of(&select.operand)?, &select.field)?;
                Ok(if select.test { Bool } else { found })
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(each) => {
                let item = match self.of(&each.iter_range)? {
                    List(Some(items)) => Type::of(items),
                    // Of a map, the keys are gone through.
                    Map(_) | Object(_) => Type::String,
                    _ => Any,
                };
                let accumulator = self.of(&each.accu_init)?;
                self.variables.push((each.accu_var.clone(), accumulator));
                // With two variables, the first is an index or a key.
                match &each.iter_var2 {
                    None => self.variables.push((each.iter_var.clone(), item)),
                    Some(_) => self.variables.push((each.iter_var.clone(), Any)),
                }
                self.variables.push((each.iter_var2.clone().unwrap_or_default(), Any));
                let result = self.all([&each.loop_cond, &each.loop_step, &each.result]);
                self.variables.truncate(self.variables.len() - 3);
                Ok(result?.pop().unwrap_or(Any))
            }
            Expr::List(list) => self.all(&list.elements).map(|_| List(None)),
            Expr::Map(map) => {
                for entry in &map.entries {
                    match &entry.expr {
                        EntryExpr::MapEntry(entry) => {
                            self.all([&entry.key, &entry.value])?;
                        }
                        EntryExpr::StructField(field) => {
                            self.of(&field.value)?;
                        }
                    }
                }
                Ok(Map(None))
            }
            Expr::Literal(literal) => Ok(match literal {
                LiteralValue::Boolean(_) => Bool,
                LiteralValue::Int(_) => Int,
                LiteralValue::UInt(_) => Uint,
                LiteralValue::Double(_) => Double,
                LiteralValue::String(_) => Type::String,
                LiteralValue::Bytes(_) => Bytes,
                LiteralValue::Null => Any,
            }),
            Expr::Struct(_) | Expr::Unspecified => Ok(Any),
        }
    }

    fn call(&mut self, call: &CallExpr) -> Result<Type<'a>, String> {
        let name = call.func_name.as_str();
        // The target of `sets.contains(..)` is no value; nothing is known of it, and nothing said.
        let target = call.target.as_ref().map(|target| self.of(target)).transpose()?;
        let args = self.all(&call.args)?;
        let none = || {
            let all = target.iter().chain(&args).map(|known| known.name()).collect::<Vec<_>>().join(", ");
            Err(format!("found no matching overload for '{name}' applied to '({all})'"))
        };
        let found = match (target, args.as_slice()) {
            (None, [one]) => unary(name, *one),
            (None, [one, other]) => binary(name, *one, *other),
            (None, [condition, one, other]) if name == operators::CONDITIONAL => {
                condition.is(Bool).then_some(if one == other { *one } else { Any })
            }
            _ => Some(Any),
        };
        let Some(found) = found else { return none() };
        let measured = target.or(args.first().copied()).filter(|_| name == "size");
        if measured.is_some_and(|of| !matches!(of, Any | Type::String | Bytes | List(_) | Map(_))) {
            return none();
        }
        if target.is_some_and(|target| OF_TEXT.contains(&name) && !target.is(Type::String)) {
            return none();
        }
        Ok(match name {
            _ if found != Any => found,
            _ if TO_BOOL.contains(&name) => Bool,
            _ if TO_TEXT.contains(&name) && target.is_none_or(|target| target.is(Type::String)) => Type::String,
            _ if TO_INT.contains(&name) => Int,
            "double" => Double,
            "bool" => Bool,
            "bytes" => Bytes,
            "duration" => Duration,
            "timestamp" => Timestamp,
            "split" => List(None),
            _ => Any,
        })
    }
}

/// What an operator gives; nothing: it does not take this. What is no operator gives anything.
fn unary<'a>(name: &str, of: Type<'a>) -> Option<Type<'a>> {
    match name {
        operators::LOGICAL_NOT => of.is(Bool).then_some(Bool),
        operators::NEGATE => matches!(of, Any | Int | Double | Duration).then_some(of),
        _ => Some(Any),
    }
}

fn binary<'a>(name: &str, one: Type<'a>, other: Type<'a>) -> Option<Type<'a>> {
    let same = one.is(other);
    match name {
        operators::LOGICAL_AND | operators::LOGICAL_OR => (one.is(Bool) && other.is(Bool)).then_some(Bool),
        operators::EQUALS | operators::NOT_EQUALS => same.then_some(Bool),
        operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS => {
            let ordered = |of| matches!(of, Any | Bool | Type::String | Bytes | Duration | Timestamp);
            let numbers = one.is_number() && other.is_number();
            (numbers || same && ordered(one) && ordered(other)).then_some(Bool)
        }
        operators::ADD | operators::SUBSTRACT => match (one, other) {
            (Any, _) | (_, Any) => Some(Any),
            (Timestamp, Duration) => Some(Timestamp),
            (Timestamp, Timestamp) if name == operators::SUBSTRACT => Some(Duration),
            (Duration, Timestamp) if name == operators::ADD => Some(Timestamp),
            (Timestamp, _) => None,
            (List(of), List(like)) if name == operators::ADD => Some(List(of.filter(|_| of == like))),
            (Type::String | Bytes, _) => (same && name == operators::ADD).then_some(one),
            (Int | Uint | Double | Duration, _) => same.then_some(one),
            _ => None,
        },
        operators::MULTIPLY | operators::DIVIDE => match (one, other) {
            (Any, _) | (_, Any) => Some(Any),
            _ => (same && one.is_number()).then_some(one),
        },
        operators::MODULO => match (one, other) {
            (Any, _) | (_, Any) => Some(Any),
            _ => (same && matches!(one, Int | Uint)).then_some(one),
        },
        operators::IN => matches!(other, Any | List(_) | Map(_)).then_some(Bool),
        operators::INDEX => match one {
            List(below) | Map(below) => Some(below.map_or(Any, Type::of)),
            Any => Some(Any),
            _ => None,
        },
        _ => Some(Any),
    }
}

fn select_field<'a>(of: Type<'a>, field: &str) -> Result<Type<'a>, String> {
    let undefined = || Err(format!("undefined field '{field}'"));
    match of {
        Any => Ok(Any),
        Metadata if ["name", "generateName"].contains(&field) => Ok(Type::String),
        Metadata => undefined(),
        Root(_) if ["apiVersion", "kind"].contains(&field) => Ok(Type::String),
        Root(_) if field == "metadata" => Ok(Metadata),
        Map(values) => Ok(values.map_or(Any, Type::of)),
        Root(schema) | Object(schema) => {
            let fields = schema.get("properties").and_then(Value::as_object);
            if let Some((_, property)) = fields.into_iter().flatten().find(|(name, _)| escape(name) == field) {
                return Ok(Type::of(property));
            }
            match schema.get("x-kubernetes-embedded-resource") {
                Some(Value::Bool(true)) => Ok(Any),
                _ => undefined(),
            }
        }
        other => Err(format!("type '{}' does not support field selection", other.name())),
    }
}
