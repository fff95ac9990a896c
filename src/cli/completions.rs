//! `lethe completions SHELL`: the completion script of a shell, on standard output.

use super::{failure::Failure, output::Output};

/// `lethe completions bash > /etc/bash_completion.d/lethe`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell.
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &Args, out: &mut Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "lethe", &mut script);
    out.write(&script)
}
