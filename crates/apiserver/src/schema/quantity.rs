//! Quantities (`100m`, `64Mi`, `1.5`) in the form in which kube-apiserver writes them.
//!
//! A number with the largest suffix of its own family that leaves it whole: `0.1` is `100m`, `1500m` stays, `1024Ki` is `1Mi`,
//! `1000` is `1k`. Source: the API reference of `resource.Quantity`.

const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

/// The canonical form; what is no quantity, or too large to be sure of, stays as it is.
pub(crate) fn canonical(text: &str) -> String {
    parse(text).unwrap_or_else(|| text.to_string())
}

/// Which of two quantities is greater, as near as a floating point number tells; `None`: one of them is no quantity.
pub(crate) fn compare(one: &str, other: &str) -> Option<std::cmp::Ordering> {
    number(one)?.partial_cmp(&number(other)?)
}

fn number(text: &str) -> Option<f64> {
    if !is_quantity(text) {
        return None;
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && !"+-.".contains(c)).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let power = |(_, power): &(&str, i32)| 10_f64.powi(*power);
    let factor = match BINARY.iter().position(|name| *name == suffix) {
        Some(step) => 1024_f64.powi(i32::try_from(step).ok()?),
        None => match DECIMAL.iter().find(|(name, _)| *name == suffix) {
            Some(found) => power(found),
            None => 10_f64.powi(suffix.trim_start_matches(['e', 'E']).parse().ok()?),
        },
    };
    Some(number * factor)
}

/// Whether a text is a quantity at all.
pub(crate) fn is_quantity(text: &str) -> bool {
    let end = text.find(|c: char| !c.is_ascii_digit() && !"+-.".contains(c)).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let digits = number.trim_start_matches(['+', '-']);
    let number =
        digits.bytes().any(|c| c.is_ascii_digit()) && digits.matches('.').count() <= 1 && !digits.contains(['+', '-']);
    let exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|exponent| exponent.parse::<i32>().is_ok());
    number && (BINARY.contains(&suffix) || DECIMAL.iter().any(|(name, _)| *name == suffix) || exponent)
}

fn parse(text: &str) -> Option<String> {
    if !is_quantity(text) {
        return None;
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && !"+-.".contains(c)).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", number.trim_start_matches('+')),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let mantissa: u128 = format!("{whole}{fraction}").parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    if mantissa == 0 {
        return Some("0".into());
    }
    if let Some(step) = BINARY.iter().position(|name| !suffix.is_empty() && *name == suffix) {
        // Only whole numbers of bytes keep the binary form.
        let bytes = mantissa.checked_mul(1_u128.checked_shl(u32::try_from(step).ok()? * 10)?)?;
        let bytes = (bytes % 10_u128.checked_pow(fraction.len().try_into().ok()?)? == 0)
            .then(|| bytes / 10_u128.pow(fraction.len() as u32))?;
        let mut value = bytes;
        let mut at = 0;
        while at + 1 < BINARY.len() && value % 1024 == 0 {
            value /= 1024;
            at += 1;
        }
        return Some(format!("{sign}{value}{}", BINARY[at]));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).and_then(|exponent| exponent.parse::<i32>().ok());
    if suffix != "E" && exponent.is_some() {
        return None;
    }
    let power = DECIMAL.iter().find(|(name, _)| *name == suffix)?.1;
    let (mut value, mut power) = (mantissa, power - places);
    while value % 10 == 0 {
        value /= 10;
        power += 1;
    }
    // The largest suffix whose power is not above that of the last digit.
    let (name, base) = DECIMAL.iter().rev().find(|(_, base)| *base <= power)?;
    let value = value.checked_mul(10_u128.checked_pow(u32::try_from(power - base).ok()?)?)?;
    Some(format!("{sign}{value}{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_in_one_way() {
        for (text, written) in [
            ("0.1", "100m"),
            ("100m", "100m"),
            ("1", "1"),
            ("1.0", "1"),
            ("1500m", "1500m"),
            ("1.5", "1500m"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("64Mi", "64Mi"),
            ("1024Ki", "1Mi"),
            ("0.5Gi", "512Mi"),
            ("0", "0"),
            ("-0.5", "-500m"),
            ("1e3", "1e3"),
            ("many", "many"),
            ("", ""),
        ] {
            assert_eq!(canonical(text), written, "{text}");
            assert_eq!(canonical(&canonical(text)), written, "twice is once");
        }
        for (text, good) in [("many", false), ("1x", false), ("1.2.3", false), ("+1", true), ("1e3", true), ("", false)]
        {
            assert_eq!(is_quantity(text), good, "{text}");
        }
    }
}
