//! One compiled expression, and its evaluation.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
};

use cel::{
    Context, ExecutionError, IdedExpr, Value as Cel,
    common::ast::{EntryExpr, Expr},
    objects::OptionalValue,
    parser::Parser,
};

use super::{MAX_EXPRESSION, fit, guard, meter, value::Converted};

/// How deep an expression may nest, operators in a row included.
const MAX_DEPTH: usize = 80;

/// How deep brackets may nest, and how many conditionals there may be. The parser recurses over both and checks too late.
const MAX_BRACKETS: usize = 40;

/// How many operators there may be; the parser recurses over a row of them.
const MAX_OPERATORS: usize = 1_500;

/// An expression that can be evaluated.
#[derive(Debug)]
pub(super) struct Program {
    expression: IdedExpr,
    cost: u64,
}

/// What came of an evaluation.
pub(super) enum Outcome {
    /// A value.
    Value(Cel),
    /// An error, in words.
    Failed(String),
    /// The budget did not suffice.
    TooCostly,
}

/// What rules of one node see.
pub(super) struct Scope {
    this: Cel,
    old: Option<Cel>,
    size: u64,
}

impl Scope {
    pub(super) fn new(this: Converted, old: Option<Converted>) -> Self {
        let size = this.size + old.as_ref().map_or(0, |old| old.size);
        Self { this: this.value, old: old.map(|old| old.value), size }
    }
}

impl Program {
    /// Compiles `text`. The error is for people.
    pub(super) fn compile(text: &str, optional_old_self: bool) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("rule is not specified".into());
        }
        if text.len() > MAX_EXPRESSION {
            return Err(format!("expression is longer than {MAX_EXPRESSION} bytes"));
        }
        if nesting(text) > MAX_BRACKETS {
            return Err(format!("expression nests deeper than {MAX_BRACKETS} brackets or conditionals"));
        }
        if operators(text) > MAX_OPERATORS {
            return Err(format!("expression has more than {MAX_OPERATORS} operators"));
        }
        let parser = Parser::new().enable_optional_syntax(optional_old_self);
        let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse(text)));
        let mut expression = match parsed {
            Ok(Ok(expression)) => expression,
            Ok(Err(errors)) => return Err(format!("compilation failed: {errors}")),
            Err(_) => return Err("compilation failed: the expression cannot be parsed".into()),
        };
        examine(&expression, &mut vec!["self".into(), "oldSelf".into()], 0)?;
        let cost = meter::instrument(&mut expression);
        Ok(Self { expression, cost })
    }

    /// Whether the expression uses the variable.
    pub(super) fn mentions(&self, variable: &str) -> bool {
        self.expression.references().has_variable(variable)
    }

    /// The type of the expression over the schema that it is about, or why it does not fit that.
    pub(super) fn fits<'a>(
        &self,
        schema: &'a serde_json::Value,
        root: bool,
        optional_old_self: bool,
    ) -> Result<fit::Type<'a>, String> {
        fit::check(&self.expression, schema, root, optional_old_self)
    }

    /// Evaluates against `scope`, spending from `budget`.
    pub(super) fn run(&self, scope: &Scope, optional_old_self: bool, budget: &mut meter::Budget) -> Outcome {
        let mut context = base().new_inner_scope();
        context.add_variable_from_value("self", scope.this.clone());
        match (&scope.old, optional_old_self) {
            (old, true) => {
                let optional = old.clone().map_or_else(OptionalValue::none, OptionalValue::of);
                context.add_variable_from_value("oldSelf", Cel::Opaque(Arc::new(optional)));
            }
            (Some(old), false) => context.add_variable_from_value("oldSelf", old.clone()),
            (None, false) => {}
        }
        let evaluate = || {
            meter::take(self.cost + scope.size / 4)?;
            Cel::resolve(&self.expression, &context)
        };
        // The interpreter is not ours and its arithmetic on times may panic.
        match budget.metered(scope.size, || catch_unwind(AssertUnwindSafe(evaluate))) {
            None => Outcome::TooCostly,
            Some(Ok(Ok(value))) => Outcome::Value(value),
            Some(Ok(Err(error))) => Outcome::Failed(explain(&error)),
            Some(Err(_)) => Outcome::Failed("internal error".into()),
        }
    }
}

/// Everything that an expression can name beside its variables.
fn base() -> &'static Context<'static> {
    static BASE: OnceLock<Context<'static>> = OnceLock::new();
    BASE.get_or_init(|| {
        let mut context = guard::functions();
        context.add_function(meter::SPEND, meter::spend);
        context.add_function("type", type_of);
        for name in TYPES {
            context.add_variable_from_value(name, name.to_string());
        }
        context
    })
}

/// The types of CEL, as `type(x)` answers them. The interpreter knows no type values, so they stand for themselves as texts.
const TYPES: [&str; 9] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"];

fn type_of(value: Cel) -> String {
    let name = match value {
        Cel::Bool(_) => "bool",
        Cel::Bytes(_) => "bytes",
        Cel::Float(_) => "double",
        Cel::Int(_) => "int",
        Cel::List(_) => "list",
        Cel::Map(_) => "map",
        Cel::Null => "null_type",
        Cel::String(_) => "string",
        Cel::UInt(_) => "uint",
        _ => "other",
    };
    name.to_string()
}

/// Errors without the values that they are about, which may be secrets.
fn explain(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        ExecutionError::UndeclaredReference(name) => format!("undeclared reference to '{name}'"),
        ExecutionError::DivisionByZero(_) => "division by zero".into(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".into(),
        ExecutionError::IndexOutOfBounds(_) => "index out of bounds".into(),
        ExecutionError::Overflow(..) => "integer overflow".into(),
        ExecutionError::FunctionError { function, .. } => format!("{function}: invalid argument"),
        _ => "no such overload".into(),
    }
}

/// Refuses what would only fail at evaluation: unknown variables and functions, messages, too deep expressions.
fn examine(expression: &IdedExpr, variables: &mut Vec<String>, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("expression nests deeper than {MAX_DEPTH}"));
    }
    let depth = depth + 1;
    match &expression.expr {
        Expr::Ident(name) if name.starts_with('@') || variables.contains(name) || TYPES.contains(&&**name) => Ok(()),
        Expr::Ident(name) => Err(format!("compilation failed: undeclared reference to '{name}'")),
        Expr::Literal(_) => Ok(()),
        Expr::Unspecified => Err("compilation failed: the expression is empty".into()),
        Expr::Struct(_) => Err("compilation failed: messages cannot be constructed".into()),
        Expr::Select(select) => examine(&select.operand, variables, depth),
        Expr::List(list) => list.elements.iter().try_for_each(|element| examine(element, variables, depth)),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                examine(&entry.key, variables, depth)?;
                examine(&entry.value, variables, depth)
            }
            EntryExpr::StructField(field) => examine(&field.value, variables, depth),
        }),
        Expr::Comprehension(each) => {
            examine(&each.iter_range, variables, depth)?;
            examine(&each.accu_init, variables, depth)?;
            variables.push(each.iter_var.clone());
            let body = [&each.loop_cond, &each.loop_step, &each.result];
            let result = body.into_iter().try_for_each(|part| examine(part, variables, depth));
            variables.pop();
            result
        }
        Expr::Call(call) => {
            let namespace = match call.target.as_deref() {
                Some(IdedExpr { expr: Expr::Ident(name), .. }) if !variables.contains(name) => Some(name),
                Some(target) => {
                    examine(target, variables, depth)?;
                    None
                }
                None => None,
            };
            let name =
                namespace.map_or_else(|| call.func_name.clone(), |prefix| format!("{prefix}.{}", call.func_name));
            if !known(&name) {
                return Err(format!("compilation failed: undeclared reference to '{name}'"));
            }
            call.args.iter().try_for_each(|argument| examine(argument, variables, depth))
        }
    }
}

/// Whether there is such a function. The interpreter is asked by a call without arguments: every other error means yes.
fn known(name: &str) -> bool {
    let operator = !name.starts_with(|c: char| c.is_ascii_alphabetic());
    let probe = || {
        let call = cel::common::ast::CallExpr { func_name: name.to_string(), target: None, args: Vec::new() };
        Cel::resolve(&IdedExpr { id: 0, expr: Expr::Call(call) }, base())
    };
    operator
        || !matches!(catch_unwind(AssertUnwindSafe(probe)), Ok(Err(ExecutionError::UndeclaredReference(n))) if *n == name)
}

/// How deep the text nests at most, conditionals counted as never ended. Strings are not told apart: an upper bound is wanted.
fn nesting(text: &str) -> usize {
    let (mut open, mut deepest, mut conditionals) = (0_usize, 0, 0);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            '?' => conditionals += 1,
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest + conditionals
}

/// How many operators the text has, outside strings or not: an upper bound is wanted.
fn operators(text: &str) -> usize {
    text.chars().filter(|c| "+-*/%!?&|<>=([{.".contains(*c)).count()
}
