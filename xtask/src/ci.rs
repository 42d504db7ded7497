//! `cargo xtask ci`: what continuous integration runs.

use std::process::ExitCode;

use anyhow::Result;

use crate::workspace::{Workspace, pass_on};

/// Run what continuous integration runs: test, then lint
#[derive(clap::Args)]
#[command(after_help = "Needs root, as the tests do. Lint is run also when a test fails.

Example:
  cargo xtask ci")]
pub struct Args {}

pub fn run(workspace: &Workspace, _args: &Args) -> Result<ExitCode> {
    crate::sandbox::require("ci", &[])?;
    // As processes of their own: a sandbox changes for good the process that makes it.
    let test = pass_on(workspace.cargo(&["xtask", "test"]).stdin(std::process::Stdio::null()))?;
    let lint = pass_on(workspace.cargo(&["xtask", "lint"]).stdin(std::process::Stdio::null()))?;
    Ok(if test == ExitCode::SUCCESS { lint } else { test })
}
