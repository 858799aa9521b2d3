//! Globs over names of repositories and tags: `*` stands for any characters but a slash, `**` for any at all, `?` for one that is no
//! slash.
//!
//! Matching takes time in proportion to the text, times at most [`MAX_LENGTH`]: a set of places in the pattern moves along the text,
//! and nothing is tried twice. A regular expression would do too, but not be refused in words that fit.

/// Longest glob, in bytes.
pub const MAX_LENGTH: usize = 255;

/// Why a text is no glob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGlob {
    /// It would match nothing.
    #[error("an empty glob matches nothing")]
    Empty,
    /// It is too long.
    #[error("a glob may have at most {MAX_LENGTH} characters")]
    TooLong,
    /// A character that no name has, or that other kinds of globs give a meaning.
    #[error("{0:?} has {1:?}: a glob is made of letters, digits, . _ - / and the wildcards * ** ?")]
    Character(String, char),
    /// Three stars in a row.
    #[error("{0:?} has three stars in a row: * stands for anything but a slash, ** for slashes too")]
    Stars(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`
    One,
    /// `*`
    Some,
    /// `**`
    All,
}

/// A compiled glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<Token>);

impl Glob {
    /// Reads a glob.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BadGlob> {
        if text.is_empty() {
            return Err(BadGlob::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(BadGlob::TooLong);
        }
        if text.contains("***") {
            return Err(BadGlob::Stars(text.into()));
        }
        let mut tokens = Vec::with_capacity(text.len());
        for c in text.chars() {
            let token = match c {
                '*' if tokens.last() == Some(&Token::Some) => {
                    tokens.pop();
                    Token::All
                }
                '*' => Token::Some,
                '?' => Token::One,
                'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' | '/' => Token::Byte(c as u8),
                other => return Err(BadGlob::Character(text.into(), other)),
            };
            tokens.push(token);
        }
        Ok(Self(tokens))
    }

    /// Whether it matches the whole text.
    pub fn matches(&self, text: &str) -> bool {
        let mut places = vec![false; self.0.len() + 1];
        places[0] = true;
        self.pass_stars(&mut places);
        for c in text.chars() {
            let mut next = vec![false; places.len()];
            for (at, token) in self.0.iter().enumerate().filter(|(at, _)| places[*at]) {
                match token {
                    Token::Byte(byte) if c == char::from(*byte) => next[at + 1] = true,
                    Token::One if c != '/' => next[at + 1] = true,
                    Token::Some if c != '/' => next[at] = true,
                    Token::All => next[at] = true,
                    _ => {}
                }
            }
            if !next.contains(&true) {
                return false;
            }
            self.pass_stars(&mut next);
            places = next;
        }
        places[self.0.len()]
    }

    /// Stars may stand for nothing: whoever is before one is behind it too.
    fn pass_stars(&self, places: &mut [bool]) {
        for (at, token) in self.0.iter().enumerate() {
            if places[at] && matches!(token, Token::Some | Token::All) {
                places[at + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards() {
        for (glob, text, expected) in [
            ("shop", "shop", true),
            ("shop", "shops", false),
            ("shop", "Shop", false),
            ("*", "shop", true),
            ("*", "", true),
            ("*", "team-a/shop", false),
            ("**", "team-a/shop", true),
            ("team-a/*", "team-a/shop", true),
            ("team-a/*", "team-a/x/shop", false),
            ("team-a/**", "team-a/x/shop", true),
            ("**/shop", "a/b/shop", true),
            ("**/shop", "shop", false),
            ("v?", "v1", true),
            ("v?", "v", false),
            ("v?", "v/", false),
            ("v1.*", "v1.2.3", true),
            ("v1.*", "v12", false),
            ("*-rc*", "v1-rc1", true),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c*", "xxcxxbxxaxx", false),
            ("?", "ü", true),
        ] {
            assert_eq!(Glob::parse(glob).unwrap().matches(text), expected, "{glob} {text}");
        }
    }

    #[test]
    fn malformed_and_absurd_ones_are_refused() {
        for bad in ["", "a***", "v[12]", "{a,b}", "!a", "a\\*", "a b", "ü", "a:b", &"a".repeat(MAX_LENGTH + 1)] {
            Glob::parse(bad).unwrap_err();
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        let glob = Glob::parse(&"*a".repeat(MAX_LENGTH / 2)).unwrap();
        assert!(!glob.matches(&"a".repeat(100)));
        assert!(glob.matches(&"a".repeat(512)));
    }

    /// What the words above say, by trying everything.
    fn slow(glob: &[u8], text: &[u8]) -> bool {
        match glob {
            [] => text.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=text.len()).any(|n| slow(rest, &text[n..])),
            [b'*', rest @ ..] => {
                (0..=text.len()).take_while(|n| !text[..*n].contains(&b'/')).any(|n| slow(rest, &text[n..]))
            }
            [b'?', rest @ ..] => text.first().is_some_and(|c| *c != b'/') && slow(rest, &text[1..]),
            [c, rest @ ..] => text.first() == Some(c) && slow(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn it_says_what_trying_everything_says(glob in "[ab/*?]{1,8}", text in "[ab/]{0,8}") {
            if let Ok(parsed) = Glob::parse(&glob) {
                prop_assert_eq!(parsed.matches(&text), slow(glob.as_bytes(), text.as_bytes()), "{} {}", glob, text);
            }
        }
    }
}
