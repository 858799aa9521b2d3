//! Durations and quantities as Kubernetes users write them: `10s`, `1h30m`, `168h`; `10Gi`, `500M`, `1024`.

use std::time::Duration;

/// Why a text is neither a duration nor a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not a duration.
    #[error("{0:?} is not a duration; write for example 10s, 500ms, 1h30m or 168h")]
    Duration(String),
    /// Not a number of bytes.
    #[error("{0:?} is not a quantity; write for example 1048576, 500M, 10Gi or 1.5Gi")]
    Quantity(String),
}

/// Units of a duration, longest name first where one begins another.
const TIME_UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A duration in Go's form, the one of `metav1.Duration`: decimal numbers, each with a unit of ns, us, ms, s, m or h;
/// `0` alone needs none. Negative ones are refused.
pub fn duration(text: &str) -> Result<Duration, ParseError> {
    let bad = || ParseError::Duration(text.to_string());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut nanos) = (text, 0u128);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let size = TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?.1;
        nanos = nanos.checked_add(scaled(number, size).ok_or_else(bad)?).ok_or_else(bad)?;
        rest = tail;
    }
    if text.is_empty() {
        return Err(bad());
    }
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| bad())
}

/// The shortest text that [`duration`] reads as `duration`, to the millisecond: `1h30m`, `10s`, `1.5s`, `250ms`.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let (hours, minutes, rest) = (millis / 3_600_000, millis / 60_000 % 60, millis % 60_000);
    let mut text = String::new();
    for (count, unit) in [(hours, "h"), (minutes, "m")] {
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    match (rest / 1000, rest % 1000) {
        (0, 0) if !text.is_empty() => {}
        (0, 0) => text.push_str("0s"),
        (0, millis) => text.push_str(&format!("{millis}ms")),
        (seconds, 0) => text.push_str(&format!("{seconds}s")),
        (seconds, millis) => {
            let fraction = format!("{millis:03}");
            text.push_str(&format!("{seconds}.{}s", fraction.trim_end_matches('0')));
        }
    }
    text
}

/// Suffixes of a quantity.
const SIZES: [(&str, u64); 13] = [
    ("", 1),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
];

/// A quantity of bytes (Kubernetes' `resource.Quantity` without its milli and exponent forms), rounded up.
pub fn quantity(text: &str) -> Result<u64, ParseError> {
    let bad = || ParseError::Quantity(text.to_string());
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let size = SIZES.iter().find(|(name, _)| *name == suffix).ok_or_else(bad)?.1;
    u64::try_from(scaled(number, size).ok_or_else(bad)?).map_err(|_| bad())
}

/// `number` (decimal, perhaps with a fraction) times `unit`, rounded up; `None` where it is not a number or too large.
fn scaled(number: &str, unit: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 18 || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { u128::from(whole.parse::<u64>().ok()?) };
    let parts: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let fraction = (parts * u128::from(unit)).div_ceil(10u128.pow(fraction.len() as u32));
    whole.checked_mul(u128::from(unit))?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("10s", 10_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("168h", 604_800_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("1m0.25s", 60_250),
            ("1000us", 1),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1d", "1 s", "1.2.3s", "1e3s", "10sec", "99999999999999h", ".s", "1h-5m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_round_trip() {
        for text in ["0s", "10s", "500ms", "1h30m", "168h", "1.5s", "1h1ms", "1m0.25s", "2h3m4.056s"] {
            let text = if text == "1m0.25s" { "1m250ms" } else { text };
            assert_eq!(format_duration(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn quantities() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("500M", 500_000_000),
            ("10Gi", 10 << 30),
            ("1.5Gi", 3 << 29),
            ("0.1k", 100),
            ("15Ei", 15 << 60),
        ] {
            assert_eq!(quantity(text), Ok(bytes), "{text}");
        }
        for text in ["", "Gi", "-1", "1gi", "1 Gi", "16Ei", "1.2.3", "1m", "1e3", "0x10"] {
            assert!(quantity(text).is_err(), "{text}");
        }
    }
}
