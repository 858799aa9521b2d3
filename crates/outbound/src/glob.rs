//! Globs over the names of repositories and tags.

/// Longest glob, in bytes.
pub const MAX_LENGTH: usize = 255;

/// Most stars in a glob. Each costs a look at the whole name, and everybody's globs are tried on every change.
pub const MAX_STARS: usize = 8;

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
    /// Too many stars.
    #[error("a glob may have at most {MAX_STARS} stars")]
    ManyStars,
}

/// Whether a text is a glob as manifests may have it.
///
/// # Errors
/// What is wrong with it.
pub fn check(text: &str) -> Result<(), BadGlob> {
    let stranger = |c: &char| !(c.is_ascii_alphanumeric() || "._-/*?".contains(*c));
    match text.chars().find(stranger) {
        _ if text.is_empty() => Err(BadGlob::Empty),
        _ if text.len() > MAX_LENGTH => Err(BadGlob::TooLong),
        Some(c) => Err(BadGlob::Character(text.into(), c)),
        None if text.contains("***") => Err(BadGlob::Stars(text.into())),
        None if text.matches('*').count() > MAX_STARS => Err(BadGlob::ManyStars),
        None => Ok(()),
    }
}

/// Whether `text` matches `pattern`: `*` stands for anything but a slash, `**` for slashes too, `?` for one character that is none. Takes
/// time in proportion to the product of both lengths, whatever the pattern.
pub fn matches(pattern: &str, text: &str) -> bool {
    // Most names differ from most patterns at one of the ends, before any star.
    let same = |(p, c): (char, char)| p == c || p == '?';
    let fixed = |p: &(char, char)| p.0 != '*';
    if !pattern.chars().zip(text.chars()).take_while(fixed).all(same)
        || !pattern.chars().rev().zip(text.chars().rev()).take_while(fixed).all(same)
    {
        return false;
    }
    let text: Vec<char> = text.chars().collect();
    // Which beginnings of the text the pattern so far can stand for.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    let mut rest = pattern.chars().peekable();
    while let Some(next) = rest.next() {
        if next == '*' {
            let over_slashes = rest.next_if_eq(&'*').is_some();
            for (at, c) in text.iter().enumerate() {
                reached[at + 1] |= reached[at] && (over_slashes || *c != '/');
            }
        } else {
            for (at, c) in text.iter().enumerate().rev() {
                reached[at + 1] = reached[at] && (*c == next || (next == '?' && *c != '/'));
            }
            reached[0] = false;
        }
    }
    reached[text.len()]
}

/// Whether a pattern stands for one name alone.
pub fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_stop_at_slashes_unless_doubled() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("team-a/*", "team-a/shop", true),
            ("team-a/*", "team-a/", true),
            ("team-a/*", "team-a/x/shop", false),
            ("team-a/**", "team-a/x/shop", true),
            ("**", "a/b/c", true),
            ("*", "a/b", false),
            ("**/shop", "a/b/shop", true),
            ("v*", "v1.2.3", true),
            ("v*", "latest", false),
            ("v?.?", "v1.2", true),
            ("v?", "v", false),
            ("?", "/", false),
            ("*-*-*", "a-b-c-d", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXbY", false),
            ("***", "a/b", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn malformed_and_absurd_ones_are_refused() {
        for bad in [
            "",
            "a***",
            "v[12]",
            "{a,b}",
            "!a",
            "a\\*",
            "a b",
            "ü",
            "a:b",
            "*a*a*a*a*a*a*a*a*a",
            &"a".repeat(MAX_LENGTH + 1),
        ] {
            check(bad).unwrap_err();
        }
        for good in ["*", "**/shop", "team-a/*", "v?.?", "a", &"a".repeat(MAX_LENGTH)] {
            check(good).unwrap();
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = "*a".repeat(MAX_LENGTH / 2);
        assert!(!matches(&pattern, &"a".repeat(100)));
        assert!(matches(&pattern, &"a".repeat(512)));
    }

    proptest! {
        #[test]
        fn a_name_matches_itself_and_what_was_cut_out_of_it(text in "[a-z0-9._/-]{0,40}", from in 0usize..40, to in 0usize..40) {
            prop_assert!(matches(&text, &text));
            let (from, to) = (from.min(to).min(text.len()), to.max(from).min(text.len()));
            let pattern = format!("{}**{}", &text[..from], &text[to..]);
            prop_assert!(matches(&pattern, &text));
        }
    }
}
