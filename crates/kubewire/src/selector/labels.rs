//! The grammar of label selectors.
//!
//! ```text
//! selector    = [ requirement { "," requirement } ]
//! requirement = [ "!" ] key | key set | key exact
//! set         = ( "in" | "notin" ) "(" values ")"
//! exact       = ( "=" | "==" | "!=" | ">" | "<" ) [ value ]
//! ```
//! `in` and `notin` are operators only where an operator may stand, so a label may bear these names. Source: Kubernetes
//! documentation, "Labels and Selectors"; the words of errors follow the API server's.

use super::{
    Requirement,
    syntax::{label_key_problem, label_value_problem},
};

/// Why a label selector was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LabelSelectorError(pub String);

/// Parses the requirements of a selector.
pub fn parse(text: &str) -> Result<Vec<Requirement>, LabelSelectorError> {
    Parser { rest: text }.selector().map_err(LabelSelectorError)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A run of characters that mean nothing special.
    Word(&'a str),
    /// `, ( ) ! != = == > <`
    Sign(&'static str),
    /// End of the text.
    End,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Token::Word(word) => word,
            Token::Sign(sign) => sign,
            Token::End => "",
        }
    }
}

/// Two-character signs first: the longest one wins.
const SIGNS: [&str; 9] = ["!=", "==", ",", "(", ")", "!", "=", ">", "<"];

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Token<'a> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if let Some(sign) = SIGNS.into_iter().find(|sign| self.rest.starts_with(sign)) {
            self.rest = &self.rest[sign.len()..];
            return Token::Sign(sign);
        }
        let end = self.rest.find([' ', '\t', '\r', '\n', ',', '(', ')', '!', '=', '>', '<']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() { Token::End } else { Token::Word(word) }
    }

    fn peek(&self) -> Token<'a> {
        Parser { rest: self.rest }.next()
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        match self.peek() {
            Token::End => return Ok(requirements),
            Token::Word(_) | Token::Sign("!") => {}
            other => return Err(format!("found '{}', expected: !, identifier, or 'end of string'", other.text())),
        }
        loop {
            let requirement = self.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?;
            requirements.push(requirement);
            match self.next() {
                Token::End => return Ok(requirements),
                Token::Sign(",") => match self.peek() {
                    Token::Word(_) | Token::Sign("!") => {}
                    other => return Err(format!("found '{}', expected: identifier after ','", other.text())),
                },
                other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.text())),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.next();
        let negated = token == Token::Sign("!");
        if negated {
            token = self.next();
        }
        let Token::Word(key) = token else {
            return Err(format!("found '{}', expected: identifier", token.text()));
        };
        if let Some(problem) = label_key_problem(key) {
            return Err(format!("key: Invalid value: {key:?}: {problem}"));
        }
        let key = key.to_string();
        if negated {
            return Ok(Requirement::NotExists(key));
        }
        if matches!(self.peek(), Token::End | Token::Sign(",")) {
            return Ok(Requirement::Exists(key));
        }
        match self.next() {
            Token::Word("in") => self.values(&key).map(|values| Requirement::In(key, values)),
            Token::Word("notin") => self.values(&key).map(|values| Requirement::NotIn(key, values)),
            Token::Sign("=" | "==") => self.value(&key).map(|value| Requirement::In(key, vec![value])),
            Token::Sign("!=") => self.value(&key).map(|value| Requirement::NotIn(key, vec![value])),
            Token::Sign(">") => self.number(&key).map(|bound| Requirement::GreaterThan(key, bound)),
            Token::Sign("<") => self.number(&key).map(|bound| Requirement::LessThan(key, bound)),
            other => Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text())),
        }
    }

    /// The value after `=`: may be empty.
    fn value(&mut self, key: &str) -> Result<String, String> {
        if matches!(self.peek(), Token::End | Token::Sign(",")) {
            return Ok(String::new());
        }
        match self.next() {
            Token::Word(word) => checked(key, 0, word),
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    fn number(&mut self, key: &str) -> Result<i64, String> {
        let value = self.value(key)?;
        value.parse().map_err(|_| {
            format!(
                "values[0][{key}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
            )
        })
    }

    /// `(a, b)`. An empty place between commas is the empty value, and so is nothing at all.
    fn values(&mut self, key: &str) -> Result<Vec<String>, String> {
        match self.next() {
            Token::Sign("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.text())),
        }
        let mut values: Vec<String> = Vec::new();
        loop {
            let value = match self.peek() {
                Token::Word(word) => {
                    self.next();
                    checked(key, values.len(), word)?
                }
                Token::Sign("," | ")") => String::new(),
                other => return Err(format!("found '{}', expected: ',', or identifier", other.text())),
            };
            if !values.contains(&value) {
                values.push(value);
            }
            match self.next() {
                Token::Sign(",") => {}
                Token::Sign(")") => return Ok(values),
                other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
            }
        }
    }
}

fn checked(key: &str, index: usize, value: &str) -> Result<String, String> {
    match label_value_problem(value) {
        Some(problem) => Err(format!("values[{index}][{key}]: Invalid value: {value:?}: {problem}")),
        None => Ok(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(key: &str) -> String {
        key.to_string()
    }

    fn many(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_string()).collect()
    }

    #[test]
    fn grammar() {
        use Requirement::{Exists, GreaterThan, In, LessThan, NotExists, NotIn};
        for (text, wanted) in [
            ("", vec![]),
            ("  ", vec![]),
            ("a", vec![Exists(one("a"))]),
            ("a in ()", vec![In(one("a"), many(&[""]))]),
            ("!a", vec![NotExists(one("a"))]),
            (" ! a , b", vec![NotExists(one("a")), Exists(one("b"))]),
            ("a=b", vec![In(one("a"), many(&["b"]))]),
            ("a==b", vec![In(one("a"), many(&["b"]))]),
            ("a = ", vec![In(one("a"), many(&[""]))]),
            ("a=,b", vec![In(one("a"), many(&[""])), Exists(one("b"))]),
            ("a!=b", vec![NotIn(one("a"), many(&["b"]))]),
            ("a!=", vec![NotIn(one("a"), many(&[""]))]),
            ("a in (b,c)", vec![In(one("a"), many(&["b", "c"]))]),
            ("a in(b)", vec![In(one("a"), many(&["b"]))]),
            ("a in (,)", vec![In(one("a"), many(&[""]))]),
            ("a in (b,)", vec![In(one("a"), many(&["b", ""]))]),
            ("a in (b,b)", vec![In(one("a"), many(&["b"]))]),
            ("a notin (in, notin)", vec![NotIn(one("a"), many(&["in", "notin"]))]),
            ("in", vec![Exists(one("in"))]),
            ("in in (in)", vec![In(one("in"), many(&["in"]))]),
            ("a=in", vec![In(one("a"), many(&["in"]))]),
            ("a>1,b<2", vec![GreaterThan(one("a"), 1), LessThan(one("b"), 2)]),
            ("example.com/a=1", vec![In(one("example.com/a"), many(&["1"]))]),
        ] {
            assert_eq!(parse(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn errors_name_what_was_found() {
        for (text, message) in [
            (",a", "found ',', expected: !, identifier, or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            ("a,,b", "found ',', expected: identifier after ','"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("!a=b", "found '=', expected: ',' or 'end of string'"),
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            ("a===b", "unable to parse requirement: found '=', expected: identifier"),
            ("a in", "unable to parse requirement: found '' expected: '('"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
            (
                "a>x",
                "unable to parse requirement: values[0][a]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ] {
            assert_eq!(parse(text), Err(LabelSelectorError(message.into())), "{text}");
        }
        assert!(parse("-a=b").is_err());
        // A negative bound is no valid label value.
        assert!(parse("a>-1").is_err());
        assert!(parse("a=-b").is_err());
    }

    fn render(requirement: &Requirement) -> String {
        // "()" is refused: the set of the empty value alone is written "(,)".
        let set = |values: &[String]| if values == [""] { ",".to_string() } else { values.join(",") };
        match requirement {
            Requirement::In(key, values) => format!("{key} in ({})", set(values)),
            Requirement::NotIn(key, values) => format!("{key} notin ({})", set(values)),
            Requirement::Exists(key) => key.clone(),
            Requirement::NotExists(key) => format!("!{key}"),
            Requirement::GreaterThan(key, bound) => format!("{key}>{bound}"),
            Requirement::LessThan(key, bound) => format!("{key}<{bound}"),
        }
    }

    fn requirement() -> impl Strategy<Value = Requirement> {
        let key = "[a-z]{1,8}(/[A-Za-z0-9]([-_.a-z]{0,8}[a-z])?)?";
        let values = || {
            proptest::collection::btree_set("[A-Za-z0-9]{0,5}", 1..4)
                .prop_map(|set| set.into_iter().collect::<Vec<_>>())
        };
        prop_oneof![
            (key, values()).prop_map(|(key, values)| Requirement::In(key, values)),
            (key, values()).prop_map(|(key, values)| Requirement::NotIn(key, values)),
            key.prop_map(Requirement::Exists),
            key.prop_map(Requirement::NotExists),
            (key, 0..i64::MAX).prop_map(|(key, bound)| Requirement::GreaterThan(key, bound)),
            (key, 0..i64::MAX).prop_map(|(key, bound)| Requirement::LessThan(key, bound)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(wanted in proptest::collection::vec(requirement(), 0..6)) {
            let text = wanted.iter().map(render).collect::<Vec<_>>().join(",");
            prop_assert_eq!(parse(&text), Ok(wanted));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC*|[a-z!=<>(), \t]{0,40}") {
            let _ = parse(&text);
        }
    }
}
