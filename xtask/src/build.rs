//! `cargo xtask build`: setup, then cargo build.

use std::process::ExitCode;

use anyhow::Result;

use crate::workspace::{Group, Workspace, pass_on};

/// Install what building needs, then build everything, the eBPF object included
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask build                 everything, for development
  cargo xtask build --release       target/release/levee, as it is meant to run
  cargo xtask build -p filter-user  one crate
After it a plain `cargo build` works as well.")]
pub struct Args {
    /// Passed on to cargo build
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CARGO ARGS")]
    arguments: Vec<String>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    workspace.setup(&[Group::Build])?;
    pass_on(workspace.cargo(&["build"]).args(&args.arguments))
}
