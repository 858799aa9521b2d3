//! The subset of Kubernetes' JSONPath that printer columns use: `.a.b`, `['a.b']`, `[0]`, `[-1]`, `[*]`,
//! `[?(@.type=="Ready")]` with `==` and `!=`, also on deeper paths; a backslash makes a dot part of a name. Not `..`, slices, unions.

use serde_json::Value;

/// A compiled path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// Negative counts from the end.
    Index(i64),
    Every,
    /// The elements whose value at the path is (not) equal.
    Filter {
        path: JsonPath,
        equal: bool,
        value: Value,
    },
}

/// Why a path was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("JSONPath {path:?}: {why}")]
pub struct JsonPathError {
    path: String,
    why: &'static str,
}

impl JsonPath {
    /// Compiles a path, with or without braces and the leading dot.
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        // The bound also bounds how deep filters can nest.
        if text.len() > 1024 {
            return Err(JsonPathError { path: text.chars().take(64).collect(), why: "longer than 1024 bytes" });
        }
        let inner = text.trim();
        let inner = inner.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(inner);
        steps(inner.strip_prefix('$').unwrap_or(inner))
            .map(Self)
            .map_err(|why| JsonPathError { path: text.into(), why })
    }

    /// The values at this path, none where nothing is there.
    pub fn find<'v>(&self, root: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![root];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.apply(value)).collect();
        }
        found
    }
}

impl Step {
    fn apply<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match self {
            Step::Field(name) => value.get(name).into_iter().collect(),
            Step::Index(index) => {
                let Some(array) = value.as_array() else { return vec![] };
                let at = if *index < 0 { array.len() as i64 + index } else { *index };
                usize::try_from(at).ok().and_then(|at| array.get(at)).into_iter().collect()
            }
            Step::Every => elements(value),
            Step::Filter { path, equal, value: wanted } => {
                let is_wanted = |element: &&Value| path.find(element).contains(&wanted);
                elements(value).into_iter().filter(|element| is_wanted(element) == *equal).collect()
            }
        }
    }
}

fn elements(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(array) => array.iter().collect(),
        Value::Object(object) => object.values().collect(),
        _ => vec![],
    }
}

/// Reads the steps of a path without braces.
fn steps(mut rest: &str) -> Result<Vec<Step>, &'static str> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let end = bracket_end(after).ok_or("a bracket is not closed")?;
            steps.push(bracket(after[..end].trim())?);
            rest = &after[end + 1..];
            continue;
        }
        let after = rest.strip_prefix('.').unwrap_or(rest);
        if after.starts_with('.') {
            return Err("'..' is not supported");
        }
        let (name, len) = field(after);
        rest = &after[len..];
        match name.as_str() {
            "" if rest.starts_with('[') || (rest.is_empty() && steps.is_empty()) => {}
            "" => return Err("a name is missing"),
            "*" => steps.push(Step::Every),
            _ => steps.push(Step::Field(name)),
        }
    }
    Ok(steps)
}

/// A name up to `.` or `[`, with backslashes taken out, and its length in the text.
fn field(text: &str) -> (String, usize) {
    let mut name = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {
                name.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '.' | '[' => return (name, at),
            _ => name.push(c),
        }
    }
    (name, text.len())
}

/// Where the bracket that was just opened is closed, quotes and inner brackets skipped.
fn bracket_end(text: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Result<Step, &'static str> {
    if inner == "*" {
        return Ok(Step::Every);
    }
    if let Some(condition) = inner.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        let (path, equal, value) = match (condition.split_once("=="), condition.split_once("!=")) {
            (Some((path, value)), _) => (path, true, value),
            (None, Some((path, value))) => (path, false, value),
            (None, None) => return Err("a filter compares with == or !="),
        };
        let path = path.trim().strip_prefix('@').ok_or("a filter starts with @")?;
        return Ok(Step::Filter { path: JsonPath(steps(path)?), equal, value: literal(value.trim())? });
    }
    match unquote(inner) {
        Some(name) => Ok(Step::Field(name.into())),
        None => inner.parse().map(Step::Index).map_err(|_| "in brackets: a quoted name, a number, * or a filter"),
    }
}

fn literal(text: &str) -> Result<Value, &'static str> {
    match unquote(text) {
        Some(text) => Ok(Value::from(text)),
        None => serde_json::from_str(text).map_err(|_| "a filter compares with a quoted text, a number, true or false"),
    }
}

fn unquote(text: &str) -> Option<&str> {
    ['\'', '"'].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_paths_of_printer_columns() {
        let object = json!({
            "metadata": {"name": "a", "annotations": {"x.io/y": "z"}},
            "spec": {"ports": [{"port": 1}, {"port": 2}], "map": {"a": 1}},
            "status": {"conditions": [
                {"type": "Ready", "status": "True", "deep": {"n": 1}}, {"type": "Live", "status": "False", "deep": {"n": 2}},
            ]},
        });
        for (path, wanted) in [
            (".metadata.name", json!(["a"])),
            ("{.metadata.name}", json!(["a"])),
            ("metadata.name", json!(["a"])),
            (".metadata.annotations['x.io/y']", json!(["z"])),
            (r".metadata.annotations.x\.io/y", json!(["z"])),
            (".spec.ports[0].port", json!([1])),
            (".spec.ports[-1].port", json!([2])),
            (".spec.ports[7].port", json!([])),
            (".spec.ports[*].port", json!([1, 2])),
            (".spec.map.*", json!([1])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (".status.conditions[?(@.type != 'Ready')].status", json!(["False"])),
            (".status.conditions[?(@.deep.n==2)].type", json!(["Live"])),
            (".absent.deeper[0]", json!([])),
            (".", json!([object])),
        ] {
            let found: Vec<Value> = JsonPath::parse(path).unwrap().find(&object).into_iter().cloned().collect();
            assert_eq!(Value::from(found), wanted, "{path}");
        }
        for bad in ["..a", ".a[", ".a[b]", ".a[?(@.b)]", ".a[?(b==1)]", ".a.", ".a[?(@.b==x)]"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC*|[.a*@?()=!'\"0-9\\[\\]\\\\-]{0,24}") {
            if let Ok(path) = JsonPath::parse(&text) {
                path.find(&json!({"a": [{"a": 1}]}));
            }
        }
    }
}
