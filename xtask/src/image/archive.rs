//! The archive: an OCI image layout in a tar, with the one document more that makes it docker's archive too.
//!
//! Formats: OCI image-spec (`image-layout.md`, `manifest.md`, `config.md`); `manifest.json` as `docker save` writes it. Their crate
//! keeps labels in unordered maps, so every document is sorted before it is written.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use oci_spec::image::{
    ANNOTATION_REF_NAME, Arch, ConfigBuilder, Descriptor, HistoryBuilder, ImageConfigurationBuilder, ImageIndexBuilder,
    ImageManifestBuilder, MediaType, OciLayoutBuilder, Os, RootFsBuilder, SCHEMA_VERSION, Sha256Digest,
};
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde_json::json;
use tar::{Builder, EntryType, Header};

use crate::step::hex;

/// The name by which containerd stores it.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// What the image says about itself.
pub struct Settings {
    /// Name and tag, e.g. `roadstead:0.1.0`.
    pub reference: String,
    /// The processor that it is for.
    pub architecture: Arch,
    /// Path of what runs.
    pub entrypoint: String,
    /// User and group that it runs as.
    pub user: u64,
    /// Labels of the image and annotations of its manifest.
    pub labels: Vec<(&'static str, String)>,
    /// When its content was made.
    pub created: Timestamp,
}

impl Settings {
    /// The platform, as users write it.
    pub fn platform(&self) -> String {
        format!("linux/{}", self.architecture)
    }

    /// Name with registry and path, as containerd and docker complete a short one; and the tag.
    fn full_reference(&self) -> (String, String) {
        let after_slash = self.reference.rsplit('/').next().unwrap_or_default();
        let (name, tag) = match after_slash.contains(':') {
            true => self.reference.rsplit_once(':').unwrap_or((&self.reference, "latest")),
            false => (self.reference.as_str(), "latest"),
        };
        let has_host =
            name.split_once('/').is_some_and(|(first, _)| first.contains(['.', ':']) || first == "localhost");
        let name = match (has_host, name.contains('/')) {
            (true, _) => name.to_string(),
            (false, true) => format!("docker.io/{name}"),
            (false, false) => format!("docker.io/library/{name}"),
        };
        (format!("{name}:{tag}"), tag.to_string())
    }
}

/// The documents and layers of one image, each under its digest.
#[derive(Default)]
struct Blobs(Vec<(String, Vec<u8>)>);

impl Blobs {
    /// Keeps bytes; gives what refers to them.
    fn keep(&mut self, media_type: MediaType, bytes: Vec<u8>) -> Result<Descriptor> {
        let hash: Sha256Digest = hex(digest(&SHA256, &bytes).as_ref()).parse()?;
        let descriptor = Descriptor::new(media_type, bytes.len() as u64, hash);
        self.0.push((path_of(&descriptor), bytes));
        Ok(descriptor)
    }
}

fn path_of(descriptor: &Descriptor) -> String {
    format!("blobs/sha256/{}", descriptor.digest().digest())
}

/// Packs layers that lie on top of each other; gives the archive and the digest of the image's manifest.
pub fn archive(layers: &[Vec<u8>], settings: &Settings) -> Result<(Vec<u8>, String)> {
    let mut blobs = Blobs::default();
    let mut described = Vec::new();
    for layer in layers {
        described.push(blobs.keep(MediaType::ImageLayer, layer.clone())?);
    }
    let created = settings.created.to_string();
    // Not compressed: a layer's digest is that of its content.
    let diff_ids: Vec<String> = described.iter().map(|layer| layer.digest().to_string()).collect();
    let history = HistoryBuilder::default().created(created.as_str()).created_by("cargo xtask image").build()?;
    let labels =
        || settings.labels.iter().map(|(key, value)| (key.to_string(), value.clone())).collect::<HashMap<_, _>>();
    let run = ConfigBuilder::default()
        .user(format!("{0}:{0}", settings.user))
        .entrypoint([settings.entrypoint.clone()])
        .working_dir("/")
        .labels(labels())
        .build()?;
    let config = ImageConfigurationBuilder::default()
        .created(created.as_str())
        .architecture(settings.architecture.clone())
        .os(Os::Linux)
        .config(run)
        .rootfs(RootFsBuilder::default().diff_ids(diff_ids).build()?)
        .history(vec![history; layers.len()])
        .build()?;
    let config = blobs.keep(MediaType::ImageConfig, document(&config)?)?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(config.clone())
        .layers(described.clone())
        .annotations(labels())
        .build()?;
    let mut manifest = blobs.keep(MediaType::ImageManifest, document(&manifest)?)?;
    let image = manifest.digest().to_string();

    let (full, tag) = settings.full_reference();
    let names = [(ANNOTATION_REF_NAME, tag), (CONTAINERD_NAME, full.clone())];
    manifest.set_annotations(Some(names.map(|(key, value)| (key.to_string(), value)).into()));
    let index = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests([manifest])
        .build()?;
    let layout = OciLayoutBuilder::default().image_layout_version("1.0.0").build()?;
    let docker = json!([{
        "Config": path_of(&config),
        "RepoTags": [full],
        "Layers": described.iter().map(path_of).collect::<Vec<_>>(),
    }]);
    let mut files = blobs.0;
    files.push(("index.json".into(), document(&index)?));
    files.push(("manifest.json".into(), document(&docker)?));
    files.push(("oci-layout".into(), document(&layout)?));
    Ok((tar_of(files, settings)?, image))
}

/// The name by which an archive of this or `docker save`'s form is stored where it is loaded.
pub fn reference_in(archive: &Path) -> Result<String> {
    let file = std::fs::File::open(archive).with_context(|| archive.display().to_string())?;
    for entry in tar::Archive::new(file).entries()? {
        let mut entry = entry?;
        if entry.path()?.as_os_str() == "manifest.json" {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            let manifest: serde_json::Value = serde_json::from_str(&text)?;
            let name = manifest.pointer("/0/RepoTags/0").and_then(|name| name.as_str());
            return name.map(String::from).with_context(|| format!("{} names no image", archive.display()));
        }
    }
    bail!("{} is no archive of an image: it has no manifest.json", archive.display())
}

/// A document as bytes, always the same.
fn document(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut value = serde_json::to_value(value)?;
    value.sort_all_objects();
    Ok(serde_json::to_vec(&value)?)
}

fn tar_of(mut files: Vec<(String, Vec<u8>)>, settings: &Settings) -> Result<Vec<u8>> {
    files.sort();
    files.dedup();
    let time = u64::try_from(settings.created.as_second()).context("a time before 1970")?;
    let mut archive = Builder::new(Vec::new());
    let header = |kind: EntryType, mode: u32, size: usize| {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(time);
        header.set_size(size as u64);
        header
    };
    for directory in ["blobs/", "blobs/sha256/"] {
        archive.append_data(&mut header(EntryType::Directory, 0o755, 0), directory, [].as_slice())?;
    }
    for (path, bytes) in files {
        archive.append_data(&mut header(EntryType::Regular, 0o644, bytes.len()), path, bytes.as_slice())?;
    }
    Ok(archive.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed_as_containerd_does() {
        for (reference, full, tag) in [
            ("roadstead", "docker.io/library/roadstead:latest", "latest"),
            ("roadstead:0.1.0", "docker.io/library/roadstead:0.1.0", "0.1.0"),
            ("team/roadstead:x", "docker.io/team/roadstead:x", "x"),
            ("localhost:5000/roadstead", "localhost:5000/roadstead:latest", "latest"),
            ("registry.example.com/a/roadstead:1", "registry.example.com/a/roadstead:1", "1"),
        ] {
            let settings = Settings {
                reference: reference.into(),
                architecture: Arch::Amd64,
                entrypoint: String::new(),
                user: 0,
                labels: Vec::new(),
                created: Timestamp::UNIX_EPOCH,
            };
            assert_eq!(settings.full_reference(), (full.to_string(), tag.to_string()), "{reference}");
        }
    }
}
