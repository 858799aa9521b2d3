//! `cluster down`: ends what `up` started, the last first, and nothing else.

use std::fs;

use anyhow::{Context, Result};

use super::state::Settings;
use super::{Which, control_plane, node, process};

/// Takes it down; with `wipe` its directory is removed.
pub fn down(wipe: bool, which: &Which) -> Result<()> {
    if let Some(file) = &which.kubeconfig {
        eprintln!("the cluster of {} was not started here: nothing is stopped", file.display());
        return Ok(());
    }
    let layout = which.layout()?;
    if !layout.root().exists() {
        eprintln!("there is no cluster in {}", layout.root().display());
        return Ok(());
    }
    let lock = layout.lock()?;
    let Some(settings) = Settings::load(&layout)? else {
        eprintln!("there is no cluster in {}", layout.root().display());
        return Ok(());
    };
    for name in control_plane::PROGRAMS.iter().chain(&node::PROGRAMS).rev() {
        if process::stop(&layout, name, settings.programs.get(*name).map(|path| path.as_path()))? {
            eprintln!("stopped {name}");
        }
    }
    if settings.node {
        node::release(&layout, &settings).context("the node's traces on this machine: run this again")?;
    }
    if wipe {
        fs::remove_dir_all(layout.root()).with_context(|| format!("cannot remove {}", layout.root().display()))?;
        eprintln!("removed {}", layout.root().display());
    }
    drop(lock);
    Ok(())
}
