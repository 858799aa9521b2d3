//! What evaluation may cost.
//!
//! The interpreter has no limits of its own. The only constructs of CEL whose cost is not bounded by the size of the expression
//! are its loops (`all`, `map`, ...), so a program is rewritten when compiled: the condition of every loop first spends what
//! one more turn costs, which is the number of operations in the loop's body. What a loop copies that is not its own variable
//! may be a large part of the data, and costs accordingly: arguments of functions, and what goes into the list that it makes.
//! When the budget of the expression (or
//! what is left of the object's) is gone, spending is an error, and so is every attempt after it.

use std::cell::Cell;

use cel::{
    ExecutionError, IdedExpr,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators},
};

/// What one expression may cost, in operations. The same figure as kube-apiserver's limit per call.
const PER_EXPRESSION: u64 = 1_000_000;

/// What all rules on one object may cost together.
const PER_OBJECT: u64 = 4_000_000;

/// The function that spends. No expression can name it: `@` is no letter in CEL.
pub(super) const SPEND: &str = "@spend";

thread_local! {
    // Evaluation is synchronous, on one thread, so the running expression's account can be found here by a function
    // that the interpreter calls without any state.
    static LEFT: Cell<u64> = const { Cell::new(0) };
    static SIZE: Cell<u64> = const { Cell::new(0) };
    static EXHAUSTED: Cell<bool> = const { Cell::new(false) };
}

/// What is left for one object.
#[derive(Debug)]
pub(crate) struct Budget(u64);

impl Default for Budget {
    fn default() -> Self {
        Self(PER_OBJECT)
    }
}

impl Budget {
    /// Runs `evaluate` on data of `size` values, with an account of its own. `None`: the budget did not suffice.
    pub(super) fn metered<T>(&mut self, size: u64, evaluate: impl FnOnce() -> T) -> Option<T> {
        let granted = self.0.min(PER_EXPRESSION);
        LEFT.set(granted);
        SIZE.set(size);
        EXHAUSTED.set(granted == 0);
        let answer = evaluate();
        self.0 -= granted - LEFT.get();
        (!EXHAUSTED.get()).then_some(answer)
    }
}

/// [`SPEND`]: takes what one turn of a loop costs.
pub(super) fn spend(operations: i64, copies: i64) -> Result<bool, ExecutionError> {
    let copying = (copies.max(0) as u64).saturating_mul(SIZE.get() / 8 + 1);
    take((operations.max(0) as u64).saturating_add(copying))
}

/// Takes `cost`, for functions that know what they cost.
pub(super) fn take(cost: u64) -> Result<bool, ExecutionError> {
    match LEFT.get().checked_sub(cost).filter(|_| !EXHAUSTED.get()) {
        Some(left) => {
            LEFT.set(left);
            Ok(true)
        }
        None => {
            EXHAUSTED.set(true);
            LEFT.set(0);
            Err(ExecutionError::function_error("cost", "limit exceeded"))
        }
    }
}

/// Rewrites the loops of `expression` so that they spend. Answers what evaluating it costs without the turns of its loops.
pub(super) fn instrument(expression: &mut IdedExpr) -> u64 {
    Meter { variable: None }.cost(expression).0
}

/// Operations, and calls that may copy what is not the innermost loop's.
type Cost = (u64, u64);

struct Meter {
    variable: Option<String>,
}

impl Meter {
    /// How often an expression names something that is not the loop's own.
    fn foreign(&self, expression: &IdedExpr) -> u64 {
        match &expression.expr {
            Expr::Ident(name) => u64::from(!name.starts_with('@') && Some(name) != self.variable.as_ref()),
            Expr::Select(select) => self.foreign(&select.operand),
            Expr::Call(call) => call.target.iter().map(|t| &**t).chain(&call.args).map(|part| self.foreign(part)).sum(),
            Expr::List(list) => list.elements.iter().map(|element| self.foreign(element)).sum(),
            // What is inside of another loop or a map is rare enough to be taken for the worst.
            Expr::Comprehension(_) | Expr::Map(_) => 1,
            Expr::Struct(_) | Expr::Literal(_) | Expr::Unspecified => 0,
        }
    }

    fn cost(&self, expression: &mut IdedExpr) -> Cost {
        let mut total = (1, 0);
        let mut add = |cost: Cost| total = (total.0 + cost.0, total.1 + cost.1);
        match &mut expression.expr {
            Expr::Call(call) => {
                let operator = call.func_name.contains('_') && call.target.is_none();
                let foreign = |part: &IdedExpr| root(part).is_some_and(|name| Some(name) != self.variable.as_deref());
                let copies = if operator {
                    0
                } else {
                    call.target.iter().map(|t| &**t).chain(&call.args).filter(|p| foreign(p)).count()
                };
                add((0, copies as u64));
                call.target.iter_mut().for_each(|target| add(self.cost(target)));
                call.args.iter_mut().for_each(|argument| add(self.cost(argument)));
            }
            Expr::Comprehension(each) => {
                add(self.cost(&mut each.iter_range));
                add(self.cost(&mut each.accu_init));
                add(self.cost(&mut each.result));
                let body = Meter { variable: Some(each.iter_var.clone()) };
                let condition = body.cost(&mut each.loop_cond);
                let step = body.cost(&mut each.loop_step);
                // A growing list is copied at every turn, with what goes into it.
                let grows = match each.accu_init.expr {
                    Expr::List(_) => 1 + body.foreign(&each.loop_step),
                    _ => 0,
                };
                let turn = (condition.0 + step.0, condition.1 + step.1 + grows);
                each.loop_cond = guarded(turn, std::mem::take(&mut each.loop_cond));
            }
            Expr::List(list) => list.elements.iter_mut().for_each(|element| add(self.cost(element))),
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    match &mut entry.expr {
                        EntryExpr::MapEntry(entry) => {
                            add(self.cost(&mut entry.key));
                            add(self.cost(&mut entry.value));
                        }
                        EntryExpr::StructField(field) => add(self.cost(&mut field.value)),
                    }
                }
            }
            Expr::Select(select) => add(self.cost(&mut select.operand)),
            Expr::Struct(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
        total
    }
}

/// `@spend(operations, copies) ? condition : false`
fn guarded(turn: Cost, condition: IdedExpr) -> IdedExpr {
    let number = |n: u64| literal(LiteralValue::Int((n as i64).into()));
    let spend = call(SPEND, vec![number(turn.0), number(turn.1)]);
    call(operators::CONDITIONAL, vec![spend, condition, literal(LiteralValue::Boolean(false.into()))])
}

fn call(name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr { id: 0, expr: Expr::Call(CallExpr { func_name: name.into(), target: None, args }) }
}

fn literal(value: LiteralValue) -> IdedExpr {
    IdedExpr { id: 0, expr: Expr::Literal(value) }
}

/// The variable that a path like `self.a[0].b` starts from.
fn root(expression: &IdedExpr) -> Option<&str> {
    match &expression.expr {
        Expr::Ident(name) => Some(name),
        Expr::Select(select) => root(&select.operand),
        Expr::Call(call) if call.func_name == operators::INDEX => root(call.args.first()?),
        _ => None,
    }
}
