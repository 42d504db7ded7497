//! `cargo xtask demo`: a flood on this machine, without and with Levee.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::sandbox;
use crate::workspace::{Group, Workspace, require};

/// Flood a namespace on this machine, without and with Levee, and show what Levee did
#[derive(clap::Args)]
#[command(
    after_help = "Installs what is missing, builds, and runs in a sandbox of its own (namespaces of the kernel), which
leaves nothing behind however it ends. Needs root. The machine's own network is not touched.

Examples:
  cargo xtask demo
  cargo xtask demo -- --help        the options of the demo itself"
)]
pub struct Args {
    /// Passed on to the demo
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "DEMO ARGS")]
    arguments: Vec<String>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    run_release("demo", workspace, &args.arguments)
}

/// Builds the controller and the program `levee-<command>` of filter-tests for release, and runs the latter in the
/// sandbox.
pub fn run_release(command: &str, workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    sandbox::require(command, arguments)?;
    workspace.setup(&[Group::Build, Group::Run])?;
    let name = format!("levee-{command}");
    let packages =
        ["build", "--release", "-p", "filter-user", "--bin", "levee", "-p", "filter-tests", "--bin"];
    require(workspace.cargo(&packages).arg(&name), "the build")?;
    sandbox::run(Command::new(workspace.program("release", &name)).args(arguments))
}
