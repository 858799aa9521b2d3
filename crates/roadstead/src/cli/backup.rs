//! `roadstead backup` and `roadstead restore`.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, PostParams},
};
use serde_json::json;

use super::{connect::Connection, failure::Failure, output::Output};
use crate::{
    backup::{GROUP, KIND, PLURAL, VERSION, restore},
    platform::DataDir,
};

/// Arguments of `backup`.
#[derive(clap::Args)]
pub struct BackupArgs {
    /// The file to make, on the machine that `roadstead up` runs on.
    file: PathBuf,
    /// How long to wait for it, e.g. 30m.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = super::change::duration)]
    timeout: Duration,
    #[command(flatten)]
    pub(super) connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// Arguments of `restore`.
#[derive(clap::Args)]
pub struct RestoreArgs {
    /// A file that `roadstead backup` made.
    file: PathBuf,
    /// The data directory to make from it [default: roadstead in the user's data directory].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Key of Secrets, if it is not in the backup.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// Asks the running platform for a backup and waits for it.
pub async fn backup(args: BackupArgs) -> Result<()> {
    let plane = args.connection.open().await?;
    let path = std::path::absolute(&args.file)?;
    let kind = ApiResource {
        group: GROUP.into(),
        version: VERSION.into(),
        api_version: format!("{GROUP}/{VERSION}"),
        kind: KIND.into(),
        plural: PLURAL.into(),
    };
    let api: Api<DynamicObject> = Api::all_with(plane.client, &kind);
    let wanted = DynamicObject::new("", &kind).data(json!({"spec": {"path": path}}));
    let started = api.create(&PostParams::default(), &wanted).await?;
    let name = started.metadata.name.context("the backup has no name")?;
    let deadline = tokio::time::Instant::now() + args.timeout;
    let mut told = false;
    loop {
        let status = api.get(&name).await?.data["status"].take();
        match status["phase"].as_str() {
            Some("Done") => {
                let bytes = status["bytes"].as_u64().unwrap_or_default();
                eprintln!("{bytes} bytes; it holds keys: keep it as safe as the data directory");
                return args.output.value(&json!({"file": path, "bytes": bytes}), &format!("{}\n", path.display()));
            }
            Some("Failed") => bail!("the backup failed: {}", status["message"].as_str().unwrap_or("no reason given")),
            _ if tokio::time::Instant::now() > deadline => {
                let what = format!("the backup {} was not done", path.display());
                return Err(Failure::Timeout {
                    what,
                    after: args.timeout,
                    hint: "It goes on; look at the file".into(),
                }
                .into());
            }
            _ => {}
        }
        if !told && std::io::stderr().is_terminal() {
            eprintln!("copying while the platform goes on ...");
            told = true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Makes a data directory from a backup.
pub fn restore_file(args: RestoreArgs) -> Result<()> {
    let data_dir = args.data_dir.map_or_else(DataDir::default_path, Ok)?;
    restore(&args.file, &data_dir, args.key_file.as_deref())?;
    say(&data_dir, args.key_file.as_deref());
    println!("{}", data_dir.display());
    Ok(())
}

fn say(data_dir: &Path, key_file: Option<&Path>) {
    let key = key_file.map(|file| format!(" --key-file {}", file.display())).unwrap_or_default();
    eprintln!("restored; start it with `roadstead up --data-dir {}{key}`", data_dir.display());
    eprintln!("whoever watched the old one lists again; the administrator's kubeconfig is new");
}
