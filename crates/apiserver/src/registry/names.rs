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

    /// All that is wrong with `name`.
    pub fn check(self, name: &str) -> Vec<String> {
        match self {
            Self::Subdomain => subdomain(name),
            Self::Label => label(name),
            Self::Label1035 => {
                let letter = name.starts_with(|c: char| c.is_ascii_lowercase());
                let odd = (!letter || !is_label(name)).then(|| {
                    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                     character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
                     validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                        .into()
                });
                too_long(name, 63).into_iter().chain(odd).collect()
            }
            Self::PathSegment if [".", ".."].contains(&name) => vec![format!("may not be '{name}'")],
            Self::PathSegment => slashes(name),
        }
    }

    /// All that is wrong with the base of generated names, which goes on after its end.
    pub fn check_base(self, base: &str) -> Vec<String> {
        match self {
            Self::PathSegment => slashes(base),
            // What is appended may begin where a dash ends the base. The letter before it goes too, as in Kubernetes.
            _ => match base.strip_suffix('-').and_then(|rest| rest.char_indices().last().map(|(at, _)| &rest[..at])) {
                Some(rest) => self.check(&format!("{rest}a")),
                None => self.check(base),
            },
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

fn label(name: &str) -> Vec<String> {
    let dotted = name.len() <= 63 && name.contains('.') && subdomain(name).is_empty();
    let odd = (!is_label(name)).then(|| match dotted {
        true => "must not contain dots".into(),
        false => {
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
         end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
                .into()
        }
    });
    too_long(name, 63).into_iter().chain(odd).collect()
}

/// All that is wrong with an RFC 1123 subdomain.
pub fn subdomain(name: &str) -> Vec<String> {
    let odd = (!name.split('.').all(is_label)).then(|| {
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
         start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            .into()
    });
    too_long(name, 253).into_iter().chain(odd).collect()
}

fn slashes(name: &str) -> Vec<String> {
    let found = ["/", "%"].into_iter().filter(|odd| name.contains(odd));
    found.map(|odd| format!("may not contain '{odd}'")).collect()
}

/// Letters, digits, `-`, `_`, `.`; alphanumeric at both ends; not empty.
fn is_name_part(text: &str) -> bool {
    let alphanumeric = |c: u8| c.is_ascii_alphanumeric();
    let bytes = text.as_bytes();
    bytes.iter().all(|c| alphanumeric(*c) || b"-_.".contains(c))
        && bytes.first().copied().is_some_and(alphanumeric)
        && bytes.last().copied().is_some_and(alphanumeric)
}

/// Kubernetes' own wording, with its expression, as people search for it.
const NAME_PART: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                         alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation \
                         is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// All that is wrong with the key of a label or annotation, or a finalizer: `[prefix/]name`.
pub fn qualified(key: &str) -> Vec<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if name.contains('/') {
        return vec![format!(
            "a qualified name {NAME_PART} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )];
    }
    let mut wrong: Vec<String> = match prefix {
        Some("") => vec!["prefix part must be non-empty".into()],
        prefix => prefix.into_iter().flat_map(subdomain).map(|why| format!("prefix part {why}")).collect(),
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".into());
    }
    wrong.extend(too_long(name, 63).map(|why| format!("name part {why}")));
    if !is_name_part(name) {
        wrong.push(format!("name part {NAME_PART}"));
    }
    wrong
}

/// All that is wrong with the value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    let odd = (!value.is_empty() && !is_name_part(value)).then(|| {
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and \
         end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
         '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            .into()
    });
    too_long(value, 63).into_iter().chain(odd).collect()
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
            assert_eq!(rule.check(name).is_empty(), good, "{rule:?} {name}");
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
            assert_eq!(qualified(key).is_empty(), good, "{key}");
        }
        for (value, good) in [("", true), ("Ab.c", true), ("a b", false), (".a", false), (&*"a".repeat(64), false)] {
            assert_eq!(label_value(value).is_empty(), good, "{value}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        assert_eq!(qualified("").len(), 2);
        assert_eq!(qualified(&format!("Upper/{}.", "a".repeat(64))).len(), 3);
        assert_eq!(label_value(&format!("{} ", "a".repeat(64))).len(), 2);
        assert_eq!(NameRule::PathSegment.check("a/%").len(), 2);
        for (base, good) in [("a-", true), ("A-", true), ("a_-", true), ("Aa-", false), ("a_", false), ("-", false)] {
            assert_eq!(NameRule::Subdomain.check_base(base).is_empty(), good, "{base}");
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
