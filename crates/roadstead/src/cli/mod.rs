//! The command line: one file for each verb, and what they share.
//!
//! In: arguments, environment, a control plane's answers. Out: stdout is the one answer (a URL, a table, JSON), stderr is
//! everything else (progress, diagnostics), and the exit code says how it ended (`failure`). Verbs that only talk to a control plane
//! run on one thread; roles (`up`, `hub`, `agent`, `operator`) bring a runtime of their own.

mod agent;
mod backup;
mod change;
mod completion;
mod config;
mod connect;
mod crds;
mod demo;
mod election;
mod failure;
mod hook;
mod hub;
mod notify;
mod operator;
mod output;
mod roles;
pub mod subscriber;
mod trigger;
mod up;
mod version;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};

/// From git push to production, on every cluster you own.
#[derive(Parser)]
#[command(name = "roadstead", version, after_long_help = failure::EXIT_CODES, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    early: connect::Early,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run everything on this machine: control plane, hub and agent.
    Up(Box<up::Args>),
    /// Run the hub alone, beside a control plane that is there already.
    Hub(Box<hub::Args>),
    /// Run the agent: watch hubs from here and act on their events.
    Agent(Box<agent::Args>),
    /// Run what a cluster needs once: keeps Roadstead's CustomResourceDefinitions there and current.
    Operator(Box<operator::Args>),
    /// Play a tour that shows what this does.
    Demo(demo::Args),
    /// Endpoints that providers post to, and what was posted.
    Hook(hook::Args),
    /// Who may watch which endpoints, and with which token.
    Subscriber(subscriber::Args),
    /// What an agent does with events, and what it gave up on.
    Trigger(trigger::Args),
    /// Who is told when an image changes, and what was told.
    Notify(notify::Args),
    /// Copy everything that a running platform keeps into one file.
    Backup(backup::BackupArgs),
    /// Make a data directory from a backup.
    Restore(backup::RestoreArgs),
    /// Print the CustomResourceDefinitions that a Kubernetes cluster needs.
    Crds(crds::Args),
    /// Show which control plane is used, and why.
    Config(config::Args),
    /// Print a completion script for a shell.
    Completion(completion::Args),
    /// Print the version of this program and, if one is reachable, of the control plane.
    Version(version::Args),
}

impl Verb {
    /// The flags that say where the control plane is; `None` for verbs that bring one or need none.
    fn connection(&mut self) -> Option<&mut connect::Connection> {
        match self {
            Verb::Backup(args) => Some(&mut args.connection),
            Verb::Hook(args) => Some(&mut args.connection),
            Verb::Subscriber(args) => Some(&mut args.connection),
            Verb::Trigger(args) => Some(&mut args.connection),
            Verb::Notify(args) => Some(&mut args.connection),
            Verb::Config(args) => Some(&mut args.connection),
            Verb::Version(args) => Some(&mut args.connection),
            Verb::Up(_)
            | Verb::Hub(_)
            | Verb::Agent(_)
            | Verb::Operator(_)
            | Verb::Demo(_)
            | Verb::Restore(_)
            | Verb::Crds(_)
            | Verb::Completion(_) => None,
        }
    }
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let mut cli = Cli::parse();
    match cli.verb.connection() {
        Some(connection) => connection.complete(cli.early),
        None if cli.early.is_empty() => {}
        None => {
            let said = "--namespace, --kubeconfig and --context before the verb are for verbs that only talk to a control plane";
            Cli::command().error(ErrorKind::ArgumentConflict, said).exit();
        }
    }
    // One provider for all TLS of the process; a second installation would only mean that it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(cli.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Up(args) => up::run(*args),
        Verb::Hub(args) => hub::run(*args),
        Verb::Agent(args) => agent::run(*args),
        Verb::Operator(args) => operator::run(*args),
        Verb::Demo(args) => demo::run(args),
        Verb::Backup(args) => client(backup::backup(args)),
        Verb::Restore(args) => backup::restore_file(args),
        Verb::Hook(args) => client(hook::run(args)),
        Verb::Subscriber(args) => client(subscriber::run(args)),
        Verb::Trigger(args) => client(trigger::run(args)),
        Verb::Notify(args) => client(notify::run(args)),
        Verb::Crds(args) => crds::run(&args),
        Verb::Config(args) => config::run(args),
        Verb::Completion(args) => completion::run(&args),
        Verb::Version(args) => client(version::run(args)),
    }
}

/// Runs a verb that only talks to a control plane.
fn client(verb: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(verb)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_tree_is_sound() {
        super::Cli::command().debug_assert();
    }
}
