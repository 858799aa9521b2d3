//! A real git host's hook: a bare repository whose post-receive hook posts what was pushed, signed, over TLS.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use roadstead_e2e::endpoint::SECRET;
use roadstead_e2e::{Context, Hook, Platform, Result, ensure};

/// What a small git host does: the body from the pushed refs, its HMAC by openssl, the POST by curl.
const HOOK: &str = r#"#!/bin/sh
set -eu
while read -r before after ref; do
  body=$(printf '{"ref":"%s","before":"%s","after":"%s","repository":{"full_name":"octo/shop"}}' "$ref" "$before" "$after")
  hex=$(printf %s "$body" | openssl dgst -sha256 -hmac "$HOOK_SECRET" | sed 's/.* //')
  printf %s "$body" | curl --fail --silent --show-error --cacert "$HOOK_CA" \
    -H 'content-type: application/json' -H 'x-github-event: push' -H "x-github-delivery: $after" \
    -H "x-hub-signature-256: sha256=$hex" --data-binary @- "$HOOK_URL"
done
"#;

fn git(directory: &Path, words: &str, env: &[(&str, &str)]) -> Result<String> {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main"]);
    let output = command.args(words.split_whitespace()).current_dir(directory).envs(env.iter().copied()).output()?;
    ensure!(output.status.success(), "git {words}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_to_a_bare_repository_arrives() -> Result<()> {
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let url = hook.get().await?.status.and_then(|status| status.url).context("no URL")?;
    let maps: Api<ConfigMap> = Api::namespaced(up.client().await?, up.system_namespace());
    let ca = maps.get("roadstead-hub").await?.data.and_then(|mut data| data.remove("ca.crt")).context("no ca.crt")?;
    let directory = up.scratch();
    std::fs::write(directory.join("ca.crt"), ca)?;

    git(directory, "init --quiet --bare shop.git", &[])?;
    let script = directory.join("shop.git/hooks/post-receive");
    std::fs::write(&script, HOOK)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    git(directory, "clone --quiet shop.git work", &[])?;
    let work = directory.join("work");
    std::fs::write(work.join("README"), "shop\n")?;
    git(&work, "add .", &[])?;
    git(&work, "commit --quiet -m First", &[])?;
    let ca = directory.join("ca.crt");
    let env = [("HOOK_URL", url.as_str()), ("HOOK_SECRET", SECRET), ("HOOK_CA", ca.to_str().context("path")?)];
    git(&work, "push --quiet origin HEAD:main", &env)?;

    let head = git(&work, "rev-parse HEAD", &[])?;
    let events = hook.events().await?;
    let change = events.first().and_then(|event| event.spec.git.clone()).context("nothing was recorded")?;
    ensure!(
        change.after == head && change.reference == "refs/heads/main" && change.repository == "octo/shop",
        "{change:?}"
    );
    ensure!(events.len() == 1 && events[0].spec.id == head);
    Ok(())
}
