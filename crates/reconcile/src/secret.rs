//! Bytes that must not be seen.

use std::fmt;

/// The value of one signing key or token, as it stands in a Kubernetes Secret. `Debug` prints nothing of it, not even its
/// length; there is no `Display` and no serialisation.
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes, less one line end at the end: `kubectl create secret --from-file` keeps the editor's, and no sender
    /// signs with it.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Secret {
        let mut bytes = bytes.into();
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Secret(bytes)
    }

    /// The bytes, for whoever compiles them into a key.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_nothing_and_drops_one_line_end() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret");
        for (given, kept) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("", ""), (" a ", " a ")] {
            assert_eq!(Secret::new(given).bytes(), kept.as_bytes(), "{given:?}");
        }
    }
}
