//! CEL rules of custom resources: `x-kubernetes-validations`.
//!
//! In: the rules of one schema node, compiled once with the schema; then, per write, the value at that node and, if there is
//! one, the old value. Out: a cause for each rule that does not hold. The language and Kubernetes' functions come from the
//! `cel` and `kube-cel` crates; what a rule means (when it runs, what it may see, what is said when it fails) is here.
//!
//! Rules come from whoever may create a CRD and run on data from anybody, so they are bounded: an expression has at most
//! [`MAX_EXPRESSION`] bytes and its nesting is limited (`program`); evaluation is metered, each expression and each object having
//! a budget (`meter`), from which functions that multiply what they are given pay first (`guard`); and a panic of the
//! interpreter is a failed rule, never a dead server. Whatever cannot be evaluated fails: an object is never admitted because
//! its rule broke.

mod fit;
mod guard;
mod meter;
mod program;
mod value;

use roadstead_kubewire::error::Cause;
use serde_json::{Value, json};

use fit::Type;
pub(crate) use meter::Budget;
use program::{Outcome, Program};

use super::{
    field::{self, Path},
    node::{Kind, Node, NodeId},
    validate::type_name,
};

/// The longest expression, in bytes.
pub(crate) const MAX_EXPRESSION: usize = 16 * 1024;

/// The longest message that a `messageExpression` may give, in bytes.
const MAX_MESSAGE: usize = 5 * 1024;

/// The rules of one node.
#[derive(Debug, Default)]
pub(crate) struct Rules(Vec<Rule>);

/// One entry of `x-kubernetes-validations`.
#[derive(Debug)]
struct Rule {
    text: String,
    program: Option<Program>,
    message: String,
    message_program: Option<Program>,
    reason: String,
    field_path: String,
    /// The rule speaks of `oldSelf`, so it holds only for updates.
    transition: bool,
    optional_old_self: bool,
}

/// A rule that cannot be compiled: index, field of the rule, why not.
pub(crate) type RuleError = (usize, &'static str, String);

/// What is wrong with the rules `list` of a node; `schema` is the node's, `root`: it is that of the whole object.
pub(crate) fn check(list: &Value, schema: &Value, root: bool) -> Vec<RuleError> {
    let mut errors = Vec::new();
    for (index, rule) in list.as_array().into_iter().flatten().enumerate() {
        let compiled = Rule::read(rule, |field, why| errors.push((index, field, failed(field, &why))));
        let optional = compiled.optional_old_self;
        for (field, program, wanted) in
            [("rule", &compiled.program, Type::Bool), ("messageExpression", &compiled.message_program, Type::String)]
        {
            let Some(program) = program else { continue };
            match program.fits(schema, root, optional) {
                Err(why) => errors.push((index, field, failed(field, &why))),
                Ok(kind) if kind.is(wanted) => {}
                Ok(_) if field == "rule" => {
                    errors.push((index, field, "cel expression must evaluate to a bool".into()))
                }
                Ok(_) => errors.push((index, field, "messageExpression must evaluate to a string".into())),
            }
        }
    }
    errors
}

fn failed(field: &str, why: &str) -> String {
    let whose = if field == "rule" { "" } else { "messageExpression " };
    format!("{whose}compilation failed: {}", why.strip_prefix("compilation failed: ").unwrap_or(why))
}

/// Whether an expression uses a variable; one that does not compile does not.
pub(crate) fn mentions(expression: &str, variable: &str) -> bool {
    Program::compile(expression, true).is_ok_and(|program| program.mentions(variable))
}

impl Rules {
    /// Compiles `x-kubernetes-validations`. A rule that does not compile is kept and fails every object; [`check`] tells why.
    pub(crate) fn compile(list: &Value) -> Self {
        Self(list.as_array().into_iter().flatten().map(|rule| Rule::read(rule, |_, _| {})).collect())
    }

    /// Checks `value` at node `id`; `old` is the matching old value.
    #[expect(clippy::too_many_arguments, reason = "what a rule is evaluated with; a struct would be used once")]
    pub(crate) fn check(
        &self,
        nodes: &[Node],
        id: NodeId,
        value: &Value,
        old: Option<&Value>,
        path: &Path,
        budget: &mut Budget,
        causes: &mut Vec<Cause>,
    ) {
        let unchanged = old == Some(value);
        let mut runs = self.0.iter().filter(|rule| rule.applies(old.is_some(), unchanged)).peekable();
        if runs.peek().is_none() {
            return;
        }
        let this = value::convert(nodes, id, value);
        let old = old.map(|old| value::convert(nodes, id, old));
        let scope = program::Scope::new(this, old);
        let name = type_of(&nodes[id as usize], value);
        for rule in runs {
            if let Some(cause) = rule.check(&scope, &name, path, budget) {
                causes.push(cause);
            }
        }
    }
}

impl Rule {
    fn read(rule: &Value, mut fail: impl FnMut(&'static str, String)) -> Self {
        let text = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
        let expression = text("rule");
        let optional_old_self = rule.get("optionalOldSelf").and_then(Value::as_bool) == Some(true);
        let program = match Program::compile(&expression, optional_old_self) {
            Ok(program) => Some(program),
            Err(why) => {
                fail("rule", why);
                None
            }
        };
        let message_expression = text("messageExpression");
        let message_program = match Program::compile(&message_expression, optional_old_self) {
            _ if message_expression.is_empty() => None,
            Ok(program) => Some(program),
            Err(why) => {
                fail("messageExpression", why);
                None
            }
        };
        let transition = program.as_ref().is_some_and(|program| program.mentions("oldSelf"));
        Self {
            text: expression.trim().to_string(),
            message: text("message"),
            reason: text("reason"),
            field_path: text("fieldPath"),
            program,
            message_program,
            transition,
            optional_old_self,
        }
    }

    fn applies(&self, has_old: bool, unchanged: bool) -> bool {
        match self.transition {
            true => has_old || self.optional_old_self,
            false => !unchanged,
        }
    }

    fn check(&self, scope: &program::Scope, type_name: &Value, path: &Path, budget: &mut Budget) -> Option<Cause> {
        let fail = |why: String| Some(field::invalid(path, type_name, &why));
        let Some(program) = &self.program else {
            return fail(format!("rule does not compile: {}", self.text));
        };
        match program.run(scope, self.optional_old_self, budget) {
            Outcome::Value(cel::Value::Bool(true)) => None,
            Outcome::Value(cel::Value::Bool(false)) => Some(self.violated(scope, type_name, path, budget)),
            Outcome::Value(_) => fail(format!("rule does not answer true or false: {}", self.text)),
            Outcome::Failed(why) => fail(format!("{why} evaluating rule: {}", self.label())),
            Outcome::TooCostly => fail(format!(
                "call cost exceeds limit for rule: {}. Validation failed; no further validation rules will be run due to \
                 call cost exceeds limit",
                self.label()
            )),
        }
    }

    fn label(&self) -> &str {
        if self.message.is_empty() { &self.text } else { &self.message }
    }

    fn violated(&self, scope: &program::Scope, type_name: &Value, path: &Path, budget: &mut Budget) -> Cause {
        let dynamic = self.message_program.as_ref().and_then(|program| {
            match program.run(scope, self.optional_old_self, budget) {
                Outcome::Value(cel::Value::String(text)) => Some(text.trim().to_string()),
                _ => None,
            }
        });
        let usable = |text: &String| !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
        let message = match dynamic.filter(usable) {
            Some(text) => text,
            None if self.message.is_empty() => format!("failed rule: {}", self.text),
            None => self.message.clone(),
        };
        let path = match self.field_path.as_str() {
            "" => path.clone(),
            below => Path::new(format!("{}{}", path.as_str(), below).trim_start_matches('.').to_string()),
        };
        match self.reason.as_str() {
            "FieldValueForbidden" => field::forbidden(path, &message),
            "FieldValueRequired" => field::required(path, &message),
            "FieldValueDuplicate" => field::duplicate(path, type_name),
            _ => field::invalid(path, type_name, &message),
        }
    }
}

/// What an error says in place of the value: its type.
fn type_of(node: &Node, value: &Value) -> Value {
    match node.kind {
        Kind::Any | Kind::IntOrString | Kind::Quantity => json!(type_name(value)),
        kind => json!(kind.name()),
    }
}

#[cfg(test)]
mod tests;
