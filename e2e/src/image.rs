//! Small container images, made from nothing: an OCI image layout with one layer that holds one file.
//!
//! Format: OCI image-spec, `image-layout.md`.

use std::path::Path;

use anyhow::Result;
use ring::digest::{SHA256, digest};
use serde_json::json;

/// Media type of an image's manifest.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index of images.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Writes an image layout into `directory`, with the manifest tagged `image`; different `content` gives a different digest.
/// Gives the manifest's digest.
pub fn write_layout(directory: &Path, content: &str) -> Result<String> {
    let (digest, size) = write_image(directory, content, "amd64")?;
    write_root(directory, MANIFEST, &digest, size)?;
    Ok(digest)
}

/// Writes a layout whose tag `image` is an index of images, one for each architecture. Gives the index' digest.
pub fn write_index(directory: &Path, content: &str, architectures: &[&str]) -> Result<String> {
    let mut manifests = Vec::new();
    for architecture in architectures {
        let (digest, size) = write_image(directory, &format!("{content} {architecture}"), architecture)?;
        manifests.push(json!({
            "mediaType": MANIFEST, "digest": digest, "size": size,
            "platform": {"architecture": architecture, "os": "linux"},
        }));
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
    let digest = store(directory, index.as_bytes())?;
    write_root(directory, INDEX, &digest, index.len())?;
    Ok(digest)
}

/// Writes an image's blobs; gives digest and size of its manifest.
fn write_image(directory: &Path, content: &str, architecture: &str) -> Result<(String, usize)> {
    let layer = tar("content", content.as_bytes());
    let layer_digest = store(directory, &layer)?;
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
    })
    .to_string();
    let config_digest = store(directory, config.as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": layer.len()}],
    })
    .to_string();
    Ok((store(directory, manifest.as_bytes())?, manifest.len()))
}

/// What makes a directory a layout, with one thing in it that is tagged `image`.
fn write_root(directory: &Path, media_type: &str, digest: &str, size: usize) -> Result<()> {
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": media_type,
            "digest": digest,
            "size": size,
            "annotations": {"org.opencontainers.image.ref.name": "image"},
        }],
    });
    std::fs::write(directory.join("index.json"), index.to_string())?;
    Ok(std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#)?)
}

/// Writes a blob; gives its digest.
fn store(directory: &Path, bytes: &[u8]) -> Result<String> {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let hex = sha256(bytes);
    std::fs::write(blobs.join(&hex), bytes)?;
    Ok(format!("sha256:{hex}"))
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
