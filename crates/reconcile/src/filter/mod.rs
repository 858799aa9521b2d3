//! Filters over events: CEL expressions like `event.git.ref == "refs/heads/main"`, of endpoints and of triggers.
//!
//! In: the expression that a user wrote, and for each event its view (`WebhookEventSpec::filter_view`). Out: true or false, or an
//! error that the caller reports; a filter that errs never loses an event. The grammar and the macros are the `cel` crate's.
//! Evaluation is our own, because a filter is a tenant's program on everybody's ingest path: it borrows from the event
//! instead of copying it, counts every step against a budget, cannot panic, and knows the event's fields, so that a typing
//! error is found when the filter is written and not when an event is missed.
//!
//! Supported: all operators, `has`, `all`, `exists`, `exists_one`, `map`, `filter`, `size`, `contains`, `startsWith`, `endsWith`,
//! `matches` (with a literal pattern), `lowerAscii`, `upperAscii`, `trim`, `string`, `int`, `uint`, `double`, `timestamp`, `duration`.
//! Everything else is refused by name.

mod brackets;
mod eval;
mod expression;
mod lower;
mod value;

use roadstead_api::event::WebhookEventSpec;
use serde_json::Value;

pub use self::expression::Expression;
use self::lower::Node;

/// Longest expression, in bytes.
pub const MAX_LENGTH: usize = 4096;

/// Largest expression, in nodes after macros are expanded.
pub const MAX_NODES: usize = 1000;

/// Deepest expression, in nodes.
pub const MAX_DEPTH: usize = 64;

/// Brackets, braces and parentheses inside each other.
pub const MAX_BRACKETS: usize = 32;

/// Macros like `exists` inside each other.
pub const MAX_LOOPS: usize = 3;

/// Steps that one evaluation may take. A step is a node, an element, or 16 bytes of text.
pub const MAX_STEPS: u64 = 50_000;

/// A compiled filter. Cheap to share, never blocks, holds no state between events.
#[derive(Debug)]
pub struct Filter {
    root: Node,
}

/// Why a filter cannot be used, or could not decide. Fit for a condition: names places in the expression, never event data.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FilterError {
    /// It is not CEL.
    #[error("line {line} column {column}: {message}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// A name, function or form that a filter does not have.
    #[error("line {line} column {column}: {message}")]
    Unknown {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong, and what there is instead.
        message: String,
    },
    /// More than a filter may be.
    #[error("the filter is too large: more than {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: usize,
    },
    /// Brackets inside brackets inside brackets.
    #[error(
        "line {line} column {column}: the filter nests too deep: more than {MAX_BRACKETS} brackets inside each other"
    )]
    TooDeep {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// The result is no boolean.
    #[error("the filter gives {0}, not true or false")]
    NotBool(&'static str),
    /// Evaluation took too long.
    #[error("the filter takes more than {MAX_STEPS} steps on this event")]
    TooCostly,
    /// Evaluation failed: an index out of range, a number that overflows, an operator that its operands do not have.
    #[error("{0}")]
    Failed(String),
}

impl Filter {
    /// Compiles an expression, and tries it on an event without content, so that one that can never give a boolean is refused
    /// at once.
    pub fn compile(expression: &str) -> Result<Filter, FilterError> {
        let filter = Filter { root: lower::compile(expression)? };
        match filter.matches(&WebhookEventSpec::default().filter_view()) {
            Err(FilterError::NotBool(what)) => Err(FilterError::NotBool(what)),
            _ => Ok(filter),
        }
    }

    /// Whether an event's view passes.
    pub fn matches(&self, event: &Value) -> Result<bool, FilterError> {
        match eval::Evaluation::new(event).run(&self.root)? {
            value::Value::Bool(result) => Ok(result),
            other => Err(FilterError::NotBool(other.kind())),
        }
    }
}

#[cfg(test)]
mod tests;
