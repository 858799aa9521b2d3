//! The string formats that Kubernetes checks. A format that is not known here is not checked, as there.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::{Engine, engine::general_purpose::STANDARD};

/// Whether `text` is of the format `name`.
pub(crate) fn matches(name: &str, text: &str) -> bool {
    match name {
        "date-time" | "datetime" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "duration" => duration(text),
        "byte" => STANDARD.decode(text.replace(['\n', '\r'], "")).is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => cidr(text),
        "uuid" => text.len() == 36 && uuid::Uuid::try_parse(text).is_ok(),
        "uri" => http::Uri::try_from(text).is_ok_and(|uri| uri.scheme().is_some() || text.starts_with('/')),
        "hostname" => text.len() <= 255 && text.split('.').all(label),
        "email" => text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.split('.').all(label)),
        "mac" => mac(text),
        "k8s-short-name" => text.len() <= 63 && lower(text) && label(text),
        "k8s-long-name" => text.len() <= 253 && lower(text) && text.split('.').all(label),
        _ => true,
    }
}

/// Go's durations (`1h30m`, `-1.5s`, `0`) and the words that OpenAPI's format admits in Kubernetes (`3 days`).
fn duration(text: &str) -> bool {
    const UNITS: [&str; 8] = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (number, tail) = rest.split_at(digits);
        if number.parse::<f64>().is_err() {
            return false;
        }
        let tail = tail.trim_start();
        let unit = tail.len() - tail.trim_start_matches(char::is_alphabetic).len();
        let (name, tail) = tail.split_at(unit);
        let word =
            ["day", "days", "week", "weeks", "hour", "hours", "minute", "minutes", "second", "seconds", "d", "w"];
        if !UNITS.contains(&name) && !word.contains(&name) {
            return false;
        }
        rest = tail;
    }
    true
}

fn cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let max = match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= max)
}

fn mac(text: &str) -> bool {
    let separator = if text.contains('-') { '-' } else { ':' };
    let parts: Vec<_> = text.split(separator).collect();
    [6, 8, 20].contains(&parts.len())
        && parts.iter().all(|part| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit()))
}

fn label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
    !text.is_empty() && text.len() <= 63 && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn lower(text: &str) -> bool {
    !text.chars().any(|c| c.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_admit_what_kubernetes_admits() {
        for (format, good, bad) in [
            ("date-time", "2026-11-20T09:00:00.123Z", "2026-11-20 9 o'clock"),
            ("date-time", "2026-11-20T09:00:00+02:00", "2026-13-20T09:00:00Z"),
            ("date", "2026-11-20", "20.11.2026"),
            ("duration", "1h30m", "1x"),
            ("duration", "0", ""),
            ("duration", "-1.5s", "s"),
            ("byte", "aGVsbG8=", "a b c"),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "fd00::1", "fd00::g"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("uuid", "72d3162e-0000-4000-8000-000000000000", "72d3162e"),
            ("uri", "https://example.com/x", "not a uri"),
            ("hostname", "example.com", "-x.com"),
            ("email", "team@example.com", "team"),
            ("mac", "00:00:5e:00:53:01", "00:00"),
            ("k8s-short-name", "abc-1", "Abc"),
        ] {
            assert!(matches(format, good), "{format}: {good}");
            assert!(!matches(format, bad), "{format}: {bad}");
        }
        assert!(matches("someone's own", "anything"));
    }
}
