//! Globs over the names of repositories and tags.

/// Whether `text` matches `pattern`: `*` stands for anything but a slash, `**` for slashes too, `?` for one character that is none. Takes
/// time in proportion to the product of both lengths, whatever the pattern.
pub fn matches(pattern: &str, text: &str) -> bool {
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
