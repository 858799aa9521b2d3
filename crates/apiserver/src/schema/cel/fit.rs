//! Whether an expression fits the schema that it is about: that the fields which it selects exist.
//!
//! The interpreter checks no types, so a misspelt field would only show when an object is written, as a rule that refuses
//! everything. Here the types that the schema gives are followed as far as they go (selection, indexing, loops); where they
//! are lost (the result of a function), nothing is said.

use cel::common::ast::{EntryExpr, Expr, IdedExpr, operators};
use serde_json::Value;

use super::value::escape;

/// What is known of the value of an expression.
#[derive(Clone, Copy)]
enum Known<'a> {
    /// The whole object, of which metadata has only names.
    Root(&'a Value),
    /// A value of this schema.
    Schema(&'a Value),
    /// `metadata` of the whole object.
    Metadata,
    Nothing,
}

/// Why `expression` does not fit `schema`; `root`: the schema is that of the whole object.
pub(super) fn check(expression: &IdedExpr, schema: &Value, root: bool) -> Result<(), String> {
    let this = if root { Known::Root(schema) } else { Known::Schema(schema) };
    Fit { variables: vec![("self".into(), this), ("oldSelf".into(), this)] }.of(expression).map(|_| ())
}

struct Fit<'a> {
    variables: Vec<(String, Known<'a>)>,
}

impl<'a> Fit<'a> {
    fn all<'e>(&mut self, parts: impl IntoIterator<Item = &'e IdedExpr>) -> Result<Known<'a>, String> {
        for part in parts {
            self.of(part)?;
        }
        Ok(Known::Nothing)
    }

    fn of(&mut self, expression: &IdedExpr) -> Result<Known<'a>, String> {
        match &expression.expr {
            Expr::Ident(name) => {
                let found = self.variables.iter().rev().find(|(variable, _)| variable == name);
                Ok(found.map_or(Known::Nothing, |(_, known)| *known))
            }
            Expr::Select(select) => select_field(self.of(&select.operand)?, &select.field),
            Expr::Call(call) if call.func_name == operators::INDEX && call.args.len() == 2 => {
                let of = self.of(&call.args[0])?;
                self.of(&call.args[1])?;
                Ok(match of {
                    Known::Schema(schema) => element(schema),
                    _ => Known::Nothing,
                })
            }
            Expr::Call(call) => {
                // The target of `sets.contains(..)` is no value; nothing is known of it, and nothing said.
                self.all(call.target.iter().map(|target| &**target).chain(&call.args))
            }
            Expr::Comprehension(each) => {
                let item = match self.of(&each.iter_range)? {
                    // Of a map, the keys are gone through.
                    Known::Schema(schema) if schema.get("items").is_some() => element(schema),
                    _ => Known::Nothing,
                };
                self.of(&each.accu_init)?;
                self.variables.push((each.accu_var.clone(), Known::Nothing));
                self.variables.push((each.iter_var.clone(), item));
                let result = self.all([&each.loop_cond, &each.loop_step, &each.result]);
                self.variables.truncate(self.variables.len() - 2);
                result
            }
            Expr::List(list) => self.all(&list.elements),
            Expr::Map(map) => {
                for entry in &map.entries {
                    match &entry.expr {
                        EntryExpr::MapEntry(entry) => self.all([&entry.key, &entry.value])?,
                        EntryExpr::StructField(field) => self.of(&field.value)?,
                    };
                }
                Ok(Known::Nothing)
            }
            Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => Ok(Known::Nothing),
        }
    }
}

fn select_field<'a>(of: Known<'a>, field: &str) -> Result<Known<'a>, String> {
    let undefined = || Err(format!("compilation failed: undefined field '{field}'"));
    match of {
        Known::Nothing => Ok(Known::Nothing),
        Known::Metadata if ["name", "generateName"].contains(&field) => Ok(Known::Nothing),
        Known::Metadata => undefined(),
        Known::Root(_) if ["apiVersion", "kind"].contains(&field) => Ok(Known::Nothing),
        Known::Root(_) if field == "metadata" => Ok(Known::Metadata),
        Known::Root(schema) | Known::Schema(schema) => {
            let fields = schema.get("properties").and_then(Value::as_object);
            if let Some((_, property)) = fields.into_iter().flatten().find(|(name, _)| escape(name) == field) {
                return Ok(Known::Schema(property));
            }
            if let Some(values) = schema.get("additionalProperties") {
                return Ok(if values.is_object() { Known::Schema(values) } else { Known::Nothing });
            }
            let flag = |key: &str| schema.get(key).and_then(Value::as_bool) == Some(true);
            match schema.get("type").and_then(Value::as_str) {
                Some("object") if flag("x-kubernetes-embedded-resource") => Ok(Known::Nothing),
                Some("object") => undefined(),
                Some(kind) => Err(format!("compilation failed: type '{kind}' does not support field selection")),
                None => Ok(Known::Nothing),
            }
        }
    }
}

fn element(schema: &Value) -> Known<'_> {
    let below = schema.get("items").or_else(|| schema.get("additionalProperties"));
    below.filter(|below| below.is_object()).map_or(Known::Nothing, Known::Schema)
}
