//! Functions that can do much more than read their arguments: they pay for it first.
//!
//! Everything else is linear in what it is given, and that is bounded by the expression and the data. These are not:
//! `lists.range(n)` makes n values from one number, `replace` and `join` multiply two texts, the set functions compare all
//! with all, and compiling a regular expression costs far more than using it: `matches` keeps those that it has met.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use cel::{
    Context, ExecutionError, FunctionContext, IdedExpr, Value,
    common::ast::{CallExpr, Expr},
    extractors::{Arguments, This},
};
use kube_cel::KubeCelExt;
use regex::Regex;

use super::meter;

/// What a call costs, from its arguments, the receiver first.
type Cost = fn(&[Value]) -> u64;

/// What compiling a regular expression costs.
const COMPILE: u64 = 500;

/// How many compiled expressions a thread keeps.
const KEPT: usize = 64;

const GUARDED: [(&str, Cost); 9] = [
    ("lists.range", |args| match args {
        [Value::Int(n)] => (*n).max(0) as u64,
        _ => 0,
    }),
    ("replace", |args| match args {
        [Value::String(text), Value::String(from), Value::String(to), ..] => {
            let places = text.len() / from.len().max(1) + 1;
            bytes(text.len().saturating_add(places.saturating_mul(to.len())))
        }
        _ => 0,
    }),
    ("join", |args| match args {
        [Value::List(items), Value::String(separator)] => bytes(items.len().saturating_mul(separator.len() + 16)),
        _ => 0,
    }),
    ("sets.contains", pairs),
    ("sets.equivalent", pairs),
    ("sets.intersects", pairs),
    ("distinct", |args| length(args.first()).saturating_mul(length(args.first()))),
    ("find", pattern),
    ("findAll", pattern),
];

/// A text of this size, in operations.
fn bytes(length: usize) -> u64 {
    (length / 16) as u64 + 1
}

fn length(value: Option<&Value>) -> u64 {
    match value {
        Some(Value::List(items)) => items.len() as u64,
        _ => 0,
    }
}

fn pairs(args: &[Value]) -> u64 {
    length(args.first()).saturating_mul(length(args.get(1)))
}

fn pattern(args: &[Value]) -> u64 {
    match args.get(1) {
        Some(Value::String(pattern)) => COMPILE + pattern.len() as u64,
        _ => 0,
    }
}

/// The functions of rules: CEL's and Kubernetes', with guards in the place of some.
pub(super) fn functions() -> Context<'static> {
    let mut context = Context::default().with_all();
    for (name, cost) in GUARDED {
        context.add_function(name, move |call: &FunctionContext, Arguments(args): Arguments| {
            let args: Vec<Value> = call.this.iter().chain(args.iter()).cloned().collect();
            meter::take(cost(&args))?;
            forward(name, call.this.is_some(), args)
        });
    }
    context.add_function("matches", matches);
    context
}

/// `text.matches(pattern)`.
fn matches(This(text): This<Arc<String>>, pattern: Arc<String>) -> Result<bool, ExecutionError> {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default();
    }
    meter::take(bytes(text.len()))?;
    COMPILED.with_borrow_mut(|compiled| {
        if let Some(regex) = compiled.get(pattern.as_str()) {
            return Ok(regex.is_match(&text));
        }
        meter::take(COMPILE + pattern.len() as u64)?;
        let invalid = |_| ExecutionError::function_error("matches", "invalid regular expression");
        let regex = Regex::new(&pattern).map_err(invalid)?;
        let answer = regex.is_match(&text);
        if compiled.len() >= KEPT {
            compiled.clear();
        }
        compiled.insert(pattern.to_string(), regex);
        Ok(answer)
    })
}

/// Calls the function that a guard stands for.
fn forward(name: &str, method: bool, args: Vec<Value>) -> Result<Value, ExecutionError> {
    static PLAIN: OnceLock<Context<'static>> = OnceLock::new();
    let mut scope = PLAIN.get_or_init(|| Context::default().with_all()).new_inner_scope();
    let mut names = Vec::with_capacity(args.len());
    for (index, value) in args.into_iter().enumerate() {
        let name = format!("@{index}");
        scope.add_variable_from_value(&*name, value);
        names.push(IdedExpr { id: 0, expr: Expr::Ident(name) });
    }
    let target = if method { Some(Box::new(names.remove(0))) } else { None };
    let call = CallExpr { func_name: name.to_string(), target, args: names };
    Value::resolve(&IdedExpr { id: 0, expr: Expr::Call(call) }, &scope)
}
