//! Brackets, before the grammar sees them: how deep they nest, and whether each has its partner.
//!
//! In: an expression's text. Out: the place of the first bracket that cannot be. The parser looks for a way to go on after each
//! mistake, at a price that grows with what was left open, so a short text of nothing but brackets would keep it busy for seconds.
//! One pass over the text keeps such text away from it. Brackets in strings and comments are text.

use std::str::Chars;

use super::{FilterError, MAX_BRACKETS};

/// A place in a text.
#[derive(Clone, Copy)]
struct Place {
    line: usize,
    column: usize,
}

impl Place {
    fn error(self, message: String) -> FilterError {
        FilterError::Syntax { line: self.line, column: self.column, message }
    }
}

/// The text, character by character, with its place.
struct Reader<'a> {
    rest: Chars<'a>,
    place: Place,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<(char, Place)> {
        let (c, at) = (self.rest.next()?, self.place);
        self.place = match c {
            '\n' => Place { line: at.line + 1, column: 1 },
            _ => Place { line: at.line, column: at.column + 1 },
        };
        Some((c, at))
    }

    /// Skips `text` if it comes next. It has no line break.
    fn skip(&mut self, text: &str) -> bool {
        let found = self.rest.as_str().starts_with(text);
        if found {
            self.rest = self.rest.as_str()[text.len()..].chars();
            self.place.column += text.chars().count();
        }
        found
    }

    /// Goes behind the string that `quote` has opened, or to the end. In a raw string, a backslash is a character as others.
    fn string(&mut self, quote: char, raw: bool) {
        let long = quote.to_string().repeat(3);
        let long = self.skip(&long[1..]).then_some(long);
        loop {
            if long.as_deref().is_some_and(|end| self.skip(end)) {
                return;
            }
            match self.next() {
                None => return,
                Some((c, _)) if c == quote && long.is_none() => return,
                // A string that ends with its line; the parser says so.
                Some(('\n', _)) if long.is_none() => return,
                Some(('\\', _)) if !raw => _ = self.next(),
                Some(_) => {}
            }
        }
    }
}

/// Refuses what nests too deep, a bracket that closes none, and one that is never closed.
pub(super) fn check(source: &str) -> Result<(), FilterError> {
    let mut reader = Reader { rest: source.chars(), place: Place { line: 1, column: 1 } };
    let mut open: Vec<(char, Place)> = Vec::new();
    // The letters and digits right before: a string after `r` (or `br`) is raw.
    let mut word = String::new();
    while let Some((c, at)) = reader.next() {
        match c {
            '(' | '[' | '{' if open.len() == MAX_BRACKETS => {
                return Err(FilterError::TooDeep { line: at.line, column: at.column });
            }
            '(' | '[' | '{' => open.push((c, at)),
            ')' | ']' | '}' => match open.pop() {
                Some((opened, _)) if partner(opened) == c => {}
                Some((opened, from)) => {
                    let (line, column) = (from.line, from.column);
                    return Err(at.error(format!("`{c}` does not close `{opened}` of line {line} column {column}")));
                }
                None => return Err(at.error(format!("`{c}` closes nothing"))),
            },
            '"' | '\'' => reader.string(c, matches!(word.as_str(), "r" | "R" | "br" | "bR" | "Br" | "BR")),
            '/' if reader.skip("/") => while reader.next().is_some_and(|(c, _)| c != '\n') {},
            _ => {}
        }
        match c.is_alphanumeric() || c == '_' {
            true => word.push(c),
            false => word.clear(),
        }
    }
    match open.pop() {
        Some((opened, at)) => Err(at.error(format!("`{opened}` is not closed"))),
        None => Ok(()),
    }
}

fn partner(opened: char) -> char {
    match opened {
        '(' => ')',
        '[' => ']',
        _ => '}',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bracket_has_its_partner() {
        for (source, wrong) in [
            ("", None),
            ("f(a[1], {'k': (2)})", None),
            (r#"'(' == "[" && '\'(' == "\"[""#, None),
            (r#"r'\' == '' && R"(\" == ''"#, None),
            ("'''a ' ( \n ''' == \"\"\"b \" [ \"\"\"", None),
            ("true // (\n", None),
            ("'' == ''", None),
            ("f(", Some((1, 2, "`(` is not closed"))),
            ("a)", Some((1, 2, "`)` closes nothing"))),
            ("größe &&\n  (a]", Some((2, 5, "`]` does not close `(` of line 2 column 3"))),
            ("'a\n(", Some((2, 1, "`(` is not closed"))),
            (r#"xr'\'(' + ("#, Some((1, 11, "`(` is not closed"))),
        ] {
            let found = check(source).err();
            let wanted = wrong.map(|(line, column, message): (_, _, &str)| FilterError::Syntax {
                line,
                column,
                message: message.into(),
            });
            assert_eq!(found, wanted, "{source}");
        }
    }

    #[test]
    fn what_nests_too_deep_is_refused_where_it_does() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(check(&nested(MAX_BRACKETS)), Ok(()));
        let error = check(&nested(MAX_BRACKETS + 1)).unwrap_err();
        assert_eq!(error, FilterError::TooDeep { line: 1, column: MAX_BRACKETS + 1 });
        assert!(error.to_string().contains("nests too deep"), "{error}");
        for bracket in ["[", "(", "{", "[({"] {
            assert!(matches!(check(&bracket.repeat(1000)), Err(FilterError::TooDeep { .. })), "{bracket}");
        }
    }
}
