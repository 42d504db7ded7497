//! `cargo xtask sandbox`: any program in the sandbox that demo, tests and benchmark have.

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::sandbox;

/// Run a shell, or any program, in a sandbox like that of the tests
#[derive(clap::Args)]
#[command(
    after_help = "Nothing in there outlives it: processes, network namespaces, interfaces, mounts, pins, and new files in
/run, /var/lib and /tmp. Needs root.

Examples:
  cargo xtask sandbox                            a shell
  cargo xtask sandbox -- target/debug/levee run  the daemon, away from the machine's own"
)]
pub struct Args {
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let words: Vec<String> = args.program.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    sandbox::require("sandbox --", &words)?;
    let shell = [env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into())];
    let words = if args.program.is_empty() { shell.as_slice() } else { args.program.as_slice() };
    sandbox::run(Command::new(&words[0]).args(&words[1..]))
}
