//! GitHub's recorded deliveries and GitHub's own signer, from npm.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::tools;

/// One recorded delivery.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Event type, e.g. `push`.
    pub event: String,
    /// The body: the bytes of the package's file, blanks and all.
    pub body: Vec<u8>,
}

/// Every delivery of `@octokit/webhooks-examples`.
pub fn recorded() -> Result<Vec<Recorded>> {
    #[derive(Deserialize)]
    struct Event<'a> {
        name: String,
        #[serde(borrow)]
        examples: Vec<&'a RawValue>,
    }
    let file = tools::npm()?.join("node_modules/@octokit/webhooks-examples/api.github.com/index.json");
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let events: Vec<Event> = serde_json::from_str(&text)?;
    let all: Vec<Recorded> = events
        .iter()
        .flat_map(|event| {
            event.examples.iter().map(|body| Recorded { event: event.name.clone(), body: body.get().into() })
        })
        .collect();
    ensure!(all.len() > 100, "only {} recorded deliveries", all.len());
    Ok(all)
}

/// Signatures of the bodies by `@octokit/webhooks-methods`, in one run of node.
pub fn sign(secret: &str, bodies: &[&[u8]]) -> Result<Vec<String>> {
    const SCRIPT: &str = "
        import { sign } from '@octokit/webhooks-methods';
        import { readFileSync } from 'node:fs';
        const { secret, bodies } = JSON.parse(readFileSync(0, 'utf8'));
        const texts = bodies.map((body) => Buffer.from(body, 'base64').toString('utf8'));
        console.log(JSON.stringify(await Promise.all(texts.map((text) => sign(secret, text)))));
    ";
    let bodies: Vec<String> = bodies.iter().map(|body| STANDARD.encode(body)).collect();
    let input = serde_json::json!({"secret": secret, "bodies": bodies}).to_string();
    let mut node = Command::new("node")
        .args(["--input-type=module", "-e", SCRIPT])
        .current_dir(tools::npm()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start node")?;
    node.stdin.take().context("no stdin")?.write_all(input.as_bytes())?;
    let output = node.wait_with_output()?;
    ensure!(output.status.success(), "node ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}
