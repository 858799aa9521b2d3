//! `roadstead completion SHELL`: the shell's completion script, made from the command tree itself.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, output};

/// Arguments of `completion`.
#[derive(clap::Args)]
pub struct Args {
    /// Which shell. For bash: `source <(roadstead completion bash)`.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub fn run(args: &Args) -> Result<()> {
    output::emit(&script(args.shell))
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "roadstead", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_learns_the_verbs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            assert!(script(shell).contains("completion"), "{shell}");
        }
    }
}
