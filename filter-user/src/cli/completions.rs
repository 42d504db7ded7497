//! `levee completions`: a completion script for a shell.

use std::io::Write;

use anyhow::Result;
use clap::CommandFactory as _;

/// Print a shell's completion script
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee completions bash > /etc/bash_completion.d/levee")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub fn run(args: &Args, out: &mut impl Write) -> Result<()> {
    // Into memory first: the generator panics where a pipe closes early.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "levee", &mut script);
    Ok(out.write_all(&script)?)
}
