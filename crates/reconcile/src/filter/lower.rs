//! From source text to a checked tree: parse, resolve names, compile patterns, bound everything.

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr, LiteralValue, operators};
use cel::parser::Parser;
use regex::{Regex, RegexBuilder};

use super::{FilterError, MAX_DEPTH, MAX_LENGTH, MAX_LOOPS, MAX_NODES, brackets};

/// Stack of the thread that parses: the grammar recurses on what people nest.
const PARSER_STACK: usize = 64 << 20;

/// Longest pattern of `matches`, and the memory that its automaton may take.
const MAX_PATTERN: usize = 256;
const MAX_AUTOMATON: usize = 1 << 18;

/// A checked expression.
#[derive(Debug)]
pub(super) enum Node {
    Literal(Literal),
    Event,
    /// Variable of an enclosing macro, by its place on the stack of variables.
    Variable(usize),
    Select(Box<Node>, String),
    Has(Box<Node>, String),
    Index(Box<[Node; 2]>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    If(Box<[Node; 3]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    /// A macro's condition: an error counts as true.
    NotStrictlyFalse(Box<Node>),
    Binary(Binary, Box<[Node; 2]>),
    Call(Function, Vec<Node>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Loop(Box<Loop>),
}

/// A constant.
#[derive(Debug, Clone)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
}

/// An operator that evaluates both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// A function; a method's target is its first argument.
#[derive(Debug)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches(Regex),
    LowerAscii,
    UpperAscii,
    Trim,
    String,
    Int,
    Uint,
    Double,
    Timestamp,
    Duration,
}

/// What `all`, `exists`, `map` and their like expand to. `step` and `condition` see two variables more: the result so far, and
/// the element; `result` sees the first.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) range: Node,
    pub(super) start: Node,
    pub(super) condition: Node,
    pub(super) step: Node,
    pub(super) result: Node,
}

/// Parses and checks, on a thread whose stack no expression of the permitted length can exhaust. What is too deep is refused,
/// and dropped, there.
pub(super) fn compile(source: &str) -> Result<Node, FilterError> {
    if source.len() > MAX_LENGTH {
        return Err(FilterError::TooLarge { what: "bytes", limit: MAX_LENGTH });
    }
    brackets::check(source)?;
    std::thread::scope(|scope| {
        let parse = std::thread::Builder::new().stack_size(PARSER_STACK).spawn_scoped(scope, || {
            let parsed = Parser::new().parse(source).map_err(|errors| syntax(source, &errors))?;
            let mut lowering = Lowering { source, variables: Vec::new(), nodes: 0, depth: 0, loops: 0 };
            lowering.lower(&parsed)
        });
        let failed = |what: &str| FilterError::Syntax { line: 1, column: 1, message: what.to_owned() };
        match parse {
            Err(_) => Err(failed("the parser's thread could not be started")),
            Ok(thread) => thread.join().unwrap_or_else(|_| Err(failed("the parser gave up"))),
        }
    })
}

/// The first mistake, in words that do not depend on the grammar: what a parser would have liked instead helps nobody.
fn syntax(source: &str, errors: &cel::ParseErrors) -> FilterError {
    let place = |number: isize| usize::try_from(number).unwrap_or(1).max(1);
    let Some(error) = errors.errors.first() else {
        return FilterError::Syntax { line: 1, column: 1, message: "not an expression".to_owned() };
    };
    let (line, column) = (place(error.pos.0), place(error.pos.1));
    let message = match error.msg.starts_with("Syntax error") {
        true => {
            let rest = source.split('\n').nth(line - 1).unwrap_or_default().chars().skip(column - 1);
            let word: String = rest.clone().take_while(|c| c.is_alphanumeric() || *c == '_').take(40).collect();
            match rest.clone().next() {
                None => "the expression ends too early".to_owned(),
                Some(_) if !word.is_empty() => format!("`{word}` cannot be here"),
                Some(c) => format!("`{c}` cannot be here"),
            }
        }
        false => error.msg.chars().take(200).collect(),
    };
    FilterError::Syntax { line, column, message }
}

struct Lowering<'a> {
    source: &'a str,
    variables: Vec<String>,
    nodes: usize,
    depth: usize,
    loops: usize,
}

impl Lowering<'_> {
    fn lower(&mut self, expr: &IdedExpr) -> Result<Node, FilterError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(FilterError::TooLarge { what: "nodes", limit: MAX_NODES });
        }
        if self.depth == MAX_DEPTH {
            return Err(FilterError::TooLarge { what: "levels", limit: MAX_DEPTH });
        }
        self.depth += 1;
        let node = self.node(expr);
        self.depth -= 1;
        node
    }

    fn node(&mut self, expr: &IdedExpr) -> Result<Node, FilterError> {
        match &expr.expr {
            Expr::Literal(literal) => self.literal(literal).map(Node::Literal),
            Expr::Ident(name) => match self.variables.iter().rposition(|variable| variable == name) {
                Some(place) => Ok(Node::Variable(place)),
                None if name == "event" => Ok(Node::Event),
                None => Err(self.unknown(name, format!("{name} is not known: a filter sees event"))),
            },
            Expr::Select(select) => {
                let operand = self.lower(&select.operand)?;
                self.check_field(&operand, &select.field)?;
                let (operand, field) = (Box::new(operand), select.field.clone());
                Ok(if select.test { Node::Has(operand, field) } else { Node::Select(operand, field) })
            }
            Expr::List(list) if list.optional_indices.is_empty() => Ok(Node::List(self.all(&list.elements)?)),
            Expr::Map(map) => {
                let mut entries = Vec::new();
                for entry in &map.entries {
                    match &entry.expr {
                        EntryExpr::MapEntry(entry) if !entry.optional => {
                            entries.push((self.lower(&entry.key)?, self.lower(&entry.value)?));
                        }
                        _ => return Err(self.unknown("?", "optional entries are not supported".to_owned())),
                    }
                }
                Ok(Node::Map(entries))
            }
            Expr::Call(call) => {
                let target = call.target.as_deref();
                self.call(&call.func_name, target, &call.args)
            }
            Expr::Comprehension(comprehension) if comprehension.iter_var2.is_none() => self.macro_loop(comprehension),
            Expr::Struct(message) => {
                let name = &message.type_name;
                Err(self.unknown(name, format!("messages like {name}{{}} are not supported")))
            }
            _ => Err(self.unknown("?", "this form is not supported".to_owned())),
        }
    }

    fn literal(&self, literal: &LiteralValue) -> Result<Literal, FilterError> {
        Ok(match literal {
            LiteralValue::Null => Literal::Null,
            LiteralValue::Boolean(value) => Literal::Bool(*value.inner()),
            LiteralValue::Int(value) => Literal::Int(*value.inner()),
            LiteralValue::UInt(value) => Literal::Uint(*value.inner()),
            LiteralValue::Double(value) => Literal::Double(*value.inner()),
            LiteralValue::String(value) => Literal::Text(value.inner().to_owned()),
            LiteralValue::Bytes(_) => return Err(self.unknown("b", "bytes are not supported".to_owned())),
        })
    }

    fn all(&mut self, list: &[IdedExpr]) -> Result<Vec<Node>, FilterError> {
        list.iter().map(|expr| self.lower(expr)).collect()
    }

    fn call(&mut self, name: &str, target: Option<&IdedExpr>, args: &[IdedExpr]) -> Result<Node, FilterError> {
        let mut nodes = Vec::with_capacity(args.len() + 1);
        for expr in target.into_iter().chain(args) {
            nodes.push(self.lower(expr)?);
        }
        // Operators have names that no identifier can have.
        if let (None, Some(node)) = (target, operator(name, &mut nodes)) {
            return Ok(node);
        }
        let function = match (name, target.is_some(), nodes.len()) {
            ("size", _, 1) => Function::Size,
            ("contains", true, 2) => Function::Contains,
            ("startsWith", true, 2) => Function::StartsWith,
            ("endsWith", true, 2) => Function::EndsWith,
            ("matches", _, 2) => Function::Matches(self.pattern(nodes.pop())?),
            ("lowerAscii", true, 1) => Function::LowerAscii,
            ("upperAscii", true, 1) => Function::UpperAscii,
            ("trim", true, 1) => Function::Trim,
            ("string", false, 1) => Function::String,
            ("int", false, 1) => Function::Int,
            ("uint", false, 1) => Function::Uint,
            ("double", false, 1) => Function::Double,
            ("timestamp", false, 1) => Function::Timestamp,
            ("duration", false, 1) => Function::Duration,
            _ => {
                let form = if target.is_some() { "method" } else { "function" };
                let given = args.len();
                return Err(self.unknown(name, format!("there is no {form} {name} with {given} arguments")));
            }
        };
        Ok(Node::Call(function, nodes))
    }

    /// The pattern of `matches`: a literal, so that it is compiled once, and bounded.
    fn pattern(&self, node: Option<Node>) -> Result<Regex, FilterError> {
        let Some(Node::Literal(Literal::Text(pattern))) = node else {
            return Err(self.unknown("matches", "the pattern of matches must be a literal".to_owned()));
        };
        if pattern.len() > MAX_PATTERN {
            return Err(FilterError::TooLarge { what: "bytes in a pattern", limit: MAX_PATTERN });
        }
        RegexBuilder::new(&pattern)
            .size_limit(MAX_AUTOMATON)
            .dfa_size_limit(MAX_AUTOMATON)
            .build()
            .map_err(|error| self.unknown("matches", format!("the pattern of matches is wrong: {error}")))
    }

    fn macro_loop(&mut self, parts: &cel::common::ast::ComprehensionExpr) -> Result<Node, FilterError> {
        if self.loops == MAX_LOOPS {
            return Err(FilterError::TooLarge { what: "macros inside each other", limit: MAX_LOOPS });
        }
        let (range, start) = (self.lower(&parts.iter_range)?, self.lower(&parts.accu_init)?);
        self.loops += 1;
        self.variables.push(parts.accu_var.clone());
        self.variables.push(parts.iter_var.clone());
        let inside = self.lower(&parts.loop_cond).and_then(|condition| Ok((condition, self.lower(&parts.loop_step)?)));
        self.variables.pop();
        let result = self.lower(&parts.result);
        self.variables.pop();
        self.loops -= 1;
        let (condition, step) = inside?;
        Ok(Node::Loop(Box::new(Loop { range, start, condition, step, result: result? })))
    }

    /// Refuses a field of `event`, `event.git` or `event.image` that no event has.
    fn check_field(&self, operand: &Node, field: &str) -> Result<(), FilterError> {
        let path = match operand {
            Node::Event => "",
            Node::Select(event, part) if matches!(**event, Node::Event) => part.as_str(),
            _ => return Ok(()),
        };
        let view = roadstead_api::event::WebhookEventSpec::default().filter_view();
        let object = if path.is_empty() { Some(&view) } else { view.get(path) };
        let fields = object.and_then(serde_json::Value::as_object);
        if fields.is_some_and(|fields| fields.contains_key(field)) {
            return Ok(());
        }
        let owner = if path.is_empty() { "event".to_owned() } else { format!("event.{path}") };
        let message = match fields {
            None => format!("{owner} has no fields"),
            Some(fields) => {
                let names: Vec<_> = fields.keys().map(String::as_str).collect();
                format!("{owner} has no field {field}; it has {}", names.join(", "))
            }
        };
        Err(self.unknown(field, message))
    }

    /// An error at the first place where a name stands; the parser keeps no positions for a tree.
    fn unknown(&self, name: &str, message: String) -> FilterError {
        let before = &self.source[..self.source.find(name).unwrap_or(0)];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        FilterError::Unknown { line, column, message }
    }
}

/// The node of an operator; takes `nodes` only if the name is one and their number is right.
fn operator(name: &str, nodes: &mut Vec<Node>) -> Option<Node> {
    let binary = match name {
        operators::EQUALS => Some(Binary::Equal),
        operators::NOT_EQUALS => Some(Binary::NotEqual),
        operators::LESS => Some(Binary::Less),
        operators::LESS_EQUALS => Some(Binary::LessOrEqual),
        operators::GREATER => Some(Binary::Greater),
        operators::GREATER_EQUALS => Some(Binary::GreaterOrEqual),
        operators::IN => Some(Binary::In),
        operators::ADD => Some(Binary::Add),
        operators::SUBSTRACT => Some(Binary::Subtract),
        operators::MULTIPLY => Some(Binary::Multiply),
        operators::DIVIDE => Some(Binary::Divide),
        operators::MODULO => Some(Binary::Remainder),
        _ => None,
    };
    let arity = match name {
        operators::LOGICAL_NOT | operators::NEGATE | operators::NOT_STRICTLY_FALSE => 1,
        operators::CONDITIONAL => 3,
        operators::LOGICAL_AND | operators::LOGICAL_OR | operators::INDEX => 2,
        _ if binary.is_some() => 2,
        _ => return None,
    };
    if nodes.len() != arity {
        return None;
    }
    let mut nodes = std::mem::take(nodes).into_iter();
    let first = nodes.next()?;
    let Some(second) = nodes.next() else {
        let first = Box::new(first);
        return Some(match name {
            operators::LOGICAL_NOT => Node::Not(first),
            operators::NEGATE => Node::Negate(first),
            _ => Node::NotStrictlyFalse(first),
        });
    };
    if let Some(third) = nodes.next() {
        return Some(Node::If(Box::new([first, second, third])));
    }
    let both = Box::new([first, second]);
    Some(match (name, binary) {
        (_, Some(binary)) => Node::Binary(binary, both),
        (operators::LOGICAL_AND, _) => Node::And(both),
        (operators::LOGICAL_OR, _) => Node::Or(both),
        _ => Node::Index(both),
    })
}
