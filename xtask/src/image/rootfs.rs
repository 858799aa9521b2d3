//! What is in the image, as tar layers (OCI image-spec, `layer.md`): sorted, with one time, owned as they say.

use anyhow::Result;
use base64::{Engine, engine::general_purpose::STANDARD};
use tar::{Builder, EntryType, Header};

/// The user that the image runs as: nobody's on any distribution, and not root's.
pub const USER: u64 = 65532;

/// A file or directory.
pub struct Entry {
    /// Without a slash at the beginning; a directory's ends with one.
    path: &'static str,
    mode: u32,
    owner: u64,
    content: Vec<u8>,
}

impl Entry {
    fn new(path: &'static str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        Self { path, mode, owner: 0, content: content.into() }
    }

    fn directory(path: &'static str, mode: u32) -> Self {
        Self::new(path, mode, [])
    }
}

/// Everything but the program: the authorities that TLS clients trust, who the user is, how names are resolved, and places to write
/// for who mounts none.
pub fn ground() -> Vec<Entry> {
    vec![
        Entry::directory("etc/", 0o755),
        Entry::new("etc/passwd", 0o644, format!("roadstead:x:{USER}:{USER}::/data:/nonexistent\n")),
        Entry::new("etc/group", 0o644, format!("roadstead:x:{USER}:\n")),
        Entry::new("etc/nsswitch.conf", 0o644, "hosts: files dns\n"),
        Entry::directory("etc/ssl/", 0o755),
        Entry::directory("etc/ssl/certs/", 0o755),
        Entry::new("etc/ssl/certs/ca-certificates.crt", 0o644, authorities()),
        Entry { owner: USER, ..Entry::directory("data/", 0o700) },
        Entry::directory("tmp/", 0o1777),
    ]
}

/// A program in the root directory.
pub fn program(name: &'static str, bytes: &[u8]) -> Vec<Entry> {
    vec![Entry::new(name, 0o755, bytes)]
}

/// The authorities that Mozilla trusts for servers, PEM, as the pinned crate `webpki-root-certs` has them.
fn authorities() -> String {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text += "-----BEGIN CERTIFICATE-----\n";
        let encoded = STANDARD.encode(certificate);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64));
            text += line;
            text += "\n";
            rest = after;
        }
        text += "-----END CERTIFICATE-----\n";
    }
    text
}

/// The layer: a tar archive, not compressed. `time` is in seconds since 1970.
pub fn layer(mut entries: Vec<Entry>, time: u64) -> Result<Vec<u8>> {
    entries.sort_by_key(|entry| entry.path);
    let mut archive = Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_ustar();
        let kind = if entry.path.ends_with('/') { EntryType::Directory } else { EntryType::Regular };
        header.set_entry_type(kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.owner);
        header.set_gid(entry.owner);
        header.set_mtime(time);
        header.set_size(entry.content.len() as u64);
        archive.append_data(&mut header, entry.path, entry.content.as_slice())?;
    }
    Ok(archive.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_sorted_and_says_who_owns_what() {
        let bytes = layer(ground(), 7).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut names = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let (header, name) = (entry.header(), entry.path().unwrap().display().to_string());
            assert_eq!(header.mtime().unwrap(), 7, "{name}");
            let (owner, mode) = if name.starts_with("data") { (USER, 0o700) } else { (0, header.mode().unwrap()) };
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (owner, owner), "{name}");
            assert_eq!(header.mode().unwrap(), mode);
            names.push(name);
        }
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(names, sorted);
        assert!(names.iter().any(|name| name == "etc/ssl/certs/ca-certificates.crt"), "{names:?}");
    }

    #[test]
    fn the_authorities_are_certificates() {
        let text = authorities();
        assert!(text.lines().all(|line| line.len() <= 64 && !line.is_empty()));
        assert!(text.matches("BEGIN CERTIFICATE").count() > 100, "Mozilla trusts about 140");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(["x509", "-noout", "-subject", "-in"]).arg(file.path());
        crate::step::output(&mut openssl).unwrap();
    }
}
