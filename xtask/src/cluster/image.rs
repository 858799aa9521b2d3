//! Images of one static program, as the archive that `ctr images import` takes (the form of `docker save`).
//!
//! The same program gives the same bytes.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use ring::digest::{SHA256, digest};
use serde_json::json;
use tar::{Builder, EntryType, Header};

/// Writes an archive with one image: `program` at `/name`, which is what runs, as nobody unless told otherwise.
pub fn write(archive: &Path, image: &str, name: &str, program: &Path) -> Result<()> {
    let program = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let layer = layer(name, &program)?;
    let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": [format!("/{name}")], "User": "65534:65534", "Env": ["PATH=/"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))]},
    });
    let config = serde_json::to_vec(&config)?;
    let (config_name, layer_name) = (format!("{}.json", hex(&config)), format!("{}/layer.tar", hex(&layer)));
    let manifest = json!([{"Config": config_name, "RepoTags": [image], "Layers": [layer_name]}]);
    let mut tar = Builder::new(File::create(archive).with_context(|| format!("cannot write {}", archive.display()))?);
    append(&mut tar, &config_name, &config, 0o644)?;
    append(&mut tar, &layer_name, &layer, 0o644)?;
    append(&mut tar, "manifest.json", &serde_json::to_vec(&manifest)?, 0o644)?;
    Ok(tar.into_inner()?.sync_all()?)
}

fn layer(name: &str, program: &[u8]) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    append(&mut tar, name, program, 0o755)?;
    Ok(tar.into_inner()?)
}

fn append(tar: &mut Builder<impl Write>, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    header.set_mtime(0);
    Ok(tar.append_data(&mut header, name, bytes)?)
}

fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    #[test]
    fn the_parts_name_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let (program, archive) = (directory.path().join("p"), directory.path().join("image.tar"));
        fs::write(&program, "a program").unwrap();
        write(&archive, "localhost/x:1", "hello", &program).unwrap();
        let mut parts = BTreeMap::new();
        for entry in tar::Archive::new(File::open(&archive).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            parts.insert(entry.path().unwrap().display().to_string(), bytes);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&parts["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "localhost/x:1");
        let config: serde_json::Value =
            serde_json::from_slice(&parts[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        let layer = &parts[manifest[0]["Layers"][0].as_str().unwrap()];
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", hex(layer)));
        assert_eq!(config["config"]["Entrypoint"][0], "/hello");
        let first = fs::read(&archive).unwrap();
        write(&archive, "localhost/x:1", "hello", &program).unwrap();
        assert_eq!(fs::read(&archive).unwrap(), first, "the same bytes again");
    }
}
