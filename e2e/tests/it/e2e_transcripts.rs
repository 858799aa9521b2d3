//! kubectl says the same here as to a real Kubernetes: the files in `transcripts/` were recorded there and are played again.
//!
//! To record anew, with a kubeconfig of a real cluster:
//! `ROADSTEAD_RECORD_TRANSCRIPTS=1 ROADSTEAD_E2E_KUBECONFIG=FILE cargo test -p roadstead-e2e transcript`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use roadstead_e2e::cluster_kubeconfig;
use roadstead_e2e::ground::Open;
use roadstead_e2e::transcript::{Stage, Transcript};
use roadstead_e2e::up::Up;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts")
}

async fn play(name: &str) -> Result<()> {
    let _open = Open::new();
    let cluster = cluster_kubeconfig();
    let up = match cluster {
        Some(_) => None,
        None => Some(Up::with(&[]).await?),
    };
    let kubeconfig = cluster.or_else(|| up.as_ref().map(Up::kubeconfig)).context("no ground")?;
    let file = directory().join(format!("{name}.txt"));
    let recorded = Transcript::parse(&std::fs::read_to_string(&file)?).with_context(|| file.display().to_string())?;
    let prelude = directory().join("prelude.sh");
    let stage = Stage::open(&kubeconfig, &prelude)?;
    let said = recorded.run(&stage)?;
    if std::env::var_os("ROADSTEAD_RECORD_TRANSCRIPTS").is_some() {
        ensure!(up.is_none(), "what is recorded must be a real Kubernetes: set ROADSTEAD_E2E_KUBECONFIG");
        return Ok(std::fs::write(&file, said.to_string())?);
    }
    let differences = recorded.differences(&said);
    ensure!(differences.is_empty(), "{name}:\n{differences}");
    Ok(())
}

/// A test for each file.
macro_rules! transcripts {
    ($($name:ident),+ $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($name)),+];
        $(
            #[tokio::test]
            async fn $name() -> Result<()> {
                play(stringify!($name)).await
            }
        )+
    };
}

transcripts!(access, apply, change, create, custom, discovery, reading, server_side_apply, waits_and_deletes, watching);

#[test]
fn every_transcript_is_played() -> Result<()> {
    for entry in std::fs::read_dir(directory())? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).context("a name")?;
        ensure!(name == "prelude" || NAMES.contains(&name), "{} is not played", path.display());
    }
    Ok(())
}
