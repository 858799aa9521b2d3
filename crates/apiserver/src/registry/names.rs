//! What names, label keys and label values may look like, and how names are generated.
//!
//! Source: Kubernetes documentation, "Object Names and IDs" and "Labels and Selectors"; RFC 1123.

use ring::rand::{SecureRandom, SystemRandom};

/// What the names of a kind may look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameRule {
    /// An RFC 1123 subdomain: most kinds.
    #[default]
    Subdomain,
    /// An RFC 1123 label: Namespace.
    Label,
    /// An RFC 1035 label, which starts with a letter: Service.
    Label1035,
    /// Anything that is one path segment: the RBAC kinds.
    PathSegment,
}

impl NameRule {
    /// The rule of a kind.
    pub fn of(group: &str, plural: &str) -> Self {
        match (group, plural) {
            ("", "namespaces") => Self::Label,
            ("", "services") => Self::Label1035,
            ("rbac.authorization.k8s.io", _) => Self::PathSegment,
            _ => Self::Subdomain,
        }
    }

    /// What is wrong with `name`, if anything.
    pub fn check(self, name: &str) -> Option<String> {
        match self {
            Self::Subdomain => subdomain(name),
            Self::Label => label(name),
            Self::Label1035 => too_long(name, 63).or_else(|| {
                let letter = name.starts_with(|c: char| c.is_ascii_lowercase());
                (!letter || !is_label(name)).then(|| {
                    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                     character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
                     validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                        .into()
                })
            }),
            Self::PathSegment => path_segment(name),
        }
    }
}

fn too_long(name: &str, most: usize) -> Option<String> {
    (name.len() > most).then(|| format!("must be no more than {most} characters"))
}

fn is_label(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn label(name: &str) -> Option<String> {
    too_long(name, 63).or_else(|| {
        (!is_label(name)).then(|| {
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
             end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
                .into()
        })
    })
}

/// What is wrong with an RFC 1123 subdomain, if anything.
pub fn subdomain(name: &str) -> Option<String> {
    too_long(name, 253).or_else(|| {
        (!name.split('.').all(is_label)).then(|| {
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .into()
        })
    })
}

fn path_segment(name: &str) -> Option<String> {
    match name {
        "" => Some("must not be empty".into()),
        "." | ".." => Some(format!("may not be '{name}'")),
        _ if name.contains(['/', '%']) => Some("may not contain '/' or '%'".into()),
        _ => too_long(name, 253),
    }
}

/// Letters, digits, `-`, `_`, `.`; alphanumeric at both ends; 1 to 63 characters.
fn is_name_part(text: &str) -> bool {
    let alphanumeric = |c: u8| c.is_ascii_alphanumeric();
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|c| alphanumeric(*c) || b"-_.".contains(c))
        && bytes.first().copied().is_some_and(alphanumeric)
        && bytes.last().copied().is_some_and(alphanumeric)
}

/// Kubernetes' own wording, with its expression, as people search for it.
const NAME_PART: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                         alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation \
                         is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// What is wrong with the key of a label or annotation, or a finalizer, if anything: `[prefix/]name`.
pub fn qualified(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if name.contains('/') {
        return Some(format!(
            "a qualified name {NAME_PART} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ));
    }
    match prefix {
        Some("") => return Some("prefix part must be non-empty".into()),
        Some(prefix) => {
            if let Some(reason) = subdomain(prefix) {
                return Some(format!("prefix part {reason}"));
            }
        }
        None => {}
    }
    if name.len() > 63 {
        return Some("name part must be no more than 63 characters".into());
    }
    (!is_name_part(name)).then(|| format!("name part {NAME_PART}"))
}

/// What is wrong with the value of a label, if anything.
pub fn label_value(value: &str) -> Option<String> {
    if value.len() > 63 {
        return Some("must be no more than 63 characters".into());
    }
    (!value.is_empty() && !is_name_part(value)).then(|| {
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and \
         end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
         '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            .into()
    })
}

/// A name for `generateName`: the base, cut to leave room, and five characters that spell no words.
pub fn generate(base: &str) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = [0_u8; 5];
    // Names need not be unpredictable, only different: without random numbers the clock will do.
    if SystemRandom::new().fill(&mut random).is_err() {
        random.copy_from_slice(&jiff::Timestamp::now().as_nanosecond().to_le_bytes()[..5]);
    }
    let end = base.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= 58).last().unwrap_or(0);
    let tail = random.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
    base[..end].chars().chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rule() {
        use NameRule::*;
        let long = "a".repeat(64);
        for (rule, name, good) in [
            (Subdomain, "a.b-c.d1", true),
            (Subdomain, "A", false),
            (Subdomain, "a..b", false),
            (Subdomain, "-a", false),
            (Subdomain, "", false),
            (Subdomain, &*"a".repeat(253), true),
            (Subdomain, &*"a".repeat(254), false),
            (Label, "a-1", true),
            (Label, "a.b", false),
            (Label, &long, false),
            (Label1035, "a1", true),
            (Label1035, "1a", false),
            (PathSegment, "system:node:Admin", true),
            (PathSegment, "a/b", false),
            (PathSegment, "..", false),
        ] {
            assert_eq!(rule.check(name).is_none(), good, "{rule:?} {name}");
        }
    }

    #[test]
    fn label_keys_and_values() {
        for (key, good) in [
            ("a", true),
            ("A_b.c-d", true),
            ("x.io/A", true),
            ("X/a", false),
            ("a/b/c", false),
            ("/a", false),
            ("-a", false),
        ] {
            assert_eq!(qualified(key).is_none(), good, "{key}");
        }
        for (value, good) in [("", true), ("Ab.c", true), ("a b", false), (".a", false), (&*"a".repeat(64), false)] {
            assert_eq!(label_value(value).is_none(), good, "{value}");
        }
    }

    #[test]
    fn generated_names_fit() {
        for base in ["x-", &*"a".repeat(100), "é".repeat(60).as_str(), ""] {
            let name = generate(base);
            assert!(name.len() <= 63 && name.is_char_boundary(name.len() - 5), "{name}");
            assert!(base.starts_with(&name[..name.len() - 5]));
        }
        assert_ne!(generate("x"), generate("x"));
    }
}
