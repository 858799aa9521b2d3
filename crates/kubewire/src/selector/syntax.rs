//! What label keys and values may look like. Source: Kubernetes documentation, "Labels and Selectors, Syntax and character set".

/// Why `key` is not a valid label key (`[prefix/]name`), or `None` where it is.
pub fn label_key_problem(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            return Some("prefix part must be non-empty".into());
        }
        if prefix.len() > 253 {
            return Some("prefix part must be no more than 253 bytes".into());
        }
        if !is_subdomain(prefix) {
            return Some("prefix part must be a lowercase RFC 1123 subdomain, e.g. 'example.com'".into());
        }
    }
    if name.is_empty() {
        return Some("name part must be non-empty".into());
    }
    if name.len() > 63 {
        return Some("name part must be no more than 63 bytes".into());
    }
    (!is_label_text(name)).then(|| {
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
         alphanumeric character (e.g. 'MyName', or 'my.name', or '123-abc')"
            .into()
    })
}

/// Why `value` is not a valid label value, or `None` where it is.
pub fn label_value_problem(value: &str) -> Option<String> {
    if value.len() > 63 {
        return Some("must be no more than 63 bytes".into());
    }
    (!value.is_empty() && !is_label_text(value)).then(|| {
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start \
         and end with an alphanumeric character (e.g. 'MyValue', or 'my_value', or '12345')"
            .into()
    })
}

/// Letters, digits, `-_.`, with a letter or digit at both ends; not empty.
fn is_label_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric_ends =
        bytes.first().is_some_and(u8::is_ascii_alphanumeric) && bytes.last().is_some_and(u8::is_ascii_alphanumeric);
    alphanumeric_ends && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// RFC 1123 subdomain: dot-separated labels of lower-case letters, digits and inner dashes.
fn is_subdomain(text: &str) -> bool {
    text.split('.').all(|label| {
        let bytes = label.as_bytes();
        let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        bytes.first().is_some_and(plain)
            && bytes.last().is_some_and(plain)
            && bytes.iter().all(|b| plain(b) || *b == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_follow_the_documented_syntax() {
        for good in ["a", "app.kubernetes.io/name", "A_b.c-9", "x.y/Z", &"k".repeat(63)] {
            assert_eq!(label_key_problem(good), None, "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "A.com/x", "-a", "a-", "a b", "ä", "x..y/z", &"k".repeat(64)] {
            assert!(label_key_problem(bad).is_some(), "{bad}");
        }
        for good in ["", "a", "1.2_3-4", &"v".repeat(63)] {
            assert_eq!(label_value_problem(good), None, "{good}");
        }
        for bad in ["-", "a.", "a/b", "é", &"v".repeat(64)] {
            assert!(label_value_problem(bad).is_some(), "{bad}");
        }
    }
}
