//! The grammar of field selectors: `path=value`, `path==value`, `path!=value`, joined by commas. In values `\\`, `\,` and
//! `\=` stand for the bare character. Source: Kubernetes documentation, "Field Selectors".

/// Why a field selector was refused; the words follow the API server's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    /// A term without an operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// The whole selector.
        selector: String,
        /// The term without an operator.
        term: String,
    },
    /// A backslash before something that needs none, or at the end.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// A bare `,` or `=` in a value.
    #[error("invalid field selector: unescaped character in value: {0}")]
    Unescaped(char),
}

/// Parses the terms: (path, value, equal).
pub fn parse(text: &str) -> Result<Vec<(String, String, bool)>, FieldSelectorError> {
    terms(text).into_iter().filter(|term| !term.is_empty()).map(|term| parse_term(text, term)).collect()
}

/// Cuts at commas that are not escaped.
fn terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn parse_term(selector: &str, term: &str) -> Result<(String, String, bool), FieldSelectorError> {
    let found = term.char_indices().find_map(|(at, _)| {
        let (path, rest) = term.split_at(at);
        if let Some(value) = rest.strip_prefix("!=") {
            return Some((path, value, false));
        }
        rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')).map(|value| (path, value, true))
    });
    let Some((path, value, equal)) = found else {
        return Err(FieldSelectorError::Term { selector: selector.into(), term: term.into() });
    };
    Ok((path.into(), unescape(value)?, equal))
}

fn unescape(value: &str) -> Result<String, FieldSelectorError> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => plain.push(c),
                Some(other) => return Err(FieldSelectorError::Escape(format!("\\{other}"))),
                None => return Err(FieldSelectorError::Escape("\\".into())),
            },
            ',' | '=' => return Err(FieldSelectorError::Unescaped(c)),
            other => plain.push(other),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn term(path: &str, value: &str, equal: bool) -> (String, String, bool) {
        (path.into(), value.into(), equal)
    }

    #[test]
    fn grammar() {
        for (text, wanted) in [
            ("", vec![]),
            (",", vec![]),
            ("a=b", vec![term("a", "b", true)]),
            ("a==b", vec![term("a", "b", true)]),
            ("a!=b", vec![term("a", "b", false)]),
            ("a=", vec![term("a", "", true)]),
            ("a.b=c,d!=e,", vec![term("a.b", "c", true), term("d", "e", false)]),
            (r"a=b\,c\=d\\", vec![term("a", r"b,c=d\", true)]),
            ("a=b!c", vec![term("a", "b!c", true)]),
            ("=b", vec![term("", "b", true)]),
        ] {
            assert_eq!(parse(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn errors() {
        assert_eq!(parse("a=1,b").unwrap_err().to_string(), "invalid selector: 'a=1,b'; can't understand 'b'");
        assert_eq!(parse("a=b=c"), Err(FieldSelectorError::Unescaped('=')));
        assert_eq!(parse(r"a=\x"), Err(FieldSelectorError::Escape(r"\x".into())));
        assert_eq!(parse(r"a=\"), Err(FieldSelectorError::Escape(r"\".into())));
    }

    proptest! {
        #[test]
        fn escaped_values_are_read_back(path in "[a-z.]{1,9}", value in "\\PC*", equal: bool) {
            let escaped: String =
                value.chars().flat_map(|c| if "\\,=".contains(c) { vec!['\\', c] } else { vec![c] }).collect();
            let text = format!("{path}{}{escaped}", if equal { "=" } else { "!=" });
            prop_assert_eq!(parse(&text), Ok(vec![(path, value, equal)]));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC*|[a-z!=,\\\\]{0,30}") {
            let _ = parse(&text);
        }
    }
}
