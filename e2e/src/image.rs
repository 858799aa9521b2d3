//! Small container images, made from nothing: an OCI image layout with one layer that holds one file.
//!
//! Format: OCI image-spec, `image-layout.md`.

use std::path::Path;

use anyhow::Result;
use ring::digest::{SHA256, digest};
use serde_json::json;

/// Writes an image layout into `directory`, with the manifest tagged `image`; different `content` gives a different digest.
/// Gives the manifest's digest.
pub fn write_layout(directory: &Path, content: &str) -> Result<String> {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let store = |bytes: &[u8]| -> Result<String> {
        let hex = sha256(bytes);
        std::fs::write(blobs.join(&hex), bytes)?;
        Ok(format!("sha256:{hex}"))
    };
    let layer = tar("content", content.as_bytes());
    let layer_digest = store(&layer)?;
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
    })
    .to_string();
    let config_digest = store(config.as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": layer.len()}],
    })
    .to_string();
    let manifest_digest = store(manifest.as_bytes())?;
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": manifest_digest,
            "size": manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": "image"},
        }],
    });
    std::fs::write(directory.join("index.json"), index.to_string())?;
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#)?;
    Ok(manifest_digest)
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A tar archive with one file (POSIX ustar: a 512-byte header, the content padded, two empty blocks).
fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\0");
    put(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_the_digest() {
        let directory = tempfile::tempdir().unwrap();
        let one = write_layout(&directory.path().join("a"), "one").unwrap();
        assert_eq!(write_layout(&directory.path().join("b"), "one").unwrap(), one);
        assert_ne!(write_layout(&directory.path().join("c"), "two").unwrap(), one);
    }

    #[test]
    fn tar_reads_the_archive() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.tar");
        std::fs::write(&file, tar("content", b"hello")).unwrap();
        let output = std::process::Command::new("tar").arg("-xOf").arg(&file).arg("content").output().unwrap();
        assert_eq!(output.stdout, b"hello");
    }
}
