//! `roadstead trigger dead-letters` and `roadstead trigger replay`.

use anyhow::Result;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use roadstead_api::DeadLetter;
use roadstead_api::names::ANNOTATION_REPLAY;
use serde_json::json;

use super::{letters, triggers};
use crate::cli::connect::{Plane, Scope};
use crate::cli::failure::Failure;
use crate::cli::output::{Column, Output, age};

/// Arguments of `trigger dead-letters`.
#[derive(clap::Args)]
pub struct ListArgs {
    /// Only of this trigger.
    name: Option<String>,
    #[command(flatten)]
    scope: Scope,
}

/// Arguments of `trigger replay`.
#[derive(clap::Args)]
pub struct ReplayArgs {
    /// Name of the trigger.
    name: String,
    /// Which of its dead letters; all if none is named.
    letters: Vec<String>,
}

const COLUMNS: [Column<DeadLetter>; 7] = [
    ("NAME", |letter| letter.name_any()),
    ("TRIGGER", |letter| letter.spec.trigger.clone()),
    ("EVENT", |letter| letter.spec.event_id.clone()),
    ("SUBJECT", |letter| format!("{} {}", letter.spec.event_type, letter.spec.subject)),
    ("ATTEMPTS", |letter| letter.spec.attempts.to_string()),
    ("FAILED", |letter| age(Some(&letter.spec.failed_at))),
    ("REASON", |letter| letter.spec.reason.clone()),
];

/// Prints the dead letters.
pub async fn list(args: ListArgs, plane: &Plane, output: Output) -> Result<()> {
    let mut found = args.scope.list::<DeadLetter>(plane).await?;
    if let Some(name) = &args.name {
        found.retain(|letter| letter.spec.trigger == *name);
    }
    args.scope.print(&found, &COLUMNS, output)
}

/// Asks the agent to try again; one that succeeds disappears.
pub async fn replay(args: ReplayArgs, plane: &Plane, output: Output) -> Result<()> {
    triggers(plane).get(&args.name).await?;
    let mut found = Scope::default().list::<DeadLetter>(plane).await?;
    found.retain(|letter| letter.spec.trigger == args.name);
    if let Some(unknown) = args.letters.iter().find(|name| !found.iter().any(|letter| letter.name_any() == **name)) {
        return Err(Failure::NotFound(format!("trigger {} has no dead letter {unknown}", args.name)).into());
    }
    if !args.letters.is_empty() {
        found.retain(|letter| args.letters.contains(&letter.name_any()));
    }
    let patch = Patch::Merge(json!({"metadata": {"annotations": {ANNOTATION_REPLAY: Timestamp::now().to_string()}}}));
    for letter in &mut found {
        *letter = letters(plane).patch(&letter.name_any(), &PatchParams::default(), &patch).await?;
    }
    eprintln!("{} dead letters of trigger {} will be tried again", found.len(), args.name);
    if found.is_empty() { Ok(()) } else { output.list(&found, &(), &COLUMNS) }
}
